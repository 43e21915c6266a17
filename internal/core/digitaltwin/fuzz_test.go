package digitaltwin

import (
	"testing"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/core/twin"
	"github.com/twinhub/twinhub/internal/jsondoc"
)

// Whatever a client sends, a patch is refused with a code or gives merge patches of which the stored one and the
// device's make the same of the desired properties.
func FuzzPatch(f *testing.F) {
	for _, body := range []string{
		`[{"op":"add","path":"/p","value":1}]`, `[{"op":"replace","path":"/c/p","value":{"x":1}},{"op":"remove","path":"/c"}]`,
		`[{"op":"add","path":"/c","value":{"$metadata":{},"n":2}},{"op":"remove","path":"/c/n"}]`, `[{"op":"remove","path":"/r"},{"op":"add","path":"/r/n","value":""}]`,
		`[{"op":"add","path":"/~1","value":1}]`, `[{"op":"move"}]`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		d := &twin.Document{Desired: twin.Section{Values: parse(t, `{"c":{"__t":"c","p":1,"q":{"x":1}},"r":{"y":1}}`)}, Reported: twin.Section{Values: parse(t, `{"s":{"__t":"c"}}`)}}
		ops, err := parsePatch(body)
		var e twin.DesiredEdit
		if err == nil {
			e, err = translate(d, ops)
		}
		if err != nil {
			if code := twinhub.AsError(err).Code; code == twinhub.CodeServerError {
				t.Errorf("error without a code: %v", err)
			}
			return
		}
		if e.Patch.IsNull() {
			return
		}
		stored, wire := jsondoc.Merge(d.Desired.Values, e.Patch), jsondoc.Merge(d.Desired.Values, e.Wire)
		if !jsondoc.Equal(stored, wire) {
			t.Errorf("the hub has %s, the device %s", stored, wire)
		}
	})
}
