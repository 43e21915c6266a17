package session

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/engine"
)

func TestStateIsExactAtEachMoment(t *testing.T) {
	r := newRig(t)
	r.wantState("never connected", device, State{})

	s := r.Open(device, &fakeLink{})
	connected := State{Connected: true, UpdatedTime: start, LastActivityTime: start}
	r.wantState("connected, not stored", device, connected)
	r.store()
	r.wantState("connected, stored", device, connected)
	if got, want := r.stored(device), `{"connected":true,"updatedTime":"2026-03-04T05:06:07.8912345Z","lastActivityTime":"2026-03-04T05:06:07.8912345Z"}`; got != want {
		t.Errorf("stored %s, want %s", got, want)
	}

	heard := r.clock.advance(time.Second)
	s.Touch(heard)
	r.wantState("heard from", device, State{Connected: true, UpdatedTime: start, LastActivityTime: heard})

	left := r.clock.advance(time.Second)
	s.Close()
	disconnected := State{UpdatedTime: left, LastActivityTime: heard}
	r.wantState("disconnected, not stored", device, disconnected)

	// While the disconnection is on its way to the disk, and after.
	r.engine.hold()
	ended := make(chan error, 1)
	go func() { ended <- r.drain() }()
	<-r.engine.arrived
	r.wantState("disconnected, applied", device, disconnected)
	r.engine.release()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	r.wantState("disconnected, stored", device, disconnected)
	s.Close()
	if len(r.queue) != 0 || len(r.unsaved) != 0 {
		t.Errorf("a second Close left %v and %v", r.queue, r.unsaved)
	}
	if n := r.Connected(); n != 0 {
		t.Errorf("%d are connected", n)
	}
}

func TestConnectionsBetweenTwoStores(t *testing.T) {
	r := newRig(t, twinhub.ConnectionState)
	const rounds = 3*maxBatch/2 + 1
	for range rounds {
		s := r.Open(device, &fakeLink{})
		r.clock.advance(time.Second)
		s.Close()
	}
	want := State{UpdatedTime: start.Add(rounds * time.Second), LastActivityTime: start.Add((rounds - 1) * time.Second)}
	r.wantState("before", device, want)
	r.store()
	r.wantState("after", device, want)
	events := r.events(device)
	if len(events) != 2*rounds {
		t.Fatalf("%d events, want %d", len(events), 2*rounds)
	}
	last := ""
	for n, m := range events {
		op, _ := m.ApplicationProperties.Get("opType")
		if want := []string{"deviceConnected", "deviceDisconnected"}[n%2]; op != want {
			t.Errorf("event %d is %v, want %s", n, op, want)
		}
		if body := string(m.Body.Bytes()); body <= last {
			t.Errorf("event %d has %s after %s", n, body, last)
		} else {
			last = body
		}
	}
}

