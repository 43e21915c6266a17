package jsondoc

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	jsonv2 "github.com/go-json-experiment/json"
)

func TestConstructors(t *testing.T) {
	tests := []struct {
		name string
		v    Value
		kind Kind
		want string
	}{
		{"zero Value", Value{}, KindNull, "null"},
		{"null", Null(), KindNull, "null"},
		{"true", Bool(true), KindBool, "true"},
		{"false", Bool(false), KindBool, "false"},
		{"int", Int(-42), KindNumber, "-42"},
		{"lowest int", Int(math.MinInt64), KindNumber, "-9223372036854775808"},
		{"float", Float(21.8), KindNumber, "21.8"},
		{"whole float", Float(3), KindNumber, "3"},
		{"large float", Float(1e21), KindNumber, "1e+21"},
		{"small float", Float(1e-7), KindNumber, "1e-07"},
		{"zero float", Float(0), KindNumber, "0"},
		{"NaN", Float(math.NaN()), KindNull, "null"},
		{"infinity", Float(math.Inf(-1)), KindNull, "null"},
		{"string", String("a\"é"), KindString, `"a\"é"`},
		{"empty string", String(""), KindString, `""`},
		{"string not UTF-8", String("a\xffb"), KindString, `"a` + "\ufffd" + `b"`},
		{"array", Array(Int(1), Null(), String("x")), KindArray, `[1,null,"x"]`},
		{"empty array", Array(), KindArray, "[]"},
		{"object", Object(Member{"b", Int(1)}, Member{"a", Object()}), KindObject, `{"b":1,"a":{}}`},
		{"object with a key twice", Object(Member{"b", Int(1)}, Member{"a", Int(2)}, Member{"b", Int(3)}), KindObject, `{"b":3,"a":2}`},
		{"object with a key not UTF-8", Object(Member{"\xff", Int(1)}), KindObject, "{\"\ufffd\":1}"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.v.Kind() != tt.kind || tt.v.String() != tt.want {
				t.Errorf("got %v %s, want %v %s", tt.v.Kind(), tt.v, tt.kind, tt.want)
			}
			if again := parse(t, tt.v.String()); !Identical(tt.v, again) {
				t.Errorf("%s reads back as %s", tt.v, again)
			}
		})
	}
}

func TestAccessors(t *testing.T) {
	v := parse(t, `{"n":null,"b":true,"f":false,"i":1.0,"s":"x","a":[10,20],"o":{"p":{"q":7}}}`)
	get := func(key string) Value {
		t.Helper()
		m, ok := v.Get(key)
		if !ok {
			t.Fatalf("Get(%q): absent", key)
		}
		return m
	}
	if b, ok := get("b").AsBool(); !b || !ok {
		t.Errorf("AsBool of true: got %v, %v", b, ok)
	}
	if b, ok := get("f").AsBool(); b || !ok {
		t.Errorf("AsBool of false: got %v, %v", b, ok)
	}
	if s, ok := get("s").AsString(); s != "x" || !ok {
		t.Errorf("AsString: got %q, %v", s, ok)
	}
	if s, ok := get("i").NumberText(); s != "1.0" || !ok {
		t.Errorf("NumberText: got %q, %v", s, ok)
	}
	for _, key := range []string{"n", "s", "a", "o"} {
		m := get(key)
		_, isBool := m.AsBool()
		_, isNumber := m.NumberText()
		_, isInt := m.AsInt64()
		_, isFloat := m.AsFloat64()
		if isBool || isNumber || isInt || isFloat || m.IsInteger() {
			t.Errorf("%s passes for a boolean or number", m)
		}
	}
	if _, ok := get("i").AsString(); ok {
		t.Error("a number passes for a string")
	}
	if got, ok := v.Lookup("o", "p", "q"); !ok || got.String() != "7" {
		t.Errorf("Lookup o p q: got %s, %v", got, ok)
	}
	if got, ok := v.Lookup("o", "x", "q"); ok || !got.IsNull() {
		t.Errorf("Lookup o x q: got %s, %v", got, ok)
	}
	if got, ok := v.Lookup("s", "x"); ok {
		t.Errorf("Lookup below a string: got %s", got)
	}
	if got, ok := v.Lookup(); !ok || !Identical(got, v) {
		t.Errorf("Lookup of nothing: got %s, %v", got, ok)
	}
	if got, ok := get("n").Get("x"); ok || !got.IsNull() {
		t.Errorf("Get of null: got %s, %v", got, ok)
	}
	a := get("a")
	if a.Len() != 2 || a.Index(1).String() != "20" || !a.Index(2).IsNull() || !a.Index(-1).IsNull() || !v.Index(0).IsNull() {
		t.Errorf("array: got %d elements, %s, %s", a.Len(), a.Index(1), a.Index(2))
	}
	if v.Len() != 7 || Null().Len() != 0 || String("abc").Len() != 0 {
		t.Errorf("Len: got %d, %d, %d; want 7, 0, 0", v.Len(), Null().Len(), String("abc").Len())
	}
	var seen []string
	for e := range a.Elements() {
		seen = append(seen, e.String())
		if len(seen) == 1 {
			continue
		}
		break
	}
	for key := range v.Members() {
		if key == "b" {
			break
		}
		seen = append(seen, key)
	}
	for range Null().Members() {
		t.Error("null has a member")
	}
	for range Null().Elements() {
		t.Error("null has an element")
	}
	if got := strings.Join(seen, " "); got != "10 20 n" {
		t.Errorf("iteration: got %q, want %q", got, "10 20 n")
	}
}

