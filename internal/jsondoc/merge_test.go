package jsondoc

import (
	"testing"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"pgregory.net/rapid"
)

func TestMerge(t *testing.T) {
	tests := []struct{ name, target, patch, want string }{
		// RFC 7396 appendix A.
		{"A1", `{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`},
		{"A2", `{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`},
		{"A3", `{"a":"b"}`, `{"a":null}`, `{}`},
		{"A4", `{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`},
		{"A5", `{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`},
		{"A6", `{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`},
		{"A7", `{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`},
		{"A8", `{"a":[{"b":"c"}]}`, `{"a":[1]}`, `{"a":[1]}`},
		{"A9", `["a","b"]`, `["c","d"]`, `["c","d"]`},
		{"A10", `{"a":"b"}`, `["c"]`, `["c"]`},
		{"A11", `{"a":"foo"}`, `null`, `null`},
		{"A12", `{"a":"foo"}`, `"bar"`, `"bar"`},
		{"A13", `{"e":null}`, `{"a":1}`, `{"e":null,"a":1}`},
		{"A14", `[1,2]`, `{"a":"b","c":null}`, `{"a":"b"}`},
		{"A15", `{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`},
		// Twins.
		{"last child deleted leaves {}", `{"a":{"b":{"c":1}}}`, `{"a":{"b":{"c":null}}}`, `{"a":{"b":{}}}`},
		{"object onto scalar", `{"a":1}`, `{"a":{"b":2,"c":null}}`, `{"a":{"b":2}}`},
		{"null below a new parent", `{"x":1}`, `{"a":{"b":null}}`, `{"x":1,"a":{}}`},
		{"empty object created", `{}`, `{"a":{}}`, `{"a":{}}`},
		{"empty object keeps", `{"a":{"b":1}}`, `{"a":{}}`, `{"a":{"b":1}}`},
		{"empty object onto scalar", `{"a":1}`, `{"a":{}}`, `{"a":{}}`},
		{"empty object onto array", `{"a":[1]}`, `{"a":{}}`, `{"a":{}}`},
		{"null in an array stays", `{}`, `{"a":[null,{"b":null}]}`, `{"a":[null,{"b":null}]}`},
		{"number text", `{"a":1}`, `{"a":1.0}`, `{"a":1.0}`},
		{"places kept", `{"c":1,"b":2,"a":3}`, `{"a":4,"d":5,"c":6,"b":null}`, `{"c":6,"a":4,"d":5}`},
		{"many deleted", `{"a":1,"b":2,"c":3,"d":4,"e":5}`, `{"e":null,"a":null,"c":null,"z":null}`, `{"b":2,"d":4}`},
		{"deleted and added", `{"a":1,"b":2}`, `{"b":null,"x":1,"a":null}`, `{"x":1}`},
		{"into null", `null`, `{"a":{"b":null,"c":1}}`, `{"a":{"c":1}}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			target, patch := parse(t, tt.target), parse(t, tt.patch)
			if got := Merge(target, patch).String(); got != tt.want {
				t.Errorf("Merge(%s, %s): got %s, want %s", tt.target, tt.patch, got, tt.want)
			}
			if target.String() != tt.target || patch.String() != tt.patch {
				t.Errorf("the arguments became %s and %s", target, patch)
			}
		})
	}
}

// Parts that a patch does not touch are the same in memory afterwards.
func TestMergeShares(t *testing.T) {
	target := parse(t, `{"a":{"x":1},"b":{"y":2}}`)
	merged := Merge(target, parse(t, `{"a":{"x":3}}`))
	before, _ := target.Get("b")
	after, _ := merged.Get("b")
	if before.node != after.node {
		t.Error("an untouched member was copied")
	}
	if Merge(target, Object()).node != target.node {
		t.Error("an empty patch made a copy")
	}
}

// shape says what random documents are made of.
type shape struct {
	nullFreeArrays bool   // no nulls at any depth inside arrays
	oddKey         string // one more key
}

// documents generates values that nest up to depth containers; few keys, so that two documents meet.
func documents(s shape, depth int, inArray bool) *rapid.Generator[Value] {
	return rapid.Custom(func(t *rapid.T) Value {
		top := 7
		if depth == 0 {
			top = 4
		}
		switch kind := rapid.IntRange(0, top).Draw(t, "kind"); kind {
		case 0:
			if inArray && s.nullFreeArrays {
				return Bool(false)
			}
			return Null()
		case 1:
			return Bool(rapid.Bool().Draw(t, "bool"))
		case 2:
			return Int(rapid.Int64Range(-3, 3).Draw(t, "int"))
		case 3:
			return Float(rapid.SampledFrom([]float64{0.5, 1.25, -2.5, 1e30}).Draw(t, "float"))
		case 4:
			return String(rapid.SampledFrom([]string{"", "x", "<&>", "é😀", "a\"\\\n", "~1/"}).Draw(t, "string"))
		case 5:
			n := rapid.IntRange(0, 3).Draw(t, "elements")
			elems := make([]Value, n)
			for i := range elems {
				elems[i] = documents(s, depth-1, true).Draw(t, "element")
			}
			return Array(elems...)
		}
		return objects(s, depth, inArray).Draw(t, "object")
	})
}

func objects(s shape, depth int, inArray bool) *rapid.Generator[Value] {
	keys := rapid.SampledFrom([]string{"a", "b", "c", "$metadata", "é", "a/b", "~", "~1", s.oddKey, "a-b", "0"})
	return rapid.Custom(func(t *rapid.T) Value {
		var b Builder
		for range rapid.IntRange(0, 5).Draw(t, "members") {
			b.Set(keys.Draw(t, "key"), documents(s, depth-1, inArray).Draw(t, "value"))
		}
		if rapid.IntRange(0, 9).Draw(t, "wide") == 0 {
			for i := range rapid.IntRange(linearLookup, linearLookup+9).Draw(t, "width") {
				b.Set(string(rune('z'-i)), Int(int64(i)))
			}
		}
		return b.Object()
	})
}

// Merge agrees with json-patch, an independent implementation, except where that departs from
// RFC 7396: it removes null members also from objects inside arrays, so none are generated there.
func TestMergeAgainstJSONPatch(t *testing.T) {
	s := shape{nullFreeArrays: true, oddKey: ""}
	rapid.Check(t, func(rt *rapid.T) {
		target := objects(s, 3, false).Draw(rt, "target")
		patch := objects(s, 3, false).Draw(rt, "patch")
		want, err := jsonpatch.MergePatch(target.Marshal(), patch.Marshal())
		if err != nil {
			rt.Fatalf("json-patch: %v", err)
		}
		wanted, err := Parse(want, Limits{})
		if err != nil {
			rt.Fatalf("json-patch gives %s: %v", want, err)
		}
		got := Merge(target, patch)
		if !Equal(got, wanted) {
			rt.Fatalf("Merge(%s, %s)\ngot  %s\nwant %s", target, patch, got, wanted)
		}
		for _, m := range []Value{got, target, patch} {
			again, err := Parse(m.Marshal(), Limits{})
			if err != nil || !Identical(m, again) {
				rt.Fatalf("%s reads back as %s, %v", m, again, err)
			}
			for key, member := range m.Members() {
				if found, ok := m.Get(key); !ok || !Identical(found, member) {
					rt.Fatalf("Get(%q) of %s: got %s, %v", key, m, found, ok)
				}
			}
		}
	})
}

// section is about 1 KB of desired properties.
const section = `{"telemetryInterval":30,"firmware":{"version":"1.4.2","uri":"https://firmware.example.net/images/pump/1.4.2/image.bin","sha256":"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08","retries":3,"window":{"from":"01:00","to":"04:30"}},` +
	`"thermostat1":{"__t":"c","targetTemperature":21.8,"hysteresis":0.50,"schedule":{"mon":[18.0,21.5,19.0],"tue":[18.0,21.5,19.0],"wed":[18.0,21.5,19.0],"sat":[20.0,22.0,20.0]}},` +
	`"thermostat2":{"__t":"c","targetTemperature":19.0,"hysteresis":0.25,"schedule":{"mon":[17.0,20.5,18.0],"tue":[17.0,20.5,18.0],"wed":[17.0,20.5,18.0],"sat":[19.0,21.0,19.0]}},` +
	`"network":{"proxy":null,"dns":["10.0.0.1","10.0.0.2"],"mtu":1500,"ntp":"time.example.net","wifi":{"ssid":"Halle 3 – Süd","hidden":false,"channel":11}},` +
	`"logging":{"level":"information","targets":["console","file"],"maxKilobytes":2048,"rotate":true},"limits":{"pressure":{"min":0.8,"max":6.2},"flow":{"min":0.0,"max":120.0}}}`

const sectionPatch = `{"thermostat1":{"targetTemperature":22.5},"logging":{"level":"debug"},"firmware":{"window":null},"note":"raised for the weekend"}`

// BenchmarkTwinUpdate is what one desired PATCH costs: read the stored section and the patch, merge,
// write the result.
func BenchmarkTwinUpdate(b *testing.B) {
	stored, patch := []byte(section), []byte(sectionPatch)
	b.SetBytes(int64(len(stored)))
	b.ReportAllocs()
	var out []byte
	for b.Loop() {
		s, err := Parse(stored, Limits{})
		if err != nil {
			b.Fatal(err)
		}
		p, err := Parse(patch, Limits{})
		if err != nil {
			b.Fatal(err)
		}
		out = Merge(s, p).Append(out[:0])
	}
}

func BenchmarkParse(b *testing.B) {
	text := []byte(section)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(text, Limits{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMerge(b *testing.B) {
	s, p := parse(b, section), parse(b, sectionPatch)
	b.ReportAllocs()
	for b.Loop() {
		Merge(s, p)
	}
}

func BenchmarkAppend(b *testing.B) {
	s := parse(b, section)
	b.SetBytes(int64(len(section)))
	b.ReportAllocs()
	var out []byte
	for b.Loop() {
		out = s.Append(out[:0])
	}
}
