package poll

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// runLoop runs a Loop until the test ends.
func runLoop(t testing.TB) *Loop {
	t.Helper()
	l, err := New()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { l.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
		if n := len(l.sockets) - len(l.free); n != 0 {
			t.Errorf("%d sockets are left", n)
		}
	})
	return l
}

// pair returns the two ends of a TCP connection.
func pair(t testing.TB) (client, server *net.TCPConn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	nc, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	accepted, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { accepted.Close() })
	return nc.(*net.TCPConn), accepted.(*net.TCPConn)
}

// echo is a Handler that sends back what it reads, no more than what fits while the peer does not read.
type echo struct {
	socket *Socket
	buffer [1000]byte

	mu       sync.Mutex
	readable int
	err      error
	ended    chan struct{}
}

func newEcho(t testing.TB, l *Loop, nc *net.TCPConn) *echo {
	t.Helper()
	e := &echo{ended: make(chan struct{})}
	s, err := l.Take(nc, e)
	if err != nil {
		t.Fatal(err)
	}
	e.socket = s
	return e
}

func (e *echo) Readable() {
	e.mu.Lock()
	e.readable++
	e.mu.Unlock()
	for range 10 {
		if n, _ := e.socket.Pending(); n > 0 {
			return // Writable goes on
		}
		n, err := e.socket.Read(e.buffer[:])
		if err == ErrAgain {
			return
		}
		if err == nil {
			_, err = e.socket.Write(e.buffer[:n])
		}
		if err != nil {
			e.socket.Pause()
			e.mu.Lock()
			e.err = err
			e.mu.Unlock()
			close(e.ended)
			return
		}
	}
	e.socket.Again()
}

func (e *echo) Writable() { e.socket.Again() }

// end waits until reading has failed, and returns how.
func (e *echo) end(t testing.TB) error {
	t.Helper()
	select {
	case <-e.ended:
	case <-time.After(20 * time.Second):
		t.Fatal("the handler has not seen the end")
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.err
}

func TestEcho(t *testing.T) {
	l := runLoop(t)
	for _, size := range []int{1, 1 << 10, 8 << 20} { // the last is more than the kernel keeps while nobody reads
		for range 5 {
			client, server := pair(t)
			e := newEcho(t, l, server)
			if _, err := server.Write([]byte{1}); !errors.Is(err, net.ErrClosed) {
				t.Errorf("what was taken can be written to: %v", err)
			}
			e.socket.Resume()
			sent := make([]byte, size)
			rand.Read(sent)
			written := make(chan error, 1)
			go func() {
				_, err := client.Write(sent)
				written <- errors.Join(err, client.CloseWrite())
			}()
			got := make([]byte, size)
			client.SetReadDeadline(time.Now().Add(20 * time.Second))
			if _, err := io.ReadFull(client, got); err != nil || !bytes.Equal(got, sent) {
				t.Fatalf("%d bytes: %v, equal: %t", size, err, bytes.Equal(got, sent))
			}
			if err := <-written; err != nil {
				t.Error(err)
			}
			if err := e.end(t); err != io.EOF {
				t.Errorf("the end was read as %v, want EOF", err)
			}
			if err := e.socket.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		}
	}
}

func TestPause(t *testing.T) {
	l := runLoop(t)
	client, server := pair(t)
	e := newEcho(t, l, server)
	// pass waits until the Loop has gone round with all that was there.
	pass := func() {
		for range 2 {
			done := make(chan struct{})
			w := &waker{done: done}
			_, nc := pair(t)
			s, err := l.Take(nc, w)
			if err != nil {
				t.Fatal(err)
			}
			s.Resume()
			<-done
			s.Close()
		}
	}
	calls := func() int {
		e.mu.Lock()
		defer e.mu.Unlock()
		return e.readable
	}
	fmt.Fprint(client, "before")
	pass()
	if n := calls(); n != 0 {
		t.Errorf("called readable %d times before Resume", n)
	}
	e.socket.Resume()
	got := make([]byte, 6)
	if _, err := io.ReadFull(client, got); err != nil || string(got) != "before" {
		t.Fatalf("got %q, %v", got, err)
	}
	pass()
	e.socket.Pause()
	n := calls()
	fmt.Fprint(client, "during")
	pass()
	if m := calls(); m != n {
		t.Errorf("called readable %d times during Pause", m-n)
	}
	e.socket.Resume()
	if _, err := io.ReadFull(client, got); err != nil || string(got) != "during" {
		t.Fatalf("got %q, %v", got, err)
	}
	e.socket.Pause()
	client.Close()
	pass()
	e.socket.Resume()
	if err := e.end(t); err != io.EOF {
		t.Errorf("the end during Pause was read as %v, want EOF", err)
	}
	e.socket.Close()
}

// waker tells of the first call.
type waker struct {
	once sync.Once
	done chan struct{}
}

func (w *waker) Readable() { w.once.Do(func() { close(w.done) }) }

func (w *waker) Writable() { w.Readable() }

// Close may come from anywhere, at any time.
func TestClose(t *testing.T) {
	l := runLoop(t)
	for _, paused := range []bool{false, true} {
		client, server := pair(t)
		e := newEcho(t, l, server)
		if !paused {
			e.socket.Resume()
		}
		if err := e.socket.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		if err := e.socket.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("second Close: %v", err)
		}
		if paused {
			e.socket.Resume()
		}
		if err := e.end(t); !errors.Is(err, net.ErrClosed) {
			t.Errorf("paused %t: the handler got %v, want net.ErrClosed", paused, err)
		}
		if _, err := client.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("the client got %v, want EOF", err)
		}
		if _, err := e.socket.Write([]byte{1}); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Write after Close: %v", err)
		}
		if _, err := e.socket.Pending(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Pending after Close: %v", err)
		}
	}
}

// A peer that resets the connection ends it, with output pending and without.
func TestReset(t *testing.T) {
	l := runLoop(t)
	for _, output := range []int{0, 16 << 20} {
		client, server := pair(t)
		e := newEcho(t, l, server)
		if _, err := e.socket.Write(make([]byte, output)); err != nil {
			t.Fatal(err)
		}
		if n, err := e.socket.Pending(); err != nil || (n > 0) != (output > 0) {
			t.Fatalf("%d bytes pending, %v", n, err)
		}
		e.socket.Resume()
		client.SetLinger(0)
		client.Close()
		for began := time.Now(); ; {
			_, err := e.socket.Pending()
			if output == 0 {
				err = e.end(t)
			}
			if err != nil {
				break
			}
			if time.Since(began) > 20*time.Second {
				t.Fatal("the end was not noticed")
			}
		}
		e.socket.Close()
	}
}

func TestTakeOfClosed(t *testing.T) {
	l := runLoop(t)
	_, server := pair(t)
	server.Close()
	if _, err := l.Take(server, &waker{done: make(chan struct{})}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v, want net.ErrClosed", err)
	}
}

// Sockets that come and go while others wake theirs: no call goes astray.
func TestManyAtOnce(t *testing.T) {
	l := runLoop(t)
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() {
			for range 50 {
				client, server := pair(t)
				e := newEcho(t, l, server)
				e.socket.Resume()
				go e.socket.Wake()
				fmt.Fprint(client, "hello")
				got := make([]byte, 5)
				if _, err := io.ReadFull(client, got); err != nil || string(got) != "hello" {
					t.Errorf("got %q, %v", got, err)
				}
				client.Close()
				if err := e.end(t); err != io.EOF {
					t.Errorf("the end was read as %v", err)
				}
				e.socket.Close()
				server.Close()
			}
		})
	}
	workers.Wait()
}
