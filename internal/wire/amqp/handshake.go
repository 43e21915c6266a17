package amqp

import (
	"errors"
	"fmt"
	"net"
	"time"
)

// Protocol ids of the header AMQP 2.2.
const (
	protoAMQP = 0
	protoSASL = 3
)

func protocolHeader(id byte) [8]byte { return [8]byte{'A', 'M', 'Q', 'P', id, 1, 0, 0} }

// minIdle is the shortest idle time-out of a peer that is served.
const minIdle = time.Second

// handshake negotiates headers, SASL and OPEN, within the time-out of the config. Nothing the peer
// sends before OPEN is kept but its SASL identity.
func (c *Conn) handshake() error {
	if err := c.startClock(); err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	id, err := c.readProtocol()
	if err != nil {
		return err
	}
	if id == protoSASL {
		if err := c.authenticate(); err != nil {
			return fmt.Errorf("SASL: %w", err)
		}
		if id, err = c.readProtocol(); err != nil {
			return err
		}
		if id != protoAMQP {
			c.say(func(b []byte) []byte { h := protocolHeader(protoAMQP); return append(b, h[:]...) })
			return fmt.Errorf("%w: protocol id %d after SASL", ErrMalformed, id)
		}
	}
	c.say(func(b []byte) []byte { h := protocolHeader(protoAMQP); return append(b, h[:]...) })
	return c.open()
}

// startClock sets the time by which the handshake must be over.
func (c *Conn) startClock() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase != phaseHandshake { // closed already
		return net.ErrClosed
	}
	return c.nc.SetReadDeadline(time.Now().Add(c.cfg.HandshakeTimeout))
}

// say appends bytes that are no AMQP frame, and gets them written.
func (c *Conn) say(bytes func([]byte) []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.writable() {
		c.out = bytes(c.out)
		c.kick()
	}
}

// readProtocol reads a protocol header. One that is not ours (TLS included: it is settled before AMQP
// here) is answered with the one we want, after which the connection ends. AMQP 2.2.
func (c *Conn) readProtocol() (byte, error) {
	head, err := c.in.take(frameHeader)
	if err != nil {
		return 0, fmt.Errorf("protocol header: %w", err)
	}
	got := [8]byte(head)
	if c.in.r == c.in.w {
		c.in.release()
	}
	if id := got[4]; got == protocolHeader(id) && (id == protoAMQP || id == protoSASL) {
		return id, nil
	}
	c.say(func(b []byte) []byte { h := protocolHeader(protoAMQP); return append(b, h[:]...) })
	return 0, fmt.Errorf("%w: protocol header % x", ErrMalformed, got)
}

// authenticate is the SASL dialogue: mechanisms, init, outcome. AMQP 5.3.2.
func (c *Conn) authenticate() error {
	names := make([]Symbol, len(c.cfg.Mechanisms))
	for i, m := range c.cfg.Mechanisms {
		names[i] = m.Name
	}
	c.say(func(b []byte) []byte {
		h := protocolHeader(protoSASL)
		return appendSASL(append(b, h[:]...), (&saslMechanisms{Mechanisms: names}).append)
	})
	f, err := c.in.next(maxSASLFrame)
	if err != nil {
		return err
	}
	if f.kind != frameSASL {
		return fmt.Errorf("%w: frame type %d where SASL is due", ErrMalformed, f.kind)
	}
	d := newDecoder(f.body)
	if code, err := d.descriptor(); err != nil {
		return err
	} else if code != descSASLInit {
		return fmt.Errorf("%w: SASL frame 0x%x where init is due", ErrMalformed, code)
	}
	var init saslInit
	if err := readPerformative(&d, &init); err != nil {
		return err
	}
	err = c.choose(&init)
	outcome := saslOutcome{Code: saslOK}
	if err != nil {
		outcome.Code = saslAuth
	}
	c.say(func(b []byte) []byte { return appendSASL(b, outcome.append) })
	return err
}

func appendSASL(dst []byte, body func([]byte) []byte) []byte {
	start := len(dst)
	return finishFrame(body(startFrame(dst, frameSASL, 0)), start)
}

// choose runs the mechanism of the peer's choice.
func (c *Conn) choose(init *saslInit) error {
	for _, m := range c.cfg.Mechanisms {
		if m.Name != init.Mechanism {
			continue
		}
		c.mechanism = m.Name
		if m.Authenticate == nil {
			return nil
		}
		identity, err := m.Authenticate(SASLRequest{
			Response: init.InitialResponse, Hostname: init.Hostname, NetConn: c.nc,
		})
		if err != nil {
			return fmt.Errorf("mechanism %s: %w", m.Name, err)
		}
		c.identity = identity
		return nil
	}
	return fmt.Errorf("mechanism %q is not offered", init.Mechanism)
}

// open reads the peer's OPEN, answers it and asks the handler. A refusal is OPEN, then CLOSE. AMQP 2.4.1.
func (c *Conn) open() error {
	f, err := c.in.next(maxOpenFrame)
	if err != nil && !errors.Is(err, ErrMalformed) {
		return fmt.Errorf("open: %w", err)
	}
	refusal := Errorf(CondFramingError, "%v", err)
	if err == nil {
		refusal = c.readOpen(f)
	}
	c.mu.Lock()
	if c.phase != phaseHandshake { // closed meanwhile
		c.mu.Unlock()
		return fmt.Errorf("open: %w", net.ErrClosed)
	}
	c.phase = phaseOpen
	c.peerMaxFrame = int(min(max(c.peer.MaxFrameSize, minFrame), maxMaxFrame))
	reply := openFrame{
		ContainerID:  c.cfg.ContainerID,
		MaxFrameSize: c.cfg.MaxFrameSize,
		ChannelMax:   uint16(c.cfg.MaxSessions - 1),
		IdleTimeout:  Some(uint32(min(c.cfg.IdleTimeout.Milliseconds(), 1<<31-1))),
		Properties:   c.cfg.Properties,
	}
	if c.appendChecked(0, reply.append) != nil {
		reply.Properties = nil // they are a courtesy; the rest is not
		c.append(0, func(b []byte) []byte { b, _ = reply.append(b); return b })
	}
	if refusal == nil && c.peer.IdleTimeout.Or(0) > 0 {
		c.startHeartbeat(time.Duration(c.peer.IdleTimeout.Value) * time.Millisecond)
	}
	c.kick()
	c.mu.Unlock()
	if refusal == nil {
		refusal = c.handler.OnOpen(c)
		c.opened = refusal == nil
	}
	if refusal != nil {
		return refusal
	}
	return nil
}

// readOpen decodes OPEN and says why the connection cannot be, if it cannot.
func (c *Conn) readOpen(f frame) *Error {
	d := newDecoder(f.body)
	code, err := d.descriptor()
	if err == nil && (f.kind != frameAMQP || code != descOpen) {
		return Errorf(CondIllegalState, "frame type %d, performative 0x%x where open is due", f.kind, code)
	}
	if err == nil {
		err = readPerformative(&d, &c.peer)
	}
	if err != nil {
		c.peer = openFrame{MaxFrameSize: minFrame}
		return Errorf(CondDecodeError, "%v", err)
	}
	if idle := c.peer.IdleTimeout.Or(0); idle > 0 && time.Duration(idle)*time.Millisecond < minIdle {
		return Errorf(CondNotAllowed, "idle-time-out of %d ms is below %d ms", idle, minIdle.Milliseconds())
	}
	return nil
}
