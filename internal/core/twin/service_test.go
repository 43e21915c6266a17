package twin_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/core/identity"
	"github.com/twinhub/twinhub/internal/core/session"
	"github.com/twinhub/twinhub/internal/core/twin"
	"github.com/twinhub/twinhub/internal/jsondoc"
)

func TestGet(t *testing.T) {
	r := newRig(t)
	r.create(twinhub.ID{Device: "d1"}, `{"site":"a"}`, `null`)
	r.create(twinhub.ID{Device: "d1", Module: "m1"}, `null`, `{"a":1.0}`)
	const section = `{"$metadata":{"$lastUpdated":"2020-10-21T14:10:00Z"},"$version":1}`
	tests := []struct {
		name string
		id   twinhub.ID
		want string
	}{
		{"device", twinhub.ID{Device: "d1"},
			`{"deviceId":"d1","etag":"AAAAAAAAAAE=","deviceEtag":"NTg1NjY0OTMw","status":"enabled","statusUpdateTime":"0001-01-01T00:00:00Z",` +
				`"connectionState":"Disconnected","lastActivityTime":"0001-01-01T00:00:00Z","cloudToDeviceMessageCount":0,"authenticationType":"sas",` +
				`"x509Thumbprint":{"primaryThumbprint":null,"secondaryThumbprint":null},"modelId":"","version":2,"tags":{"site":"a"},` +
				`"properties":{"desired":` + section + `,"reported":` + section + `},"capabilities":{"iotEdge":false}}`},
		{"module", twinhub.ID{Device: "d1", Module: "m1"},
			`{"deviceId":"d1","moduleId":"m1","etag":"AAAAAAAAAAE=","deviceEtag":"NTg1NjY0OTMw","status":"enabled","statusUpdateTime":"0001-01-01T00:00:00Z",` +
				`"connectionState":"Disconnected","lastActivityTime":"0001-01-01T00:00:00Z","cloudToDeviceMessageCount":0,"authenticationType":"sas",` +
				`"x509Thumbprint":{"primaryThumbprint":null,"secondaryThumbprint":null},"modelId":"","version":2,` +
				`"properties":{"desired":{"a":1.0,"$metadata":{"$lastUpdated":"2020-10-21T14:10:00Z","$lastUpdatedVersion":1,"a":{"$lastUpdated":"2020-10-21T14:10:00Z","$lastUpdatedVersion":1}},"$version":1},"reported":` + section + `}}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			doc, etag := r.get(tt.id)
			if doc != tt.want {
				t.Errorf("twin\n got %s\nwant %s", doc, tt.want)
			}
			if etag != "AAAAAAAAAAE=" {
				t.Errorf("etag %q", etag)
			}
		})
	}
}

func TestShowOfAnIdentityWithEverything(t *testing.T) {
	d, err := twin.NewDocument(time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC), "dtmi:a;1", parse(t, `null`), parse(t, `null`))
	if err != nil {
		t.Fatal(err)
	}
	i := &identity.Identity{
		DeviceID: "e", Version: 1, Status: identity.Disabled, StatusReason: "lost", StatusUpdatedTime: time.Date(2021, 1, 1, 0, 0, 0, 120, time.UTC),
		Auth: identity.Auth{Type: identity.AuthSelfSigned, PrimaryThumbprint: "AA", SecondaryThumbprint: "BB"},
		Edge: true, DeviceScope: "ms-azure-iot-edge://e-1", ParentScopes: []string{"ms-azure-iot-edge://p-1"},
	}
	s := session.State{Connected: true, LastActivityTime: time.Date(2022, 1, 1, 0, 0, 0, 0, time.UTC)}
	const section = `{"$metadata":{"$lastUpdated":"2020-01-02T03:04:05Z"},"$version":1}`
	want := `{"deviceId":"e","etag":"AAAAAAAAAAE=","deviceEtag":"MQ==","status":"disabled","statusReason":"lost","statusUpdateTime":"2021-01-01T00:00:00.0000001Z",` +
		`"connectionState":"Connected","lastActivityTime":"2022-01-01T00:00:00Z","cloudToDeviceMessageCount":0,"authenticationType":"selfSigned",` +
		`"x509Thumbprint":{"primaryThumbprint":"AA","secondaryThumbprint":"BB"},"modelId":"dtmi:a;1","version":2,` +
		`"properties":{"desired":` + section + `,"reported":` + section + `},"capabilities":{"iotEdge":true},"deviceScope":"ms-azure-iot-edge://e-1","parentScopes":["ms-azure-iot-edge://p-1"]}`
	if got := twin.Show(i, d, s).String(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestForDevice(t *testing.T) {
	r := newRig(t)
	r.create(device, `{"site":"a"}`, `{"a":1.0}`)
	r.reported(device, `{"b":{"c":1}}`)
	got, err := r.twins.ForDevice(t.Context(), device)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"desired":{"a":1.0,"$version":1},"reported":{"b":{"c":1},"$version":2}}`; string(got) != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestUnknownIdentity(t *testing.T) {
	r := newRig(t)
	r.create(device, `null`, `null`)
	for id, code := range map[twinhub.ID]twinhub.Code{
		{Device: "nobody"}:                   twinhub.CodeDeviceNotFound,
		{Device: device.Device, Module: "x"}: twinhub.CodeModuleNotFound,
	} {
		ctx := t.Context()
		_, _, get := r.twins.Get(ctx, id)
		_, _, update := r.twins.Update(ctx, id, []byte(`{"tags":{}}`), "", false)
		_, reported := r.twins.Reported(ctx, id, []byte(`{}`), nil)
		_, forDevice := r.twins.ForDevice(ctx, id)
		model := r.twins.SetModel(ctx, id, "dtmi:a;1")
		for name, err := range map[string]error{"Get": get, "Update": update, "Reported": reported, "ForDevice": forDevice, "SetModel": model} {
			if !twinhub.HasCode(err, code) {
				t.Errorf("%s of %s: got %v, want %s", name, id, err, code)
			}
		}
	}
}

// Which writes move the etag, and so make a client's If-Match fail.
func TestIfMatchAfterAnotherWrite(t *testing.T) {
	tests := []struct {
		name    string
		between func(*rig)
		wantErr bool
	}{
		{"nothing", func(*rig) {}, false},
		{"reported", func(r *rig) { r.reported(device, `{"a":1}`) }, false},
		{"model", func(r *rig) {
			if err := r.twins.SetModel(context.Background(), device, "dtmi:a;1"); err != nil {
				r.t.Fatal(err)
			}
		}, false},
		{"request that names no section", func(r *rig) { r.update(device, `{"status":"x"}`, "*") }, false},
		{"tags", func(r *rig) { r.update(device, `{"tags":{"a":1}}`, "") }, true},
		{"desired", func(r *rig) { r.update(device, `{"properties":{"desired":{"a":1}}}`, `"*"`) }, true},
		{"another life of the identity with the same etag", func(r *rig) {
			r.remove(device)
			r.create(device, `null`, `null`)
		}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			r.create(device, `null`, `null`)
			_, etag := r.get(device)
			tt.between(r)
			before, _ := r.get(device)
			_, next, err := r.twins.Update(t.Context(), device, []byte(`{"tags":{"mine":1}}`), `"`+etag+`"`, false)
			if !tt.wantErr {
				if err != nil || next != "AAAAAAAAAAI=" {
					t.Errorf("got etag %q, error %v; want AAAAAAAAAAI=", next, err)
				}
				return
			}
			if e := twinhub.AsError(err); e == nil || e.Code != twinhub.CodePreconditionFailed || e.Message != "PreconditionFailed, ETag may be invalid." {
				t.Errorf("got %v, want PreconditionFailed", err)
			}
			if after, _ := r.get(device); after != before {
				t.Errorf("a refused request changed the twin\n from %s\n to   %s", before, after)
			}
		})
	}
}

func TestReportedVersions(t *testing.T) {
	r := newRig(t)
	r.create(device, `null`, `null`)
	for want := int64(2); want <= 4; want++ {
		if got := r.reported(device, `{"a":1}`); got != want {
			t.Errorf("$version %d, want %d", got, want)
		}
	}
	stale, current := int64(3), int64(4)
	if _, err := r.twins.Reported(t.Context(), device, []byte(`{"a":2}`), &stale); !twinhub.HasCode(err, twinhub.CodePreconditionFailed) {
		t.Errorf("stale version: got %v, want PreconditionFailed", err)
	}
	if v, err := r.twins.Reported(t.Context(), device, []byte(`{"a":2}`), &current); v != 5 || err != nil {
		t.Errorf("current version: got %d, %v; want 5", v, err)
	}
}

// Fifty writers hold the same etag: one wins.
func TestOneOfManyWritersWithOneETagWins(t *testing.T) {
	r := newRig(t, twinhub.TwinChange)
	r.create(device, `null`, `null`)
	_, etag := r.get(device)
	results := race(50, func(n int) error {
		_, _, err := r.twins.Update(context.Background(), device, fmt.Appendf(nil, `{"tags":{"winner":%d}}`, n), etag, false)
		return err
	})
	won := 0
	for n, err := range results {
		switch {
		case err == nil:
			won++
		case !twinhub.HasCode(err, twinhub.CodePreconditionFailed):
			t.Errorf("writer %d: %v", n, err)
		}
	}
	if won != 1 {
		t.Errorf("%d writers won, want 1", won)
	}
	doc, after := r.get(device)
	if after != "AAAAAAAAAAI=" || !strings.Contains(doc, `"version":3,`) {
		t.Errorf("etag %s, twin %s", after, doc)
	}
	if events := r.events(device, 0); len(events) != 1 {
		t.Errorf("%d events, want 1", len(events))
	}
}

// Writers without etag all succeed, and reports of the device in between do not disturb them. Two services share the
// engine, as two nodes would, so that they race for revisions.
func TestEveryWriterWithoutETagSucceeds(t *testing.T) {
	r := newRig(t, twinhub.TwinChange)
	r.create(device, `null`, `null`)
	other := r.another()
	link := new(fakeLink)
	r.sessions.Open(device, link)
	const writers = 50
	for n, err := range race(3*writers, func(n int) error {
		var err error
		switch n % 3 {
		case 0:
			_, _, err = r.twins.Update(context.Background(), device, fmt.Appendf(nil, `{"properties":{"desired":{"n%d":%d}}}`, n, n), "", false)
		case 1:
			_, _, err = other.Update(context.Background(), device, fmt.Appendf(nil, `{"properties":{"desired":{"n%d":%d}}}`, n, n), "*", false)
		default:
			_, err = r.twins.Reported(context.Background(), device, fmt.Appendf(nil, `{"n%d":%d}`, n, n), nil)
		}
		return err
	}) {
		if err != nil {
			t.Errorf("writer %d: %v", n, err)
		}
	}
	doc := parse(t, first(r.get(device)))
	for _, want := range []struct {
		path []string
		n    int64
	}{{[]string{"version"}, 2 + 3*writers}, {[]string{"properties", "desired", "$version"}, 1 + 2*writers}, {[]string{"properties", "reported", "$version"}, 1 + writers}} {
		v, _ := doc.Lookup(want.path...)
		if got, _ := v.AsInt64(); got != want.n {
			t.Errorf("%v = %d, want %d", want.path, got, want.n)
		}
	}
	if events := r.events(device, 0); len(events) != 3*writers {
		t.Errorf("%d events, want %d", len(events), 3*writers)
	}

	// The device got every patch once, in the order of versions, and has what the twin has.
	link.mu.Lock()
	defer link.mu.Unlock()
	if len(link.versions) != 2*writers || !slices.IsSorted(link.versions) || link.versions[0] != 2 || link.versions[2*writers-1] != 1+2*writers {
		t.Fatalf("desired patches of versions %v, want 2 to %d in order", link.versions, 1+2*writers)
	}
	has := parse(t, `{}`)
	for _, patch := range link.patches {
		has = jsondoc.Merge(has, parse(t, patch))
	}
	desired, _ := doc.Lookup("properties", "desired")
	if want := desired.Delete("$metadata"); !jsondoc.Equal(has, want) {
		t.Errorf("the device has %s, want %s", has, want)
	}
}

func first(s, _ string) string { return s }

// race runs f(0) to f(n-1) at once and returns their results.
func race(n int, f func(int) error) []error {
	results := make([]error, n)
	start := make(chan struct{})
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() {
			<-start
			results[i] = f(i)
		})
	}
	close(start)
	group.Wait()
	return results
}