func TestConnectionEvents(t *testing.T) {
	r := newRig(t, twinhub.ConnectionState)
	module := twinhub.ID{Device: "d1", Module: "m1"}
	s := r.Open(device, &fakeLink{})
	r.store()
	s.Touch(r.clock.advance(time.Hour)) // stored, but no event
	r.store()
	r.Open(module, &fakeLink{})
	r.store()
	s.Close()
	r.store()
	want := []string{
		"hubName=hub deviceId=d1 operationTimestamp=2026-03-04T05:06:07.8912345+00:00 iothub-message-schema=deviceConnectionStateNotification opType=deviceConnected",
		"hubName=hub deviceId=d1 moduleId=m1 operationTimestamp=2026-03-04T06:06:07.8912345+00:00 iothub-message-schema=deviceConnectionStateNotification opType=deviceConnected",
		"hubName=hub deviceId=d1 operationTimestamp=2026-03-04T06:06:07.8912345+00:00 iothub-message-schema=deviceConnectionStateNotification opType=deviceDisconnected",
	}
	var got []string
	uuid, ids := regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`), map[string]bool{}
	for _, m := range r.events(device) {
		var pairs []string
		for _, e := range m.ApplicationProperties {
			pairs = append(pairs, fmt.Sprintf("%v=%v", e.Key, e.Value))
		}
		got = append(got, strings.Join(pairs, " "))
		if source, _ := m.MessageAnnotations.Get("iothub-message-source"); source != "deviceConnectionStateEvents" {
			t.Errorf("source %v", source)
		}
		if id, _ := m.Properties.CorrelationID.(string); !uuid.MatchString(id) || ids[id] {
			t.Errorf("correlation-id %q, want a UUID of this event alone", id)
		} else {
			ids[id] = true
		}
		if body := string(m.Body.Bytes()); !regexp.MustCompile(`^\{"sequenceNumber":"[0-9A-F]{64}"\}$`).MatchString(body) {
			t.Errorf("body %s", body)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got events\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestActivityIsStoredOnceAMinute(t *testing.T) {
	r := newRig(t)
	s := r.Open(device, &fakeLink{})
	r.store()
	writes := 0
	r.engine.before = func(engine.Commit) { writes++ }
	for range 10 * 60 {
		s.Touch(r.clock.advance(time.Second))
		r.store()
	}
	if writes != 10 {
		t.Errorf("ten minutes with a packet each second made %d writes, want 10", writes)
	}
	s.Close()
	s.Touch(r.clock.advance(time.Hour))
	r.wantState("after Close", device, State{UpdatedTime: start.Add(10 * time.Minute), LastActivityTime: start.Add(10 * time.Minute)})
}

func TestTakeoverIsADisconnectionAndAConnection(t *testing.T) {
	r := newRig(t, twinhub.ConnectionState)
	first, second := &fakeLink{}, &fakeLink{}
	s1 := r.Open(device, first)
	r.store()
	r.clock.advance(time.Second)
	s2 := r.Open(device, second)
	if got := first.reasons(); !slices.Equal(got, []Reason{TakenOver}) {
		t.Errorf("the old link was closed with %v", got)
	}
	if s1.Current() || !s2.Current() {
		t.Errorf("current are old %t, new %t", s1.Current(), s2.Current())
	}
	s1.Close() // late
	connected := State{Connected: true, UpdatedTime: start.Add(time.Second), LastActivityTime: start.Add(time.Second)}
	r.wantState("after the old connection's end", device, connected)
	r.store()
	r.wantState("stored", device, connected)
	if got := r.stored(device); !strings.Contains(got, `"connected":true`) {
		t.Errorf("stored %s", got)
	}
	var ops []any
	for _, m := range r.events(device) {
		op, _ := m.ApplicationProperties.Get("opType")
		ops = append(ops, op)
	}
	if want := []any{"deviceConnected", "deviceDisconnected", "deviceConnected"}; !slices.Equal(ops, want) {
		t.Errorf("events %v, want %v", ops, want)
	}
	if link, ok := r.Lookup(device); !ok || link != second {
		t.Errorf("Lookup found %v", link)
	}
}

func TestRecover(t *testing.T) {
	fs := vfs.NewMem()
	r := newRigOn(t, fs)
	for n := range recoverPage + 10 {
		id := twinhub.ID{Device: fmt.Sprintf("d%d", n)}
		if n%2 == 1 {
			id.Module = "m"
		}
		s := r.Open(id, &fakeLink{})
		if n%10 == 0 {
			s.Close()
		}
	}
	r.store()
	if err := r.engine.Close(); err != nil {
		t.Fatal(err)
	}

	r = newRigOn(t, fs, twinhub.ConnectionState)
	now := r.clock.advance(time.Hour)
	if err := r.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	events := 0
	for n := range recoverPage + 10 {
		id := twinhub.ID{Device: fmt.Sprintf("d%d", n)}
		if n%2 == 1 {
			id.Module = "m"
		}
		want := State{UpdatedTime: now, LastActivityTime: start}
		if n%10 == 0 {
			want.UpdatedTime = start
		}
		r.wantState(id.String(), id, want)
	}
	for p := range engine.Partition(r.engine.Partitions()) {
		head, err := r.engine.Head(p, "events")
		if err != nil {
			t.Fatal(err)
		}
		events += int(head.Next)
	}
	if want := (recoverPage + 10) * 9 / 10; events != want {
		t.Errorf("%d events, want %d", events, want)
	}
	if err := r.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.wantState("recovered twice", twinhub.ID{Device: "d2"}, State{UpdatedTime: now, LastActivityTime: start})
}

// A new identity of an id shows nothing of the connections of the one that was deleted before.
func TestNewIdentityInheritsNothing(t *testing.T) {
	t.Run("late disconnection", func(t *testing.T) {
		r := newRig(t, twinhub.ConnectionState)
		link := &fakeLink{}
		s := r.Open(device, link)
		r.store()
		r.remove(device) // the deletion
		r.Disconnect(device, Removed)
		if got := link.reasons(); !slices.Equal(got, []Reason{Removed}) {
			t.Errorf("the link was closed with %v", got)
		}
		r.wantState("deleted", device, State{})
		r.remove(device) // the creation
		s.Close()
		s.Touch(r.clock.advance(time.Hour))
		r.wantState("created", device, State{})
		r.store()
		r.wantState("stored", device, State{})
		if got := r.stored(device); got != "" {
			t.Errorf("stored %s", got)
		}
		if n := len(r.events(device)); n != 1 {
			t.Errorf("%d events, want that of the connection", n)
		}
	})
	t.Run("never stored", func(t *testing.T) {
		r := newRig(t)
		r.Open(device, &fakeLink{})
		r.Disconnect(device, Deleted)
		r.wantState("deleted", device, State{})
		r.store()
		if got := r.stored(device); got != "" {
			t.Errorf("stored %s", got)
		}
		r.wantState("created", device, State{})
	})
	t.Run("stored between deletion and disconnection", func(t *testing.T) {
		r := newRig(t)
		r.Open(device, &fakeLink{})
		r.remove(device) // the deletion
		r.store()
		if got := r.stored(device); got == "" {
			t.Fatal("the connection was not stored")
		}
		r.Disconnect(device, Deleted)
		r.wantState("created", device, State{})
		r.store()
		r.wantState("stored", device, State{})
		if got := r.stored(device); got != "" {
			t.Errorf("stored %s", got)
		}
	})
	t.Run("new connection before the old state is stored", func(t *testing.T) {
		r := newRig(t)
		r.Open(device, &fakeLink{})
		r.store()
		r.remove(device)
		r.Disconnect(device, Removed)
		r.remove(device)
		now := r.clock.advance(time.Minute)
		s := r.Open(device, &fakeLink{})
		r.store()
		connected := State{Connected: true, UpdatedTime: now, LastActivityTime: now}
		r.wantState("connected again", device, connected)
		r.clock.advance(time.Minute)
		s.Close()
		r.store()
		r.wantState("disconnected", device, State{UpdatedTime: now.Add(time.Minute), LastActivityTime: now})
	})
	t.Run("deletion while the state is being stored", func(t *testing.T) {
		r := newRig(t)
		s := r.Open(device, &fakeLink{})
		r.store()
		s.Touch(r.clock.advance(time.Hour))
		once := sync.OnceFunc(func() { r.remove(device) })
		r.engine.before = func(engine.Commit) { once() } // between the look and the write
		r.store()
		if got := r.stored(device); got != "" {
			t.Errorf("stored %s", got)
		}
	})
}

// An identity that was only disabled keeps the state.
func TestDisconnectKeepsTheState(t *testing.T) {
	for _, stored := range []bool{false, true} { // whether the connection was on disk before
		t.Run(fmt.Sprint(stored), func(t *testing.T) {
			r := newRig(t)
			r.Open(device, &fakeLink{})
			if stored {
				r.store()
			}
			now := r.clock.advance(time.Second)
			r.Disconnect(device, Removed)
			want := State{UpdatedTime: now, LastActivityTime: start}
			r.wantState("disconnected", device, want)
			r.store()
			r.wantState("stored", device, want)
			r.Disconnect(twinhub.ID{Device: "nobody"}, Removed)
		})
	}
}

func TestDisconnectAll(t *testing.T) {
	r := newRig(t)
	var links []*fakeLink
	for n := range 10 {
		links = append(links, &fakeLink{})
		r.Open(twinhub.ID{Device: fmt.Sprint(n)}, links[n])
	}
	r.DisconnectAll(ShuttingDown)
	for n, l := range links {
		if got := l.reasons(); !slices.Equal(got, []Reason{ShuttingDown}) {
			t.Errorf("link %d was closed with %v", n, got)
		}
	}
}

func TestRunStoresEverythingInOrder(t *testing.T) {
	r := newRig(t, twinhub.ConnectionState)
	stop := r.run()
	const devices, rounds = 8, 50
	var wg sync.WaitGroup
	for n := range devices {
		wg.Go(func() {
			id := twinhub.ID{Device: fmt.Sprint(n)}
			for range rounds {
				s := r.Open(id, &fakeLink{})
				if state, err := r.State(id); err != nil || !state.Connected {
					t.Errorf("%s: %+v, %v while connected", id, state, err)
				}
				s.Close()
				if state, err := r.State(id); err != nil || state.Connected {
					t.Errorf("%s: %+v, %v while disconnected", id, state, err)
				}
			}
		})
	}
	wg.Wait()
	stop()
	if len(r.unsaved) != 0 {
		t.Errorf("not stored: %v", r.unsaved)
	}
	for n := range devices {
		id := twinhub.ID{Device: fmt.Sprint(n)}
		if got := r.stored(id); !strings.Contains(got, `"connected":false`) {
			t.Errorf("%s: stored %s", id, got)
		}
		want := "deviceConnected"
		count := 0
		for _, m := range r.events(id) {
			if who, _ := m.ApplicationProperties.Get("deviceId"); who != id.Device {
				continue
			}
			if op, _ := m.ApplicationProperties.Get("opType"); op != want {
				t.Fatalf("%s: event %d is %v, want %s", id, count, op, want)
			}
			if count++; count%2 == 0 {
				want = "deviceConnected"
			} else {
				want = "deviceDisconnected"
			}
		}
		if count != 2*rounds {
			t.Errorf("%s: %d events, want %d", id, count, 2*rounds)
		}
	}
}

func TestRunEndsWhenTheEngineFails(t *testing.T) {
	r := newRig(t)
	r.Open(device, &fakeLink{})
	if err := r.engine.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.Run(context.Background()); !errors.Is(err, engine.ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
}

func TestSubscriptions(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	load := func() map[string]byte {
		t.Helper()
		got, err := r.Subscriptions(device)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := load(); got != nil {
		t.Errorf("got %v before any was stored", got)
	}
	old := r.Open(device, &fakeLink{})
	if err := old.SaveSubscriptions(ctx, map[string]byte{"a": 1, "b": 0}); err != nil {
		t.Fatal(err)
	}
	if got := load(); len(got) != 2 || got["a"] != 1 || got["b"] != 0 {
		t.Errorf("got %v", got)
	}
	s := r.Open(device, &fakeLink{})
	if err := old.SaveSubscriptions(ctx, map[string]byte{"late": 1}); !errors.Is(err, ErrGone) {
		t.Errorf("a session that was taken over stored: %v", err)
	}
	if err := s.SaveSubscriptions(ctx, nil); err != nil {
		t.Fatal(err)
	}
	if got := load(); got != nil {
		t.Errorf("got %v after they were removed", got)
	}
	r.Disconnect(device, Removed)
	if err := s.SaveSubscriptions(ctx, map[string]byte{"late": 1}); !errors.Is(err, ErrGone) {
		t.Errorf("a session of a removed identity stored: %v", err)
	}
	if got := load(); got != nil {
		t.Errorf("got %v", got)
	}
}
