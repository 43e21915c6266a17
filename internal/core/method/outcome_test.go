package method

import (
	"context"
	"errors"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/core/session"
)

// TestCalls lets calls end in each way: every one counts once, in its outcome.
func TestCalls(t *testing.T) {
	answer := func(err error) link {
		return func(context.Context, session.Call) (session.Reply, error) { return session.Reply{Status: 500}, err }
	}
	silent := link(func(ctx context.Context, _ session.Call) (session.Reply, error) {
		<-ctx.Done()
		return session.Reply{}, ctx.Err()
	})
	for _, tt := range []struct {
		want   Outcome
		link   link // nil: not connected
		id     twinhub.ID
		caller time.Duration // how long the caller waits
		name   string
	}{
		{Answered, answer(nil), device, time.Hour, "m"},
		{TimedOut, silent, device, time.Hour, "m"},
		{Offline, nil, device, time.Hour, "m"},
		{Offline, answer(session.ErrNotListening), device, time.Hour, "m"},
		{Disconnected, answer(session.ErrGone), device, time.Hour, "m"},
		{Busy, answer(session.ErrBusy), device, time.Hour, "m"},
		{Refused, answer(nil), device, time.Hour, ""},
		{Refused, answer(nil), twinhub.ID{Device: "x"}, time.Hour, "m"},
		{Refused, answer(nil), twinhub.ID{Device: "d1", Module: "x"}, time.Hour, "m"},
		{Abandoned, silent, device, time.Second, "m"},
		{Failed, answer(errors.New("broken")), device, time.Hour, "m"},
	} {
		t.Run(string(tt.want), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				if tt.link != nil {
					r.sessions.Open(device, tt.link).SetMethods(true)
				}
				want := map[Outcome]uint64{Answered: 0, TimedOut: 0, Offline: 0, Disconnected: 0, Busy: 0, Refused: 0, Abandoned: 0, Failed: 0}
				for range 2 {
					if got := r.Calls(); !maps.Equal(got, want) {
						t.Errorf("got %v, want %v", got, want)
					}
					ctx, cancel := context.WithTimeout(t.Context(), tt.caller)
					_, err := r.Invoke(ctx, tt.id, Request{Name: tt.name, ResponseTimeout: MinResponseTimeout})
					cancel()
					if (err == nil) != (tt.want == Answered) {
						t.Errorf("Invoke: %v", err)
					}
					want[tt.want]++
				}
				r.stop()
			})
		})
	}
}
