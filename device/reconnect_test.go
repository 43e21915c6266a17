package device

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/twinhub/twinhub/internal/wire/mqtt"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// After a loss the waits double from 1 s to 1 min, each drawn from the upper half of its range, and begin anew after a
// connection that has lasted.
func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newFakeHub(t)
		h.refuse = func(n int) error {
			if n > 1 && n < 12 {
				return errNoRoute
			}
			return nil
		}
		var mu sync.Mutex
		var statuses []Status
		o := h.options()
		o.OnStatus = func(s Status) {
			mu.Lock()
			defer mu.Unlock()
			statuses = append(statuses, s)
		}
		c := h.connect(o)
		defer h.stop(c)
		lost := time.Now()
		h.cut(1)
		time.Sleep(20 * time.Minute)
		synctest.Wait()
		dials := h.times()
		if len(dials) != 12 {
			t.Fatalf("dials: got %d, want 12", len(dials))
		}
		from := lost
		for i, want := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60} {
			most := want * time.Second
			if gap := dials[i+1].Sub(from); gap < most/2 || gap > most {
				t.Errorf("wait %d: got %v, want %v to %v", i+1, gap, most/2, most)
			}
			from = dials[i+1]
		}
		lost = time.Now()
		h.cut(12)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if dials = h.times(); len(dials) != 13 || dials[12].Sub(lost) > time.Second {
			t.Errorf("after a connection that lasted: got dials %v, want one within 1 s of %v", dials[12:], lost)
		}
		mu.Lock()
		defer mu.Unlock()
		if len(statuses) != 15 || !statuses[0].Connected || statuses[1].Connected || statuses[1].Err == nil || !errors.Is(statuses[2].Err, errNoRoute) ||
			!statuses[12].Connected || statuses[13].Connected || !statuses[14].Connected {
			t.Errorf("statuses: got %+v", statuses)
		}
	})
}

// A connection that is made and lost again and again, as when two clients fight over an identity, is not made ever faster.
func TestBackoffTakeover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newFakeHub(t)
		h.take = func(n int, p mqtt.Packet, _ func(mqtt.Packet)) bool {
			if p.Type() == mqtt.TypeConnect {
				time.AfterFunc(5*time.Second, func() { h.cut(n) })
			}
			return true
		}
		c := h.connect(h.options())
		defer h.stop(c)
		time.Sleep(30 * time.Minute)
		synctest.Wait()
		// At most a doubling row and then one every 30 s to 1 min with 5 s of connection.
		if n := len(h.times()); n < 27 || n > 65 {
			t.Errorf("connections in 30 min: got %d, want about 27 to 65", n)
		}
	})
}

// What was not acknowledged is sent again on the next connection, with the same number and DUP; subscriptions are made
// again first.
func TestSendAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newFakeHub(t)
		h.take = func(n int, p mqtt.Packet, _ func(mqtt.Packet)) bool {
			_, isPublish := p.(*mqtt.Publish)
			return n > 1 || !isPublish
		}
		c := h.connect(h.options())
		defer h.stop(c)
		if err := c.HandleMethod(t.Context(), "m", func(context.Context, MethodCall) (int, any) { return 200, nil }); err != nil {
			t.Fatal(err)
		}
		const messages = 20
		errs := make(chan error, messages)
		for i := range messages {
			go func() { errs <- c.Send(t.Context(), Message{Body: fmt.Append(nil, i)}) }()
		}
		synctest.Wait()
		first := said[*mqtt.Publish](h, 1)
		if len(first) != messages {
			t.Fatalf("publications at a time: got %d, want %d", len(first), messages)
		}
		h.cut(1)
		for range messages {
			if err := <-errs; err != nil {
				t.Errorf("send: %v", err)
			}
		}
		if got := said[*mqtt.Subscribe](h, 2); len(got) != 1 || got[0].Subscriptions[0].Filter != "$iothub/methods/POST/#" {
			t.Errorf("subscriptions of the next connection: got %+v", got)
		}
		numbers := func(publications []*mqtt.Publish, dup bool) (ids []uint16) {
			for _, p := range publications {
				if p.Dup != dup {
					t.Errorf("publication %d: got duplicate %v, want %v", p.ID, p.Dup, dup)
				}
				ids = append(ids, p.ID)
			}
			slices.Sort(ids)
			return ids
		}
		if a, b := numbers(first, false), numbers(said[*mqtt.Publish](h, 2), true); !slices.Equal(a, b) {
			t.Errorf("numbers: got %v again, want %v", b, a)
		}
	})
}

// A call waits for the next connection as long as its context lets it.
func TestSendDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newFakeHub(t)
		h.refuse = func(n int) error {
			if n > 1 {
				return errNoRoute
			}
			return nil
		}
		c := h.connect(h.options())
		defer h.stop(c)
		h.cut(1)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		began := time.Now()
		err := c.Send(ctx, Message{Body: []byte("x")})
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, errNoRoute) || time.Since(began) != 10*time.Second {
			t.Errorf("got %v after %v, want both reasons after 10 s", err, time.Since(began))
		}
	})
}

