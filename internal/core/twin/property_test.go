package twin

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/jsondoc"
)

// names are few, so that patches meet what is there.
var names = []string{"a", "b", "c", "long/er~name", "é", "__t", ""}

func drawValue(t *rapid.T, depth int, nulls bool) jsondoc.Value {
	top := 6
	if depth == 0 {
		top = 4
	}
	switch kind := rapid.IntRange(0, top).Draw(t, "kind"); {
	case kind == 0 && nulls:
		return jsondoc.Null()
	case kind <= 1:
		n, err := jsondoc.Number(rapid.SampledFrom([]string{"0", "1", "1.0", "-2.50", "1e2"}).Draw(t, "number"))
		if err != nil {
			t.Fatal(err)
		}
		return n
	case kind == 2:
		return jsondoc.String(rapid.StringN(0, 5, -1).Draw(t, "string"))
	case kind == 3:
		return jsondoc.Bool(rapid.Bool().Draw(t, "bool"))
	case kind == 4:
		return jsondoc.Array(jsondoc.Int(1), jsondoc.Object(jsondoc.Member{Key: "x", Value: jsondoc.Bool(true)}))
	}
	return drawObject(t, depth-1, nulls)
}

func drawObject(t *rapid.T, depth int, nulls bool) jsondoc.Value {
	var b jsondoc.Builder
	for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom(names), 0, 4, rapid.ID[string]).Draw(t, "names") {
		b.Set(name, drawValue(t, depth, nulls))
	}
	return b.Object()
}

// drawChange changes d at random.
func drawChange(t *rapid.T, d *Document, now time.Time) *change {
	var c *change
	var err error
	section := drawObject(t, 3, true)
	switch rapid.IntRange(0, 5).Draw(t, "change") {
	case 0, 1:
		c, err = d.report(section, now)
	case 2:
		tags := drawObject(t, 2, true)
		c, err = d.service(request{tags: &tags, desired: &section}, now)
	case 3:
		c, err = d.service(request{tags: &section}, now)
	case 4:
		tags := drawObject(t, 2, true)
		c, err = d.service(request{replace: true, tags: whole(&tags), desired: whole(&section)}, now)
	default:
		c, err = d.service(request{desired: &section}, now)
	}
	if err != nil {
		t.Fatalf("change: %v", err)
	}
	return c
}

// For random changes of random twins: the section in the event, merged into the one read before, gives the one read
// after; what the device merges into its copy gives the desired properties; metadata mirrors the properties; and the
// stored form reads back the same. Ten changes in each of 100 runs.
func TestChanges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, err := NewDocument(created, "dtmi:x;1", drawObject(t, 2, true), drawObject(t, 3, true))
		if err != nil {
			t.Fatalf("NewDocument: %v", err)
		}
		device := d.Desired.Values
		for i := range 10 {
			now := created.Add(time.Duration(i+1) * time.Second)
			c := drawChange(t, d, now)
			checkEvent(t, d, c)
			for _, s := range []Section{c.after.Desired, c.after.Reported} {
				mirror(t, "", s.Values, s.Metadata)
			}
			if c.wire != nil {
				device = jsondoc.Merge(device, *c.wire)
			}
			if !jsondoc.Equal(device, c.after.Desired.Values) {
				t.Fatalf("the device has %s, the twin %s", device, c.after.Desired.Values)
			}
			back, err := Decode(c.after.encode())
			if err != nil {
				t.Fatalf("Decode: %v", err)
			}
			if string(back.encode()) != string(c.after.encode()) {
				t.Fatalf("read back\n got %s\nwant %s", back.encode(), c.after.encode())
			}
			d = c.after
		}
	})
}

func checkEvent(t *rapid.T, before *Document, c *change) {
	if c.after.Version != before.Version+1 {
		t.Fatalf("version %d after %d", c.after.Version, before.Version)
	}
	id := twinhub.ID{Device: "d"}
	if c.replaced {
		whole, err := jsondoc.Parse(c.after.Notification(id), jsondoc.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		desired, _ := whole.Lookup("properties", "desired")
		if !jsondoc.Identical(desired, c.after.Desired.show()) {
			t.Fatalf("replaceTwin shows desired %s, want %s", desired, c.after.Desired.show())
		}
		return
	}
	event, err := jsondoc.Parse(c.appendUpdate(nil), jsondoc.Limits{})
	if err != nil {
		t.Fatalf("event %s: %v", c.appendUpdate(nil), err)
	}
	if tags, ok := event.Get("tags"); ok || c.tags != nil {
		if got := jsondoc.Merge(before.Tags, tags); !jsondoc.Identical(got, c.after.Tags) {
			t.Fatalf("event %s on tags %s gives %s, want %s", event, before.Tags, got, c.after.Tags)
		}
	}
	for name, s := range map[string][2]Section{"desired": {before.Desired, c.after.Desired}, "reported": {before.Reported, c.after.Reported}} {
		section, ok := event.Lookup("properties", name)
		if !ok {
			if !jsondoc.Identical(s[0].show(), s[1].show()) {
				t.Fatalf("%s changed from %s to %s, but not in the event %s", name, s[0].show(), s[1].show(), event)
			}
			continue
		}
		got := jsondoc.Merge(s[0].show(), section)
		want := s[1].show()
		// The event does not name the metadata of what vanished; a reader drops it with the value.
		metadata, _ := got.Get(metadataName)
		got = got.Set(metadataName, prune(got.Delete(metadataName).Delete(versionName), metadata))
		if !jsondoc.Equal(got, want) {
			t.Fatalf("event %s on %s %s\ngives %s\nwant  %s", event, name, s[0].show(), got, want)
		}
	}
}

// prune returns metadata without the nodes that values do not have.
func prune(values, metadata jsondoc.Value) jsondoc.Value {
	var b jsondoc.Builder
	for key, m := range metadata.Members() {
		v, ok := values.Get(key)
		switch {
		case strings.HasPrefix(key, "$"):
			b.Set(key, m)
		case ok:
			b.Set(key, prune(v, m))
		}
	}
	return b.Object()
}

// mirror checks that metadata has an entry for every object and leaf of values and for nothing else.
func mirror(t *rapid.T, path string, values, metadata jsondoc.Value) {
	if _, ok := metadata.Get(lastUpdatedName); !ok {
		t.Fatalf("%s: metadata %s has no $lastUpdated", path, metadata)
	}
	entries := 0
	for key := range metadata.Members() {
		if !strings.HasPrefix(key, "$") {
			entries++
		}
	}
	members := 0
	if values.IsObject() {
		members = values.Len()
		for key, v := range values.Members() {
			m, ok := metadata.Get(key)
			if !ok {
				t.Fatalf("%s: no metadata for %q in %s", path, key, metadata)
			}
			mirror(t, fmt.Sprint(path, "/", key), v, m)
		}
	}
	if entries != members {
		t.Fatalf("%s: %d entries of metadata for %d members: %s for %s", path, entries, members, metadata, values)
	}
}
