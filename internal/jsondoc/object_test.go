package jsondoc

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestSetDelete(t *testing.T) {
	tests := []struct {
		name   string
		before string
		change func(Value) Value
		want   string
	}{
		{"set new", `{"a":1}`, func(v Value) Value { return v.Set("b", Int(2)) }, `{"a":1,"b":2}`},
		{"set in place", `{"a":1,"b":2,"c":3}`, func(v Value) Value { return v.Set("b", String("x")) }, `{"a":1,"b":"x","c":3}`},
		{"set in empty", `{}`, func(v Value) Value { return v.Set("a", Null()) }, `{"a":null}`},
		{"set on null", `null`, func(v Value) Value { return v.Set("a", Int(1)) }, `{"a":1}`},
		{"set on array", `[1,2]`, func(v Value) Value { return v.Set("a", Int(1)) }, `{"a":1}`},
		{"set key not UTF-8", `{}`, func(v Value) Value { return v.Set("\xff", Int(1)) }, "{\"\ufffd\":1}"},
		{"delete first", `{"a":1,"b":2,"c":3}`, func(v Value) Value { return v.Delete("a") }, `{"b":2,"c":3}`},
		{"delete last", `{"a":1,"b":2,"c":3}`, func(v Value) Value { return v.Delete("c") }, `{"a":1,"b":2}`},
		{"delete only", `{"a":1}`, func(v Value) Value { return v.Delete("a") }, `{}`},
		{"delete absent", `{"a":1}`, func(v Value) Value { return v.Delete("b") }, `{"a":1}`},
		{"delete of a scalar", `7`, func(v Value) Value { return v.Delete("b") }, `7`},
		{"delete then set goes last", `{"a":1,"b":2}`, func(v Value) Value { return v.Delete("a").Set("a", Int(3)) }, `{"b":2,"a":3}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := parse(t, tt.before)
			if got := tt.change(before).String(); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			if before.String() != tt.before {
				t.Errorf("the old value became %s, was %s", before, tt.before)
			}
		})
	}
}

func TestSorted(t *testing.T) {
	v := parse(t, `{"b":[{"z":1,"$metadata":2}],"A":{"_":1,"0":2,"é":3,"e":4},"$x":null}`)
	want := `{"$x":null,"A":{"0":2,"_":1,"e":4,"é":3},"b":[{"$metadata":2,"z":1}]}`
	if got := Sorted(v).String(); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// Two siblings made from one value do not see each other's members.
func TestSiblingsAreIndependent(t *testing.T) {
	base := parse(t, `{"a":1}`)
	x, y := base.Set("x", Int(1)), base.Set("y", Int(2))
	x2 := x.Set("z", Int(3))
	if got := fmt.Sprint(base, x, y, x2); got != `{"a":1} {"a":1,"x":1} {"a":1,"y":2} {"a":1,"x":1,"z":3}` {
		t.Errorf("got %s", got)
	}
	b := NewBuilder(8)
	first := b.Set("a", Int(1)).Object()
	second := b.Set("b", Int(2)).Object()
	if got := fmt.Sprint(first, second, b.Len()); got != `{"a":1} {"b":2} 0` {
		t.Errorf("builder: got %s", got)
	}
}

func TestCloneSharesNothing(t *testing.T) {
	v := parse(t, `{"key":["text",1.0,true,null,{"in":"side"}]}`)
	c := v.Clone()
	if !Identical(v, c) {
		t.Fatalf("got %s, want %s", c, v)
	}
	if v.node == c.node || v.node.members[0].Value.node == c.node.members[0].Value.node {
		t.Error("the clone shares containers")
	}
}

// Value and Builder behave as a plain list of pairs does, whatever the number of members: below and
// above the size at which lookups change.
func TestObjectAgainstModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		keys := rapid.StringMatching(`[a-f]{1,2}`)
		var model []Member
		find := func(key string) int {
			for i, m := range model {
				if m.Key == key {
					return i
				}
			}
			return -1
		}
		v, b := Object(), Builder{}
		deleted := false
		for i := range rapid.IntRange(0, 60).Draw(rt, "steps") {
			key := keys.Draw(rt, "key")
			at := find(key)
			if rapid.IntRange(0, 4).Draw(rt, "delete") == 0 {
				deleted = deleted || at >= 0
				v = v.Delete(key)
				if at >= 0 {
					model = append(model[:at:at], model[at+1:]...)
				}
			} else {
				v = v.Set(key, Int(int64(i)))
				b.Set(key, Int(int64(i)))
				if at >= 0 {
					model[at].Value = Int(int64(i))
				} else {
					model = append(model, Member{key, Int(int64(i))})
				}
			}
			want := make([]string, len(model))
			for i, m := range model {
				want[i] = fmt.Sprintf("%q:%s", m.Key, m.Value)
				if got, ok := v.Get(m.Key); !ok || !Identical(got, m.Value) {
					rt.Fatalf("Get(%q) = %s, %v; want %s", m.Key, got, ok, m.Value)
				}
			}
			if got := v.String(); got != "{"+strings.Join(want, ",")+"}" {
				rt.Fatalf("got %s, want {%s}", got, strings.Join(want, ","))
			}
			if _, ok := v.Get("zz"); ok {
				rt.Fatal("found a key that was never set")
			}
		}
		if !deleted {
			if built := b.Object(); !Identical(built, v) {
				rt.Fatalf("builder: got %s, want %s", built, v)
			}
		}
	})
}
