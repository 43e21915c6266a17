package main

import (
	"bytes"
	"encoding/json"
	"testing"
)

func TestPrinter(t *testing.T) {
	rows := [][]string{{"a", "1", ""}, {"größe", "2", "x\x1b[2Jy"}}
	for name, test := range map[string]struct {
		p    printer
		do   func(*printer) error
		want string
	}{
		"table": {printer{}, func(p *printer) error { return p.table([]string{"NAME", "N", "NOTE"}, rows) },
			"NAME   N  NOTE\na      1\ngröße  2  x\\u001b[2Jy\n"},
		"table in colour": {printer{color: true}, func(p *printer) error { return p.table([]string{"NAME", "N"}, [][]string{{"a", "1"}}) },
			"\x1b[1mNAME  N\x1b[0m\na     1\n"},
		"fields": {printer{}, func(p *printer) error { return p.fields(field{"id", "a"}, field{"left out", ""}, field{"state", "on"}) },
			"id     a\nstate  on\n"},
		"value": {printer{}, func(p *printer) error { return p.value(json.RawMessage(`{"b":1.10,"a":"<&>"}`)) },
			"{\n  \"b\": 1.10,\n  \"a\": \"<&>\"\n}\n"},
		"line": {printer{}, func(p *printer) error { return p.line(map[string]string{"a": "<"}) }, "{\"a\":\"<\"}\n"},
	} {
		var b bytes.Buffer
		test.p.w = &b
		if err := test.do(&test.p); err != nil || b.String() != test.want {
			t.Errorf("%s: got %q, %v, want %q", name, b.String(), err, test.want)
		}
	}
}

func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"plain, größe 温度":  "plain, größe 温度",
		"a\nb":             `a\u000ab`,
		"\x1b]0;title\x07": `\u001b]0;title\u0007`,
		"bad \xff utf-8":   `bad \xff utf-8`,
		"\u202egnp":        `\u202egnp`,
	} {
		if got := printable(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}
