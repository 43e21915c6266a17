package amqp

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestProtocolHeaders(t *testing.T) {
	for _, c := range []struct {
		name, hex string
	}{
		{"TLS", "414d5150 02 010000"},
		{"an unknown protocol", "414d5150 07 010000"},
		{"another version", "414d5150 00 000901"},
		{"HTTP", "474554202f20485454"},
	} {
		t.Run(c.name, func(t *testing.T) {
			nc, result := serve(t, Config{}, &testHandler{})
			p := newPeer(t, nc)
			p.deadline()
			p.write(unhex(t, c.hex)[:8])
			p.expectHeader(protoAMQP)
			p.expectEOF()
			if err := result(); !errors.Is(err, ErrMalformed) {
				t.Errorf("Serve = %v, want ErrMalformed", err)
			}
		})
	}
}

func TestSASLExchange(t *testing.T) {
	start := func(t *testing.T) (*peer, func() error) {
		nc, result := serveTCP(t, Config{}, &testHandler{})
		p := newPeer(t, nc)
		p.deadline()
		h := protocolHeader(protoSASL)
		p.write(h[:])
		p.expectHeader(protoSASL)
		if m := expect[saslMechanisms](p); len(m.Mechanisms) != 2 || m.Mechanisms[0] != "MSSBCBS" || m.Mechanisms[1] != "ANONYMOUS" {
			t.Fatalf("mechanisms %q", m.Mechanisms)
		}
		return p, result
	}
	init := func(name Symbol, response int) []byte {
		return frameOf(frameSASL, 0, (&saslInit{Mechanism: name, InitialResponse: make([]byte, response)}).append(nil))
	}
	t.Run("MSSBCBS", func(t *testing.T) {
		p, _ := start(t)
		p.write(init("MSSBCBS", 60_000))
		if o := expect[saslOutcome](p); o.Code != saslOK {
			t.Fatalf("outcome %d", o.Code)
		}
		p.open(plainOpen)
	})
	for _, c := range []struct {
		name  string
		bytes []byte
	}{
		{"mechanism not offered", init("PLAIN", 1)},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, result := start(t)
			p.write(c.bytes)
			if o := expect[saslOutcome](p); o.Code != saslAuth {
				t.Errorf("outcome %d, want %d", o.Code, saslAuth)
			}
			p.expectEOF()
			if result() == nil {
				t.Error("Serve = nil after a failed SASL")
			}
		})
	}
	for _, c := range []struct {
		name  string
		bytes []byte
	}{
		{"frame too large", init("PLAIN", maxSASLFrame)[:8]},
		{"AMQP frame", frameOf(frameAMQP, 0, (&endFrame{}).append(nil))},
		{"outcome instead of init", frameOf(frameSASL, 0, (&saslOutcome{}).append(nil))},
		{"garbage", frameOf(frameSASL, 0, []byte{1, 2, 3})},
		{"empty frame", frameOf(frameSASL, 0, nil)},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, result := start(t)
			p.write(c.bytes)
			p.expectEOF()
			if err := result(); !errors.Is(err, ErrMalformed) {
				t.Errorf("Serve = %v, want ErrMalformed", err)
			}
		})
	}
}

