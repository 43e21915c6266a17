package session

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinhub/twinhub"
)

// awaiter starts an AwaitMethods and gives its result later.
func (r *rig) awaiter(ctx context.Context, id twinhub.ID) <-chan error {
	ended := make(chan error, 1)
	go func() {
		link, err := r.AwaitMethods(ctx, id)
		if err == nil && link == nil {
			err = errors.New("no link")
		}
		ended <- err
	}()
	return ended
}

func TestAwaitMethods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		pending := func(ended <-chan error) {
			t.Helper()
			synctest.Wait()
			select {
			case err := <-ended:
				t.Fatalf("ended early with %v", err)
			default:
			}
		}
		first, second := r.awaiter(t.Context(), device), r.awaiter(t.Context(), device)
		impatient, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		third := r.awaiter(impatient, device)
		other := r.awaiter(impatient, twinhub.ID{Device: "d2"})
		pending(first)
		s := r.Open(device, &fakeLink{})
		pending(first)
		time.Sleep(time.Second)
		if err := <-third; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("third: %v", err)
		}
		if err := <-other; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("other: %v", err)
		}
		s.SetMethods(false)
		pending(first)
		s.SetMethods(true)
		if err := <-first; err != nil {
			t.Errorf("first: %v", err)
		}
		if err := <-second; err != nil {
			t.Errorf("second: %v", err)
		}
		done, cancelled := context.WithCancel(t.Context())
		cancelled()
		if _, err := r.AwaitMethods(done, device); err != nil {
			t.Errorf("a device that listens was not found without waiting: %v", err)
		}

		// A newer connection does not listen yet, and an older one does not count.
		n := r.Open(device, &fakeLink{})
		fourth := r.awaiter(t.Context(), device)
		s.SetMethods(true)
		pending(fourth)
		n.SetMethods(true)
		if err := <-fourth; err != nil {
			t.Errorf("fourth: %v", err)
		}
		n.Close()
		if _, err := r.AwaitMethods(done, device); !errors.Is(err, context.Canceled) {
			t.Errorf("a device that left: %v", err)
		}
		if len(r.waiting) != 0 {
			t.Errorf("left behind: %v", r.waiting)
		}
		r.store()
		if err := r.engine.Close(); err != nil {
			t.Error(err)
		}
	})
}
