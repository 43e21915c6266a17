package mqttfront

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/clock"
	"github.com/twinhub/twinhub/internal/core/session"
	"github.com/twinhub/twinhub/internal/core/telemetry"
	"github.com/twinhub/twinhub/internal/wire/mqtt"
	"github.com/twinhub/twinhub/internal/wire/poll"
)

// conn is the connection of a device that has signed in. It implements session.Link.
//
// Its packets are served one after the other, by the goroutine of a poll.Loop as long as nothing has to be waited for,
// else by one of its own: see work. Whoever serves a packet is called the reader.
type conn struct {
	front   *Front
	nc      net.Conn
	id      twinhub.ID
	reader  *mqtt.Reader
	out     *outbox
	acks    *acks
	workers sync.WaitGroup // writers of out
	session *session.Session
	expiry  clock.Timer

	ctx     context.Context // of Front.Serve
	ended   func()          // called when nothing of the connection is left
	leave   func() bool     // forgets to close the connection with ctx
	socket  *poll.Socket    // nil: a goroutine waits for packets
	silence *time.Timer     // guarded by mu
	since   time.Time
	heard   atomic.Int64 // ns from since to the last packet

	sender  telemetry.Sender
	event   twinhub.Event // the one being sent, used again and again by the reader
	clean   bool
	will    *mqtt.Will
	timeout time.Duration // of silence
	reason  atomic.Value  // session.Reason given to Close

	mu            sync.Mutex
	subscriptions subscriptions
	lastPacketID  uint16
	calls         map[string]chan session.Reply // waiting methods by request id
	lastCall      uint64
	gone          bool
}

func newConn(f *Front, nc net.Conn, r *mqtt.Reader, id twinhub.ID) *conn {
	c := &conn{front: f, nc: nc, id: id, reader: r, since: time.Now()}
	c.out = newOutbox(nc, &c.workers)
	c.acks = newAcks(c.out)
	return c
}

var (
	errGoodbye = errors.New("the client disconnected")
	errSilent  = errors.New("nothing was heard of the client")
)

// start serves the connection until it ends or ctx does; ended is called then. With a Loop that can take it, it needs a
// goroutine only while something has to be waited for.
func (c *conn) start(ctx context.Context, l *poll.Loop, ended func()) {
	c.ctx, c.ended = ctx, ended
	c.nc.SetDeadline(time.Time{})
	c.leave = context.AfterFunc(ctx, func() { c.Close(session.ShuttingDown) })
	c.hear()
	c.mu.Lock()
	c.silence = time.AfterFunc(c.timeout, c.checkSilence)
	c.mu.Unlock()
	if l == nil || !c.attach(l) {
		c.out.release()
		go c.work(nil)
		return
	}
	c.out.release()
	c.socket.Resume()
}

// attach gives the connection to the Loop. It reports false when that is not possible.
func (c *conn) attach(l *poll.Loop) bool {
	tc, ok := c.nc.(*tls.Conn)
	if !ok {
		return false
	}
	t, ok := tc.NetConn().(*transport)
	if !ok {
		return false
	}
	s, err := t.hand(l, c)
	if err != nil {
		c.front.Logger.Warn("a connection gets a goroutine of its own", "protocol", protocol, "device", c.id.String(), "error", err)
		return false
	}
	c.socket, c.out.socket = s, s
	c.reader.Prompt()
	return true
}

// hear notes that something came.
func (c *conn) hear() {
	c.heard.Store(int64(time.Since(c.since)))
	c.session.Touch(c.front.Clock.Now())
}

// checkSilence ends the connection when nothing came for too long, and else looks again when that may be so.
func (c *conn) checkSilence() {
	left := c.timeout - (time.Since(c.since) - time.Duration(c.heard.Load()))
	if left > 0 {
		c.mu.Lock()
		defer c.mu.Unlock()
		if !c.gone {
			c.silence.Reset(left)
		}
		return
	}
	c.out.close(errSilent)
	hangUp(c.nc)
}

// maxTurn is how many packets of one connection are served before the others of its Loop have their turn.
const maxTurn = 64

// Readable implements poll.Handler: it serves packets that are there, until one may have to wait for something. That one
// and those behind it are served by a goroutine.
func (c *conn) Readable() {
	for n := range maxTurn {
		packet, err := c.next()
		if errors.Is(err, poll.ErrAgain) {
			return
		}
		if n == 0 {
			c.hear()
		}
		if err == nil && c.mayWait(packet) {
			c.socket.Pause()
			go c.work(packet)
			return
		}
		if err == nil {
			err = c.handle(c.ctx, packet)
		}
		if err != nil {
			c.socket.Pause()
			go c.end(err)
			return
		}
	}
	c.socket.Again()
}

// Writable implements poll.Handler.
func (c *conn) Writable() { c.out.pump() }

// mayWait reports whether serving a packet can take longer than others should wait. Telemetry does only while the
// engine's queue is full, and then everything waits.
func (c *conn) mayWait(packet mqtt.Packet) bool {
	switch p := packet.(type) {
	case *mqtt.Publish:
		return strings.HasPrefix(p.Topic, "$iothub/") || c.acks.full() || c.out.full()
	case *mqtt.Pingreq:
		return c.out.full()
	case *mqtt.Puback:
		return false
	}
	return true
}