func TestDesiredPatchesForTheDevice(t *testing.T) {
	r := newRig(t)
	r.create(device, `null`, `{"a":1,"b":2}`)
	link := new(fakeLink)
	s := r.sessions.Open(device, link)
	steps := []struct {
		body    string
		replace bool
		want    string
	}{
		{`{"properties":{"desired":{"b":null,"c":{"x":1.0},"$version":9,"$metadata":{"a":1}}}}`, false, `{"b":null,"c":{"x":1.0},"$version":2}`},
		{`{"tags":{"a":1}}`, false, ""},
		{`{"properties":{"desired":{"a":7,"d":1}}}`, true, `{"a":7,"c":null,"d":1,"$version":3}`},
		{`{"properties":{"desired":null}}`, false, `{"a":null,"d":null,"$version":4}`},
	}
	for _, step := range steps {
		link.patches = nil
		if _, _, err := r.twins.Update(t.Context(), device, []byte(step.body), "", step.replace); err != nil {
			t.Fatalf("Update(%s): %v", step.body, err)
		}
		if got := strings.Join(link.patches, " "); got != step.want {
			t.Errorf("after %s\n got %s\nwant %s", step.body, got, step.want)
		}
	}
	s.Close()
	link.patches = nil
	r.update(device, `{"properties":{"desired":{"a":1}}}`, "")
	if len(link.patches) != 0 {
		t.Errorf("a closed session got %v", link.patches)
	}
}

