package device

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/twinhub/twinhub/internal/sas"
)

const (
	// connectTimeout bounds one attempt to connect, from TCP to the last SUBACK.
	connectTimeout = 30 * time.Second
	// drainTimeout is how long a connection that is about to be renewed may wait for acknowledgements.
	drainTimeout = 5 * time.Second
	// renewBefore is how long before its token's expiry a connection is renewed, and renewShare the same as a part of
	// the token's life, for short ones; the earlier of the two times has up to half as much again drawn at random taken
	// off, so that devices started together do not renew together.
	renewBefore = 2 * time.Minute
	renewShare  = 0.15
)

// Client is a device, or a module, that keeps itself connected to its hub. Its methods may be called concurrently.
//
// Calls wait while the client is not connected, until their context ends. They fail at once with a [*RefusedError] while
// the hub's last word was that it does not accept the device; the client goes on trying all the same.
type Client struct {
	s      *settings
	ctx    context.Context // of handlers and attempts to connect; ends with Close
	cancel context.CancelFunc
	done   chan struct{} // closed when run has ended
	wg     sync.WaitGroup
	close  sync.Once
	// closing is closed by Close, which leaves its context in drain before.
	closing chan struct{}
	drain   context.Context

	ids      ids
	requests requests
	methods  methods
	desired  desired

	// mu guards what follows.
	mu      sync.Mutex
	link    *link         // nil while not connected
	changed chan struct{} // closed and replaced when link, closed or refused changes
	closed  bool
	refused error // the hub does not accept the device; nil again when it does
	failure error // why there is no link
	filters []string
}

// Dial connects as a connection string says: see [ParseConnectionString]. Options may be nil. It returns when the hub
// has accepted the device, and tries once: an error means that there is no Client. The error is or wraps a
// [*RefusedError] if the hub was reached and did not accept the device. Ctx bounds this first connection only; close the
// Client when it is no longer needed.
func Dial(ctx context.Context, connectionString string, o *Options) (*Client, error) {
	id, err := ParseConnectionString(connectionString)
	if err != nil {
		return nil, err
	}
	return Connect(ctx, id, o)
}

// Connect is [Dial] for an identity that is not in a connection string, for example one whose tokens come from elsewhere.
func Connect(ctx context.Context, id Identity, o *Options) (*Client, error) {
	s, err := newSettings(id, o)
	if err != nil {
		return nil, err
	}
	c := &Client{s: s, done: make(chan struct{}), closing: make(chan struct{}), changed: make(chan struct{})}
	c.ids.init(s.MaxInFlight)
	c.methods.init(s.MaxCalls)
	c.desired.init()
	token, err := c.newToken(ctx)
	if err != nil {
		return nil, fmt.Errorf("device: connect %v: %w", id, err)
	}
	c.ctx, c.cancel = context.WithCancel(context.WithoutCancel(ctx))
	l, err := c.connect(ctx, token)
	if err != nil {
		c.cancel()
		return nil, fmt.Errorf("device: connect %v to %s: %w", id, s.address, err)
	}
	go c.run(l, token)
	return c, nil
}

// Close ends the connection in good order: it lets what is on its way be acknowledged, tells handlers to stop by their
// context, and returns when all of the client's goroutines have ended, or with ctx's error when that ends first. Calls
// that wait, and later ones, fail with [ErrClosed]. A second Close waits as the first does. It must not be called by a
// handler.
func (c *Client) Close(ctx context.Context) error {
	c.close.Do(func() {
		c.drain = ctx
		c.mu.Lock()
		c.closed = true
		c.notify()
		c.mu.Unlock()
		c.cancel()
		close(c.closing)
	})
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("device: close: %w", ctx.Err())
	}
}

// token is what a connection signs in with.
type token struct {
	text   string
	expiry time.Time // zero if the client cannot tell
}

