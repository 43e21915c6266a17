package session

import (
	"testing"
	"time"

	"github.com/twinhub/twinhub"
)

func TestQueued(t *testing.T) {
	r := newRig(t)
	expect := func(when string, want int) {
		t.Helper()
		if got := r.Queued(); got != want {
			t.Errorf("%s: %d are queued, want %d", when, got, want)
		}
	}
	expect("nobody connected", 0)
	s := r.Open(device, &fakeLink{})
	r.Open(device, &fakeLink{}) // takes over: one disconnection more
	r.Open(twinhub.ID{Device: "d2"}, &fakeLink{})
	expect("three connections", 4)

	r.engine.hold()
	ended := make(chan error, 1)
	go func() { ended <- r.drain() }()
	<-r.engine.arrived
	<-r.engine.arrived
	expect("on their way to the disk", 4)
	s.Touch(r.clock.advance(time.Hour)) // not current any more: stores nothing
	r.Disconnect(device, Removed)
	expect("one more meanwhile", 5)
	r.engine.release()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	expect("on disk but the last", 1)

	// What is not stored, because its identity is gone, waits no longer either.
	r.remove(device)
	r.store()
	expect("dropped", 0)
	if got := r.stored(device); got != "" {
		t.Errorf("stored %s", got)
	}
}