// work serves packets, beginning with first unless that is nil, until the connection ends or nothing more is there that
// the Loop could not wait for.
func (c *conn) work(first mqtt.Packet) {
	err := c.serve(first)
	if errors.Is(err, poll.ErrAgain) {
		c.socket.Resume()
		return
	}
	c.end(err)
}

func (c *conn) serve(packet mqtt.Packet) (err error) {
	for {
		if packet != nil {
			if err := c.handle(c.ctx, packet); err != nil {
				return err
			}
			if err := c.out.await(); err != nil {
				return err
			}
		}
		if packet, err = c.next(); err != nil {
			return err
		}
		c.hear()
	}
}

// next returns the next packet, or errGoodbye when it is a DISCONNECT.
func (c *conn) next() (mqtt.Packet, error) {
	packet, err := c.reader.ReadPacket()
	if err != nil {
		return nil, err
	}
	if c.reason.Load() != nil {
		return nil, net.ErrClosed // what was read ahead would come after what a newer connection sends
	}
	if _, ok := packet.(*mqtt.Disconnect); ok {
		return nil, errGoodbye
	}
	return packet, nil
}

// handle serves one packet. An error ends the connection.
func (c *conn) handle(ctx context.Context, packet mqtt.Packet) error {
	switch p := packet.(type) {
	case *mqtt.Publish:
		return c.publish(ctx, p)
	case *mqtt.Subscribe:
		return c.subscribe(ctx, p)
	case *mqtt.Unsubscribe:
		return c.unsubscribe(ctx, p)
	case *mqtt.Pingreq:
		return c.out.add(&mqtt.Pingresp{})
	case *mqtt.Puback:
		return nil // nothing that is sent today is kept for redelivery
	case *mqtt.Connect:
		return violates("connect once", "a second CONNECT on one connection [MQTT-3.1.0-2]")
	}
	return violates("send only what a client may", "unexpected packet %v", packet.Type())
}

// end finishes a connection that err ended: everything it started has ended when end returns.
func (c *conn) end(err error) {
	goodbye := errors.Is(err, errGoodbye)
	// The reader often learns of an end elsewhere only as a closed socket.
	err = cmp.Or(c.acks.failure(), c.out.failure(), err)
	c.leave()
	c.expiry.Stop()
	c.session.Close()
	if !goodbye {
		c.explainEnd(err)
		if reason := c.reason.Load(); reason != session.Deleted && reason != session.Removed {
			c.publishWill() // an identity that may not sign in sends nothing any more
		}
	}
	c.mu.Lock()
	c.silence.Stop()
	c.gone = true
	for _, call := range c.calls {
		close(call)
	}
	c.calls = nil
	c.mu.Unlock()
	if goodbye {
		// A client may say goodbye right after its last message and still wait for the PUBACK. An error is that of
		// the engine, which the hub reports.
		_ = c.acks.drain()
		c.out.flush()
	}
	c.out.close(net.ErrClosed)
	if goodbye {
		c.nc.Close()
	} else {
		hangUp(c.nc)
	}
	c.workers.Wait()
	c.ended()
}

// explainEnd logs why the connection ended.
func (c *conn) explainEnd(err error) {
	if reason, ok := c.reason.Load().(session.Reason); ok {
		switch reason {
		case session.Expired:
			err = violates("renew the token before it expires; MQTT clients reconnect with a new one", "%s", reason)
		case session.ShuttingDown, session.TakenOver:
			c.front.Logger.Debug("connection closed", "protocol", protocol, "device", c.id.String(), "reason", string(reason))
			return
		default:
			err = violates("look at what was done to the identity", "%s", reason)
		}
	}
	switch {
	case twinhub.HasCode(err, twinhub.CodeMessageTooLarge):
		err = violates("send smaller messages", "%v", err)
	case errors.Is(err, errSlow):
		err = violates("look for a device that hangs or a network that is broken", "%v", err)
	case errors.Is(err, errSilent):
		err = violates("look for a device that hangs or a network that is broken", "nothing was heard for %s, one and a half times the keep alive", c.timeout)
	}
	c.front.explain(c.nc, c.id.String(), err)
}

// Close implements session.Link: it closes the socket, which ends run.
func (c *conn) Close(reason session.Reason) {
	c.reason.CompareAndSwap(nil, reason)
	hangUp(c.nc)
}

// send publishes to the device at the QoS granted to the filter; it reports false, and sends nothing, when the device
// does not subscribe to it.
func (c *conn) send(filter, topic string, payload []byte) (sent bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sendLocked(filter, topic, payload)
}

// sendLocked is send for a caller that holds c.mu.
func (c *conn) sendLocked(filter, topic string, payload []byte) (sent bool, err error) {
	granted, ok := c.subscriptions[filter]
	if !ok {
		return false, nil
	}
	p := &mqtt.Publish{Topic: topic, Payload: payload, QoS: granted}
	if granted > mqtt.QoS0 {
		if c.lastPacketID++; c.lastPacketID == 0 {
			c.lastPacketID = 1
		}
		p.ID = c.lastPacketID
	}
	return true, c.out.add(p)
}
