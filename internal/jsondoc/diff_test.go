package jsondoc

import (
	"bytes"
	"strings"
	"testing"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"pgregory.net/rapid"
)

func TestDiff(t *testing.T) {
	const stamp = `"2020-10-21T14:13:39.36491Z"`
	tests := []struct{ name, before, after, want string }{
		// Bodies that the original sent (IoT Hub docs, "Digital twin change notifications").
		{"root property first reported",
			`{"$dtId":"my-pnp-device","$metadata":{"$model":"dtmi:com:example:Thermostat;1"}}`,
			`{"$dtId":"my-pnp-device","maxTempSinceLastReboot":10.96,"$metadata":{"$model":"dtmi:com:example:Thermostat;1","maxTempSinceLastReboot":{"lastUpdateTime":"2020-10-21T14:10:42.4171263Z"}}}`,
			`[{"op":"add","path":"/$metadata/maxTempSinceLastReboot","value":{"lastUpdateTime":"2020-10-21T14:10:42.4171263Z"}},{"op":"add","path":"/maxTempSinceLastReboot","value":10.96}]`},
		{"component first seen",
			`{"$dtId":"my-pnp-device","$metadata":{"$model":"dtmi:x;1"}}`,
			`{"$dtId":"my-pnp-device","thermostat1":{"maxTempSinceLastReboot":98.34,"$metadata":{"maxTempSinceLastReboot":{"lastUpdateTime":` + stamp + `}}},"$metadata":{"$model":"dtmi:x;1"}}`,
			`[{"op":"add","path":"/thermostat1","value":{"$metadata":{"maxTempSinceLastReboot":{"lastUpdateTime":` + stamp + `}},"maxTempSinceLastReboot":98.34}}]`},
		// Bodies that follow from the same rule.
		{"reported again",
			`{"p":10.96,"$metadata":{"p":{"lastUpdateTime":"t1"}}}`, `{"p":16.9,"$metadata":{"p":{"lastUpdateTime":"t2"}}}`,
			`[{"op":"replace","path":"/$metadata/p/lastUpdateTime","value":"t2"},{"op":"replace","path":"/p","value":16.9}]`},
		{"reported again, same value",
			`{"p":10.96,"$metadata":{"p":{"lastUpdateTime":"t1"}}}`, `{"p":10.96,"$metadata":{"p":{"lastUpdateTime":"t2"}}}`,
			`[{"op":"replace","path":"/$metadata/p/lastUpdateTime","value":"t2"}]`},
		{"desired set, property without metadata",
			`{"t1":{"$metadata":{}}}`, `{"t1":{"$metadata":{"p":{"desiredValue":21.8,"desiredVersion":4}}}}`,
			`[{"op":"add","path":"/t1/$metadata/p","value":{"desiredValue":21.8,"desiredVersion":4}}]`},
		{"desired changed again",
			`{"t1":{"$metadata":{"p":{"desiredValue":21.8,"desiredVersion":4}}}}`, `{"t1":{"$metadata":{"p":{"desiredValue":22,"desiredVersion":5}}}}`,
			`[{"op":"replace","path":"/t1/$metadata/p/desiredValue","value":22},{"op":"replace","path":"/t1/$metadata/p/desiredVersion","value":5}]`},
		{"acknowledged first time",
			`{"t1":{"$metadata":{"p":{"desiredValue":21.8,"desiredVersion":4}}}}`,
			`{"t1":{"p":21.8,"$metadata":{"p":{"desiredValue":21.8,"desiredVersion":4,"ackVersion":4,"ackCode":200,"ackDescription":"ok","lastUpdateTime":"t"}}}}`,
			`[{"op":"add","path":"/t1/$metadata/p/ackCode","value":200},{"op":"add","path":"/t1/$metadata/p/ackDescription","value":"ok"},{"op":"add","path":"/t1/$metadata/p/ackVersion","value":4},{"op":"add","path":"/t1/$metadata/p/lastUpdateTime","value":"t"},{"op":"add","path":"/t1/p","value":21.8}]`},
		{"model announced",
			`{"$metadata":{"$model":""}}`, `{"$metadata":{"$model":"dtmi:x;1"}}`,
			`[{"op":"replace","path":"/$metadata/$model","value":"dtmi:x;1"}]`},
		{"removed",
			`{"p":1,"$metadata":{"$model":"m","p":{"lastUpdateTime":"t"}}}`, `{"$metadata":{"$model":"m"}}`,
			`[{"op":"remove","path":"/$metadata/p"},{"op":"remove","path":"/p"}]`},
		{"nothing but order", `{"a":1,"b":{"c":2,"d":3}}`, `{"b":{"d":3,"c":2},"a":1}`, `[]`},
		// Shapes.
		{"arrays whole", `{"a":[1,2,3]}`, `{"a":[1,2,4]}`, `[{"op":"replace","path":"/a","value":[1,2,4]}]`},
		{"arrays equal but for member order", `{"a":[{"x":1,"y":2}]}`, `{"a":[{"y":2,"x":1}]}`, `[]`},
		{"number text", `{"a":1}`, `{"a":1.0}`, `[{"op":"replace","path":"/a","value":1.0}]`},
		{"object onto scalar", `{"a":1}`, `{"a":{"z":1,"b":2}}`, `[{"op":"replace","path":"/a","value":{"b":2,"z":1}}]`},
		{"scalar onto object", `{"a":{"b":1}}`, `{"a":"x"}`, `[{"op":"replace","path":"/a","value":"x"}]`},
		{"null is a value", `{"a":null}`, `{"a":0,"b":null}`, `[{"op":"replace","path":"/a","value":0},{"op":"add","path":"/b","value":null}]`},
		{"keys escaped", `{}`, `{"a/b":1,"~":2,"~1":3,"":4,"é\"":5}`, `[{"op":"add","path":"/","value":4},{"op":"add","path":"/a~1b","value":1},{"op":"add","path":"/~0","value":2},{"op":"add","path":"/~01","value":3},{"op":"add","path":"/é\"","value":5}]`},
		{"below one key before the next key", `{"a":{"x":1},"a-b":1}`, `{"a":{"x":2},"a-b":2}`, `[{"op":"replace","path":"/a/x","value":2},{"op":"replace","path":"/a-b","value":2}]`},
		{"upper case before lower case, digits before both", `{}`, `{"b":1,"B":2,"1":3,"_":4}`, `[{"op":"add","path":"/1","value":3},{"op":"add","path":"/B","value":2},{"op":"add","path":"/_","value":4},{"op":"add","path":"/b","value":1}]`},
		{"below the empty key", `{"":{"k":1,"":2}}`, `{"":{"k":2,"":3}}`, `[{"op":"replace","path":"//","value":3},{"op":"replace","path":"//k","value":2}]`},
		{"root not an object", `1`, `{"b":1,"a":2}`, `[{"op":"replace","path":"","value":{"a":2,"b":1}}]`},
		{"root array", `[1]`, `[1]`, `[]`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before, after := parse(t, tt.before), parse(t, tt.after)
			beforeText, afterText := before.String(), after.String()
			if got := Diff(before, after).String(); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if before.String() != beforeText || after.String() != afterText {
				t.Errorf("the arguments became %s and %s", before, after)
			}
			if p := Diff(before, before); len(p) != 0 {
				t.Errorf("Diff(before, before): got %s", p)
			}
		})
	}
}

