package amqp

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testHandler accepts and settles everything, except where a test sets a function.
type testHandler struct {
	open        func(*Conn) *Error
	attach      func(Link)
	transfer    func(*Receiver, *Delivery)
	disposition func(*Sender, Outcome)
	flow        func(*Sender)
	detach      func(Link, error)
	close       func(*Conn, error)

	mu   sync.Mutex
	live map[Link]bool // offered, and OnDetach not yet called
}

func (h *testHandler) OnOpen(c *Conn) *Error {
	if h.open != nil {
		return h.open(c)
	}
	return nil
}

func (h *testHandler) OnAttach(l Link) {
	h.mu.Lock()
	if h.live == nil {
		h.live = make(map[Link]bool)
	}
	h.live[l] = true
	h.mu.Unlock()
	if h.attach != nil {
		h.attach(l)
		return
	}
	_ = l.Accept(Accept{})
}

func (h *testHandler) OnTransfer(r *Receiver, d *Delivery) {
	if h.transfer != nil {
		h.transfer(r, d)
		return
	}
	d.Settle(Accepted{})
}

func (h *testHandler) OnDisposition(s *Sender, o Outcome) {
	if h.disposition != nil {
		h.disposition(s, o)
	}
}

func (h *testHandler) OnFlow(s *Sender) {
	if h.flow != nil {
		h.flow(s)
	}
}

func (h *testHandler) OnDetach(l Link, err error) {
	h.mu.Lock()
	if !h.live[l] {
		panic("OnDetach of a link that was not offered, or for the second time")
	}
	delete(h.live, l)
	h.mu.Unlock()
	if h.detach != nil {
		h.detach(l, err)
	}
}

func (h *testHandler) OnClose(c *Conn, err error) {
	if h.close != nil {
		h.close(c, err)
	}
}

// serve runs a server on one end of a pipe and returns the other, and a function that waits for what
// Serve returns. The test fails if Serve outlives it.
func serve(t testing.TB, cfg Config, h Handler) (client net.Conn, result func() error) {
	t.Helper()
	server, client := net.Pipe()
	return client, serveOn(t, server, client, cfg, h)
}

// serveTCP is serve over loopback, where writes do not wait for reads.
func serveTCP(t testing.TB, cfg Config, h Handler) (client net.Conn, result func() error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client, err = net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return client, serveOn(t, server, client, cfg, h)
}

func serveOn(t testing.TB, server, client net.Conn, cfg Config, h Handler) (result func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		err = Serve(ctx, server, cfg, h)
	}()
	t.Cleanup(func() {
		_ = client.Close()
		cancel()
		<-done
	})
	return func() error {
		t.Helper()
		select {
		case <-done:
		case <-time.After(30 * time.Second):
			t.Fatal("Serve has not returned after 30 s")
		}
		return err
	}
}
