package twin

import (
	"fmt"
	"strings"
	"testing"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/jsondoc"
)

// nested returns n objects inside each other, the last with the given content: nested(1, `"a":1`) is {"o":{"a":1}}.
func nested(n int, content string) string {
	return strings.Repeat(`{"o":`, n) + `{` + content + `}` + strings.Repeat(`}`, n)
}

func TestSectionLimits(t *testing.T) {
	const long = 4096
	tests := []struct {
		name, body string
		wantErr    string // part of the text; empty for no error
	}{
		{"depth 10 with a scalar in the tenth", nested(10, `"a":1`), ""},
		{"depth 11", nested(11, ``), "deeper than 10"},
		{"arrays count", nested(9, `"a":[[1]]`), "deeper than 10"},
		{"array in the ninth object", nested(9, `"a":[1]`), ""},
		{"dot in a name", `{"a.b":1}`, "not allowed"},
		{"space in a name", `{"a b":1}`, "not allowed"},
		{"hash in a name", `{"a#":1}`, "not allowed"},
		{"dollar in a name", `{"x":{"$a":1}}`, "properties.desired.x.$a"},
		{"C0 control in a name", `{"a\u0007":1}`, "not allowed"},
		{"C1 control in a name", `{"a\u0085":1}`, "not allowed"},
		{"illegal name that is deleted", `{"a.b":null}`, "not allowed"},
		{"illegal name inside an array", `{"a":[{"b c":1}]}`, "not allowed"},
		{"empty name", `{"":1}`, ""},
		{"name not ASCII", `{"température":1}`, ""},
		{"name of 1024 bytes", `{"` + strings.Repeat("k", 1024) + `":1}`, ""},
		{"name of 1025 bytes", `{"` + strings.Repeat("k", 1025) + `":1}`, "limit is 1024"},
		{"string of 4096 bytes", `{"a":"` + strings.Repeat("v", long) + `"}`, ""},
		{"string of 4097 bytes", `{"a":"` + strings.Repeat("v", long+1) + `"}`, "limit is 4096"},
		{"string of 2048 two-byte characters", `{"a":"` + strings.Repeat("é", long/2) + `"}`, ""},
		{"string inside an array too long", `{"a":["` + strings.Repeat("v", long+1) + `"]}`, "limit is 4096"},
		{"least integer", `{"a":-4503599627370496}`, ""},
		{"below the least integer", `{"a":-4503599627370497}`, "integer outside"},
		{"greatest integer", `{"a":4503599627370495}`, ""},
		{"above the greatest integer", `{"a":4503599627370496}`, "integer outside"},
		{"integer beyond int64", `{"a":123456789012345678901234567890}`, "integer outside"},
		{"large number that is no integer", `{"a":1e300}`, ""},
		{"null in an array", `{"a":[1,null]}`, "cannot contain null"},
		{"null deep in an array", `{"a":[{"b":null}]}`, "cannot contain null"},
		{"null below an object", `{"a":{"b":null}}`, ""},
		{"array", `{"a":[1,"x",{"b":[true]}]}`, ""},
		{"not an object", `[1]`, "must be an object"},
		{"scalar", `"x"`, "must be an object"},
		{"duplicate names", `{"a":1,"a":2}`, "duplicate"},
		{"format verbs in a name", `{"%s%d.":1}`, "%s%d."},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parseRequest([]byte(`{"properties":{"desired":`+tt.body+`}}`), false)
			check(t, err, twinhub.CodeArgumentInvalid, tt.wantErr)
		})
	}
}

func check(t *testing.T, err error, code twinhub.Code, text string) {
	t.Helper()
	if text == "" {
		if err != nil {
			t.Errorf("got error %v, want none", err)
		}
		return
	}
	if !twinhub.HasCode(err, code) || !strings.Contains(err.Error(), text) {
		t.Errorf("got error %v, want %s with %q", err, code, text)
	}
}

// sized returns an object of exactly n bytes by the size rule, n at least 4.
func sized(n int) string {
	var b strings.Builder
	b.WriteByte('{')
	for i := 0; n > 0; i++ {
		take := min(n, 4000)
		if n-take > 0 && n-take < 4 {
			take -= 4
		}
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `"k%02d":"%s"`, i, strings.Repeat("v", take-3))
		n -= take
	}
	b.WriteByte('}')
	return b.String()
}

func TestSectionSizes(t *testing.T) {
	d := newTwin(t, `{}`)
	desired := func(body string) error { return update(d, `{"properties":{"desired":`+body+`}}`) }
	tags := func(body string) error { return update(d, `{"tags":`+body+`}`) }
	reported := func(body string) error {
		patch, err := parseReported([]byte(body))
		if err == nil {
			_, err = d.report(patch, later)
		}
		return err
	}
	tests := []struct {
		name    string
		err     error
		wantErr string
	}{
		{"tags of 8 KB", tags(sized(MaxTags)), ""},
		{"tags one byte over", tags(sized(MaxTags + 1)), "tags would be 8193 bytes; the limit is 8192"},
		{"desired of 32 KB", desired(sized(MaxDesired)), ""},
		{"desired one byte over", desired(sized(MaxDesired + 1)), "properties.desired would be 32769"},
		{"reported of 32 KB", reported(sized(MaxReported)), ""},
		{"reported one byte over", reported(sized(MaxReported + 1)), "properties.reported would be 32769"},
		{"PUT one byte over", updateBy(d, `{"tags":`+sized(MaxTags+1)+`}`, true), "tags would be"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { check(t, tt.err, twinhub.CodeArgumentInvalid, tt.wantErr) })
	}
}

func TestSizeIsOfTheMergedSection(t *testing.T) {
	d := newTwin(t, sized(MaxDesired))
	check(t, update(d, `{"properties":{"desired":{"x":1}}}`), twinhub.CodeArgumentInvalid, "would be 32777 bytes")
	check(t, update(d, `{"properties":{"desired":{"k00":null,"x":1}}}`), 0, "")
}

func update(d *Document, body string) error { return updateBy(d, body, false) }

func updateBy(d *Document, body string, replace bool) error {
	r, err := parseRequest([]byte(body), replace)
	if err == nil {
		_, err = d.service(r, later)
	}
	return err
}

func TestDeviceMayNotSendHubMembers(t *testing.T) {
	for _, body := range []string{`{"$version":1}`, `{"$metadata":{}}`, `{"a":{"$x":1}}`} {
		_, err := parseReported([]byte(body))
		check(t, err, twinhub.CodeArgumentInvalid, "not allowed")
	}
	for _, body := range []string{`null`, `[]`, `1`, `"x"`, ``, `{`, `{"a":1}x`} {
		_, err := parseReported([]byte(body))
		check(t, err, twinhub.CodeArgumentInvalid, "body")
	}
}

func TestManyControlCharactersCannotOutgrowTheStore(t *testing.T) {
	// Control characters count nothing in the size of a section, so the stored form has its own bound.
	var b jsondoc.Builder
	for i := range 60 {
		b.Set(fmt.Sprint("k", i), jsondoc.String(strings.Repeat("\x01", MaxString)))
	}
	d, err := NewDocument(created, "", jsondoc.Null(), b.Object())
	if err != nil {
		t.Fatalf("NewDocument: %v", err)
	}
	_, err = d.Write(twinhub.ID{Device: "d"}, 0)
	check(t, err, twinhub.CodeArgumentInvalid, "the limit is 1048576")
}
