package digitaltwin

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/twinhub/twinhub/internal/core/twin"
	"github.com/twinhub/twinhub/internal/jsondoc"
)

// One patch of several operations does what as many patches of one operation do, or is refused where one of them is:
// the hub and the device end with the same desired properties.
func TestPatchIsItsSteps(t *testing.T) {
	twins := []string{`{}`, `{"c":{"__t":"c","p":1,"q":{"x":1}}}`, `{"c":{"p":1}}`, `{"a":{"x":{"y":1}},"b":1}`, `{"a":1,"b":{"__t":"c"}}`, `{"c":{"__t":"c","p":1},"d":{"__t":"c","p":{"x":1},"q":2}}`}
	paths := []string{"/a", "/b", "/c", "/d", "/a/p", "/b/p", "/c/p", "/c/q", "/d/p", "/d/q"}
	values := []string{`1`, `2.0`, `{"x":1}`, `{"y":{"x":2}}`, `{"$metadata":{}}`, `{"$metadata":{},"p":1}`, `{"$metadata":{},"q":{"x":2}}`}
	of := func(d *twin.Document, desired jsondoc.Value) *twin.Document {
		next := *d
		next.Desired.Values = desired
		return &next
	}
	merged := func(v, patch jsondoc.Value) jsondoc.Value {
		if patch.IsNull() {
			return v
		}
		return jsondoc.Merge(v, patch)
	}
	applied := 0
	rapid.Check(t, func(r *rapid.T) {
		d := stored(t, "", rapid.SampledFrom(twins).Draw(r, "desired"), `{}`, rapid.SampledFrom(twins).Draw(r, "reported"), `{}`)
		var ops []operation
		for range rapid.IntRange(1, 5).Draw(r, "operations") {
			path := rapid.SampledFrom(paths).Draw(r, "path")
			op := rapid.SampledFrom([]string{jsondoc.OpAdd, jsondoc.OpReplace, jsondoc.OpRemove}).Draw(r, "op")
			options := values
			if len(path) > 2 {
				options = values[:4]
			}
			o, err := newOperation(op, path, parse(t, rapid.SampledFrom(options).Draw(r, "value")))
			if err != nil {
				r.Fatalf("%s %s: %v", op, path, err)
			}
			ops = append(ops, o)
		}
		hub, device, refused := d.Desired.Values, d.Desired.Values, error(nil)
		for _, o := range ops {
			e, err := translate(of(d, hub), []operation{o})
			if err != nil {
				refused = err
				break
			}
			hub, device = merged(hub, e.Patch), merged(device, e.Wire)
		}
		all, err := translate(d, ops)
		if (err == nil) != (refused == nil) {
			r.Fatalf("in one: %v, one by one: %v", err, refused)
		}
		if err != nil {
			return
		}
		applied++
		for name, got := range map[string]jsondoc.Value{
			"the device, one by one": device, "the hub, in one": merged(d.Desired.Values, all.Patch), "the device, in one": merged(d.Desired.Values, all.Wire),
		} {
			if !jsondoc.Equal(got, hub) {
				r.Fatalf("%s has %s, the hub has %s one by one; %+v", name, got, hub, ops)
			}
		}
	})
	if applied == 0 {
		t.Error("every patch was refused: the test shows nothing")
	}
}
