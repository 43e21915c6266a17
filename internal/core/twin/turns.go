package twin

import (
	"context"
	"sync"

	"github.com/twinhub/twinhub"
)

// turns lets the writers of one twin go one after the other. They would be correct without it, because a commit
// names the revision it builds on; but then all but one of those that read the same revision would work in vain.
type turns struct {
	mu     sync.Mutex
	queues map[twinhub.ID]*queue
}

// A queue is where the writers of one twin wait.
type queue struct {
	turn chan struct{} // capacity 1: full while somebody has the turn
	n    int           // writers that have or want it
}

// take waits for the turn of id, or fails with the error of ctx. release gives it on.
func (t *turns) take(ctx context.Context, id twinhub.ID) (release func(), err error) {
	t.mu.Lock()
	q := t.queues[id]
	if q == nil {
		q = &queue{turn: make(chan struct{}, 1)}
		t.queues[id] = q
	}
	q.n++
	t.mu.Unlock()
	leave := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if q.n--; q.n == 0 {
			delete(t.queues, id)
		}
	}
	select {
	case q.turn <- struct{}{}:
		return func() {
			<-q.turn
			leave()
		}, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}
