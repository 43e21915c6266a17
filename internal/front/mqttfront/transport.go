package mqttfront

import (
	"errors"
	"net"
	"sync/atomic"

	"github.com/twinhub/twinhub/internal/wire/poll"
)

// transport is what TLS runs over: the TCP connection while a goroutine signs the device in, and then, where there is a
// poll.Loop, a Socket, which needs no goroutine.
type transport struct {
	net.Conn
	socket atomic.Pointer[poll.Socket]
	closed atomic.Bool
}

var errNotTCP = errors.New("not a TCP connection")

// hand gives the connection to a Loop. Nobody may be reading or writing.
func (t *transport) hand(l *poll.Loop, h poll.Handler) (*poll.Socket, error) {
	tcp, ok := t.Conn.(*net.TCPConn)
	if !ok {
		return nil, errNotTCP
	}
	s, err := l.Take(tcp, h)
	if err != nil {
		return nil, err
	}
	t.socket.Store(s)
	if t.closed.Load() {
		_ = s.Close() // Close may have seen the connection without the socket
	}
	return s, nil
}

// current returns who has the connection.
func (t *transport) current() net.Conn {
	if s := t.socket.Load(); s != nil {
		return s
	}
	return t.Conn
}

// Read implements net.Conn.
func (t *transport) Read(b []byte) (int, error) { return t.current().Read(b) }

// Write implements net.Conn.
func (t *transport) Write(b []byte) (int, error) { return t.current().Write(b) }

// Close implements net.Conn. It may be called at any time.
func (t *transport) Close() error {
	t.closed.Store(true)
	return t.current().Close()
}
