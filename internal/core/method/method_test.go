package method

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/clock"
	"github.com/twinhub/twinhub/internal/core/identity"
	"github.com/twinhub/twinhub/internal/core/routing"
	"github.com/twinhub/twinhub/internal/core/session"
	"github.com/twinhub/twinhub/internal/engine"
	"github.com/twinhub/twinhub/internal/engine/local"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var device = twinhub.ID{Device: "d1"}

// rig is a Service that knows the device d1.
type rig struct {
	*Service
	engine engine.Engine
	stop   func()
}

func newRig(t *testing.T) *rig {
	t.Helper()
	e, err := local.Open(local.Options{Dir: "data", FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	stop := func() {
		if err := e.Close(); err != nil && !errors.Is(err, engine.ErrClosed) {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	w, err := (&identity.Identity{DeviceID: "d1", Status: identity.Enabled}).Write(engine.Absent)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := engine.Do(t.Context(), e, engine.Commit{Partition: engine.PartitionOf(e, "d1"), Writes: []engine.Write{w}}); err != nil {
		t.Fatal(err)
	}
	router, err := routing.New(routing.Config{})
	if err != nil {
		t.Fatal(err)
	}
	d := session.New(session.Options{Engine: e, Router: router, Clock: clock.System{}, Logger: slog.New(slog.DiscardHandler), HubName: "hub"})
	return &rig{Service: New(e, d), engine: e, stop: stop}
}

// link answers calls with a function.
type link func(ctx context.Context, call session.Call) (session.Reply, error)

func (l link) Desired(int64, []byte) {}

func (l link) Close(session.Reason) {}

func (l link) Invoke(ctx context.Context, call session.Call) (session.Reply, error) {
	return l(ctx, call)
}

func TestCheck(t *testing.T) {
	valid := Request{Name: "m", ResponseTimeout: DefaultResponseTimeout}
	tests := []struct {
		name string
		edit func(*Request)
		want string // of the message, empty when it is fine
	}{
		{"plain", func(*Request) {}, ""},
		{"component command", func(r *Request) { r.Name = "thermostat1*getMaxMinReport" }, ""},
		{"longest name", func(r *Request) { r.Name = strings.Repeat("x", MaxName) }, ""},
		{"no name", func(r *Request) { r.Name = "" }, "must not be empty"},
		{"long name", func(r *Request) { r.Name = strings.Repeat("x", MaxName+1) }, "1026 bytes"},
		{"hash", func(r *Request) { r.Name = "a#" }, "'#'"},
		{"plus", func(r *Request) { r.Name = "+a" }, "'+'"},
		{"slash", func(r *Request) { r.Name = "a/b" }, "'/'"},
		{"zero", func(r *Request) { r.Name = "a\x00" }, `'\x00'`},
		{"tab", func(r *Request) { r.Name = "a\tb" }, `'\t'`},
		{"not UTF-8", func(r *Request) { r.Name = "a\xffb" }, "UTF-8"},
		{"largest payload", func(r *Request) { r.Payload = make([]byte, MaxPayload) }, ""},
		{"large payload", func(r *Request) { r.Payload = make([]byte, MaxPayload+1) }, "131073 bytes"},
		{"shortest response", func(r *Request) { r.ResponseTimeout = 5 * time.Second }, ""},
		{"short response", func(r *Request) { r.ResponseTimeout = 5*time.Second - 1 }, "[5; 300]"},
		{"no response", func(r *Request) { r.ResponseTimeout = 0 }, "[5; 300]"},
		{"longest times", func(r *Request) { r.ResponseTimeout, r.ConnectTimeout = MaxTimeout, MaxTimeout }, ""},
		{"long response", func(r *Request) { r.ResponseTimeout = MaxTimeout + 1 }, "[5; 300]"},
		{"long connect", func(r *Request) { r.ResponseTimeout, r.ConnectTimeout = MaxTimeout, MaxTimeout+1 }, "[0; 300]"},
		{"negative connect", func(r *Request) { r.ConnectTimeout = -1 }, "[0; 300]"},
		{"connect longer than response", func(r *Request) { r.ConnectTimeout = DefaultResponseTimeout + 1 }, "cannot be longer"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := valid
			tt.edit(&r)
			err := r.check()
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("got %v, want none", err)
			case tt.want != "" && (!twinhub.HasCode(err, twinhub.CodeArgumentInvalid) || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("got %v, want CodeArgumentInvalid with %q", err, tt.want)
			}
		})
	}
}

func TestInvokeOutcomes(t *testing.T) {
	tests := []struct {
		name string
		link link
		want twinhub.Code // 0: a reply
	}{
		{"reply", func(_ context.Context, c session.Call) (session.Reply, error) {
			return session.Reply{Status: -1, Payload: append([]byte(c.Name), c.Payload...)}, nil
		}, 0},
		{"gone", func(context.Context, session.Call) (session.Reply, error) { return session.Reply{}, session.ErrGone }, twinhub.CodeDeviceConnectionClosedRemotely},
		{"busy", func(context.Context, session.Call) (session.Reply, error) { return session.Reply{}, session.ErrBusy }, twinhub.CodeDeviceMaximumInflightMethodExceeded},
		{"stopped listening", func(context.Context, session.Call) (session.Reply, error) {
			return session.Reply{}, session.ErrNotListening
		}, twinhub.CodeDeviceNotOnline},
		{"no answer", func(ctx context.Context, _ session.Call) (session.Reply, error) {
			<-ctx.Done()
			return session.Reply{}, ctx.Err()
		}, twinhub.CodeGatewayTimeout},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.sessions.Open(device, tt.link).SetMethods(true)
				begin := time.Now()
				reply, err := r.Invoke(t.Context(), device, Request{Name: "m", Payload: []byte("1"), ResponseTimeout: 7 * time.Second})
				if tt.want == 0 && (err != nil || reply.Status != -1 || string(reply.Payload) != "m1") || tt.want != 0 && !twinhub.HasCode(err, tt.want) {
					t.Errorf("got %+v, %v, want %v", reply, err, tt.want)
				}
				if took := time.Since(begin); took != 0 && (tt.want != twinhub.CodeGatewayTimeout || took != 7*time.Second) {
					t.Errorf("took %v", took)
				}
				r.stop()
			})
		})
	}
}

func TestInvokeWaitsForTheDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		begin := time.Now()
		time.AfterFunc(1500*time.Millisecond, func() {
			r.sessions.Open(device, link(func(ctx context.Context, _ session.Call) (session.Reply, error) {
				deadline, _ := ctx.Deadline()
				return session.Reply{Status: int(deadline.Sub(begin).Seconds())}, nil
			})).SetMethods(true)
		})
		reply, err := r.Invoke(t.Context(), device, Request{Name: "m", ConnectTimeout: 3 * time.Second, ResponseTimeout: 7 * time.Second})
		if err != nil || reply.Status != 7 || time.Since(begin) != 1500*time.Millisecond {
			t.Errorf("got %+v, %v after %v, want the deadline 7 s from the beginning", reply, err, time.Since(begin))
		}
		r.stop()
	})
}

func TestInvokeWithoutADevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		for _, tt := range []struct {
			connect, response time.Duration
			timeout           string
		}{{0, 5 * time.Second, "00:00:00"}, {3 * time.Second, 7 * time.Second, "00:00:03"}, {MaxTimeout, MaxTimeout, "00:05:00"}} {
			begin := time.Now()
			_, err := r.Invoke(t.Context(), device, Request{Name: "m", ConnectTimeout: tt.connect, ResponseTimeout: tt.response})
			if !twinhub.HasCode(err, twinhub.CodeDeviceNotOnline) || twinhub.AsError(err).Timeout != tt.timeout || time.Since(begin) != tt.connect {
				t.Errorf("connect %v: got %v after %v", tt.connect, err, time.Since(begin))
			}
		}
		if _, err := r.Invoke(t.Context(), twinhub.ID{Device: "x"}, Request{Name: "m", ConnectTimeout: time.Minute, ResponseTimeout: time.Minute}); !twinhub.HasCode(err, twinhub.CodeDeviceNotFound) {
			t.Errorf("unknown device: %v", err)
		}
		if _, err := r.Invoke(t.Context(), twinhub.ID{Device: "d1", Module: "x"}, Request{Name: "m", ResponseTimeout: time.Minute}); !twinhub.HasCode(err, twinhub.CodeModuleNotFound) {
			t.Errorf("unknown module: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := r.Invoke(ctx, device, Request{Name: "m", ConnectTimeout: time.Minute, ResponseTimeout: time.Minute}); !errors.Is(err, context.DeadlineExceeded) || twinhub.HasCode(err, twinhub.CodeDeviceNotOnline) {
			t.Errorf("a caller that gave up: %v", err)
		}
		r.stop()
	})
}
