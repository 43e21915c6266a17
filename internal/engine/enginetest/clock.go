package enginetest

import (
	"sync"
	"time"

	"github.com/twinhub/twinhub/internal/clock"
)

// Clock is a clock.Clock that stands still until it is moved.
type Clock struct {
	mu      sync.Mutex
	now     time.Time
	pending map[*timer]struct{}
}

// NewClock returns a Clock that shows t.
func NewClock(t time.Time) *Clock { return &Clock{now: t, pending: map[*timer]struct{}{}} }

// Now implements clock.Clock.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// AfterFunc implements clock.Clock.
func (c *Clock) AfterFunc(d time.Duration, f func()) clock.Timer {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &timer{c, c.now.Add(d), f}
	c.pending[t] = struct{}{}
	return t
}

// Move moves the clock, back if d is negative, and runs the functions that are due.
func (c *Clock) Move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	for t := range c.pending {
		if !t.due.After(c.now) {
			delete(c.pending, t)
			go t.run()
		}
	}
}

type timer struct {
	clock *Clock
	due   time.Time
	run   func()
}

// Stop implements clock.Timer.
func (t *timer) Stop() bool {
	t.clock.mu.Lock()
	defer t.clock.mu.Unlock()
	_, pending := t.clock.pending[t]
	delete(t.clock.pending, t)
	return pending
}
