package twin

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/twinhub/twinhub"
)

func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := turns{queues: map[twinhub.ID]*queue{}}
		a, b := twinhub.ID{Device: "a"}, twinhub.ID{Device: "b"}
		release, err := turns.take(t.Context(), a)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		gaveUp := make(chan error, 1)
		go func() {
			_, err := turns.take(ctx, a)
			gaveUp <- err
		}()
		second := make(chan func(), 1)
		go func() {
			r, err := turns.take(context.Background(), a)
			if err != nil {
				t.Errorf("second writer: %v", err)
			}
			second <- r
		}()
		synctest.Wait()
		if r, err := turns.take(t.Context(), b); err != nil {
			t.Errorf("another twin waits: %v", err)
		} else {
			r()
		}
		cancel()
		if err := <-gaveUp; !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled writer got %v, want context.Canceled", err)
		}
		select {
		case <-second:
			t.Error("second writer has the turn while the first has it")
		default:
		}
		release()
		(<-second)()
		if len(turns.queues) != 0 {
			t.Errorf("%d queues left, want 0", len(turns.queues))
		}
	})
}