// newToken asks for a token. There is none for a device with a certificate.
func (c *Client) newToken(ctx context.Context) (token, error) {
	if c.s.token == nil {
		return token{}, nil
	}
	text, err := c.s.token(ctx)
	if err != nil {
		return token{}, fmt.Errorf("token: %w", err)
	}
	parsed, err := sas.Parse(text)
	if err != nil {
		return token{}, fmt.Errorf("token: %w", err)
	}
	return token{text, parsed.Expiry}, nil
}

// renewIn returns how long the connection may last before it is renewed; 0 if there is no such time.
func (t token) renewIn(now time.Time) time.Duration {
	life := t.expiry.Sub(now)
	if t.expiry.IsZero() || life <= 0 { // the clocks differ: the hub will say when it is over
		return 0
	}
	before := min(renewBefore, time.Duration(float64(life)*renewShare))
	return life - before - rand.N(before/2+1) //nolint:gosec // it spreads devices, and guards nothing
}

// run keeps the client connected until it is closed.
func (c *Client) run(l *link, t token) {
	defer close(c.done)
	defer c.wg.Wait()
	defer c.cancel()
	var wait backoff
	wait.init(c.s.MinBackoff, c.s.MaxBackoff)
	for {
		began := time.Now()
		c.setLink(l, nil)
		c.status(Status{Connected: true})
		next, err := c.serve(l, t)
		if errors.Is(err, errClosing) {
			return
		}
		c.setLink(nil, err)
		if !time.Now().Before(began.Add(c.s.MaxBackoff)) {
			wait.reset()
		}
		l, t, err = c.reconnect(&wait, next, err)
		if err != nil {
			return
		}
	}
}

// errClosing ends run.
var errClosing = errors.New("closing")

// serve waits until l has ended, and ends it when that is due: errClosing if the client closes; nil and the next token
// if the connection is to be renewed; else why it was lost.
func (c *Client) serve(l *link, t token) (token, error) {
	var renew <-chan time.Time
	if in := t.renewIn(time.Now()); in > 0 {
		timer := time.NewTimer(in)
		defer timer.Stop()
		renew = timer.C
	}
	for {
		select {
		case <-l.done:
			l.wg.Wait()
			select {
			case <-c.closing:
				return token{}, errClosing
			default:
			}
			return token{}, l.err
		case <-c.closing:
			c.setLink(nil, nil)
			l.finish(c.drain)
			return token{}, errClosing
		case <-renew:
			renew = nil
			next, err := c.newToken(c.ctx)
			if err != nil {
				c.s.Logger.Warn("no new token; the hub will end the connection", "device", c.s.id, "error", err)
				continue
			}
			if next.text == t.text {
				continue // it was given one token and no more
			}
			c.setLink(nil, nil)
			ctx, cancel := context.WithTimeout(c.ctx, drainTimeout)
			l.finish(ctx)
			cancel()
			return next, nil
		}
	}
}

// reconnect makes the next connection. It fails only when the client closes. At first it uses next, if there is one.
func (c *Client) reconnect(wait *backoff, next token, cause error) (*link, token, error) {
	for {
		delay := time.Duration(0)
		if cause != nil {
			delay = wait.next()
			c.s.Logger.Warn("not connected", "device", c.s.id, "error", cause, "retry", delay)
		}
		c.status(Status{Err: cause, Retry: delay})
		timer := time.NewTimer(delay)
		select {
		case <-timer.C:
		case <-c.closing:
			timer.Stop()
			return nil, token{}, errClosing
		}
		t, err := next, error(nil)
		if next = (token{}); t.text == "" {
			t, err = c.newToken(c.ctx)
		}
		if err == nil {
			var l *link
			if l, err = c.connect(c.ctx, t); err == nil {
				return l, t, nil
			}
		}
		select {
		case <-c.closing:
			return nil, token{}, errClosing
		default:
		}
		c.setLink(nil, err)
		cause = err
	}
}