// Each violation ends what it is about, with the condition of the specification.
func TestViolationsCloseTheConnection(t *testing.T) {
	raw := func(hex string) func(*peer) {
		return func(p *peer) { p.write(unhex(p.t, hex)) }
	}
	for _, c := range []struct {
		name string
		want Symbol
		do   func(*peer)
	}{
		{"frame too large", CondFramingError, raw("00010001 02000000")},
		{"frame smaller than its header", CondFramingError, raw("00000007 02000000")},
		{"data offset within the header", CondFramingError, raw("00000008 01000000")},
		{"data offset beyond the frame", CondFramingError, raw("00000008 03000000")},
		{"unknown frame type", CondFramingError, raw("00000008 02020000")},
		{"SASL frame after open", CondFramingError, raw("00000008 02010000")},
		{"body that is no described value", CondDecodeError, raw("00000009 02000000 40")},
		{"unknown performative", CondDecodeError, raw("0000000c 02000000 00531945")},
		{"second open", CondIllegalState, func(p *peer) { p.send(0, &plainOpen) }},
		{"close that cannot be decoded", CondDecodeError, raw("0000000d 02000000 005318a100")},
		{"begin that cannot be decoded", CondDecodeError, raw("0000000c 02000000 00531145")},
		{"begin of a session that has begun", CondNotAllowed, func(p *peer) {
			p.beginOn(1, 1)
			p.send(1, &beginFrame{})
		}},
		{"begin in answer to nothing", CondNotAllowed, func(p *peer) { p.send(1, &beginFrame{RemoteChannel: Some(uint16(1))}) }},
		{"begin above channel-max", CondFramingError, func(p *peer) { p.send(3, &beginFrame{}) }},
		{"flow without session", CondNotAllowed, func(p *peer) { p.send(1, &flowFrame{}) }},
		{"end without session", CondNotAllowed, func(p *peer) { p.send(1, &endFrame{}) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			nc, result := serveTCP(t, Config{MaxSessions: 3}, &testHandler{})
			p := newPeer(t, nc)
			p.deadline()
			if o := p.open(plainOpen); o.ChannelMax != 2 || o.MaxFrameSize != 65536 || o.IdleTimeout != Some(uint32(240000)) {
				t.Errorf("open answered by %+v", o)
			}
			c.do(p)
			got := expect[closeFrame](p)
			if condition(got.Error) != c.want {
				t.Errorf("close with %v, want %s", got.Error, c.want)
			}
			p.send(0, &closeFrame{})
			p.expectEOF()
			var e *Error
			if err := result(); !errors.As(err, &e) || e.Condition != c.want {
				t.Errorf("Serve = %v, want %s", err, c.want)
			}
		})
	}
}

func TestOpenRefused(t *testing.T) {
	for _, c := range []struct {
		name  string
		want  Symbol
		frame func(t *testing.T) []byte
	}{
		{"another performative", CondIllegalState, func(t *testing.T) []byte { return frameOf(0, 0, (&endFrame{}).append(nil)) }},
		{"garbage", CondDecodeError, func(t *testing.T) []byte { return frameOf(0, 0, []byte{9}) }},
		{"too large", CondFramingError, func(t *testing.T) []byte { return frameOf(0, 0, make([]byte, maxOpenFrame)) }},
		{"idle-time-out of 100 ms", CondNotAllowed, func(t *testing.T) []byte {
			return frameOf(0, 0, encodePerformative(t, &openFrame{IdleTimeout: Some(uint32(100))}))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			nc, _ := serveTCP(t, Config{}, &testHandler{})
			p := newPeer(t, nc)
			p.deadline()
			h := protocolHeader(protoAMQP)
			p.write(append(h[:], c.frame(t)...))
			p.expectHeader(protoAMQP)
			expect[openFrame](p)
			if got := expect[closeFrame](p); condition(got.Error) != c.want {
				t.Errorf("close with %v, want %s", got.Error, c.want)
			}
		})
	}
}

// All that a client may send before the first answer is taken: header, open, begin and attach in one write.
func TestPipelinedOpening(t *testing.T) {
	nc, _ := serveTCP(t, Config{}, &testHandler{})
	p := newPeer(t, nc)
	p.deadline()
	h := protocolHeader(protoAMQP)
	all := append(h[:], frameOf(0, 0, encodePerformative(t, &plainOpen))...)
	all = append(all, frameOf(0, 0, encodePerformative(t, &beginFrame{HandleMax: 9}))...)
	all = append(all, frameOf(0, 0, encodePerformative(t, &attachFrame{Name: "l", Role: roleReceiver, Source: &Source{Address: "a"}}))...)
	p.write(all)
	p.expectHeader(protoAMQP)
	expect[openFrame](p)
	expect[beginFrame](p)
	if a := expect[attachFrame](p); a.Name != "l" {
		t.Errorf("attach answered by %+v", a)
	}
}

func TestHandshakeTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, sent := range []string{"", "AMQ", "AMQP\x00\x01\x00\x00", "AMQP\x03\x01\x00\x00", "AMQP\x00\x01\x00\x00\x00\x00\x00\x20\x02\x00"} {
			nc, result := serve(t, Config{HandshakeTimeout: 5 * time.Second}, &testHandler{})
			begun := time.Now()
			go func() { _, _ = io.Copy(io.Discard, nc) }()
			_, _ = nc.Write([]byte(sent))
			if err := result(); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("after %q: Serve = %v, want a time-out", sent, err)
			}
			if took := time.Since(begun); took != 5*time.Second {
				t.Errorf("after %q: it took %v, want 5 s", sent, took)
			}
		}
	})
}

func TestSilentPeerIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nc, result := serve(t, Config{IdleTimeout: 60 * time.Second}, &testHandler{})
		p := newPeer(t, nc)
		p.begin()
		for range 3 { // an empty frame is enough to stay, and half of one is not
			time.Sleep(59 * time.Second)
			p.write(frameOf(frameAMQP, 0, nil))
		}
		begun := time.Now()
		time.Sleep(30 * time.Second)
		p.write(frameOf(frameAMQP, 0, nil)[:5])
		got := expect[closeFrame](p)
		if condition(got.Error) != CondConnectionForced || !strings.Contains(got.Error.Description, "idle") {
			t.Errorf("close with %v, want %s for being idle", got.Error, CondConnectionForced)
		}
		if took := time.Since(begun); took != 60*time.Second {
			t.Errorf("closed after %v of silence, want 60 s", took)
		}
		p.expectEOF()
		var e *Error
		if err := result(); !errors.As(err, &e) || e.Condition != CondConnectionForced {
			t.Errorf("Serve = %v, want %s", err, CondConnectionForced)
		}
	})
}

// An idle server sends empty frames at half of the peer's time-out, at least 5 s apart if that is soon enough.
func TestHeartbeats(t *testing.T) {
	for _, c := range []struct {
		idle, want time.Duration
	}{{60 * time.Second, 30 * time.Second}, {8 * time.Second, 5 * time.Second}, {2 * time.Second, 1500 * time.Millisecond}} {
		synctest.Test(t, func(t *testing.T) {
			nc, result := serve(t, Config{}, &testHandler{})
			p := newPeer(t, nc)
			open := plainOpen
			open.IdleTimeout = Some(uint32(c.idle.Milliseconds()))
			p.open(open)
			for range 5 {
				begun := time.Now()
				f, err := p.in.next(minFrame)
				if err != nil || len(f.body) != 0 {
					t.Fatalf("%v: %+v, %v; want an empty frame", c.idle, f, err)
				}
				if took := time.Since(begun); took != c.want {
					t.Errorf("%v: empty frame after %v, want %v", c.idle, took, c.want)
				}
			}
			p.send(0, &closeFrame{})
			expect[closeFrame](p)
			if err := result(); err != nil {
				t.Errorf("Serve = %v", err)
			}
		})
	}
}

// polite is a connection that says farewell, as one of package tls does, and waits long for a peer to hear it.
type polite struct{ net.Conn }

func (c polite) NetConn() net.Conn { return c.Conn }

func (c polite) Close() error {
	_ = c.SetWriteDeadline(time.Now().Add(5 * time.Second)) // a pipe has deadlines
	_, err := c.Write([]byte("farewell"))
	return errors.Join(err, c.Conn.Close())
}

// A peer that does not read is closed after 10 s of a stuck write, and meanwhile not read beyond a bound.
func TestPeerThatNeverReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		detached := make(chan error, 1)
		server, nc := net.Pipe()
		result := serveOn(t, polite{server}, nc, Config{}, &testHandler{detach: func(_ Link, err error) { detached <- err }})
		p := newPeer(t, nc)
		p.begin()
		p.attachSender(0)
		echo := frameOf(0, 0, encodePerformative(t, &flowFrame{IncomingWindow: 1, OutgoingWindow: 1, Handle: Some(uint32(0)), Echo: true}))
		begun := time.Now()
		sent := 0
		for {
			n, err := nc.Write(bytes.Repeat(echo, 100))
			sent += n
			if err != nil {
				break
			}
		}
		if took := time.Since(begun); took != writeTimeout {
			t.Errorf("closed after %v, want %v", took, writeTimeout)
		}
		if sent > 4*outboxLimit {
			t.Errorf("%d bytes were read from a peer that reads nothing", sent)
		}
		if err := result(); err == nil || !strings.Contains(err.Error(), "write") {
			t.Errorf("Serve = %v, want the failed write", err)
		}
		if took := time.Since(begun); took != writeTimeout {
			t.Errorf("Serve returned after %v, want %v", took, writeTimeout)
		}
		if err := <-detached; err == nil {
			t.Error("OnDetach without the reason")
		}
	})
}