// Values are fields of structs for both JSON packages.
func TestMarshalInStructs(t *testing.T) {
	type twin struct {
		Tags  Value `json:"tags"`
		Patch Patch `json:"patch,omitempty"`
	}
	in := twin{Tags: parse(t, `{"z":1.0,"a":"<é>"}`), Patch: Patch{{Op: OpAdd, Path: "/a", Value: Int(1)}}}
	const want = `{"tags":{"z":1.0,"a":"<é>"},"patch":[{"op":"add","path":"/a","value":1}]}`
	got, err := jsonv2.Marshal(in)
	if err != nil || string(got) != want {
		t.Errorf("v2: got %s, %v; want %s", got, err, want)
	}
	got, err = json.Marshal(in)
	if err != nil || string(got) != strings.NewReplacer("<", `\u003c`, ">", `\u003e`).Replace(want) {
		t.Errorf("v1: got %s, %v; want %s with HTML escapes", got, err, want)
	}
	type tags struct {
		Tags Value `json:"tags"`
	}
	var out tags
	if err := jsonv2.Unmarshal([]byte(`{"tags":{"z":1.0,"a":null}}`), &out); err != nil || out.Tags.String() != `{"z":1.0,"a":null}` {
		t.Errorf("v2: got %s, %v", out.Tags, err)
	}
	if err := json.Unmarshal([]byte(`{"tags":[1.0]}`), &out); err != nil || out.Tags.String() != `[1.0]` {
		t.Errorf("v1: got %s, %v", out.Tags, err)
	}
	if err := jsonv2.Unmarshal([]byte(`{"tags":null}`), &out); err != nil || !out.Tags.IsNull() {
		t.Errorf("v2 null: got %s, %v", out.Tags, err)
	}
	if err := json.Unmarshal([]byte(`{"tags":{"a":1,"a":2}}`), &out); err == nil {
		t.Error("v1: duplicate names accepted")
	}
	deep := `{"tags":` + strings.Repeat("[", DefaultMaxDepth+1) + strings.Repeat("]", DefaultMaxDepth+1) + `}`
	if err := jsonv2.Unmarshal([]byte(deep), &out); err == nil {
		t.Error("v2: too deep a value accepted")
	}
}

func TestKindString(t *testing.T) {
	want := []string{"null", "boolean", "number", "string", "array", "object", "kind 6"}
	for i, name := range want {
		if got := Kind(i).String(); got != name {
			t.Errorf("Kind(%d): got %q, want %q", i, got, name)
		}
	}
}
