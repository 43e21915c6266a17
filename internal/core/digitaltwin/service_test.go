package digitaltwin_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	jsonpatch "github.com/evanphx/json-patch/v5"
	"pgregory.net/rapid"

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

const device = "d1"

// steppingClock shows a time of its own for each change: it goes on by a second when it is told to.
type steppingClock struct {
	clock.System
	mu  sync.Mutex
	now time.Time
}

func (c *steppingClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *steppingClock) step() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(time.Second)
}

// fatal is what testing.T and rapid.T have in common.
type fatal interface {
	Helper()
	Fatalf(format string, args ...any)
}

// rig is a digital twin service over an engine in memory, with one device.
type rig struct {
	clock    *steppingClock
	engine   engine.Engine
	sessions *session.Directory
	twins    *twin.Service
	digital  *digitaltwin.Service
	read     uint64 // how many events were read
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{clock: &steppingClock{now: time.Date(2020, 7, 17, 6, 10, 0, 0, time.UTC)}}
	e, err := local.Open(local.Options{Dir: "data", FS: vfs.NewMem(), Clock: r.clock})
	if err != nil {
		t.Fatalf("open engine: %v", err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Errorf("close engine: %v", err)
		}
	})
	router, err := routing.New(routing.Config{Routes: []routing.Route{
		{Name: "t", Source: twinhub.TwinChange, Endpoint: routing.BuiltIn},
		{Name: "d", Source: twinhub.DigitalTwinChange, Endpoint: routing.BuiltIn},
	}})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	r.engine = e
	r.sessions = session.New(session.Options{Engine: e, Router: router, Clock: r.clock, Logger: log, HubName: "hub"})
	r.twins = twin.New(twin.Options{
		Engine: e, Router: router, Sessions: r.sessions, Clock: r.clock, Logger: log, HubName: "hub", View: digitaltwin.View{},
	})
	r.digital = digitaltwin.New(r.twins)
	i := &identity.Identity{DeviceID: device, Version: 1, Status: identity.Enabled, Auth: identity.Auth{Type: identity.AuthSAS}}
	w, err := i.Write(engine.Absent)
	if err != nil {
		t.Fatal(err)
	}
	r.fresh(t, w)
	return r
}

// fresh gives the device a new twin.
func (r *rig) fresh(t fatal, more ...engine.Write) {
	t.Helper()
	d, err := twin.NewDocument(r.clock.Now(), "", jsondoc.Null(), jsondoc.Null())
	if err != nil {
		t.Fatalf("NewDocument: %v", err)
	}
	w, err := d.Write(twinhub.ID{Device: device}, engine.Any)
	if err != nil {
		t.Fatalf("Write: %v", err)
	}
	c := engine.Commit{Partition: engine.PartitionOf(r.engine, device), Writes: append(more, w)}
	if _, err := engine.Do(context.Background(), r.engine, c); err != nil {
		t.Fatalf("commit: %v", err)
	}
}

func (r *rig) get(t fatal) (doc, etag string) {
	t.Helper()
	b, etag, err := r.digital.Get(context.Background(), device)
	if err != nil {
		t.Fatalf("Get: %v", err)
	}
	return string(b), etag
}

func (r *rig) report(t fatal, patch string) {
	t.Helper()
	r.clock.step()
	if _, err := r.twins.Reported(context.Background(), twinhub.ID{Device: device}, []byte(patch), nil); err != nil {
		t.Fatalf("Reported(%s): %v", patch, err)
	}
}

func (r *rig) update(t fatal, patch string) string {
	t.Helper()
	r.clock.step()
	etag, err := r.digital.Update(context.Background(), device, []byte(patch), "")
	if err != nil {
		t.Fatalf("Update(%s): %v", patch, err)
	}
	return etag
}

// changes returns the bodies of the digital twin events since it was last called, and how many twin events there were.
func (r *rig) changes(t fatal) (bodies []string, twinEvents int) {
	t.Helper()
	records, err := r.engine.Read(engine.PartitionOf(r.engine, device), eventlog.Name, r.read, 1000, 1<<30)
	if err != nil {
		t.Fatalf("read events: %v", err)
	}
	r.read += uint64(len(records))
	for _, record := range records {
		b, err := eventlog.AppendMessage(nil, record)
		if err != nil {
			t.Fatalf("event: %v", err)
		}
		m, err := amqp.DecodeMessage(b)
		if err != nil {
			t.Fatalf("event: %v", err)
		}
		if source, _ := m.MessageAnnotations.Get("iothub-message-source"); source == "digitalTwinChangeEvents" {
			bodies = append(bodies, string(m.Body.Bytes()))
		} else {
			twinEvents++
		}
	}
	return bodies, twinEvents
}

