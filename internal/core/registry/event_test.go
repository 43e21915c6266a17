package registry

import (
	"strings"
	"testing"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/engine"
	"github.com/twinhub/twinhub/internal/jsondoc"
)

func TestLifecycleEvents(t *testing.T) {
	c := newCore(t, lifecycle)
	c.put(t, &Spec{DeviceID: "d1"}, "")
	c.put(t, &Spec{DeviceID: "d1"}, "*") // an update tells nothing
	if _, _, err := c.twins.Update(t.Context(), twinhub.ID{Device: "d1"}, []byte(`{"tags":{"site":"a"}}`), "", false); err != nil {
		t.Fatal(err)
	}
	if err := c.Delete(t.Context(), "d1", "*"); err != nil {
		t.Fatal(err)
	}
	got := c.records(t, "d1")
	const never = `{"$metadata":{"$lastUpdated":"0001-01-01T00:00:00Z"},"$version":1}`
	const empty = `{"$metadata":{"$lastUpdated":"2020-10-21T14:10:42.4171263Z"},"$version":1}`
	want := [][]string{
		{"deviceLifecycleEvents", "deviceLifecycleNotification", "createDeviceIdentity", "2020-10-21T14:10:42.4171263+00:00", "application/json",
			`{"deviceId":"d1","etag":"AAAAAAAAAAE=","version":2,"properties":{"desired":` + never + `,"reported":` + never + `}}`},
		{"deleteDeviceIdentity",
			`{"deviceId":"d1","etag":"AAAAAAAAAAI=","version":3,"tags":{"site":"a"},"properties":{"desired":` + empty + `,"reported":` + empty + `}}`},
	}
	if len(got) != len(want) {
		t.Fatalf("got %d events, want %d: %q", len(got), len(want), got)
	}
	for n := range want {
		for _, part := range want[n] {
			if !strings.Contains(got[n], part) {
				t.Errorf("event %d is %q, without %q", n, got[n], part)
			}
		}
	}
}

func TestNoLifecycleEventsWithoutRoute(t *testing.T) {
	c := newCore(t)
	c.put(t, &Spec{DeviceID: "d1"}, "")
	if got := c.records(t, "d1"); len(got) != 0 {
		t.Errorf("got events %q, want none", got)
	}
}

// TestDeleteTwinThatHardlyFits deletes a device whose twin is so large that an event cannot hold it.
func TestDeleteTwinThatHardlyFits(t *testing.T) {
	c := newCore(t, lifecycle)
	c.put(t, &Spec{DeviceID: "d1"}, "")
	id := twinhub.ID{Device: "d1"}
	document, err := c.twins.Document(id)
	if err != nil {
		t.Fatal(err)
	}
	large := *document
	large.Reported.Metadata = jsondoc.Object(jsondoc.Member{Key: "x", Value: jsondoc.String(strings.Repeat("x", engine.MaxValue-400))})
	w, err := large.Write(id, engine.Any)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.do(t.Context(), id, engine.Commit{Writes: []engine.Write{w}}); err != nil {
		t.Fatal(err)
	}
	if err := c.Delete(t.Context(), "d1", "*"); err != nil {
		t.Fatalf("delete: %v", err)
	}
	events := c.records(t, "d1")
	if last := events[len(events)-1]; len(events) != 2 || !strings.Contains(last, "deleteDeviceIdentity") || !strings.Contains(last, `"etag":"AAAAAAAAAAE="`) || len(last) > 4096 {
		t.Errorf("got %d events, the last of %d bytes; want a deletion without the twin's content", len(events), len(last))
	}
}
