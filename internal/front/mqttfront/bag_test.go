package mqttfront

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/twinhub/twinhub"
)

func TestParseBag(t *testing.T) {
	exp := time.Date(2030, 1, 2, 3, 4, 5, 600000000, time.UTC)
	property := func(name, value string) twinhub.Event {
		return twinhub.Event{Properties: []twinhub.Property{{Name: name, Value: value}}}
	}
	tests := []struct {
		name, bag string
		want      twinhub.Event
	}{
		{"empty", "", twinhub.Event{}},
		{"slash", "/", twinhub.Event{}},
		{"question mark", "?", twinhub.Event{}},
		{"empty pairs", "&&a=b&", property("a", "b")},
		{"plus is a plus", "a+b=c+d", property("a+b", "c+d")},
		{"encoded plus", "a%2Bb=c%2Bd", property("a+b", "c+d")},
		{"encoded space", "a%20b=c%20d", property("a b", "c d")},
		{"encoded marks", "a%26b%3D=c%2F%25", property("a&b=", "c/%")},
		{"UTF-8", "%C3%A4=%F0%9F%98%80", property("ä", "😀")},
		{"without =", "a", property("a", "")},
		{"empty value", "a=", property("a", "")},
		{"= in the value", "a=b=c", property("a", "b=c")},
		{"slash in the value", "a=b/c/", property("a", "b/c")},
		{"last of equal names", "a=1&b=2&a=3", twinhub.Event{Properties: []twinhub.Property{{Name: "a", Value: "3"}, {Name: "b", Value: "2"}}}},
		{"names are decoded before they are compared", "%61=1&a=2", property("a", "2")},
		{"$.mid", "$.mid=1", twinhub.Event{MessageID: "1"}},
		{"%24.mid", "%24.mid=1", twinhub.Event{MessageID: "1"}},
		{"$.mid twice", "$.mid=1&%24.mid=2", twinhub.Event{MessageID: "2"}},
		{"$.cid", "%24.cid=1", twinhub.Event{CorrelationID: "1"}},
		{"$.uid", "%24.uid=u", twinhub.Event{UserID: []byte("u")}},
		{"$.to", "%24.to=%2Fx", twinhub.Event{To: "/x"}},
		{"$.exp", "%24.exp=2030-01-02T03%3A04%3A05.6000000Z", twinhub.Event{ExpiryTime: exp}},
		{"$.exp that is no time", "%24.exp=tomorrow", twinhub.Event{}},
		{"$.ct", "%24.ct=application%2Fjson", twinhub.Event{ContentType: "application/json"}},
		{"$.ce", "%24.ce=utf-8", twinhub.Event{ContentEncoding: "utf-8"}},
		{"$.sub", "%24.sub=thermostat1", twinhub.Event{Subject: "thermostat1"}},
		{"$.ifid", "%24.ifid=urn%3Aazureiot%3ASecurity%3ASecurityAgent%3A1", twinhub.Event{InterfaceID: "urn:azureiot:Security:SecurityAgent:1"}},
		{"$.on", "%24.on=o", property("iothub-outputname", "o")},
		{"$.ctime", "%24.ctime=t", property("iothub-creation-time-utc", "t")},
		{"$.schema", "%24.schema=s", property("iothub-message-schema", "s")},
		{"$.diagid", "%24.diagid=i", property("Diagnostic-Id", "i")},
		{"$.diagctx", "%24.diagctx=creationtimeutc%3D1", property("Correlation-Context", "creationtimeutc=1")},
		{"unknown code", "%24.x=1", property("$.x", "1")},
		{"$.cdid and $.cmid are not taken", "$.cdid=d2&a=b&%24.cmid=m2", property("a", "b")},
		{"unprefixed special name", "iothub-ack=full", property("iothub-ack", "full")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got twinhub.Event
			if err := parseBag(tt.bag, &got); err != nil {
				t.Fatalf("parseBag(%q): %v", tt.bag, err)
			}
			if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", tt.want) {
				t.Errorf("parseBag(%q):\n got %+v\nwant %+v", tt.bag, got, tt.want)
			}
		})
	}
}

func TestParseBagWithManyProperties(t *testing.T) {
	var b strings.Builder
	const names = 10000
	for round := range 2 {
		for i := range names {
			fmt.Fprintf(&b, "%x=%d&", i, round)
		}
	}
	var ev twinhub.Event
	begin := time.Now()
	if err := parseBag(b.String(), &ev); err != nil {
		t.Fatal(err)
	}
	if len(ev.Properties) != names {
		t.Fatalf("got %d properties, want %d", len(ev.Properties), names)
	}
	for i, p := range ev.Properties {
		if p.Name != fmt.Sprintf("%x", i) || p.Value != "1" {
			t.Fatalf("property %d is %+v, want the later value", i, p)
		}
	}
	// One by one, the names would take 150 million comparisons.
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("took %v", took)
	}
}

// What is parsed can be an AMQP string or symbol, and no name occurs twice.
func FuzzParseBag(f *testing.F) {
	for _, s := range []string{"", "a=b&c", "%24.ct=x&$.ce=%C3%A9", "a=%zz", "?a=1&%61=2/", strings.Repeat("a=1&b&", 40)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, bag string) {
		var ev twinhub.Event
		if !utf8.ValidString(bag) || parseBag(bag, &ev) != nil {
			return
		}
		seen := map[string]bool{}
		for _, p := range ev.Properties {
			if seen[p.Name] {
				t.Errorf("name %q occurs twice", p.Name)
			}
			seen[p.Name] = true
			if !utf8.ValidString(p.Name) || !utf8.ValidString(p.Value) {
				t.Errorf("property %q=%q is not UTF-8", p.Name, p.Value)
			}
		}
		for _, s := range []string{ev.ContentType, ev.ContentEncoding} {
			for i := range len(s) {
				if s[i] >= utf8.RuneSelf {
					t.Errorf("symbol %q is not ASCII", s)
				}
			}
		}
	})
}

func FuzzParseUsername(f *testing.F) {
	for _, s := range []string{"", "h/d/?api-version=1&model-id=x", "h/d/m/api-version=1", "h/d", "h/d/?a=b/c", "h/?/?/?"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := parseUsername(s)
		if err != nil {
			return
		}
		if !twinhub.ValidID(u.id.Device) || u.id.IsModule() && !twinhub.ValidID(u.id.Module) || !utf8.ValidString(u.model) {
			t.Errorf("parseUsername(%q) = %+v", s, u)
		}
		if !strings.HasPrefix(s, u.host+"/"+u.id.String()) {
			t.Errorf("parseUsername(%q) = %+v: not what stands there", s, u)
		}
	})
}
