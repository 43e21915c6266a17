package mqttfront

import (
	"sync"

	"github.com/twinhub/twinhub/internal/wire/mqtt"
)

const (
	// maxUnacknowledged is how many publishes of a device may wait for their outcome before its connection stops
	// reading. What they hold is bounded by the engine's queue.
	maxUnacknowledged = 1024
	// keptAcks is the longest queue whose memory an idle connection keeps: 256 bytes.
	keptAcks = 64
)

// acks sends PUBACKs in the order in which their PUBLISHes came, whatever order their outcomes come in.
type acks struct {
	out *outbox

	mu     sync.Mutex
	room   sync.Cond // entries left, or failed
	first  uint64    // number of queue[0]
	queue  []ack
	failed error
}

// An ack is one QoS 1 publish, or one of QoS 0 (id 0), which is counted but not answered.
type ack struct {
	id   uint16
	done bool
}

func newAcks(out *outbox) *acks {
	a := &acks{out: out}
	a.room.L = &a.mu
	return a
}

// begin queues a publish and returns its number, waiting while too many are not done. It fails once finish was
// called with an error.
func (a *acks) begin(id uint16) (uint64, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.queue) >= maxUnacknowledged && a.failed == nil {
		a.room.Wait()
	}
	if a.failed != nil {
		return 0, a.failed
	}
	a.queue = append(a.queue, ack{id: id})
	return a.first + uint64(len(a.queue)) - 1, nil
}

// full reports whether begin would wait.
func (a *acks) full() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.queue) >= maxUnacknowledged
}

// finish marks a publish as done and sends what is then due. After an error nothing more is acknowledged: the
// publish it belongs to is lost, and a later PUBACK must not overtake it. It does not block.
func (a *acks) finish(number uint64, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.failed != nil {
		return
	}
	if err != nil {
		a.failed = err
		a.room.Broadcast()
		return
	}
	a.queue[number-a.first].done = true
	n := 0
	for n < len(a.queue) && a.queue[n].done {
		if id := a.queue[n].id; id != 0 {
			_ = a.out.add(&mqtt.Puback{ID: id}) // an error means that the connection is ending
		}
		n++
	}
	if n == 0 {
		return
	}
	a.first += uint64(n)
	a.queue = a.queue[:copy(a.queue, a.queue[n:])]
	if len(a.queue) == 0 && cap(a.queue) > keptAcks {
		a.queue = nil
	}
	a.room.Broadcast()
}

// drain waits until every publish has its outcome. It returns the error that finish was called with, if it was.
func (a *acks) drain() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.queue) > 0 && a.failed == nil {
		a.room.Wait()
	}
	return a.failed
}

// failure returns the error that finish was called with, if it was.
func (a *acks) failure() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.failed
}
