package digitaltwin

import (
	"testing"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/jsondoc"
)

// What patches make of desired properties: the patch that is stored, the one the device gets if it differs, and what
// the desired properties are afterwards.
func TestTranslate(t *testing.T) {
	const component = `{"c":{"__t":"c","p":1,"q":{"x":1}},"r":{"y":1,"z":2}}`
	tests := []struct {
		name, desired, reported, ops string
		patch, wire, after           string
		conflict                     bool
	}{
		{name: "add a property", desired: `{}`, ops: `[{"op":"add","path":"/p","value":42}]`,
			patch: `{"p":42}`, after: `{"p":42}`},
		{name: "replace of what is absent adds", desired: `{}`, ops: `[{"op":"replace","path":"/p","value":1.0}]`,
			patch: `{"p":1.0}`, after: `{"p":1.0}`},
		{name: "same value again is written", desired: `{"p":1}`, ops: `[{"op":"add","path":"/p","value":1}]`,
			patch: `{"p":1}`, after: `{"p":1}`},
		{name: "object value is set, not merged", desired: component, ops: `[{"op":"replace","path":"/r","value":{"z":3}}]`,
			patch: `{"r":{"y":null,"z":3}}`, after: `{"c":{"__t":"c","p":1,"q":{"x":1}},"r":{"z":3}}`},
		{name: "remove a property", desired: component, ops: `[{"op":"remove","path":"/r"}]`,
			patch: `{"r":null}`, after: `{"c":{"__t":"c","p":1,"q":{"x":1}}}`},
		{name: "remove of what is absent does nothing", desired: component,
			ops:   `[{"op":"remove","path":"/n"},{"op":"remove","path":"/n/p"},{"op":"remove","path":"/c/n"}]`,
			patch: `null`, after: component},
		{name: "no operations", desired: component, ops: `[]`, patch: `null`, after: component},
		{name: "property of a new component", desired: `{}`, ops: `[{"op":"add","path":"/c/p","value":1}]`,
			patch: `{"c":{"__t":"c","p":1}}`, after: `{"c":{"__t":"c","p":1}}`},
		{name: "property of a component that only the device knows", desired: `{}`, reported: `{"c":{"__t":"c","p":1}}`,
			ops: `[{"op":"add","path":"/c/p","value":2}]`, patch: `{"c":{"__t":"c","p":2}}`, after: `{"c":{"__t":"c","p":2}}`},
		{name: "property of a known component", desired: component, ops: `[{"op":"replace","path":"/c/p","value":2}]`,
			patch: `{"c":{"p":2}}`, wire: `{"c":{"__t":"c","p":2}}`, after: `{"c":{"__t":"c","p":2,"q":{"x":1}},"r":{"y":1,"z":2}}`},
		{name: "object value in a component is set, not merged", desired: component, ops: `[{"op":"add","path":"/c/q","value":{"w":1}}]`,
			patch: `{"c":{"q":{"x":null,"w":1}}}`, wire: `{"c":{"__t":"c","q":{"x":null,"w":1}}}`, after: `{"c":{"__t":"c","p":1,"q":{"w":1}},"r":{"y":1,"z":2}}`},
		{name: "remove a property of a component", desired: component, ops: `[{"op":"remove","path":"/c/p"}]`,
			patch: `{"c":{"p":null}}`, wire: `{"c":{"__t":"c","p":null}}`, after: `{"c":{"__t":"c","q":{"x":1}},"r":{"y":1,"z":2}}`},
		{name: "remove the last property of a component", desired: `{"c":{"__t":"c","p":1}}`, ops: `[{"op":"remove","path":"/c/p"}]`,
			patch: `{"c":null}`, after: `{}`},
		{name: "remove a component", desired: component, ops: `[{"op":"remove","path":"/c"}]`,
			patch: `{"c":null}`, after: `{"r":{"y":1,"z":2}}`},
		{name: "set a component", desired: component, ops: `[{"op":"replace","path":"/c","value":{"p":5,"n":6,"$metadata":{}}}]`,
			patch: `{"c":{"p":5,"q":null,"n":6}}`, wire: `{"c":{"__t":"c","p":5,"q":null,"n":6}}`, after: `{"c":{"__t":"c","p":5,"n":6},"r":{"y":1,"z":2}}`},
		{name: "set a new component", desired: `{}`, ops: `[{"op":"add","path":"/c","value":{"$metadata":{},"p":5}}]`,
			patch: `{"c":{"__t":"c","p":5}}`, after: `{"c":{"__t":"c","p":5}}`},
		{name: "set a component to nothing", desired: component, ops: `[{"op":"add","path":"/c","value":{"$metadata":{}}}]`,
			patch: `{"c":null}`, after: `{"r":{"y":1,"z":2}}`},
		{name: "operations apply in order", desired: `{}`,
			ops:   `[{"op":"add","path":"/p","value":1},{"op":"replace","path":"/p","value":2},{"op":"add","path":"/c/x","value":1},{"op":"add","path":"/c/y","value":2},{"op":"remove","path":"/c/x"}]`,
			patch: `{"p":2,"c":{"__t":"c","y":2}}`, after: `{"p":2,"c":{"__t":"c","y":2}}`},
		{name: "component removed and made again", desired: component,
			ops:   `[{"op":"remove","path":"/c"},{"op":"add","path":"/c/n","value":1}]`,
			patch: `{"c":{"n":1,"p":null,"q":null}}`, wire: `{"c":{"__t":"c","n":1,"p":null,"q":null}}`, after: `{"c":{"__t":"c","n":1},"r":{"y":1,"z":2}}`},
		{name: "property becomes a component", desired: component,
			ops:   `[{"op":"remove","path":"/r"},{"op":"add","path":"/r/n","value":1}]`,
			patch: `{"r":{"__t":"c","n":1,"y":null,"z":null}}`, after: `{"c":{"__t":"c","p":1,"q":{"x":1}},"r":{"n":1,"__t":"c"}}`},
		{name: "component becomes a property", desired: component,
			ops:   `[{"op":"remove","path":"/c"},{"op":"add","path":"/c","value":{"n":1}}]`,
			patch: `{"c":{"__t":null,"p":null,"q":null,"n":1}}`, after: `{"c":{"n":1},"r":{"y":1,"z":2}}`},
		{name: "property of the device over a desired component", desired: component, ops: `[{"op":"add","path":"/c","value":1}]`, conflict: true},
		{name: "object without $metadata over a component", desired: component, ops: `[{"op":"add","path":"/c","value":{"p":1}}]`, conflict: true},
		{name: "property of the device over a reported component", desired: `{}`, reported: `{"c":{"__t":"c"}}`, ops: `[{"op":"add","path":"/c","value":1}]`, conflict: true},
		{name: "component over a desired property", desired: component, ops: `[{"op":"add","path":"/r/p","value":1}]`, conflict: true},
		{name: "component over a reported property", desired: `{}`, reported: `{"r":1}`, ops: `[{"op":"add","path":"/r/p","value":1}]`, conflict: true},
		{name: "component value over a reported object", desired: `{}`, reported: `{"r":{"x":1}}`, ops: `[{"op":"add","path":"/r","value":{"$metadata":{},"x":1}}]`, conflict: true},
		{name: "remove inside a property", desired: component, ops: `[{"op":"remove","path":"/r/y"}]`, conflict: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.reported == "" {
				tt.reported = `{}`
			}
			d := stored(t, "", tt.desired, `{}`, tt.reported, `{}`)
			ops, err := parsePatch([]byte(tt.ops))
			if err != nil {
				t.Fatalf("parsePatch: %v", err)
			}
			got, err := translate(d, ops)
			if tt.conflict {
				e := twinhub.AsError(err)
				if e == nil || e.Code != twinhub.CodeArgumentInvalid {
					t.Fatalf("got %v, want ArgumentInvalid", err)
				}
				return
			}
			if err != nil {
				t.Fatalf("translate: %v", err)
			}
			if tt.wire == "" {
				tt.wire = tt.patch
			}
			if !jsondoc.Equal(got.Patch, parse(t, tt.patch)) {
				t.Errorf("patch\n got %s\nwant %s", got.Patch, tt.patch)
			}
			if !jsondoc.Equal(got.Wire, parse(t, tt.wire)) {
				t.Errorf("wire\n got %s\nwant %s", got.Wire, tt.wire)
			}
			for name, patch := range map[string]jsondoc.Value{"stored": got.Patch, "device's": got.Wire} {
				after := d.Desired.Values
				if !patch.IsNull() {
					after = jsondoc.Merge(after, patch)
				}
				if !jsondoc.Equal(after, parse(t, tt.after)) {
					t.Errorf("%s properties afterwards\n got %s\nwant %s", name, after, tt.after)
				}
			}
		})
	}
}
