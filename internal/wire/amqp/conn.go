package amqp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

type connPhase uint8

const (
	phaseHandshake connPhase = iota // until both OPENs
	phaseOpen
	phaseClosing // we have sent close, or given up; only the peer's close is awaited
	phaseDone    // the reader has ended
)

// Conn is one connection. Its methods are safe for concurrent use.
type Conn struct {
	nc      net.Conn
	cfg     Config
	handler Handler
	in      frameReader // the reader's
	opened  bool        // the reader's: the handler has accepted the connection

	// Set before OnOpen is called, constant afterwards.
	peer         openFrame
	peerMaxFrame int
	mechanism    Symbol
	identity     any
	value        any

	// tasks counts the writer, the alarm's calls and the call that ends the connection with its context.
	tasks sync.WaitGroup

	// mu guards all below, and the state of all sessions and links of the connection. It is never held
	// while the handler runs or bytes are read or written.
	mu             sync.Mutex
	phase          connPhase
	cause          error     // why the connection ends, the first reason
	closeAt        time.Time // when it ends at the latest, once phase is phaseClosing
	out            []byte    // the outbox
	cuts           []int     // where in it a new write begins
	writing        bool      // the writer goroutine exists
	writeErr       error
	lastWrite      time.Time
	room           sync.Cond // the outbox, the held bytes or the phase have changed: for the reader, and for its end
	blocked        []*Sender // wait for room in the outbox
	dispositions   []*Session
	alarm          *time.Timer
	heartbeatEvery time.Duration
	sessions       map[uint16]*Session
	links          int // attached, or not yet detached by both
	unsettled      int // sent, and not settled
	attachBytes    int // see maxAttachTotal
	partialBytes   int // see maxPartials
	held           int // see maxHeld
}

// errPeerClosed ends the read loop after the peer's close without an error.
var errPeerClosed = errors.New("peer closed the connection")

// Serve runs one connection from its first byte to its end, and owns nc, which it closes. It returns
// after the connection's last goroutine and last call to h: nil when the peer closed in order, an
// *Error when peer or server closed with one, and otherwise what broke the connection. When ctx ends, so
// does the connection, with amqp:connection:forced. TLS, if any, is below nc.
func Serve(ctx context.Context, nc net.Conn, cfg Config, h Handler) error {
	c := &Conn{nc: nc, cfg: cfg.filled(), handler: h, peerMaxFrame: minFrame}
	c.in = frameReader{src: nc, before: c.beforeRead, buffers: c.cfg.Buffers}
	c.room.L = &c.mu
	c.tasks.Add(1)
	stop := context.AfterFunc(ctx, func() {
		defer c.tasks.Done()
		c.Close(Errorf(CondConnectionForced, "the server is shutting down"))
	})
	err := c.run()
	if stop() {
		c.tasks.Done()
	}
	return c.finish(err)
}

// ContainerID is what the peer calls itself in OPEN.
func (c *Conn) ContainerID() string { return c.peer.ContainerID }

// Hostname is the host the peer meant to reach; do not trust it.
func (c *Conn) Hostname() string { return c.peer.Hostname }

// Properties are the peer's, nil when it sent none; they must not be changed.
func (c *Conn) Properties() Map { return c.peer.Properties }

// Mechanism is the SASL mechanism the peer used, "" when it left SASL out.
func (c *Conn) Mechanism() Symbol { return c.mechanism }

// Identity is what the mechanism's Authenticate returned.
func (c *Conn) Identity() any { return c.identity }

// NetConn is the connection given to Serve, for its addresses and TLS state.
func (c *Conn) NetConn() net.Conn { return c.nc }

// SetValue keeps a value of the handler's with the connection. Set it in OnOpen.
func (c *Conn) SetValue(v any) { c.value = v }

// Value returns what SetValue has set.
func (c *Conn) Value() any { return c.value }

// Close ends the connection; err may be nil. It returns at once: the peer has 2 s to answer, and Serve
// returns when all is done. Calls after the first do nothing.
func (c *Conn) Close(err *Error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closeLocked(err)
}

