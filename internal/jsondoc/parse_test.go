package jsondoc

import (
	"errors"
	"strings"
	"testing"
)

// parse reads text that a test relies on.
func parse(t testing.TB, text string) Value {
	t.Helper()
	v, err := Parse([]byte(text), Limits{})
	if err != nil {
		t.Fatalf("Parse(%s): %v", text, err)
	}
	return v
}

func TestParseKeepsText(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"null", "null", "null"},
		{"booleans", "[true,false]", "[true,false]"},
		{"number literals", "[0,-0,1,1.0,1.50,-1e5,1E+05,1e-400,123456789012345678901234567890]", "[0,-0,1,1.0,1.50,-1e5,1E+05,1e-400,123456789012345678901234567890]"},
		{"member order", `{"z":1,"a":{"y":2,"b":3},"":4}`, `{"z":1,"a":{"y":2,"b":3},"":4}`},
		{"white space", " {\t\"a\" :\r\n[ 1 , 2 ] } ", `{"a":[1,2]}`},
		{"empty containers", `[{},[],""]`, `[{},[],""]`},
		{"no HTML escaping", `"<a href='x'>&</a>"`, `"<a href='x'>&</a>"`},
		{"non-ASCII as it is", `"åéß漢字😀"`, `"åéß漢字😀"`},
		{"line separators as they are", "\"\u2028\u2029\"", "\"\u2028\u2029\""},
		{"needless escapes go", `"\u0041\/\u00e9\ud83d\ude00"`, `"A/é😀"`},
		{"needed escapes stay", `"\"\\\b\f\n\r\t\u0000\u001f"`, `"\"\\\b\f\n\r\t\u0000\u001f"`},
		{"escaped key", `{"a\"b\u0063":1}`, `{"a\"bc":1}`},
		{"delete character", "\"\u007f\"", "\"\u007f\""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := parse(t, tt.text)
			if got := v.String(); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			if again := parse(t, v.String()); !Identical(v, again) {
				t.Errorf("%s reads back as %s", v, again)
			}
		})
	}
}

func TestParseErrors(t *testing.T) {
	tests := []struct {
		name, text string
		offset     int64
		reason     string
	}{
		{"empty", "", 0, "text ends too early"},
		{"white space only", "  ", 2, "text ends too early"},
		{"open object", `{"a":1`, 6, "text ends too early"},
		{"open array", `[1,`, 3, "text ends too early"},
		{"open string", `"abc`, 4, "text ends too early"},
		{"open literal", `tru`, 3, "text ends too early"},
		{"two values", `1 2`, 2, "more text after the value"},
		{"two objects", `{} {}`, 3, "more text after the value"},
		{"garbage behind", `{}x`, 2, "more text after the value"},
		{"duplicate name", `{"a":1,"b":2,"a":3}`, 13, "duplicate member name"},
		{"duplicate name by escape", `{"a":1,"\u0061":2}`, 7, "duplicate member name"},
		{"duplicate name deep", `[{"a":{"b":1,"b":1}}]`, 13, "duplicate member name"},
		{"invalid UTF-8", "[\"a\xff\"]", 3, "invalid UTF-8"},
		{"invalid UTF-8 in a name", "{\"\xc0\x80\":1}", 2, "invalid UTF-8"},
		{"lone surrogate", `"\ud800"`, 1, "surrogate"},
		{"low surrogate first", `"\udc00\ud800"`, 1, "surrogate"},
		{"control character", "\"a\nb\"", 2, "invalid character '\\n'"},
		{"byte order mark", "\ufeff{}", 0, "invalid character"},
		{"leading zero", "01", 1, "more text after the value"},
		{"plus sign", "+1", 0, "invalid character '+'"},
		{"no digit after point", "[1.]", 3, "invalid character ']'"},
		{"NaN", "NaN", 0, "invalid character 'N'"},
		{"comment", "[1/*x*/]", 2, "invalid character '/'"},
		{"trailing comma", "[1,]", 2, "invalid character ','"},
		{"trailing comma in object", `{"a":1,}`, 6, "invalid character ','"},
		{"name not a string", `{1:2}`, 1, "string"},
		{"no colon", `{"a" 1}`, 5, "invalid character '1'"},
		{"wrong bracket", `[1}`, 2, "invalid character '}'"},
		{"single quotes", `{'a':1}`, 1, "invalid character '\\''"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v, err := Parse([]byte(tt.text), Limits{})
			var syntax *SyntaxError
			if !errors.As(err, &syntax) {
				t.Fatalf("got %s, %v; want a *SyntaxError", v, err)
			}
			if syntax.Offset != tt.offset || !strings.Contains(syntax.Reason, tt.reason) {
				t.Errorf("got %d %q, want %d %q", syntax.Offset, syntax.Reason, tt.offset, tt.reason)
			}
			if strings.Contains(syntax.Error(), "jsontext") {
				t.Errorf("the error names the tokeniser: %v", syntax)
			}
		})
	}
}

