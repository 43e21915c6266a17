package local

import (
	"sync"
	"time"

	"github.com/twinhub/twinhub/internal/engine"
)

// item is something the committer is to do: a commit, or a trim.
type item struct {
	commit engine.Commit
	done   func(engine.Result, error)
	trim   *trim

	size      int
	submitted int64     // ms since 1970, rounded up
	queued    time.Time // zero without an Observer
	err       error     // the outcome, if it is not success
	result    engine.Result
}

// trim is an internal commit that lets a log begin at first. It takes no Position.
type trim struct {
	log        *logState
	first      uint64
	begin, end uint64        // the blocks from the one that begins with begin to before the one with end are removed
	done       chan struct{} // closed when the trim is durable or has failed
}

// queue is what waits for the committer, bounded by count and by size.
type queue struct {
	maxItems, maxBytes int

	mu     sync.Mutex
	room   sync.Cond // signalled when the queue was emptied or closed
	items  []item
	bytes  int
	closed bool
	ready  chan struct{} // holds a token while there are items, or the queue is closed
}

func (q *queue) init(maxItems, maxBytes int) {
	q.maxItems, q.maxBytes = maxItems, maxBytes
	q.room.L = &q.mu
	q.ready = make(chan struct{}, 1)
}

// push appends it, waiting while the queue is full. It reports false when the queue is closed.
func (q *queue) push(it item) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for !q.closed && len(q.items) > 0 && (len(q.items) >= q.maxItems || q.bytes+it.size > q.maxBytes) {
		q.room.Wait()
	}
	if q.closed {
		return false
	}
	q.items = append(q.items, it)
	q.bytes += it.size
	if len(q.items) == 1 {
		q.signal()
	}
	return true
}

// take exchanges what is queued for the empty slice spare.
func (q *queue) take(spare []item) (items []item, closed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	items, q.items = q.items, spare[:0]
	q.bytes = 0
	q.room.Broadcast()
	return items, q.closed
}

// depth returns how much waits for take.
func (q *queue) depth() (items, bytes int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.items), q.bytes
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.room.Broadcast()
	q.signal()
}

func (q *queue) signal() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// refusals answers commits that can no longer reach the committer, one at a time, on a goroutine that submits.
type refusals struct {
	mu      sync.Mutex
	waiting []func()
	busy    bool
}

func (r *refusals) add(answer func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting = append(r.waiting, answer)
	if r.busy {
		return
	}
	r.busy = true
	for len(r.waiting) > 0 {
		next := r.waiting[0]
		r.waiting = r.waiting[1:]
		r.mu.Unlock()
		next()
		r.mu.Lock()
	}
	r.busy = false
}
