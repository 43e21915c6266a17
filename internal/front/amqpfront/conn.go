package amqpfront

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twinhub/twinhub/internal/clock"
	"github.com/twinhub/twinhub/internal/core/auth"
	"github.com/twinhub/twinhub/internal/wire/amqp"
)

// conn is what one connection has claimed and attached. It implements amqp.Handler.
type conn struct {
	front  *Front
	remote net.Addr
	ctx    context.Context // ends the pumps
	cancel context.CancelFunc
	pumps  sync.WaitGroup

	explained atomic.Bool // why it ends has been logged
	nodeLinks int         // attached to nodes; the reader's

	mu      sync.Mutex
	peer    *amqp.Conn
	claims  map[string]*claim // by what they are for
	readers map[*reader]struct{}
	answers []*answers
	signIn  *time.Timer // closes a connection that has no valid token
}

// A claim is a token with the timer that ends it, or a key without one.
type claim struct {
	*auth.Claim
	expiry clock.Timer // nil for a key
}

func (cl *claim) stop() {
	if cl.expiry != nil {
		cl.expiry.Stop()
	}
}

// maxClaims bounds the tokens of one connection.
const maxClaims = 1024

func newConn(f *Front, remote net.Addr) *conn {
	c := &conn{front: f, remote: remote, claims: map[string]*claim{}, readers: map[*reader]struct{}{}}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// OnOpen implements amqp.Handler.
func (c *conn) OnOpen(peer *amqp.Conn) *amqp.Error {
	c.mu.Lock()
	c.peer = peer
	c.signIn = time.AfterFunc(signInTime, c.lockOut)
	c.mu.Unlock()
	if claim, ok := peer.Identity().(*auth.Claim); ok {
		c.addClaim(claim)
	}
	return nil
}

// lockOut ends a connection without a valid token.
func (c *conn) lockOut() {
	if c.signedIn() || c.ctx.Err() != nil {
		return // just in time, or too late
	}
	c.explained.Store(true)
	c.peer.Close(amqp.Errorf(amqp.CondConnectionForced, "The connection has had no valid token for %v; put one on $cbs.", signInTime))
	c.front.Refusals.Log(protocol, fmt.Sprintf("a connection had no valid token for %v", signInTime),
		"look for a client that cannot sign in, or a port scan", "remote", c.remote.String())
}

// OnAttach implements amqp.Handler.
func (c *conn) OnAttach(l amqp.Link) {
	parts := segments(l.Address())
	s, isSender := l.(*amqp.Sender)
	switch {
	case isHubAddress(parts):
		l.Reject(c.redirect(parts[2:]))
	case isNode(parts, "$cbs"):
		c.attachNode(l, "$cbs", c.putToken)
	case isNode(parts, "$management"):
		c.attachNode(l, "$management", c.manage)
	case isSender:
		c.attachReader(s, parts)
	default:
		c.refuse(l, amqp.CondUnauthorizedAccess, "devices connect over MQTT; docs/compat.md lists what is not there yet, cloud-to-device messages among it", "Sending to %q is not possible on this endpoint.", pathOf(parts))
	}
}

// refuse rejects a link and logs why.
func (c *conn) refuse(l amqp.Link, condition amqp.Symbol, remedy, text string, args ...any) {
	c.reject(l, amqp.Errorf(condition, text, args...), remedy)
}

// reject is refuse with an error that is made already.
func (c *conn) reject(l amqp.Link, err *amqp.Error, remedy string) {
	l.Reject(err)
	c.front.Refusals.Log(protocol, err.Description, remedy, "remote", c.remote.String())
}

// OnTransfer implements amqp.Handler: only the nodes take messages.
func (c *conn) OnTransfer(r *amqp.Receiver, d *amqp.Delivery) {
	n, ok := r.Value().(*node)
	if !ok {
		d.Settle(amqp.Rejected{Error: amqp.Errorf(amqp.CondNotAllowed, "This link takes no messages.")})
		return
	}
	n.request(r, d)
}

// OnDisposition implements amqp.Handler. Reading events is no acknowledgement: outcomes only free the delivery.
func (c *conn) OnDisposition(s *amqp.Sender, o amqp.Outcome) {
	if !o.Settled {
		s.Settle(o.ID, amqp.Accepted{})
	}
}

// OnFlow implements amqp.Handler.
func (c *conn) OnFlow(s *amqp.Sender) {
	switch v := s.Value().(type) {
	case *answers:
		v.flow()
	case *reader:
		v.flow()
	}
}

// OnDetach implements amqp.Handler.
func (c *conn) OnDetach(l amqp.Link, _ error) {
	switch v := l.Value().(type) {
	case *node:
		c.nodeLinks--
	case *answers:
		c.nodeLinks--
		c.detachAnswers(v)
	case *reader:
		v.leave()
	}
}

// OnClose implements amqp.Handler.
func (c *conn) OnClose(*amqp.Conn, error) { c.cancel() }

// end releases what the connection held and returns after its last pump.
func (c *conn) end() {
	c.cancel()
	c.mu.Lock()
	if c.signIn != nil {
		c.signIn.Stop()
	}
	for _, cl := range c.claims {
		cl.stop()
	}
	c.mu.Unlock()
	c.pumps.Wait()
}

// addClaim keeps a token or key, in place of an older one for the same. It reports false when there are too many.
func (c *conn) addClaim(a *auth.Claim) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := strings.ToLower(a.Resource())
	if old := c.claims[key]; old != nil {
		old.stop()
	} else if len(c.claims) >= maxClaims {
		return false
	}
	cl := &claim{Claim: a}
	if !a.Expires.IsZero() {
		cl.expiry = c.front.Clock.AfterFunc(a.Expires.Sub(c.front.Clock.Now()), func() { c.expire(key, cl) })
	}
	c.claims[key] = cl
	c.signIn.Stop()
	return true
}

