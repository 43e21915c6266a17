// Package clock is hub time: what stamps events, expires tokens, ages logs and fires jobs. It is not for network
// time: handshakes, keep alive and method time-outs use the standard library, because a test that moves hub time
// must not end its own connections.
package clock

import "time"

// Clock tells hub time. It is safe for concurrent use.
type Clock interface {
	// Now returns the present instant in UTC.
	Now() time.Time
	// AfterFunc runs f in its own goroutine once d of hub time has passed, unless the Timer is stopped before.
	AfterFunc(d time.Duration, f func()) Timer
}

// Timer is a pending AfterFunc.
type Timer interface {
	// Stop prevents the function from running and reports whether it did so.
	Stop() bool
}

// System is the machine's clock.
type System struct{}

// Now implements Clock.
func (System) Now() time.Time { return time.Now().UTC() }

// AfterFunc implements Clock.
func (System) AfterFunc(d time.Duration, f func()) Timer { return time.AfterFunc(d, f) }