// A Send that its caller gives up keeps its number until the hub acknowledges or the connection ends, so no later
// message takes its acknowledgement for its own.
func TestSendGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newFakeHub(t)
		var hold atomic.Bool
		hold.Store(true)
		var late func()
		h.take = func(_ int, p mqtt.Packet, send func(mqtt.Packet)) bool {
			if p, ok := p.(*mqtt.Publish); ok && hold.Load() {
				id := p.ID
				late = func() { send(&mqtt.Puback{ID: id}) }
				return false
			}
			return true
		}
		o := h.options()
		o.MaxInFlight = 1
		c := h.connect(o)
		defer h.stop(c)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := c.Send(ctx, Message{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("first: got %v, want the deadline", err)
		}
		hold.Store(false)
		done := make(chan error, 1)
		go func() { done <- c.Send(t.Context(), Message{}) }()
		synctest.Wait()
		if got := len(said[*mqtt.Publish](h, 1)); got != 1 {
			t.Fatalf("publications while the only place is taken: got %d, want 1", got)
		}
		late()
		if err := <-done; err != nil {
			t.Errorf("second: %v", err)
		}
	})
}

// While the hub's last word was no, calls say so at once; the client goes on trying, and they work again when it says yes.
func TestRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newFakeHub(t)
		h.connack = func(n int) mqtt.ConnectCode {
			switch {
			case n == 1 || n > 4:
				return mqtt.Accepted
			case n == 2:
				return mqtt.RefusedUnavailable
			}
			return mqtt.RefusedNotAuthorized
		}
		c := h.connect(h.options())
		defer h.stop(c)
		h.cut(1)
		time.Sleep(1500 * time.Millisecond) // the second connection has been refused for now
		synctest.Wait()
		err := c.Send(t.Context(), Message{}) // waits for the third
		var refused *RefusedError
		if !errors.As(err, &refused) || refused.Code != 5 || refused.Temporary() {
			t.Errorf("got %v, want a refusal with code 5", err)
		}
		began := time.Now()
		if err := c.Send(t.Context(), Message{}); !errors.As(err, &refused) || time.Since(began) != 0 {
			t.Errorf("got %v after %v, want the refusal at once", err, time.Since(began))
		}
		time.Sleep(time.Minute)
		if err := c.Send(t.Context(), Message{}); err != nil {
			t.Errorf("after the hub has changed its mind: %v", err)
		}
	})
}

func TestDialRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newFakeHub(t)
		h.connack = func(int) mqtt.ConnectCode { return mqtt.RefusedUnavailable }
		_, err := Dial(t.Context(), "HostName="+fakeName+";DeviceId=d1;SharedAccessKey="+fakeKey, h.options())
		var refused *RefusedError
		if !errors.As(err, &refused) || !refused.Temporary() || len(h.times()) != 1 {
			t.Errorf("got %v after %d attempts, want a temporary refusal after one", err, len(h.times()))
		}
		if strings.Contains(err.Error(), fakeKey) {
			t.Errorf("the error shows the key: %v", err)
		}
		h.wg.Wait()
	})
}

// A hub that never answers CONNECT is given up with the context.
func TestDialDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newFakeHub(t)
		h.take = func(int, mqtt.Packet, func(mqtt.Packet)) bool { return false }
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		began := time.Now()
		_, err := Dial(ctx, "HostName="+fakeName+";DeviceId=d1;SharedAccessKey="+fakeKey, h.options())
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 3*time.Second {
			t.Errorf("got %v after %v, want the deadline after 3 s", err, time.Since(began))
		}
		h.wg.Wait()
	})
}

// A hub that has gone silent is noticed within one and a half times the keep alive, and one that answers is kept.
func TestKeepAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newFakeHub(t)
		silent := time.Now().Add(10 * time.Minute)
		h.take = func(n int, p mqtt.Packet, _ func(mqtt.Packet)) bool {
			return n > 1 || time.Now().Before(silent) || p.Type() != mqtt.TypePingreq
		}
		o := h.options()
		o.KeepAlive = 20 * time.Second
		c := h.connect(o)
		defer h.stop(c)
		time.Sleep(15 * time.Minute)
		synctest.Wait()
		dials := h.times()
		if len(dials) != 2 {
			t.Fatalf("connections: got %d, want 2", len(dials))
		}
		if after := dials[1].Sub(silent); after < 0 || after > 31*time.Second {
			t.Errorf("noticed and reconnected after %v, want within 30 s and the back-off", after)
		}
		for i, at := range pings(h, 1)[1:] {
			if gap := at.Sub(pings(h, 1)[i]); gap > 20*time.Second {
				t.Errorf("gap between pings: %v", gap)
			}
		}
	})
}

func pings(h *fakeHub, n int) (at []time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.packets {
		if e.n == n && e.p.Type() == mqtt.TypePingreq {
			at = append(at, e.at)
		}
	}
	return at
}
