package amqp

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// A value that decodes can be encoded, and from then on encoding and decoding change nothing. What does
// not decode is ErrMalformed.
func FuzzValue(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		v, rest, err := DecodeValue(b)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("error %v is not ErrMalformed", err)
			}
			return
		}
		if len(rest) >= len(b) {
			t.Fatalf("a value of no bytes")
		}
		once, err := AppendValue(nil, v)
		if err != nil {
			t.Fatalf("%#v decodes but does not encode: %v", v, err)
		}
		again, rest, err := DecodeValue(once)
		if err != nil || len(rest) != 0 {
			t.Fatalf("%x does not decode again: %v", once, err)
		}
		if twice, err := AppendValue(nil, again); err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("encoded %x, then %x, %v", once, twice, err)
		}
	})
}

// As FuzzValue, for messages.
func FuzzMessage(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := DecodeMessage(b)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("error %v is not ErrMalformed", err)
			}
			return
		}
		once, err := AppendMessage(nil, m)
		if err != nil {
			t.Fatalf("%+v decodes but does not encode: %v", m, err)
		}
		again, err := DecodeMessage(once)
		if err != nil {
			t.Fatalf("%x does not decode again: %v", once, err)
		}
		if twice, err := AppendMessage(nil, again); err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("encoded %x, then %x, %v", once, twice, err)
		}
	})
}

// Bytes are cut into frames within the limit or refused, none is lost in between, and a performative
// that decodes comes back from its own encoding.
func FuzzFrame(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		in := frameReader{src: bytes.NewReader(b), before: func() error { return nil }, buffers: new(Buffers)}
		used := 0
		for {
			fr, err := in.next(minFrame)
			if err != nil {
				if !errors.Is(err, ErrMalformed) && err != io.EOF && err != io.ErrUnexpectedEOF {
					t.Fatalf("error %v", err)
				}
				break
			}
			used += fr.size
			if fr.size > minFrame || used > len(b) || len(fr.body) > fr.size-frameHeader {
				t.Fatalf("frame of %d bytes with a body of %d; %d of %d bytes used", fr.size, len(fr.body), used, len(b))
			}
			d := newDecoder(fr.body)
			code, err := d.descriptor()
			body := newPerformative(code)
			if err != nil || body == nil || readPerformative(&d, body) != nil {
				continue
			}
			once := encodePerformative(t, body)
			d = newDecoder(once)
			_, _ = d.descriptor()
			again := newPerformative(code)
			if err := readPerformative(&d, again); err != nil || d.remaining() != 0 {
				if init, ok := body.(*saslInit); ok && init.Mechanism == "" {
					continue
				}
				t.Fatalf("%T %+v does not decode again: %v", body, body, err)
			}
			if twice := encodePerformative(t, again); !bytes.Equal(once, twice) {
				t.Fatalf("encoded %x, then %x", once, twice)
			}
		}
	})
}

// scriptedConn reads a script to its end, and takes whatever is written.
type scriptedConn struct{ in *bytes.Reader }

func (c *scriptedConn) Read(b []byte) (int, error)       { return c.in.Read(b) }
func (c *scriptedConn) Write(b []byte) (int, error)      { return len(b), nil }
func (c *scriptedConn) Close() error                     { return nil }
func (c *scriptedConn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c *scriptedConn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (c *scriptedConn) SetDeadline(time.Time) error      { return nil }
func (c *scriptedConn) SetReadDeadline(time.Time) error  { return nil }
func (c *scriptedConn) SetWriteDeadline(time.Time) error { return nil }

// Whatever bytes a peer sends, the connection ends when the peer goes, within its limits, with every
// link told about and nothing left counted.
func FuzzConn(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		var conn *Conn
		h := &testHandler{
			open: func(c *Conn) *Error { conn = c; return nil },
			flow: func(s *Sender) {
				for range 3 {
					if _, err := s.TrySend(Outgoing{Payload: [][]byte{b}}); err != nil {
						break
					}
				}
				s.Drained()
			},
			disposition: func(s *Sender, o Outcome) { s.Settle(o.ID, o.State) },
		}
		cfg := Config{MaxLinks: 4, MaxSessions: 2, MaxUnsettled: 8, MaxMessageSize: 2000}
		done := make(chan error, 1)
		go func() { done <- Serve(context.Background(), &scriptedConn{in: bytes.NewReader(b)}, cfg, h) }()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			t.Fatal("the connection has not ended")
		}
		if conn == nil {
			return
		}
		if conn.links > cfg.MaxLinks || len(conn.sessions) > cfg.MaxSessions {
			t.Errorf("%d links, %d sessions", conn.links, len(conn.sessions))
		}
		if conn.partialBytes != 0 || conn.attachBytes != 0 || conn.unsettled != 0 || conn.held != 0 {
			t.Errorf("left: %d partial, %d attach and %d held bytes, %d unsettled", conn.partialBytes, conn.attachBytes, conn.held, conn.unsettled)
		}
		for l := range h.live {
			if !l.base().told {
				t.Errorf("the end of link %q was not told", l.Name())
			}
		}
	})
}
