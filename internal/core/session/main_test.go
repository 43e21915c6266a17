package session

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/clock"
	"github.com/twinhub/twinhub/internal/core/routing"
	"github.com/twinhub/twinhub/internal/engine"
	"github.com/twinhub/twinhub/internal/engine/local"
	"github.com/twinhub/twinhub/internal/eventlog"
	"github.com/twinhub/twinhub/internal/wire/amqp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var device = twinhub.ID{Device: "d1"}

// start is when the clock of a rig begins.
var start = time.Date(2026, 3, 4, 5, 6, 7, 891234500, time.UTC)

// stoppedClock is hub time that stands still.
type stoppedClock struct {
	clock.System
	mu  sync.Mutex
	now time.Time
}

func (c *stoppedClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// advance moves the clock and returns the new time.
func (c *stoppedClock) advance(d time.Duration) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	return c.now
}

// slowEngine is an engine that can be made to keep its answers until they are released.
type slowEngine struct {
	engine.Engine
	mu      sync.Mutex
	holding bool
	waiting []func()
	arrived chan struct{}
	before  func(engine.Commit) // called for each Submit, if set
}

func (e *slowEngine) Submit(c engine.Commit, done func(engine.Result, error)) {
	if e.before != nil {
		e.before(c)
	}
	e.Engine.Submit(c, func(r engine.Result, err error) {
		e.mu.Lock()
		if e.holding {
			e.waiting = append(e.waiting, func() { done(r, err) })
			e.mu.Unlock()
			e.arrived <- struct{}{}
			return
		}
		e.mu.Unlock()
		done(r, err)
	})
}

func (e *slowEngine) hold() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.holding = true
}

func (e *slowEngine) release() {
	e.mu.Lock()
	waiting := e.waiting
	e.waiting, e.holding = nil, false
	e.mu.Unlock()
	for _, f := range waiting {
		f()
	}
}

// rig is a Directory over an engine in memory. Its Run is started by run.
type rig struct {
	*Directory
	t      *testing.T
	engine *slowEngine
	clock  *stoppedClock
}

func newRig(t *testing.T, sources ...twinhub.Source) *rig {
	t.Helper()
	return newRigOn(t, vfs.NewMem(), sources...)
}

func newRigOn(t *testing.T, fs vfs.FS, sources ...twinhub.Source) *rig {
	t.Helper()
	r := &rig{t: t, clock: &stoppedClock{now: start}}
	e, err := local.Open(local.Options{Dir: "data", FS: fs, Clock: r.clock})
	if err != nil {
		t.Fatalf("open engine: %v", err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil && !errors.Is(err, engine.ErrClosed) {
			t.Errorf("close engine: %v", err)
		}
	})
	r.engine = &slowEngine{Engine: e, arrived: make(chan struct{}, 1000)}
	var routes routing.Config
	for _, s := range sources {
		routes.Routes = append(routes.Routes, routing.Route{Name: string(s), Source: s, Endpoint: routing.BuiltIn})
	}
	router, err := routing.New(routes)
	if err != nil {
		t.Fatal(err)
	}
	r.Directory = New(Options{Engine: r.engine, Router: router, Clock: r.clock, Logger: slog.New(slog.DiscardHandler), HubName: "hub"})
	return r
}

// run stores transitions until the returned function is called, which waits for the end.
func (r *rig) run() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			r.t.Errorf("Run: %v", err)
		}
	})
	r.t.Cleanup(stop)
	return stop
}

// store stores what is queued.
func (r *rig) store() {
	r.t.Helper()
	if err := r.drain(); err != nil {
		r.t.Fatalf("store: %v", err)
	}
}

func (r *rig) wantState(when string, id twinhub.ID, want State) {
	r.t.Helper()
	got, err := r.State(id)
	if err != nil || got != want {
		r.t.Errorf("%s: got state %+v, %v, want %+v", when, got, err, want)
	}
}

// stored returns the stored state as JSON, "" when there is none.
func (r *rig) stored(id twinhub.ID) string {
	r.t.Helper()
	doc, err := r.engine.Get(engine.PartitionOf(r.engine, id.Device), StateKey(id))
	if errors.Is(err, engine.ErrNotFound) {
		return ""
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return string(bytes.TrimSpace(doc.Value))
}

// remove deletes what a deletion or creation of the identity deletes.
func (r *rig) remove(id twinhub.ID) {
	r.t.Helper()
	c := engine.Commit{Partition: engine.PartitionOf(r.engine, id.Device), Writes: []engine.Write{
		{Key: StateKey(id), Expect: engine.Any}, {Key: SubscriptionsKey(id), Expect: engine.Any},
	}}
	if _, err := engine.Do(context.Background(), r.engine.Engine, c); err != nil {
		r.t.Fatal(err)
	}
}

// events returns the events of the device's partition.
func (r *rig) events(id twinhub.ID) []*amqp.Message {
	r.t.Helper()
	records, err := r.engine.Read(engine.PartitionOf(r.engine, id.Device), eventlog.Name, 0, 10000, 1<<30)
	if err != nil {
		r.t.Fatal(err)
	}
	list := make([]*amqp.Message, len(records))
	for n, record := range records {
		b, err := eventlog.AppendMessage(nil, record)
		if err != nil {
			r.t.Fatal(err)
		}
		if list[n], err = amqp.DecodeMessage(b); err != nil {
			r.t.Fatal(err)
		}
	}
	return list
}

// fakeLink notes the reasons with which it is closed.
type fakeLink struct {
	mu     sync.Mutex
	closed []Reason
}

func (l *fakeLink) Desired(int64, []byte) {}

func (l *fakeLink) Invoke(context.Context, Call) (Reply, error) { return Reply{}, ErrGone }

func (l *fakeLink) Close(reason Reason) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = append(l.closed, reason)
}

func (l *fakeLink) reasons() []Reason {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]Reason(nil), l.closed...)
}