// A peer that reads slowly, but reads, is served: each piece that it takes gives it time for the next.
func TestPeerThatReadsSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		senders := make(chan *Sender, 1)
		nc, _ := serve(t, Config{}, &testHandler{attach: func(l Link) { _ = l.Accept(Accept{}); senders <- l.(*Sender) }})
		p := newPeer(t, nc)
		p.begin()
		p.attachReceiver(0, 0)
		p.credit(0, 0, 10)
		s := <-senders
		for range 4 {
			if _, err := s.Send(t.Context(), Outgoing{Settled: true, Payload: [][]byte{make([]byte, 60_000)}}); err != nil {
				t.Fatal(err)
			}
		}
		begun := time.Now()
		for range 4 {
			time.Sleep(writeTimeout * 2 / 5) // a piece is a little more than a frame
			expect[transferFrame](p)
		}
		if took := time.Since(begun); took <= writeTimeout {
			t.Errorf("the peer took %v, which shows nothing", took)
		}
	})
}

// Close returns at once, and the connection ends even if the peer does nothing about it.
func TestCloseWithoutAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conns := make(chan *Conn, 1)
		nc, result := serve(t, Config{}, &testHandler{open: func(c *Conn) *Error { conns <- c; return nil }})
		p := newPeer(t, nc)
		p.begin()
		begun := time.Now()
		c := <-conns
		c.Close(Errorf("com.microsoft:operation-cancelled", "moved"))
		c.Close(Errorf(CondInternalError, "the second close says nothing"))
		if took := time.Since(begun); took != 0 {
			t.Errorf("Close took %v", took)
		}
		if got := expect[closeFrame](p); got.Error == nil || got.Error.Description != "moved" {
			t.Errorf("close with %v", got.Error)
		}
		p.send(0, &beginFrame{}) // ignored
		p.expectEOF()
		if took := time.Since(begun); took != closeTimeout {
			t.Errorf("the connection ended after %v, want %v", took, closeTimeout)
		}
		var e *Error
		if err := result(); !errors.As(err, &e) || e.Description != "moved" {
			t.Errorf("Serve = %v", err)
		}
	})
}

func TestPeerVanishes(t *testing.T) {
	closed := make(chan error, 1)
	nc, result := serveTCP(t, Config{}, &testHandler{close: func(_ *Conn, err error) { closed <- err }})
	p := newPeer(t, nc)
	p.begin()
	_ = nc.Close()
	if err := result(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("Serve = %v, want io.ErrUnexpectedEOF", err)
	}
	if err := <-closed; !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("OnClose got %v", err)
	}
}

// Errors that do not fit the peer's frames are shortened, not dropped.
func TestLongErrorFitsSmallFrames(t *testing.T) {
	conns := make(chan *Conn, 1)
	nc, _ := serveTCP(t, Config{}, &testHandler{open: func(c *Conn) *Error { conns <- c; return nil }})
	p := newPeer(t, nc)
	p.deadline()
	small := plainOpen
	small.MaxFrameSize = 1 // below the 512 every peer must take
	p.open(small)
	(<-conns).Close(&Error{Condition: "c", Description: strings.Repeat("é", 1000), Info: Map{{Symbol("k"), strings.Repeat("v", 600)}}})
	f, body, _ := p.read()
	got, _ := body.(*closeFrame)
	if f.size > minFrame || got == nil || condition(got.Error) != "c" || !strings.HasPrefix(got.Error.Description, "éé") {
		t.Errorf("frame of %d bytes: %+v", f.size, body)
	}
}
