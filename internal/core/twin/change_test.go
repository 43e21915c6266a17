package twin

import (
	"testing"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/jsondoc"
)

// What a service's body changes, and what the device gets of it.
func TestServiceRequests(t *testing.T) {
	const before = `{"tags":{"site":"a","floor":1},"desired":{"a":1,"b":{"x":1}}}`
	tests := []struct {
		name, body              string
		replace                 bool
		tags, desired           string
		version, desiredVersion int64
		wire                    string // "" for none
		counter                 uint64
	}{
		{name: "tags only", body: `{"tags":{"floor":2}}`,
			tags: `{"site":"a","floor":2}`, desired: `{"a":1,"b":{"x":1}}`, version: 3, desiredVersion: 1, counter: 2},
		{name: "desired only", body: `{"properties":{"desired":{"a":2}}}`,
			tags: `{"site":"a","floor":1}`, desired: `{"a":2,"b":{"x":1}}`, version: 3, desiredVersion: 2, counter: 2, wire: `{"a":2,"$version":2}`},
		{name: "both is one write", body: `{"tags":{"x":1},"properties":{"desired":{"a":null}}}`,
			tags: `{"site":"a","floor":1,"x":1}`, desired: `{"b":{"x":1}}`, version: 3, desiredVersion: 2, counter: 2, wire: `{"a":null,"$version":2}`},
		{name: "neither", body: `{"etag":"x","properties":{"reported":{"a":9}}}`,
			tags: `{"site":"a","floor":1}`, desired: `{"a":1,"b":{"x":1}}`, version: 2, desiredVersion: 1, counter: 1},
		{name: "empty desired names the section", body: `{"properties":{"desired":{}}}`,
			tags: `{"site":"a","floor":1}`, desired: `{"a":1,"b":{"x":1}}`, version: 3, desiredVersion: 2, counter: 2, wire: `{"$version":2}`},
		{name: "null tags clear", body: `{"tags":null}`,
			tags: `{}`, desired: `{"a":1,"b":{"x":1}}`, version: 3, desiredVersion: 1, counter: 2},
		{name: "null desired clears", body: `{"properties":{"desired":null}}`,
			tags: `{"site":"a","floor":1}`, desired: `{}`, version: 3, desiredVersion: 2, counter: 2, wire: `{"a":null,"b":null,"$version":2}`},
		{name: "null properties say nothing", body: `{"properties":null}`,
			tags: `{"site":"a","floor":1}`, desired: `{"a":1,"b":{"x":1}}`, version: 2, desiredVersion: 1, counter: 1},
		{name: "a whole twin sent back", body: `{"deviceId":"d","etag":"AAAA","version":77,"status":"disabled","tags":{"$version":1,"site":"b"},"properties":{"desired":{"a":5,"$metadata":{"$lastUpdated":"x"},"$version":40},"reported":{"a.b":1,"$version":1}}}`,
			tags: `{"site":"b","floor":1}`, desired: `{"a":5,"b":{"x":1}}`, version: 3, desiredVersion: 2, counter: 2, wire: `{"a":5,"$version":2}`},
		{name: "PUT", body: `{"tags":{"n":1},"properties":{"desired":{"a":2,"c":{"y":1,"z":null}}}}`, replace: true,
			tags: `{"n":1}`, desired: `{"a":2,"c":{"y":1}}`, version: 3, desiredVersion: 2, counter: 2, wire: `{"a":2,"b":null,"c":{"y":1},"$version":2}`},
		{name: "PUT of part of an object", body: `{"properties":{"desired":{"b":{"w":1}}}}`, replace: true,
			tags: `{}`, desired: `{"b":{"w":1}}`, version: 3, desiredVersion: 2, counter: 2, wire: `{"a":null,"b":{"x":null,"w":1},"$version":2}`},
		{name: "PUT of nothing clears", body: `{}`, replace: true,
			tags: `{}`, desired: `{}`, version: 3, desiredVersion: 2, counter: 2, wire: `{"a":null,"b":null,"$version":2}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := parse(t, before)
			tags, _ := b.Get("tags")
			desired, _ := b.Get("desired")
			d, err := NewDocument(created, "", tags, desired)
			if err != nil {
				t.Fatal(err)
			}
			r, err := parseRequest([]byte(tt.body), tt.replace)
			if err != nil {
				t.Fatalf("parseRequest: %v", err)
			}
			c, err := d.service(r, later)
			if err != nil {
				t.Fatalf("service: %v", err)
			}
			after, wire := d, ""
			if c != nil {
				after = c.after
				if c.wire != nil {
					wire = string(appendSection(nil, *c.wire, nil, after.Desired.Version))
				}
			}
			if got := after.Tags.String(); got != tt.tags {
				t.Errorf("tags\n got %s\nwant %s", got, tt.tags)
			}
			if got := after.Desired.Values.String(); got != tt.desired {
				t.Errorf("desired\n got %s\nwant %s", got, tt.desired)
			}
			if after.Version != tt.version || after.Desired.Version != tt.desiredVersion || after.Counter != tt.counter {
				t.Errorf("version %d, desired %d, etag counter %d; want %d, %d, %d", after.Version, after.Desired.Version, after.Counter, tt.version, tt.desiredVersion, tt.counter)
			}
			if wire != tt.wire {
				t.Errorf("desired patch\n got %s\nwant %s", wire, tt.wire)
			}
			if after.Reported.Version != 1 {
				t.Errorf("reported $version = %d, want 1", after.Reported.Version)
			}
		})
	}
}

func TestBodiesThatAreNoTwin(t *testing.T) {
	for _, body := range []string{`null`, `[]`, `{"tags":1}`, `{"tags":[]}`, `{"properties":1}`, `{"properties":{"desired":"x"}}`, `{"properties":{"desired":[]}}`, `{"tags":{}`} {
		for _, replace := range []bool{false, true} {
			if _, err := parseRequest([]byte(body), replace); !twinhub.HasCode(err, twinhub.CodeArgumentInvalid) {
				t.Errorf("parseRequest(%s, %v): got %v, want ArgumentInvalid", body, replace, err)
			}
		}
	}
}

// The bodies of updateTwin events for each kind of change.
func TestUpdateEventBodies(t *testing.T) {
	tests := []struct{ name, body, want string }{
		{"tags", `{"tags":{"a":{"b":1},"gone":null}}`, `{"version":3,"tags":{"a":{"b":1},"gone":null}}`},
		{"desired", `{"properties":{"desired":{"a":{"x":5},"b":null}}}`,
			`{"version":3,"properties":{"desired":{"a":{"x":5},"b":null,"$metadata":{` + t1 + `,"$lastUpdatedVersion":2,"a":{` + t1 + `,"$lastUpdatedVersion":2,"x":{` + t1 + `,"$lastUpdatedVersion":2}}},"$version":2}}}`},
		{"tags and desired", `{"properties":{"desired":{"b":1}},"tags":{"a":1}}`,
			`{"version":3,"tags":{"a":1},"properties":{"desired":{"b":1,"$metadata":{` + t1 + `,"$lastUpdatedVersion":2,"b":{` + t1 + `,"$lastUpdatedVersion":2}},"$version":2}}}`},
		{"desired cleared", `{"properties":{"desired":null}}`,
			`{"version":3,"properties":{"desired":{"a":null,"b":null,"$metadata":{` + t1 + `,"$lastUpdatedVersion":2},"$version":2}}}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := parseRequest([]byte(tt.body), false)
			if err != nil {
				t.Fatal(err)
			}
			c, err := newTwin(t, `{"a":{"x":1,"y":1},"b":2}`).service(r, later)
			if err != nil {
				t.Fatal(err)
			}
			if got := string(c.appendUpdate(nil)); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestNewDocument(t *testing.T) {
	d := newTwin(t, `null`)
	want := `{"etag":1,"version":2,"modelId":"","tags":{},"desired":{"version":1,"values":{},"metadata":{` + t0 + `}},"reported":{"version":1,"values":{},"metadata":{` + t0 + `}}}`
	if got := string(d.encode()); got != want {
		t.Errorf("stored form\n got %s\nwant %s", got, want)
	}
	if _, err := NewDocument(created, "", parse(t, `{"a b":1}`), jsondoc.Null()); !twinhub.HasCode(err, twinhub.CodeArgumentInvalid) {
		t.Errorf("illegal tag: got %v, want ArgumentInvalid", err)
	}
	if _, err := NewDocument(created, "", jsondoc.Null(), parse(t, sized(MaxDesired+1))); !twinhub.HasCode(err, twinhub.CodeArgumentInvalid) {
		t.Errorf("too large: got %v, want ArgumentInvalid", err)
	}
}

func TestDecodeRefusesOtherDocuments(t *testing.T) {
	for _, text := range []string{``, `{}`, `[]`, `{"etag":1,"version":2,"modelId":"","tags":{},"desired":{"version":1,"values":{}},"reported":{}}`,
		`{"etag":1,"version":2,"modelId":"","tags":null,"desired":{"version":1,"values":{},"metadata":{}},"reported":{"version":1,"values":{},"metadata":{}}}`} {
		if d, err := Decode([]byte(text)); err == nil {
			t.Errorf("Decode(%s) = %+v, want an error", text, d)
		}
	}
}