func TestWritersStopWithTheirContext(t *testing.T) {
	r := newRig(t)
	r.create(device, `null`, `null`)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := r.twins.Get(ctx, device); !errors.Is(err, context.Canceled) {
		t.Errorf("Get: %v, want context.Canceled", err)
	}
	if _, err := r.twins.ForDevice(ctx, device); !errors.Is(err, context.Canceled) {
		t.Errorf("ForDevice: %v, want context.Canceled", err)
	}
}

func TestSetModel(t *testing.T) {
	r := newRig(t)
	r.create(device, `null`, `null`)
	if err := r.twins.SetModel(t.Context(), device, strings.Repeat("x", 4097)); !twinhub.HasCode(err, twinhub.CodeArgumentInvalid) {
		t.Errorf("long model id: got %v, want ArgumentInvalid", err)
	}
	for _, id := range []string{"dtmi:a;1", "dtmi:a;2", "bad\xffutf8", ""} {
		if err := r.twins.SetModel(t.Context(), device, id); err != nil {
			t.Fatalf("SetModel(%q): %v", id, err)
		}
		d, err := r.twins.Document(device)
		if err != nil {
			t.Fatal(err)
		}
		if want := strings.ToValidUTF8(id, "\uFFFD"); d.ModelID != want {
			t.Errorf("model %q, want %q", d.ModelID, want)
		}
	}
}

