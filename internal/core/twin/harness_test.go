package twin_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/clock"
	"github.com/twinhub/twinhub/internal/core/digitaltwin"
	"github.com/twinhub/twinhub/internal/core/identity"
	"github.com/twinhub/twinhub/internal/core/routing"
	"github.com/twinhub/twinhub/internal/core/session"
	"github.com/twinhub/twinhub/internal/core/twin"
	"github.com/twinhub/twinhub/internal/engine"
	"github.com/twinhub/twinhub/internal/engine/local"
	"github.com/twinhub/twinhub/internal/eventlog"
	"github.com/twinhub/twinhub/internal/jsondoc"
	"github.com/twinhub/twinhub/internal/wire/amqp"
)

const hub = "my-pnp-hub"

var device = twinhub.ID{Device: "my-pnp-device"}

// stoppedClock tells the time it was set to.
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

func (c *stoppedClock) set(t testing.TB, text string) {
	t.Helper()
	now, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = now
}

// rig is a twin service with what it needs, over an engine in memory.
type rig struct {
	t        testing.TB
	clock    *stoppedClock
	engine   engine.Engine
	router   *routing.Router
	sessions *session.Directory
	twins    *twin.Service
}

func newRig(t testing.TB, sources ...twinhub.Source) *rig {
	t.Helper()
	r := &rig{t: t, clock: &stoppedClock{}}
	r.clock.set(t, "2020-10-21T14:10:00Z")
	e, err := local.Open(local.Options{Dir: "data", FS: vfs.NewMem(), Clock: r.clock})
	if err != nil {
		t.Fatalf("open engine: %v", err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Errorf("close engine: %v", err)
		}
	})
	var routes routing.Config
	for _, s := range sources {
		routes.Routes = append(routes.Routes, routing.Route{Name: string(s), Source: s, Endpoint: routing.BuiltIn})
	}
	router, err := routing.New(routes)
	if err != nil {
		t.Fatal(err)
	}
	r.engine, r.router = e, router
	r.sessions = session.New(session.Options{Engine: e, Router: router, Clock: r.clock, Logger: slog.New(slog.DiscardHandler), HubName: hub})
	r.twins = r.another()
	return r
}

// another makes one more service over the same engine.
func (r *rig) another() *twin.Service {
	return twin.New(twin.Options{
		Engine: r.engine, Router: r.router, Sessions: r.sessions, Clock: r.clock,
		Logger: slog.New(slog.DiscardHandler), HubName: hub, View: digitaltwin.View{},
	})
}

// create makes an identity and its twin, as package registry does.
func (r *rig) create(id twinhub.ID, tags, desired string) {
	r.t.Helper()
	i := &identity.Identity{
		DeviceID: id.Device, ModuleID: id.Module, Version: 585664930, GenerationID: "1", Status: identity.Enabled,
		Auth: identity.Auth{Type: identity.AuthSAS},
	}
	w, err := i.Write(engine.Absent)
	if err != nil {
		r.t.Fatal(err)
	}
	d, err := twin.NewDocument(r.clock.Now(), "", parse(r.t, tags), parse(r.t, desired))
	if err != nil {
		r.t.Fatal(err)
	}
	tw, err := d.Write(id, engine.Absent)
	if err != nil {
		r.t.Fatal(err)
	}
	r.do(engine.Commit{Partition: engine.PartitionOf(r.engine, id.Device), Writes: []engine.Write{w, tw}})
}

func (r *rig) remove(id twinhub.ID) {
	r.t.Helper()
	r.do(engine.Commit{Partition: engine.PartitionOf(r.engine, id.Device), Writes: []engine.Write{
		{Key: identity.Key(id), Expect: engine.Any}, {Key: twin.Key(id), Expect: engine.Any}}})
}

func (r *rig) do(c engine.Commit) {
	r.t.Helper()
	if _, err := engine.Do(context.Background(), r.engine, c); err != nil {
		r.t.Fatalf("commit: %v", err)
	}
}

func (r *rig) update(id twinhub.ID, body, ifMatch string) string {
	r.t.Helper()
	doc, _, err := r.twins.Update(context.Background(), id, []byte(body), ifMatch, false)
	if err != nil {
		r.t.Fatalf("Update(%s): %v", body, err)
	}
	return string(doc)
}

func (r *rig) reported(id twinhub.ID, body string) int64 {
	r.t.Helper()
	v, err := r.twins.Reported(context.Background(), id, []byte(body), nil)
	if err != nil {
		r.t.Fatalf("Reported(%s): %v", body, err)
	}
	return v
}

func (r *rig) get(id twinhub.ID) (doc, etag string) {
	r.t.Helper()
	b, etag, err := r.twins.Get(context.Background(), id)
	if err != nil {
		r.t.Fatalf("Get(%s): %v", id, err)
	}
	return string(b), etag
}

// events returns what readers of the device's partition get, from record number from on.
func (r *rig) events(id twinhub.ID, from uint64) []*amqp.Message {
	r.t.Helper()
	records, err := r.engine.Read(engine.PartitionOf(r.engine, id.Device), eventlog.Name, from, 1000, 1<<30)
	if err != nil {
		r.t.Fatalf("read events: %v", err)
	}
	messages := make([]*amqp.Message, len(records))
	for n, record := range records {
		b, err := eventlog.AppendMessage(nil, record)
		if err != nil {
			r.t.Fatalf("event %d: %v", n, err)
		}
		if messages[n], err = amqp.DecodeMessage(b); err != nil {
			r.t.Fatalf("event %d: %v", n, err)
		}
	}
	return messages
}

// text shows a map of a message as name=value lines, in its order.
func text(m amqp.Map) string {
	s := ""
	for _, e := range m {
		s += fmt.Sprintf("%v=%v\n", e.Key, e.Value)
	}
	return s
}

func parse(t testing.TB, text string) jsondoc.Value {
	t.Helper()
	v, err := jsondoc.Parse([]byte(text), jsondoc.Limits{})
	if err != nil {
		t.Fatalf("parse %s: %v", text, err)
	}
	return v
}

// fakeLink is a connected device that notes the desired patches it gets.
type fakeLink struct {
	mu       sync.Mutex
	versions []int64
	patches  []string
}

func (l *fakeLink) Desired(version int64, patch []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.versions = append(l.versions, version)
	l.patches = append(l.patches, string(patch))
}

func (l *fakeLink) Invoke(context.Context, session.Call) (session.Reply, error) {
	return session.Reply{}, session.ErrGone
}

func (l *fakeLink) Close(session.Reason) {}
