package device

import (
	"math/rand/v2"
	"time"
)

// backoff says how long to wait before each try of a row: twice as long each time, up to a bound, and each wait drawn
// from the upper half of its range.
type backoff struct {
	least, most, now time.Duration
}

func (b *backoff) init(least, most time.Duration) { *b = backoff{least, most, least} }

// reset begins anew.
func (b *backoff) reset() { b.now = b.least }

// next returns the wait before the next try.
func (b *backoff) next() time.Duration {
	d := b.now
	b.now = min(b.most, 2*b.now)
	return d - rand.N(d/2+1) //nolint:gosec // it spreads devices, and guards nothing
}