// Applied by json-patch, an independent implementation, the patch makes after out of before, with
// the same number texts; and no operation is idle: leaving one out gives something else. The empty
// key stays out, since json-patch takes it for the whole document; see TestDiffEmptyKey.
func TestDiffAgainstJSONPatch(t *testing.T) {
	s := shape{oddKey: "\x01"}
	rapid.Check(t, func(rt *rapid.T) {
		before := objects(s, 3, false).Draw(rt, "before")
		after := objects(s, 3, false).Draw(rt, "after")
		if rapid.Bool().Draw(rt, "near") {
			after = Merge(before, after)
		}
		patch := Diff(before, after)
		if got := applyJSONPatch(rt, before, patch); !same(got, after, sameText, false) {
			rt.Fatalf("before %s\nafter  %s\npatch  %s\ngot    %s", before, after, patch, got)
		}
		if len(patch) > 0 {
			i := rapid.IntRange(0, len(patch)-1).Draw(rt, "left out")
			rest := append(append(Patch{}, patch[:i]...), patch[i+1:]...)
			if same(applyJSONPatch(rt, before, rest), after, sameText, false) {
				rt.Fatalf("operation %d of %s does nothing", i, patch)
			}
		}
		text := patch.Append(nil)
		if v, err := Parse(text, Limits{}); err != nil || !bytes.Equal(v.Marshal(), text) {
			rt.Fatalf("patch text %s: %v", text, err)
		}
	})
}

// Diff treats the empty key as any other: it commutes with renaming another key, first in order as
// the empty one is, to the empty key.
func TestDiffEmptyKey(t *testing.T) {
	const odd = "\x01"
	s := shape{oddKey: odd}
	rapid.Check(t, func(rt *rapid.T) {
		before, after := objects(s, 3, false).Draw(rt, "before"), objects(s, 3, false).Draw(rt, "after")
		want := Diff(before, after)
		for i := range want {
			want[i].Path = strings.ReplaceAll(want[i].Path, odd, "")
			want[i].Value = emptied(want[i].Value, odd)
		}
		if got := Diff(emptied(before, odd), emptied(after, odd)); got.String() != want.String() {
			rt.Fatalf("before %s\nafter  %s\ngot    %s\nwant   %s", before, after, got, want)
		}
	})
}

// emptied returns v with the key odd renamed to the empty key everywhere.
func emptied(v Value, odd string) Value {
	switch v.Kind() {
	case KindArray:
		var elems []Value
		for e := range v.Elements() {
			elems = append(elems, emptied(e, odd))
		}
		return Array(elems...)
	case KindObject:
		var b Builder
		for key, m := range v.Members() {
			b.Set(strings.ReplaceAll(key, odd, ""), emptied(m, odd))
		}
		return b.Object()
	}
	return v
}

func applyJSONPatch(rt *rapid.T, before Value, patch Patch) Value {
	rt.Helper()
	decoded, err := jsonpatch.DecodePatch(patch.Append(nil))
	if err != nil {
		rt.Fatalf("json-patch refuses %s: %v", patch, err)
	}
	options := jsonpatch.NewApplyOptions()
	options.EscapeHTML = false
	text, err := decoded.ApplyWithOptions(before.Marshal(), options)
	if err != nil {
		rt.Fatalf("json-patch applying %s to %s: %v", patch, before, err)
	}
	got, err := Parse(text, Limits{})
	if err != nil {
		rt.Fatalf("json-patch gives %s: %v", text, err)
	}
	return got
}

func BenchmarkDiff(b *testing.B) {
	before := parse(b, section)
	after := parse(b, Merge(before, parse(b, sectionPatch)).String())
	b.ReportAllocs()
	for b.Loop() {
		if len(Diff(before, after)) != 4 {
			b.Fatal("want 4 operations")
		}
	}
}
