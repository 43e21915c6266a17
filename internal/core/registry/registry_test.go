package registry

import (
	"context"
	"encoding/base64"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/clock"
	"github.com/twinhub/twinhub/internal/core/identity"
	"github.com/twinhub/twinhub/internal/core/routing"
	"github.com/twinhub/twinhub/internal/core/session"
	"github.com/twinhub/twinhub/internal/core/twin"
	"github.com/twinhub/twinhub/internal/engine"
	"github.com/twinhub/twinhub/internal/engine/local"
	"github.com/twinhub/twinhub/internal/eventlog"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// stopped is hub time that stands still.
type stopped struct {
	clock.System
	now time.Time
}

func (c stopped) Now() time.Time { return c.now }

type core struct {
	*Service
	engine   *local.Engine
	sessions *session.Directory
	twins    *twin.Service
}

func newCore(t *testing.T, routes ...routing.Route) *core {
	t.Helper()
	c := stopped{now: time.Date(2020, 10, 21, 14, 10, 42, 417126399, time.UTC)}
	e, err := local.Open(local.Options{Dir: "data", FS: vfs.NewMem(), Clock: c})
	if err != nil {
		t.Fatalf("open engine: %v", err)
	}
	router, err := routing.New(routing.Config{Routes: routes})
	if err != nil {
		t.Fatalf("make router: %v", err)
	}
	logger := slog.New(slog.DiscardHandler)
	sessions := session.New(session.Options{Engine: e, Router: router, Clock: c, Logger: logger, HubName: "hub"})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- sessions.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("sessions: %v", err)
		}
		if err := e.Close(); err != nil {
			t.Errorf("close engine: %v", err)
		}
	})
	return &core{
		Service:  New(Options{Engine: e, Router: router, Sessions: sessions, Clock: c, HubName: "hub"}),
		engine:   e,
		sessions: sessions,
		twins:    twin.New(twin.Options{Engine: e, Router: router, Sessions: sessions, Clock: c, Logger: logger, HubName: "hub"}),
	}
}

var lifecycle = routing.Route{Name: "lifecycle", Source: twinhub.DeviceLifecycle, Endpoint: routing.BuiltIn}

func (c *core) put(t *testing.T, spec *Spec, ifMatch string) *Device {
	t.Helper()
	d, err := c.Put(t.Context(), spec, ifMatch)
	if err != nil {
		t.Fatalf("put %+v with If-Match %q: %v", spec, ifMatch, err)
	}
	return d
}

// stored reports whether a document exists.
func (c *core) stored(t *testing.T, device, key string) bool {
	t.Helper()
	_, err := c.engine.Get(engine.PartitionOf(c.engine, device), key)
	if err != nil && !errors.Is(err, engine.ErrNotFound) {
		t.Fatal(err)
	}
	return err == nil
}

// records returns the events of a device's partition, as they are stored.
func (c *core) records(t *testing.T, device string) []string {
	t.Helper()
	records, err := c.engine.Read(engine.PartitionOf(c.engine, device), eventlog.Name, 0, 1000, 16<<20)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, r := range records {
		list = append(list, string(r.Value))
	}
	return list
}

func wantCode(t *testing.T, what string, err error, code twinhub.Code) {
	t.Helper()
	if !twinhub.HasCode(err, code) {
		t.Errorf("%s: got %v, want %v", what, err, code)
	}
}

func p(s string) *string { return &s }

func keys(primary, secondary string) *Authentication {
	return &Authentication{Type: "sas", SymmetricKey: SymmetricKey{p(primary), p(secondary)}}
}

const (
	keyA = "MDEyMzQ1Njc4OWFiY2RlZg=="
	keyB = "ZmVkY2JhOTg3NjU0MzIxMA=="
)