// The kinds of digital twin events, one after the other in the life of a device.
func TestEvents(t *testing.T) {
	r := newRig(t)
	update := func(patch string) func() { return func() { r.update(t, patch) } }
	report := func(patch string) func() { return func() { r.report(t, patch) } }
	at := func(second int) string {
		return `"` + twinhub.FormatTime(time.Date(2020, 7, 17, 6, 10, second, 0, time.UTC)) + `"`
	}
	steps := []struct {
		name string
		do   func()
		want string // "" for no event
	}{
		{"root property first reported", report(`{"p":10.96}`),
			`[{"op":"add","path":"/$metadata/p","value":{"lastUpdateTime":` + at(1) + `}},{"op":"add","path":"/p","value":10.96}]`},
		{"reported again", report(`{"p":16.9}`),
			`[{"op":"replace","path":"/$metadata/p/lastUpdateTime","value":` + at(2) + `},{"op":"replace","path":"/p","value":16.9}]`},
		{"reported with the same value", report(`{"p":16.9}`),
			`[{"op":"replace","path":"/$metadata/p/lastUpdateTime","value":` + at(3) + `}]`},
		{"component first seen", report(`{"t1":{"p":98.34,"__t":"c"}}`),
			`[{"op":"add","path":"/t1","value":{"$metadata":{"p":{"lastUpdateTime":` + at(4) + `}},"p":98.34}}]`},
		{"desired set", update(`[{"op":"add","path":"/t1/target","value":21.8}]`),
			`[{"op":"add","path":"/t1/$metadata/target","value":{"desiredValue":21.8,"desiredVersion":2}}]`},
		{"desired changed again", update(`[{"op":"replace","path":"/t1/target","value":22}]`),
			`[{"op":"replace","path":"/t1/$metadata/target/desiredValue","value":22},{"op":"replace","path":"/t1/$metadata/target/desiredVersion","value":3}]`},
		{"acknowledged first time", report(`{"t1":{"target":{"value":22,"ac":200,"av":3,"ad":"done"},"__t":"c"}}`),
			`[{"op":"add","path":"/t1/$metadata/target/ackCode","value":200},{"op":"add","path":"/t1/$metadata/target/ackDescription","value":"done"},` +
				`{"op":"add","path":"/t1/$metadata/target/ackVersion","value":3},{"op":"add","path":"/t1/$metadata/target/lastUpdateTime","value":` + at(7) + `},` +
				`{"op":"add","path":"/t1/target","value":22}]`},
		{"model announced", func() {
			if err := r.twins.SetModel(t.Context(), twinhub.ID{Device: device}, "dtmi:com:example:Thermostat;1"); err != nil {
				t.Fatal(err)
			}
		}, `[{"op":"replace","path":"/$metadata/$model","value":"dtmi:com:example:Thermostat;1"}]`},
		{"desired removed", update(`[{"op":"remove","path":"/t1/target"}]`),
			`[{"op":"remove","path":"/t1/$metadata/target/desiredValue"},{"op":"remove","path":"/t1/$metadata/target/desiredVersion"}]`},
		{"reported removed", report(`{"p":null}`), `[{"op":"remove","path":"/$metadata/p"},{"op":"remove","path":"/p"}]`},
		{"tags", func() {
			if _, _, err := r.twins.Update(t.Context(), twinhub.ID{Device: device}, []byte(`{"tags":{"a":1}}`), "", false); err != nil {
				t.Fatal(err)
			}
		}, ""},
	}
	for _, step := range steps {
		step.do()
		if got, _ := r.changes(t); strings.Join(got, " ") != step.want {
			t.Errorf("%s\n got %s\nwant %s", step.name, got, step.want)
		}
	}
}

// fakeLink is a connected device that notes the desired patches it gets.
type fakeLink struct{ patches []string }

func (l *fakeLink) Desired(_ int64, patch []byte) { l.patches = append(l.patches, string(patch)) }
func (l *fakeLink) Invoke(context.Context, session.Call) (session.Reply, error) {
	return session.Reply{}, session.ErrGone
}
func (l *fakeLink) Close(session.Reason) {}