func TestParseLimits(t *testing.T) {
	nested := func(open, inner, end string, n int) string {
		return strings.Repeat(open, n) + inner + strings.Repeat(end, n)
	}
	tests := []struct {
		name, text string
		limits     Limits
		reason     string // "" when it must pass
	}{
		{"arrays at the default", nested("[", "", "]", DefaultMaxDepth), Limits{}, ""},
		{"arrays above the default", nested("[", "", "]", DefaultMaxDepth+1), Limits{}, "nested deeper than 64 levels"},
		{"objects at the default", nested(`{"a":`, "1", "}", DefaultMaxDepth), Limits{}, ""},
		{"objects above the default", nested(`{"a":`, "1", "}", DefaultMaxDepth+1), Limits{}, "nested deeper than 64 levels"},
		{"mixed", `{"a":[{"b":1}]}`, Limits{MaxDepth: 3}, ""},
		{"mixed too deep", `{"a":[{"b":1}]}`, Limits{MaxDepth: 2}, "nested deeper than 2 levels"},
		{"open and deep", strings.Repeat("[", 1<<20), Limits{}, "nested deeper than 64 levels"},
		{"siblings do not add up", `[[1],[2],{"a":[3]}]`, Limits{MaxDepth: 3}, ""},
		{"bytes at the limit", `[1,2]`, Limits{MaxBytes: 5}, ""},
		{"bytes above the limit", `[1,2]`, Limits{MaxBytes: 4}, "longer than 4 bytes"},
		{"default bytes", `"` + strings.Repeat("x", DefaultMaxBytes) + `"`, Limits{}, "longer than 8388608 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse([]byte(tt.text), tt.limits)
			var syntax *SyntaxError
			switch {
			case tt.reason == "" && err != nil:
				t.Errorf("got %v, want no error", err)
			case tt.reason != "" && (!errors.As(err, &syntax) || !strings.Contains(syntax.Reason, tt.reason)):
				t.Errorf("got %v, want a *SyntaxError with %q", err, tt.reason)
			}
		})
	}
}

// The value does not change when the caller uses the buffer again.
func TestParseKeepsNoReference(t *testing.T) {
	text := []byte(`{"key":"value","n":12.50}`)
	v, err := Parse(text, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range text {
		text[i] = '#'
	}
	if got, want := v.String(), `{"key":"value","n":12.50}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// FuzzParse: Parse never panics; it returns a value or a *SyntaxError inside the text; a value is
// within the depth bound, is found again unchanged after it was written, and neither walking,
// merging nor comparing it fails.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		`null`, `{"a":[1.0,{"b":null}],"":"\u00e9\ud83d\ude00"}`, `[1e400,-0.0]`, `{"a":1,"a":2}`, "\"\xff\"", `[[[[`,
		`{"a":0,"b":1,"c":2,"d":3,"e":4,"f":5,"g":6,"h":7,"i":8,"j":9,"k":0,"l":1,"m":2,"n":3,"o":4,"p":5,"q":6}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		const maxDepth = 8
		v, err := Parse(text, Limits{MaxDepth: maxDepth})
		if err != nil {
			var syntax *SyntaxError
			if !errors.As(err, &syntax) {
				t.Fatalf("error of another kind: %v", err)
			}
			if syntax.Offset < 0 || syntax.Offset > int64(len(text)) || syntax.Reason == "" {
				t.Fatalf("bad error for %d bytes: %+v", len(text), syntax)
			}
			return
		}
		if d := v.Depth(); d > maxDepth {
			t.Fatalf("depth %d of %s", d, v)
		}
		again, err := Parse(v.Append(nil), Limits{MaxDepth: maxDepth})
		if err != nil {
			t.Fatalf("%s cannot be read back: %v", v, err)
		}
		if !Identical(v, again) || !Equal(v, again) {
			t.Fatalf("%s reads back as %s", v, again)
		}
		if !Identical(v, v.Clone()) || !Equal(v, Sorted(v)) {
			t.Fatalf("%s differs from its clone or its sorted form", v)
		}
		if p := Diff(v, Sorted(v)); len(p) != 0 {
			t.Fatalf("%s differs from its sorted form: %s", v, p)
		}
		if m := Merge(v, v); hasNullMember(m) {
			t.Fatalf("merging left a null: %s", m)
		}
	})
}
