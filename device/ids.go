package device

import (
	"context"
	"sync"
)

// ids hands out MQTT packet identifiers, at most a given number at a time. A number is free again when the hub has
// acknowledged its packet, or when the connection that carried it has ended and nobody will send it again.
type ids struct {
	slots chan struct{}

	// mu guards what follows.
	mu   sync.Mutex
	used map[uint16]bool
	last uint16
}

func (n *ids) init(most int) {
	n.slots = make(chan struct{}, most)
	n.used = make(map[uint16]bool)
}

// take waits until less than the allowed number is in use.
func (n *ids) take(ctx context.Context, closing <-chan struct{}) (uint16, error) {
	select {
	case n.slots <- struct{}{}:
		return n.free(), nil
	case <-closing:
		return 0, ErrClosed
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// put ends the use of a number that take returned.
func (n *ids) put(id uint16) {
	n.drop(id)
	<-n.slots
}

// free returns a number without counting it; drop ends its use.
func (n *ids) free() uint16 {
	n.mu.Lock()
	defer n.mu.Unlock()
	for {
		n.last++
		if n.last != 0 && !n.used[n.last] {
			n.used[n.last] = true
			return n.last
		}
	}
}

func (n *ids) drop(id uint16) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.used, id)
}