func TestUpdateIsOneWrite(t *testing.T) {
	r := newRig(t)
	link := new(fakeLink)
	r.sessions.Open(twinhub.ID{Device: device}, link)
	r.update(t, `[{"op":"add","path":"/c/p","value":1}]`)
	etag := r.update(t, `[{"op":"add","path":"/a","value":{"x":1}},{"op":"replace","path":"/c/p","value":2.0},{"op":"add","path":"/b","value":true},{"op":"remove","path":"/b"}]`)
	if etag != "AAAAAAAAAAM=" {
		t.Errorf("etag %s, want that of 3", etag)
	}
	want := []string{`{"c":{"__t":"c","p":1},"$version":2}`, `{"a":{"x":1},"c":{"__t":"c","p":2.0},"b":null,"$version":3}`}
	if strings.Join(link.patches, "\n") != strings.Join(want, "\n") {
		t.Errorf("desired patches\n got %s\nwant %s", link.patches, want)
	}
	d, err := r.twins.Document(twinhub.ID{Device: device})
	if err != nil {
		t.Fatal(err)
	}
	if d.Version != 4 || d.Desired.Version != 3 {
		t.Errorf("version %d, desired %d; want 4, 3", d.Version, d.Desired.Version)
	}
	if got := d.Desired.Values.String(); got != `{"c":{"__t":"c","p":2.0},"a":{"x":1}}` {
		t.Errorf("desired %s", got)
	}
	for name, want := range map[string]int64{"__t": 2, "p": 3} { // the marker is written once
		v, _ := d.Desired.Metadata.Lookup("c", name, "$lastUpdatedVersion")
		if n, _ := v.AsInt64(); n != want {
			t.Errorf("$lastUpdatedVersion of c.%s = %d, want %d", name, n, want)
		}
	}
	if bodies, twinEvents := r.changes(t); len(bodies) != 2 || twinEvents != 2 {
		t.Errorf("%d digital twin events and %d twin events, want 2 and 2", len(bodies), twinEvents)
	}
	if got := r.update(t, `[{"op":"remove","path":"/nothing"}]`); got != etag {
		t.Errorf("etag %s after a patch that changes nothing, want %s", got, etag)
	}
}