// connect makes a connection and subscribes to what the client wants to hear.
func (c *Client) connect(ctx context.Context, t token) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	l, err := dial(ctx, c, t.text)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	filters := slices.Clone(c.filters)
	c.mu.Unlock()
	for _, filter := range filters {
		if err := l.subscribe(ctx, filter); err != nil {
			l.fail(err)
			l.wg.Wait()
			return nil, fmt.Errorf("subscribe to %s: %w", filter, err)
		}
	}
	return l, nil
}

// setLink tells everybody who waits that there is a connection, or why there is none.
func (c *Client) setLink(l *link, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.link = l
	if l != nil {
		c.refused, c.failure = nil, nil
		c.desired.connected()
	} else if err != nil {
		c.failure = err
		var refused *RefusedError
		if errors.As(err, &refused) && !refused.Temporary() {
			c.refused = err
		}
	}
	c.notify()
}

// notify wakes everybody who waits. c.mu is held.
func (c *Client) notify() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// wait returns the connection, as soon as there is one.
func (c *Client) wait(ctx context.Context) (*link, error) {
	for {
		c.mu.Lock()
		l, changed, closed, refused, failure := c.link, c.changed, c.closed, c.refused, c.failure
		c.mu.Unlock()
		if l != nil && l.ended() {
			l = nil // run will say so
		}
		switch {
		case closed:
			return nil, ErrClosed
		case l != nil:
			return l, nil
		case refused != nil:
			return nil, refused
		}
		select {
		case <-changed:
		case <-ctx.Done():
			if failure != nil {
				return nil, fmt.Errorf("not connected (%w): %w", failure, ctx.Err())
			}
			return nil, ctx.Err()
		}
	}
}

// subscribe makes the hub send what filter selects, on this connection and on later ones. It returns when the hub has
// agreed; what it refuses is not asked for again.
func (c *Client) subscribe(ctx context.Context, filter string) error {
	c.mu.Lock()
	if !slices.Contains(c.filters, filter) {
		c.filters = append(c.filters, filter)
	}
	c.mu.Unlock()
	for {
		l, err := c.wait(ctx)
		if err != nil {
			return err
		}
		if err = l.subscribe(ctx, filter); errors.Is(err, errFilter) {
			c.mu.Lock()
			c.filters = slices.DeleteFunc(c.filters, func(f string) bool { return f == filter })
			c.mu.Unlock()
		}
		if !errors.Is(err, errLost) {
			return err
		}
	}
}

// publish sends with QoS 1 and returns when the hub has acknowledged, on whichever connection that is; it returns that
// one. It keeps no reference to payload.
func (c *Client) publish(ctx context.Context, topic string, payload []byte) (*link, error) {
	id, err := c.ids.take(ctx, c.closing)
	if err != nil {
		return nil, err
	}
	for sent := false; ; {
		l, err := c.wait(ctx)
		if err != nil {
			c.ids.put(id)
			return nil, err
		}
		// A repeated publication keeps its number and says what it is [MQTT-4.4.0-1] [MQTT-3.3.1-1].
		switch err := l.publish(ctx, id, topic, payload, sent); {
		case err == nil:
			return l, nil
		case !errors.Is(err, errLost):
			return nil, err
		case !errors.Is(err, errUnsent):
			sent = true
		}
	}
}

func (c *Client) status(s Status) {
	if c.s.OnStatus != nil {
		c.s.OnStatus(s)
	}
}

// Send sends telemetry and returns when the hub has stored it. It is sent again, with the mark of a duplicate, on the
// next connection if this one ends before that, so the hub may get it twice; after an error it may have got it. Any
// number of calls may be under way, of which Options.MaxInFlight are sent at a time; messages of one goroutine keep
// their order. Fails with ErrTooLarge above 256 KiB, ErrClosed, a *RefusedError or ctx's error. It keeps no reference to
// m.
func (c *Client) Send(ctx context.Context, m Message) error {
	topic, err := m.topic(c.s.id.prefix())
	if err == nil {
		_, err = c.publish(ctx, topic, m.Body)
	}
	if err != nil {
		return fmt.Errorf("device: send: %w", err)
	}
	return nil
}
