package twin

import (
	"testing"
	"time"

	"github.com/twinhub/twinhub/internal/jsondoc"
)

var (
	created = time.Date(2020, 10, 21, 14, 10, 0, 0, time.UTC)
	later   = time.Date(2020, 10, 21, 14, 13, 39, 364910000, time.UTC)
)

const (
	t0 = `"$lastUpdated":"2020-10-21T14:10:00Z"`
	t1 = `"$lastUpdated":"2020-10-21T14:13:39.36491Z"`
)

func parse(t *testing.T, text string) jsondoc.Value {
	t.Helper()
	v, err := jsondoc.Parse([]byte(text), jsondoc.Limits{})
	if err != nil {
		t.Fatalf("parse %s: %v", text, err)
	}
	return v
}

func newTwin(t *testing.T, desired string) *Document {
	t.Helper()
	d, err := NewDocument(created, "", jsondoc.Null(), parse(t, desired))
	if err != nil {
		t.Fatalf("NewDocument: %v", err)
	}
	return d
}

// The rows of the merge rules: what a merge patch makes of properties and of their metadata.
func TestMerge(t *testing.T) {
	tests := []struct {
		name, before, patch string
		values, metadata    string
	}{
		{"scalar replaces scalar, siblings keep their stamp", `{"a":1,"b":2}`, `{"a":3}`,
			`{"a":3,"b":2}`, `{` + t1 + `,"$lastUpdatedVersion":2,"a":{` + t1 + `,"$lastUpdatedVersion":2},"b":{` + t0 + `,"$lastUpdatedVersion":1}}`},
		{"same value again is a write", `{"a":1}`, `{"a":1}`,
			`{"a":1}`, `{` + t1 + `,"$lastUpdatedVersion":2,"a":{` + t1 + `,"$lastUpdatedVersion":2}}`},
		{"array replaces array whole", `{"a":[1,2]}`, `{"a":[3]}`,
			`{"a":[3]}`, `{` + t1 + `,"$lastUpdatedVersion":2,"a":{` + t1 + `,"$lastUpdatedVersion":2}}`},
		{"object merges, ancestors stamped", `{"a":{"x":1,"y":2}}`, `{"a":{"x":5}}`,
			`{"a":{"x":5,"y":2}}`, `{` + t1 + `,"$lastUpdatedVersion":2,"a":{` + t1 + `,"$lastUpdatedVersion":2,"x":{` + t1 + `,"$lastUpdatedVersion":2},"y":{` + t0 + `,"$lastUpdatedVersion":1}}}`},
		{"object onto scalar", `{"a":1}`, `{"a":{"x":1}}`,
			`{"a":{"x":1}}`, `{` + t1 + `,"$lastUpdatedVersion":2,"a":{` + t1 + `,"$lastUpdatedVersion":2,"x":{` + t1 + `,"$lastUpdatedVersion":2}}}`},
		{"scalar onto object drops the metadata inside", `{"a":{"x":{"y":1}}}`, `{"a":7}`,
			`{"a":7}`, `{` + t1 + `,"$lastUpdatedVersion":2,"a":{` + t1 + `,"$lastUpdatedVersion":2}}`},
		{"array onto object drops the metadata inside", `{"a":{"x":1}}`, `{"a":[{"x":1}]}`,
			`{"a":[{"x":1}]}`, `{` + t1 + `,"$lastUpdatedVersion":2,"a":{` + t1 + `,"$lastUpdatedVersion":2}}`},
		{"null deletes", `{"a":1,"b":2}`, `{"a":null}`,
			`{"b":2}`, `{` + t1 + `,"$lastUpdatedVersion":2,"b":{` + t0 + `,"$lastUpdatedVersion":1}}`},
		{"deleting the last child leaves {}", `{"a":{"x":1}}`, `{"a":{"x":null}}`,
			`{"a":{}}`, `{` + t1 + `,"$lastUpdatedVersion":2,"a":{` + t1 + `,"$lastUpdatedVersion":2}}`},
		{"null below a new parent makes the parent", `{}`, `{"a":{"b":{"x":null}}}`,
			`{"a":{"b":{}}}`, `{` + t1 + `,"$lastUpdatedVersion":2,"a":{` + t1 + `,"$lastUpdatedVersion":2,"b":{` + t1 + `,"$lastUpdatedVersion":2}}}`},
		{"{} makes an empty object", `{}`, `{"a":{}}`,
			`{"a":{}}`, `{` + t1 + `,"$lastUpdatedVersion":2,"a":{` + t1 + `,"$lastUpdatedVersion":2}}`},
		{"{} keeps what is in an object", `{"a":{"x":1}}`, `{"a":{}}`,
			`{"a":{"x":1}}`, `{` + t1 + `,"$lastUpdatedVersion":2,"a":{` + t1 + `,"$lastUpdatedVersion":2,"x":{` + t0 + `,"$lastUpdatedVersion":1}}}`},
		{"numbers and order stay as written", `{}`, `{"z":1.0,"a":1e2,"__t":"c"}`,
			`{"z":1.0,"a":1e2,"__t":"c"}`, `{` + t1 + `,"$lastUpdatedVersion":2,"z":{` + t1 + `,"$lastUpdatedVersion":2},"a":{` + t1 + `,"$lastUpdatedVersion":2},"__t":{` + t1 + `,"$lastUpdatedVersion":2}}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newTwin(t, tt.before)
			got, _ := d.Desired.merge(parse(t, tt.patch), desiredStamp(later, 2), 2)
			if got.Values.String() != tt.values {
				t.Errorf("values\n got %s\nwant %s", got.Values, tt.values)
			}
			if got.Metadata.String() != tt.metadata {
				t.Errorf("metadata\n got %s\nwant %s", got.Metadata, tt.metadata)
			}
			if got.Version != 2 {
				t.Errorf("$version = %d, want 2", got.Version)
			}
		})
	}
}

func TestReportedMetadataHasNoVersion(t *testing.T) {
	d := newTwin(t, `{}`)
	c, err := d.report(parse(t, `{"c":{"p":1}}`), later)
	if err != nil {
		t.Fatal(err)
	}
	want := `{` + t1 + `,"c":{` + t1 + `,"p":{` + t1 + `}}}`
	if got := c.after.Reported.Metadata.String(); got != want {
		t.Errorf("metadata\n got %s\nwant %s", got, want)
	}
	if !jsondoc.Identical(c.before.Desired.Metadata, c.after.Desired.Metadata) {
		t.Errorf("desired metadata changed: %s", c.after.Desired.Metadata)
	}
}

func TestReplacement(t *testing.T) {
	tests := []struct{ name, old, next, want string }{
		{"vanished keys", `{"a":1,"b":2}`, `{"a":1,"c":3}`, `{"a":1,"b":null,"c":3}`},
		{"vanished keys inside", `{"a":{"x":1,"y":2}}`, `{"a":{"x":3}}`, `{"a":{"x":3,"y":null}}`},
		{"object became scalar", `{"a":{"x":1}}`, `{"a":1}`, `{"a":1}`},
		{"scalar became object", `{"a":1}`, `{"a":{"x":1}}`, `{"a":{"x":1}}`},
		{"all gone", `{"a":1,"b":{}}`, `{}`, `{"a":null,"b":null}`},
		{"new", `{}`, `{"a":{"b":[1]}}`, `{"a":{"b":[1]}}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			old, next := parse(t, tt.old), parse(t, tt.next)
			got := Replacement(old, next)
			if got.String() != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			if merged := jsondoc.Merge(old, got); !jsondoc.Equal(merged, next) {
				t.Errorf("merged into old: %s, want %s", merged, next)
			}
		})
	}
}
