package device

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinhub/twinhub/internal/wire/mqtt"
)

// Close lets what is on its way be acknowledged, fails what waits, and everything after it.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newFakeHub(t)
		h.take = func(_ int, p mqtt.Packet, send func(mqtt.Packet)) bool {
			if p, ok := p.(*mqtt.Publish); ok {
				id := p.ID
				time.AfterFunc(2*time.Second, func() { send(&mqtt.Puback{ID: id}) })
				return false
			}
			return true
		}
		o := h.options()
		o.MaxInFlight = 1
		c := h.connect(o)
		sent, waits := make(chan error, 1), make(chan error, 1)
		go func() { sent <- c.Send(t.Context(), Message{}) }()
		synctest.Wait()
		go func() { waits <- c.Send(t.Context(), Message{}) }()
		synctest.Wait()
		began := time.Now()
		h.stop(c)
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("Close took %v, want the 2 s of the acknowledgement", took)
		}
		if err := <-sent; err != nil {
			t.Errorf("on its way: %v", err)
		}
		if err := <-waits; !errors.Is(err, ErrClosed) {
			t.Errorf("waiting: got %v, want ErrClosed", err)
		}
		if _, err := c.Twin(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("after Close: got %v, want ErrClosed", err)
		}
		if err := c.Close(t.Context()); err != nil {
			t.Errorf("second Close: %v", err)
		}
		if len(said[*mqtt.Disconnect](h, 1)) != 1 {
			t.Error("no DISCONNECT")
		}
	})
}

// Close returns with its context when the hub does not acknowledge, and leaves nothing running.
func TestCloseDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newFakeHub(t)
		h.take = func(_ int, p mqtt.Packet, _ func(mqtt.Packet)) bool { return p.Type() != mqtt.TypePublish }
		c := h.connect(h.options())
		sent := make(chan error, 1)
		go func() { sent <- c.Send(t.Context(), Message{}) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		if err := c.Close(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("got %v after %v, want the end within 1 s", err, time.Since(began))
		}
		if err := <-sent; !errors.Is(err, ErrClosed) {
			t.Errorf("send: got %v, want ErrClosed", err)
		}
		h.stop(c)
	})
}

// Close while the client is between two connections.
func TestCloseWhileReconnecting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newFakeHub(t)
		h.refuse = func(n int) error {
			if n > 1 {
				return errNoRoute
			}
			return nil
		}
		c := h.connect(h.options())
		h.cut(1)
		time.Sleep(10 * time.Second)
		began := time.Now()
		h.stop(c)
		if time.Since(began) != 0 {
			t.Errorf("Close took %v, want no time", time.Since(began))
		}
	})
}