func TestLargestTwin(t *testing.T) {
	// As many short properties as fit in, three levels deep, in every section, and then each of them again.
	var b jsondoc.Builder
	for i := range 1400 {
		b.Set(fmt.Sprintf("p%04d", i), parse(t, `{"a":{"b":1}}`))
	}
	section := b.Object()
	r := newRig(t, twinhub.TwinChange, twinhub.DigitalTwinChange)
	r.create(device, `null`, `null`)
	r.reported(device, section.String())
	doc := r.update(device, `{"properties":{"desired":`+section.String()+`}}`, "")
	r.update(device, doc, "") // sent back whole
	d, err := r.twins.Document(device)
	if err != nil {
		t.Fatal(err)
	}
	if !jsondoc.Identical(d.Desired.Values, section) || !jsondoc.Identical(d.Reported.Values, section) || d.Desired.Version != 3 {
		t.Errorf("desired version %d; values differ", d.Desired.Version)
	}
}

func TestChangeThatIsTooLargeToAnnounce(t *testing.T) {
	// Thousands of tiny properties: each takes far more room in the events than in the twin.
	var b jsondoc.Builder
	for i := range 8500 {
		b.Set(fmt.Sprintf("%x", i), jsondoc.Object())
	}
	section := b.Object().String()
	r := newRig(t, twinhub.TwinChange, twinhub.DigitalTwinChange)
	r.create(device, `null`, `null`)
	r.update(device, `{"properties":{"desired":`+section+`}}`, "")
	before, _ := r.get(device)
	_, _, err := r.twins.Update(t.Context(), device, []byte(`{"properties":{"desired":`+strings.ReplaceAll(section, "{}", `""`)+`}}`), "", true)
	if !twinhub.HasCode(err, twinhub.CodeMessageTooLarge) {
		t.Fatalf("got %v, want MessageTooLarge", err)
	}
	if after, _ := r.get(device); after != before {
		t.Error("the refused change was made")
	}
}