func TestETagMovesWithIdentityWritesOnly(t *testing.T) {
	c := newCore(t)
	first := c.put(t, &Spec{DeviceID: "d1"}, "")
	number := func(d *Device) int {
		text, err := base64.StdEncoding.DecodeString(d.ETag)
		if err != nil {
			t.Fatalf("etag %q: %v", d.ETag, err)
		}
		n, err := strconv.Atoi(string(text))
		if err != nil {
			t.Fatalf("etag %q: %v", d.ETag, err)
		}
		return n
	}
	if _, _, err := c.twins.Update(t.Context(), twinhub.ID{Device: "d1"}, []byte(`{"tags":{"a":1}}`), "", false); err != nil {
		t.Fatal(err)
	}
	c.sessions.Open(twinhub.ID{Device: "d1"}, &link{}).Close()
	same, err := c.Get(t.Context(), "d1")
	if err != nil || same.ETag != first.ETag {
		t.Errorf("after twin write and connection: got etag %q, %v; want %q", same.ETag, err, first.ETag)
	}
	next := c.put(t, &Spec{DeviceID: "d1"}, `"`+first.ETag+`"`)
	if number(next) != number(first)+1 {
		t.Errorf("after an update: got %d, want %d", number(next), number(first)+1)
	}
	if next.GenerationID != first.GenerationID {
		t.Errorf("an update changed the generation from %s to %s", first.GenerationID, next.GenerationID)
	}
	_, err = c.Put(t.Context(), &Spec{DeviceID: "d1"}, first.ETag)
	wantCode(t, "update with an old etag", err, twinhub.CodePreconditionFailed)
	_, err = c.Put(t.Context(), &Spec{DeviceID: "d1"}, `""`)
	wantCode(t, "update with an empty etag", err, twinhub.CodePreconditionFailed)
	wantCode(t, "deletion with an old etag", c.Delete(t.Context(), "d1", first.ETag), twinhub.CodePreconditionFailed)
	wantCode(t, "deletion without etag", c.Delete(t.Context(), "d1", " "), twinhub.CodePreconditionFailed)
	if err := c.Delete(t.Context(), "d1", `W/"`+next.ETag+`"`); err != nil {
		t.Errorf("deletion with the etag: %v", err)
	}
}

func TestGenerationsDiffer(t *testing.T) {
	c := newCore(t)
	seen := map[string]bool{}
	for n := range 20 {
		d := c.put(t, &Spec{DeviceID: "d1"}, "")
		if n == 0 && d.GenerationID != "637388862424171263" {
			t.Errorf("got generation %s, want the ticks of the hub's time", d.GenerationID)
		}
		if seen[d.GenerationID] {
			t.Errorf("generation %s came twice", d.GenerationID)
		}
		seen[d.GenerationID] = true
		if err := c.Delete(t.Context(), "d1", "*"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCreateIsOneCommit(t *testing.T) {
	c := newCore(t, lifecycle)
	id := twinhub.ID{Device: "d1"}
	var commits [][]string
	partition := engine.PartitionOf(c.engine, "d1")
	snapshot, err := c.engine.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	stop, err := c.engine.Watch(snapshot.Position(partition), func(_ engine.Position, changes []engine.Change) {
		var keys []string
		for _, change := range changes {
			keys = append(keys, change.Key)
		}
		commits = append(commits, keys)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := snapshot.Close(); err != nil {
		t.Fatal(err)
	}
	c.put(t, &Spec{DeviceID: "d1"}, "")
	if err := c.Delete(t.Context(), "d1", "*"); err != nil {
		t.Fatal(err)
	}
	stop()
	if len(commits) != 2 {
		t.Fatalf("got commits %q, want one for the creation and one for the deletion", commits)
	}
	for _, key := range []string{identity.Key(id), twin.Key(id)} {
		for n, commit := range commits {
			if !strings.Contains(strings.Join(commit, " ")+" ", key+" ") {
				t.Errorf("commit %d wrote %q, not %q", n, commit, key)
			}
		}
	}
}

func TestDeletionTakesAll(t *testing.T) {
	c := newCore(t)
	id := twinhub.ID{Device: "d1"}
	all := []string{identity.Key(id), twin.Key(id), session.StateKey(id), session.SubscriptionsKey(id)}
	fill := func() {
		t.Helper()
		if err := c.sessions.SaveSubscriptions(t.Context(), id, map[string]byte{"a": 1}); err != nil {
			t.Fatal(err)
		}
		w := engine.Write{Key: session.StateKey(id), Value: []byte(`{"connected":false,"lastActivityTime":"2020-01-01T00:00:00Z"}`), Expect: engine.Any}
		if err := c.do(t.Context(), id, engine.Commit{Writes: []engine.Write{w}}); err != nil {
			t.Fatal(err)
		}
	}
	c.put(t, &Spec{DeviceID: "d1"}, "")
	c.put(t, &Spec{DeviceID: "d10"}, "")
	fill()
	for _, key := range all {
		if !c.stored(t, "d1", key) {
			t.Fatalf("%s was not stored", key)
		}
	}
	if err := c.Delete(t.Context(), "d1", "*"); err != nil {
		t.Fatal(err)
	}
	for _, key := range all {
		if c.stored(t, "d1", key) {
			t.Errorf("%s outlived the device", key)
		}
	}
	if _, err := c.Get(t.Context(), "d10"); err != nil {
		t.Errorf("another device: %v", err)
	}
	// What a dying connection left behind must not become the state of a new device.
	fill()
	d := c.put(t, &Spec{DeviceID: "d1"}, "")
	if d.LastActivityTime != "0001-01-01T00:00:00Z" || c.stored(t, "d1", session.SubscriptionsKey(id)) {
		t.Errorf("a new device has last activity %s; subscriptions stored: %v", d.LastActivityTime, c.stored(t, "d1", session.SubscriptionsKey(id)))
	}
}