// expire drops a token and detaches the readers that no other token covers. Without any token left the connection has
// the sign-in time to put a new one.
func (c *conn) expire(key string, cl *claim) {
	c.mu.Lock()
	if c.ctx.Err() != nil || c.claims[key] != cl {
		c.mu.Unlock()
		return // the connection has ended, or the token was replaced
	}
	delete(c.claims, key)
	if len(c.claims) == 0 {
		c.signIn.Reset(signInTime)
	}
	var ended []*reader
	for r := range c.readers {
		if !c.coveredLocked(r.address) {
			ended = append(ended, r)
		}
	}
	c.mu.Unlock()
	for _, r := range ended {
		r.end(amqp.Errorf(amqp.CondUnauthorizedAccess, "The token of this link has expired."))
	}
	if len(ended) > 0 {
		c.front.Refusals.Log(protocol, "an access token expired without renewal", "put a new token on $cbs before the old one expires", "remote", c.remote.String())
	}
}

// covered reports whether a token of the connection is for the partition.
func (c *conn) covered(a readerAddress) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.coveredLocked(a)
}

func (c *conn) coveredLocked(a readerAddress) bool {
	now := c.front.Clock.Now()
	for _, cl := range c.claims {
		if !cl.Expired(now) && cl.Covers("/"+a.String()) {
			return true
		}
	}
	return false
}

// signedIn reports whether the connection holds a valid token.
func (c *conn) signedIn() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.front.Clock.Now()
	for _, cl := range c.claims {
		if !cl.Expired(now) {
			return true
		}
	}
	return false
}

// redirect tells a client of the hub's own address where the built-in endpoint is: at the host name that it used, so
// that it finds it, if that is one of this hub's. The address ends with a slash when nothing follows the event hub's
// name, because clients cut it there.
func (c *conn) redirect(rest []string) *amqp.Error {
	f := c.front
	host := f.Hosts[0]
	if i := slices.IndexFunc(f.Hosts, func(h string) bool { return strings.EqualFold(h, c.peer.Hostname()) }); i >= 0 {
		host = f.Hosts[i]
	}
	address := "amqps://" + net.JoinHostPort(host, strconv.Itoa(f.AMQPSPort)) + "/" + url.PathEscape(f.EventHub) + "/"
	for i, p := range rest {
		if i > 0 {
			address += "/"
		}
		address += url.PathEscape(p)
	}
	err := amqp.Errorf(amqp.CondLinkRedirect, "The built-in endpoint is at %s.", address)
	err.Info = amqp.Map{
		{Key: amqp.Symbol("hostname"), Value: host},
		{Key: amqp.Symbol("network-host"), Value: host},
		{Key: amqp.Symbol("port"), Value: uint16(f.AMQPSPort)},
		{Key: amqp.Symbol("address"), Value: address},
	}
	return err
}
