package registry

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/core/session"
)

// A link counts how often the hub closes it.
type link struct {
	closed  atomic.Int32
	reason  atomic.Value
	session *session.Session
}

func (l *link) Desired(int64, []byte) {}

func (l *link) Invoke(context.Context, session.Call) (session.Reply, error) {
	return session.Reply{}, session.ErrGone
}

func (l *link) Close(reason session.Reason) {
	l.closed.Add(1)
	l.reason.Store(reason)
	l.session.Close()
}

func TestWhatEndsConnections(t *testing.T) {
	thumbprints := &Authentication{X509Thumbprint: X509Thumbprint{PrimaryThumbprint: p(strings.Repeat("A", 40))}}
	tests := []struct {
		name          string
		before, after Spec
		ends          bool
	}{
		{"nothing changed", Spec{Authentication: keys(keyA, keyB)}, Spec{Authentication: keys(keyA, keyB)}, false},
		{"reason changed", Spec{Authentication: keys(keyA, keyB)}, Spec{Authentication: keys(keyA, keyB), StatusReason: p("x")}, false},
		{"became an edge device", Spec{Authentication: keys(keyA, keyB)}, Spec{Authentication: keys(keyA, keyB), Capabilities: &Capabilities{true}}, false},
		{"disabled", Spec{Authentication: keys(keyA, keyB)}, Spec{Authentication: keys(keyA, keyB), Status: p("disabled")}, true},
		{"primary key changed", Spec{Authentication: keys(keyA, keyB)}, Spec{Authentication: keys(keyB, keyB)}, true},
		{"secondary key changed", Spec{Authentication: keys(keyA, keyB)}, Spec{Authentication: keys(keyA, keyA)}, true},
		{"keys made anew", Spec{Authentication: keys(keyA, keyB)}, Spec{}, true},
		{"type changed", Spec{Authentication: keys(keyA, keyB)}, Spec{Authentication: thumbprints}, true},
		{"thumbprint the same", Spec{Authentication: thumbprints}, Spec{Authentication: thumbprints}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newCore(t)
			tt.before.DeviceID, tt.after.DeviceID = "d1", "d1"
			c.put(t, &tt.before, "")
			l := &link{}
			l.session = c.sessions.Open(twinhub.ID{Device: "d1"}, l)
			d := c.put(t, &tt.after, "*")
			if got := l.closed.Load() == 1; got != tt.ends {
				t.Errorf("connection ended: %v, want %v", got, tt.ends)
			}
			if tt.ends && l.reason.Load() != session.Removed {
				t.Errorf("ended because %q", l.reason.Load())
			}
			if wantState := map[bool]string{true: "Disconnected", false: "Connected"}[tt.ends]; d.ConnectionState != wantState {
				t.Errorf("answer says %s, want %s", d.ConnectionState, wantState)
			}
		})
	}
	t.Run("deleted", func(t *testing.T) {
		c := newCore(t)
		c.put(t, &Spec{DeviceID: "d1"}, "")
		l := &link{}
		l.session = c.sessions.Open(twinhub.ID{Device: "d1"}, l)
		if err := c.Delete(t.Context(), "d1", "*"); err != nil {
			t.Fatal(err)
		}
		if l.closed.Load() != 1 {
			t.Error("the connection of a deleted device goes on")
		}
	})
}