// closeLocked is Close with mu held.
func (c *Conn) closeLocked(err *Error) {
	if c.phase > phaseOpen {
		return
	}
	if c.cause == nil {
		c.cause = net.ErrClosed
		if err != nil {
			c.cause = err
		}
	}
	now := time.Now()
	c.closeAt = now.Add(closeTimeout)
	readUntil := now // a handshake just ends
	if c.phase == phaseOpen {
		c.flushDispositions()
		c.append(0, (&closeFrame{Error: c.fit(err)}).append)
		readUntil = c.closeAt
	}
	c.phase = phaseClosing
	c.endLinks()
	c.kick()
	c.room.Broadcast()
	_ = c.nc.SetReadDeadline(readUntil) // these fail only on a connection that is closed already
	_ = c.nc.SetWriteDeadline(c.closeAt)
}

// endLinks makes every link unusable, and wakes all who wait on one.
func (c *Conn) endLinks() {
	for _, s := range c.sessions {
		s.endLinks(c.cause)
	}
}

// run returns why the connection ends. The peer may still be connected.
func (c *Conn) run() error {
	err := c.handshake()
	for err == nil {
		err = c.readFrame()
	}
	return err
}

// readFrame waits for one frame and acts on it.
func (c *Conn) readFrame() error {
	c.awaitRoom()
	f, err := c.in.next(int(c.cfg.MaxFrameSize))
	switch {
	case errors.Is(err, ErrMalformed):
		return Errorf(CondFramingError, "%v", err)
	case err != nil:
		return fmt.Errorf("read: %w", err)
	case f.kind != frameAMQP:
		return Errorf(CondFramingError, "frame of type %d after open", f.kind)
	case len(f.body) == 0:
		return nil
	}
	return c.dispatch(&f)
}

// awaitRoom waits until there is room to act on another frame: a peer that does not read what we
// answer, or whose messages the handler has not settled, is not read either.
func (c *Conn) awaitRoom() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for (c.full() || c.held >= maxHeld) && c.phase == phaseOpen {
		c.room.Wait()
	}
}

// beforeRead sets the time by which the bytes the reader is about to wait for must have come.
func (c *Conn) beforeRead() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch c.phase {
	case phaseHandshake:
		return nil // one deadline for all of it
	case phaseOpen:
		return c.nc.SetReadDeadline(time.Now().Add(c.cfg.IdleTimeout))
	}
	return c.nc.SetReadDeadline(c.closeAt)
}

// dispatch acts on a frame with a performative. An *Error that it returns is the connection's end;
// violations within a session or link end only these.
func (c *Conn) dispatch(f *frame) error {
	d := newDecoder(f.body)
	code, err := d.descriptor()
	if err != nil {
		return Errorf(CondDecodeError, "%v", err)
	}
	c.mu.Lock()
	closing := c.phase != phaseOpen
	s := c.sessions[f.channel]
	c.mu.Unlock()
	switch {
	case code == descClose:
		return c.peerClose(&d)
	case closing:
		return nil
	case code == descOpen:
		return Errorf(CondIllegalState, "a second open")
	case code < descOpen || code > descClose:
		return Errorf(CondDecodeError, "unknown performative 0x%x", code)
	case code == descBegin:
		return c.begin(f.channel, s, &d)
	case s == nil && code == descDetach:
		return nil // the Event Hubs client for Python detaches its links after it has ended their session
	case s == nil:
		return Errorf(CondNotAllowed, "performative 0x%x on channel %d, where no session has begun", code, f.channel)
	}
	return s.dispatch(code, &d, f)
}