func TestUpdateErrors(t *testing.T) {
	r := newRig(t)
	_, etag := r.get(t)
	r.report(t, `{"x":1}`)
	if _, err := r.digital.Update(t.Context(), device, []byte(`[{"op":"add","path":"/p","value":1}]`), `"`+etag+`"`); err != nil {
		t.Errorf("etag from before a report: %v", err)
	}
	before, _ := r.get(t)
	tests := []struct {
		name, device, patch, ifMatch string
		want                         twinhub.Code
	}{
		{"stale etag", device, `[{"op":"add","path":"/p","value":1}]`, etag, twinhub.CodePreconditionFailed},
		{"stale etag, nothing to do", device, `[]`, etag, twinhub.CodePreconditionFailed},
		{"unknown device", "nobody", `[{"op":"add","path":"/p","value":1}]`, "", twinhub.CodeDeviceNotFound},
		{"bad value", device, `[{"op":"add","path":"/p","value":null}]`, "", twinhub.CodeInvalidDigitalTwinPayload},
		{"integer out of range", device, `[{"op":"add","path":"/p","value":9007199254740993}]`, "", twinhub.CodeArgumentInvalid},
		{"string too long", device, `[{"op":"add","path":"/p","value":"` + strings.Repeat("x", 4097) + `"}]`, "", twinhub.CodeArgumentInvalid},
		{"last operation wrong", device, `[{"op":"add","path":"/q","value":1},{"op":"add","path":"/x/y","value":1}]`, "", twinhub.CodeArgumentInvalid},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := r.digital.Update(t.Context(), tt.device, []byte(tt.patch), tt.ifMatch); !twinhub.HasCode(err, tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
	if after, _ := r.get(t); after != before {
		t.Errorf("refused patches changed the digital twin\n from %s\n to   %s", before, after)
	}
	if _, _, err := r.digital.Get(t.Context(), "nobody"); !twinhub.HasCode(err, twinhub.CodeDeviceNotFound) {
		t.Errorf("Get of an unknown device: %v", err)
	}
}

func TestConflictNamesTheProperty(t *testing.T) {
	r := newRig(t)
	r.report(t, `{"x":1}`)
	_, err := r.digital.Update(t.Context(), device, []byte(`[{"op":"add","path":"/x/y","value":1}]`), "")
	want := "'x' exists within the device twin and is not digital twin conformant property. Please refer to aka.ms/dtpatch to update this to be conformant."
	if e := twinhub.AsError(err); e == nil || e.Message != want {
		t.Errorf("got %v, want %q", err, want)
	}
}

var names = []string{"a", "b", "c", "d", "long/er~name"}

// drawSection returns properties, components, acknowledgements and deletions.
func drawSection(t *rapid.T, depth int) jsondoc.Value {
	var b jsondoc.Builder
	for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom(names), 0, 3, rapid.ID[string]).Draw(t, "names") {
		kind := rapid.IntRange(0, 7).Draw(t, "kind")
		number := jsondoc.Int(rapid.Int64Range(0, 3).Draw(t, "number"))
		switch {
		case kind == 0:
			b.Set(name, jsondoc.Null())
		case kind == 1:
			b.Set(name, jsondoc.Array(number, jsondoc.String("x")))
		case kind == 2:
			b.Set(name, jsondoc.Object(jsondoc.Member{Key: "value", Value: number}, jsondoc.Member{Key: "ac", Value: number}, jsondoc.Member{Key: "av", Value: number}))
		case kind <= 4 && depth > 0:
			c := drawSection(t, depth-1)
			if rapid.Bool().Draw(t, "component") {
				c = c.Set("__t", jsondoc.String("c"))
			}
			b.Set(name, c)
		default:
			b.Set(name, number)
		}
	}
	return b.Object()
}

// For random changes of random twins, the JSON Patch of the event turns the digital twin read before into the one
// read after; without an event they are the same. Ten changes in each of 100 runs.
func TestEventsTurnBeforeIntoAfter(t *testing.T) {
	r := newRig(t)
	id := twinhub.ID{Device: device}
	changed := 0
	rapid.Check(t, func(t *rapid.T) {
		r.fresh(t)
		for range 10 {
			before, _ := r.get(t)
			r.clock.step()
			what := "report"
			var err error
			switch rapid.IntRange(0, 4).Draw(t, "change") {
			case 0, 1:
				_, err = r.twins.Reported(context.Background(), id, drawSection(t, 2).Marshal(), nil)
			case 2:
				what = "service"
				body := `{"properties":{"desired":` + drawSection(t, 2).String() + `}}`
				_, _, err = r.twins.Update(context.Background(), id, []byte(body), "", rapid.Bool().Draw(t, "replace"))
			case 3:
				what = "model"
				err = r.twins.SetModel(context.Background(), id, rapid.SampledFrom([]string{"", "dtmi:a;1", "dtmi:a;2"}).Draw(t, "model"))
			default:
				what = "digital twin"
				_, err = r.digital.Update(context.Background(), device, drawPatch(t), "")
				if twinhub.HasCode(err, twinhub.CodeArgumentInvalid) { // clashes with what is there
					err = nil
				}
			}
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			after, _ := r.get(t)
			bodies, _ := r.changes(t)
			if len(bodies) > 1 {
				t.Fatalf("%d events of one change", len(bodies))
			}
			got := before
			if len(bodies) == 1 {
				changed++
				got = patched(t, before, bodies[0])
			}
			a, errA := jsondoc.Parse([]byte(got), jsondoc.Limits{})
			b, errB := jsondoc.Parse([]byte(after), jsondoc.Limits{})
			if errA != nil || errB != nil {
				t.Fatalf("parse: %v, %v", errA, errB)
			}
			if !jsondoc.Equal(a, b) {
				t.Fatalf("%s\nbefore %s\nevent  %s\ngives  %s\nafter  %s", what, before, bodies, got, after)
			}
		}
	})
	if changed < 300 && !testing.Short() { // -short makes fewer runs
		t.Errorf("only %d changes made an event: the test shows little", changed)
	}
}

func patched(t *rapid.T, doc, patch string) string {
	p, err := jsonpatch.DecodePatch([]byte(patch))
	if err != nil {
		t.Fatalf("decode %s: %v", patch, err)
	}
	out, err := p.Apply([]byte(doc))
	if err != nil {
		t.Fatalf("apply %s\nto %s: %v", patch, doc, err)
	}
	return string(out)
}

// drawPatch returns a well-formed patch of one to three operations.
func drawPatch(t *rapid.T) []byte {
	paths := []string{"/a", "/b", "/c", "/a/b", "/b/a", "/c/a", "/c/b"}
	values := []string{`1`, `2.0`, `"x"`, `{"x":1}`, `{"y":{"x":2}}`, `{"$metadata":{}}`, `{"$metadata":{},"a":1}`, `{"$metadata":{},"b":{"x":1}}`}
	var patch jsondoc.Patch
	for range rapid.IntRange(1, 3).Draw(t, "operations") {
		op := jsondoc.Op{Op: rapid.SampledFrom([]string{jsondoc.OpAdd, jsondoc.OpReplace, jsondoc.OpRemove}).Draw(t, "op"), Path: rapid.SampledFrom(paths).Draw(t, "path")}
		options := values
		if strings.Count(op.Path, "/") == 2 {
			options = values[:5]
		}
		v, err := jsondoc.Parse([]byte(rapid.SampledFrom(options).Draw(t, "value")), jsondoc.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		op.Value = v
		patch = append(patch, op)
	}
	return patch.Append(nil)
}
