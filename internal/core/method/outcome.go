package method

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/twinhub/twinhub"
)

// An Outcome is how a call ended, in a word for metrics.
type Outcome string

// The outcomes. The comment names the codes that Invoke fails with, where there are any.
const (
	Answered     Outcome = "answered"     // by the device, whatever its status
	TimedOut     Outcome = "timed_out"    // CodeGatewayTimeout
	Offline      Outcome = "offline"      // CodeDeviceNotOnline
	Disconnected Outcome = "disconnected" // CodeDeviceConnectionClosedRemotely
	Busy         Outcome = "busy"         // CodeDeviceMaximumInflightMethodExceeded
	Refused      Outcome = "refused"      // CodeArgumentInvalid, CodeDeviceNotFound, CodeModuleNotFound
	Abandoned    Outcome = "abandoned"    // the caller went away
	Failed       Outcome = "failed"       // anything else, such as storage that failed
)

// newCalls makes a counter for each outcome; the map does not change afterwards.
func newCalls() map[Outcome]*atomic.Uint64 {
	calls := map[Outcome]*atomic.Uint64{}
	for _, o := range []Outcome{Answered, TimedOut, Offline, Disconnected, Busy, Refused, Abandoned, Failed} {
		calls[o] = new(atomic.Uint64)
	}
	return calls
}

// Calls returns how many calls have ended so far, by outcome. Each outcome is in it.
func (s *Service) Calls() map[Outcome]uint64 {
	n := make(map[Outcome]uint64, len(s.calls))
	for o, c := range s.calls {
		n[o] = c.Load()
	}
	return n
}

// outcomeOf returns the outcome of a call that ended with err.
func outcomeOf(err error) Outcome {
	var coded *twinhub.Error
	switch {
	case err == nil:
		return Answered
	case errors.As(err, &coded):
		return outcomeOfCode(coded.Code)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return Abandoned
	}
	return Failed
}

func outcomeOfCode(code twinhub.Code) Outcome {
	switch code {
	case twinhub.CodeGatewayTimeout:
		return TimedOut
	case twinhub.CodeDeviceNotOnline:
		return Offline
	case twinhub.CodeDeviceConnectionClosedRemotely:
		return Disconnected
	case twinhub.CodeDeviceMaximumInflightMethodExceeded:
		return Busy
	case twinhub.CodeArgumentInvalid, twinhub.CodeDeviceNotFound, twinhub.CodeModuleNotFound:
		return Refused
	}
	return Failed
}
