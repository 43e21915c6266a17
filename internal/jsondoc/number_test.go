package jsondoc

import (
	"encoding/json"
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestAsInt64(t *testing.T) {
	tests := []struct {
		literal string
		want    int64
		ok      bool
		integer bool
	}{
		{"0", 0, true, true},
		{"-0", 0, true, true},
		{"0.000", 0, true, false},
		{"0e999999999999999999999", 0, true, false},
		{"1.0", 1, true, false},
		{"1e2", 100, true, false},
		{"-1.50e1", -15, true, false},
		{"120e-1", 12, true, false},
		{"1.5", 0, false, false},
		{"1e-1", 0, false, false},
		{"9223372036854775807", 9223372036854775807, true, true},
		{"9223372036854775808", 0, false, true},
		{"-9223372036854775808", -9223372036854775808, true, true},
		{"-9223372036854775809", 0, false, true},
		{"9.223372036854775807e18", 9223372036854775807, true, false},
		{"1e18", 1000000000000000000, true, false},
		{"1e19", 0, false, false},
		{"1e999999999", 0, false, false},
		{"1e99999999999999999999999", 0, false, false},
		{"1e-99999999999999999999999", 0, false, false},
		{"4503599627370495", 4503599627370495, true, true},
	}
	for _, tt := range tests {
		t.Run(tt.literal, func(t *testing.T) {
			v := parse(t, tt.literal)
			if n, ok := v.AsInt64(); n != tt.want || ok != tt.ok {
				t.Errorf("AsInt64: got %d, %v; want %d, %v", n, ok, tt.want, tt.ok)
			}
			if v.IsInteger() != tt.integer {
				t.Errorf("IsInteger: got %v, want %v", v.IsInteger(), tt.integer)
			}
		})
	}
	if f, ok := parse(t, "21.80").AsFloat64(); f != 21.8 || !ok {
		t.Errorf("AsFloat64: got %v, %v", f, ok)
	}
	if f, ok := parse(t, "1e400").AsFloat64(); ok {
		t.Errorf("AsFloat64 of 1e400: got %v", f)
	}
}

func TestNumber(t *testing.T) {
	for _, good := range []string{"0", "-0", "10", "1.0", "-1.5e+10", "0e0", "1E-5", "12.340"} {
		if v, err := Number(good); err != nil || v.String() != good {
			t.Errorf("Number(%q): got %s, %v", good, v, err)
		}
	}
	for _, bad := range []string{"", "-", "+1", "01", "-01", "1.", ".5", "1e", "1e+", "1e5x", "1 ", " 1", "0x1", "NaN", "1.5.5", "1e5.5", "--1", "null", "1,2", "１"} {
		if v, err := Number(bad); err == nil {
			t.Errorf("Number(%q): got %s, want an error", bad, v)
		}
	}
}

// Number takes exactly what the JSON package of the standard library takes as a number.
func TestNumberAgainstStandardLibrary(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		text := rapid.StringMatching(`-?[0-9]{0,3}(\.[0-9]{0,2})?([eE][+-]?[0-9]{0,2})?[x.]?`).Draw(rt, "text")
		want := json.Valid([]byte(text))
		if _, err := Number(text); (err == nil) != want {
			rt.Fatalf("Number(%q): got %v, want valid %v", text, err, want)
		}
	})
}

// The comparison by value agrees with exact rational numbers.
func TestSameNumberAgainstRationals(t *testing.T) {
	literal := rapid.StringMatching(`-?(0|[1-9]0{0,3}[0-9]?)(\.0{0,3}[0-9]?0{1,2})?([eE][+-]?0?[0-4])?`)
	rapid.Check(t, func(rt *rapid.T) {
		a, b := literal.Draw(rt, "a"), literal.Draw(rt, "b")
		ra, okA := new(big.Rat).SetString(a)
		rb, okB := new(big.Rat).SetString(b)
		if !okA || !okB {
			rt.Fatalf("math/big refuses %q or %q", a, b)
		}
		if got, want := sameNumber(a, b), ra.Cmp(rb) == 0; got != want {
			rt.Fatalf("sameNumber(%q, %q): got %v, want %v", a, b, got, want)
		}
	})
}

func TestEqual(t *testing.T) {
	tests := []struct {
		name, a, b       string
		equal, identical bool
	}{
		{"same", `{"a":[1,"x",null,true]}`, `{"a":[1,"x",null,true]}`, true, true},
		{"member order", `{"a":1,"b":2}`, `{"b":2,"a":1}`, true, false},
		{"member order deep in an array", `[{"a":1,"b":{"c":1,"d":2}}]`, `[{"b":{"d":2,"c":1},"a":1}]`, true, false},
		{"number text", `1`, `1.0`, true, false},
		{"exponent", `100`, `1e2`, true, false},
		{"zeros", `0`, `-0.0e5`, true, false},
		{"not rounded to float64", `9007199254740993`, `9007199254740992`, false, false},
		{"huge exponents", `1e1000000000`, `10e999999999`, true, false},
		{"exponents beyond the bound, same text", `1e100000000000000000000`, `1e100000000000000000000`, true, true},
		{"exponents beyond the bound, other text", `1e100000000000000000000`, `10e99999999999999999999`, false, false},
		{"sign", `1`, `-1`, false, false},
		{"array order", `[1,2]`, `[2,1]`, false, false},
		{"array length", `[1]`, `[1,1]`, false, false},
		{"missing member", `{"a":1}`, `{}`, false, false},
		{"other member", `{"a":null}`, `{"b":null}`, false, false},
		{"null and absent", `{"a":null}`, `{}`, false, false},
		{"string and number", `"1"`, `1`, false, false},
		{"true and false", `true`, `false`, false, false},
		{"empty containers", `{}`, `[]`, false, false},
		{"escapes", `"\u0041"`, `"A"`, true, true},
		{"null and null", `null`, `null`, true, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, b := parse(t, tt.a), parse(t, tt.b)
			for range 2 {
				if got := Equal(a, b); got != tt.equal {
					t.Errorf("Equal(%s, %s): got %v, want %v", a, b, got, tt.equal)
				}
				if got := Identical(a, b); got != tt.identical {
					t.Errorf("Identical(%s, %s): got %v, want %v", a, b, got, tt.identical)
				}
				a, b = b, a
			}
		})
	}
	// Above the size at which lookups use the index.
	large := func(from, step int) Value {
		b := NewBuilder(40)
		for i, n := from, 0; n < 40; i, n = i+step, n+1 {
			b.Set(strings.Repeat("k", i), Int(int64(i)))
		}
		return b.Object()
	}
	up, down := large(0, 1), large(39, -1)
	if !Equal(up, down) || Identical(up, down) {
		t.Errorf("40 members in two orders: got Equal %v, Identical %v; want true, false", Equal(up, down), Identical(up, down))
	}
}