// peerClose is the peer's close: the answer if it came first, and the end of reading.
func (c *Conn) peerClose(d *decoder) error {
	var f closeFrame
	if err := readPerformative(d, &f); err != nil {
		return Errorf(CondDecodeError, "%v", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause == nil {
		c.cause = errPeerClosed
		if f.Error != nil {
			c.cause = f.Error
		}
	}
	c.closeLocked(nil)
	return errPeerClosed
}

// begin is the peer's begin: it makes a session on the same channel number both ways. AMQP 2.5.1.
func (c *Conn) begin(channel uint16, old *Session, d *decoder) error {
	var f beginFrame
	if err := readPerformative(d, &f); err != nil {
		return Errorf(CondDecodeError, "%v", err)
	}
	switch {
	case old != nil && old.isEnded():
		return nil // it crossed with our end; the peer's own end is still to come
	case old != nil:
		return Errorf(CondNotAllowed, "a second begin on channel %d", channel)
	case f.RemoteChannel.Set:
		return Errorf(CondNotAllowed, "begin in answer to one that was never sent")
	case int(channel) >= c.cfg.MaxSessions:
		return Errorf(CondFramingError, "channel %d, channel-max is %d", channel, c.cfg.MaxSessions-1)
	case channel > c.peer.ChannelMax:
		return Errorf(CondFramingError, "channel %d is above the peer's own channel-max %d", channel, c.peer.ChannelMax)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase != phaseOpen {
		return nil
	}
	s := newSession(c, channel, &f)
	if c.sessions == nil {
		c.sessions = make(map[uint16]*Session)
	}
	c.sessions[channel] = s
	reply := beginFrame{
		RemoteChannel:  Some(channel),
		IncomingWindow: incomingWindow,
		OutgoingWindow: outgoingWindow,
		HandleMax:      size32(c.cfg.MaxLinks - 1),
	}
	c.append(channel, func(b []byte) []byte { b, _ = reply.append(b); return b }) // nothing in it can fail
	c.kick()
	return nil
}

// finish ends the connection that run has left: it tells the peer why, tells the handler, waits for the
// last bytes and goroutines, and returns what Serve returns.
func (c *Conn) finish(err error) error {
	var violation *Error
	if errors.As(err, &violation) && c.isOpen() {
		c.Close(violation)
		c.linger()
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.mu.Lock()
		if c.phase == phaseOpen {
			c.closeLocked(Errorf(CondConnectionForced, "no frame for the idle time-out of %v (amqp:resource-limit-exceeded)",
				c.cfg.IdleTimeout))
		}
		c.mu.Unlock()
	}
	cause := c.stop(err)
	if c.opened {
		for _, s := range c.sessions { // nobody changes it any more
			s.tellLinks(cause)
		}
	}
	c.in.release()

	c.mu.Lock()
	for c.writing {
		c.room.Wait()
	}
	nc := c.nc
	if tls, ok := nc.(interface{ NetConn() net.Conn }); ok && c.writeErr != nil {
		nc = tls.NetConn() // the farewell of TLS would wait for a peer that does not read
	}
	c.mu.Unlock()
	_ = nc.Close() // the connection has ended; there is nobody left to tell
	c.tasks.Wait()

	if errors.Is(cause, errPeerClosed) {
		cause = nil
	}
	if c.opened {
		c.handler.OnClose(c, cause)
	}
	return cause
}

func (c *Conn) isOpen() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.phase == phaseOpen
}

// linger reads on after our close until the peer's, or for a short time: to close with bytes unread
// would make the network drop our close before the peer has seen it.
func (c *Conn) linger() {
	for {
		err := c.readFrame()
		switch {
		case err == nil:
		case errors.Is(err, errPeerClosed):
			return
		default:
			var violation *Error
			if errors.As(err, &violation) {
				_, _ = io.Copy(io.Discard, c.nc) // until closeAt
			}
			return
		}
	}
}

// stop makes the connection unusable for everyone, and returns why it has ended.
func (c *Conn) stop(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.cause != nil:
	case errors.Is(err, io.EOF):
		c.cause = io.ErrUnexpectedEOF // without a close
	default:
		c.cause = err
	}
	if c.phase < phaseClosing {
		c.closeAt = time.Now().Add(closeTimeout)
		_ = c.nc.SetWriteDeadline(c.closeAt) // fails only on a connection that is closed already
		c.flushDispositions()
	}
	c.kick()
	c.phase = phaseDone
	c.endLinks()
	c.room.Broadcast()
	if c.alarm != nil && c.alarm.Stop() {
		c.tasks.Done()
	}
	return c.cause
}
