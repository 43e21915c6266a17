package query

import (
	"errors"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	tests := []struct {
		name, src string
		id        string // empty: all devices
	}{
		{"all", "SELECT * FROM devices", ""},
		{"keywords in lower case", "select * from devices", ""},
		{"keywords mixed, white space free", "\r\n\tSelect\n*From   DEVICES \n", ""},
		{"one", "SELECT * FROM devices WHERE deviceId = 'd1'", "d1"},
		{"with the source", "select * from devices where devices.deviceId='d1'", "d1"},
		{"other case of the attribute", "select * from devices where Devices.DEVICEID='D1'", "D1"},
		{"short name", "select * from devices where id = 'd1'", "d1"},
		{"double quotes", `select * from devices where deviceId = "d1"`, "d1"},
		{"other quote inside", `select * from devices where deviceId = "it's"`, "it's"},
		{"double quote inside", `select * from devices where deviceId = 'a"b'`, `a"b`},
		{"escaped quotes", `select * from devices where deviceId = 'it\'s \"b\"'`, `it's "b"`},
		{"escaped backslash", `select * from devices where deviceId = 'a\\'`, `a\`},
		{"code point", `select * from devices where deviceId = '\u0064\u00e9\ud83d\ude00'`, "dé😀"},
		{"characters of ids", `select * from devices where deviceId = '-:.+%_#*?!(),=@;$'`, "-:.+%_#*?!(),=@;$"},
		{"keyword as id", "select * from devices where deviceId = 'select'", "select"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			q, err := Parse(tt.src)
			if err != nil {
				t.Fatalf("got error %v", err)
			}
			if id, ok := q.DeviceID(); id != tt.id || ok != (tt.id != "") {
				t.Errorf("got device %q, %v; want %q", id, ok, tt.id)
			}
		})
	}
}

func TestParseErrors(t *testing.T) {
	tests := []struct {
		name, src string
		offset    int
		reason    string
	}{
		{"empty", "", 0, "expected SELECT, found the end of the query"},
		{"not a query", "DELETE FROM devices", 0, `expected SELECT, found "DELETE"`},
		{"nothing selected", "SELECT FROM devices", 7, `expected *, found "FROM"`},
		{"projection", "SELECT deviceId FROM devices", 7, "projections and aggregates are not supported yet"},
		{"aggregate", "SELECT COUNT() AS n FROM devices", 7, "projections and aggregates are not supported yet"},
		{"TOP", "SELECT TOP 5 * FROM devices", 7, "TOP is not supported yet"},
		{"no source", "SELECT *", 8, "expected FROM, found the end"},
		{"other source", "SELECT * FROM things", 14, `expected devices, found "things"`},
		{"modules", "SELECT * FROM devices.modules", 22, "FROM devices.modules is not supported yet"},
		{"jobs", "SELECT * FROM devices.jobs", 22, "FROM devices.jobs is not supported yet"},
		{"unknown part", "SELECT * FROM devices.x", 22, `expected modules or jobs, found "x"`},
		{"GROUP BY", "SELECT * FROM devices GROUP BY tags.a", 22, "GROUP BY is not supported yet"},
		{"ORDER BY", "SELECT * FROM devices ORDER BY tags.a", 22, "ORDER is not part of the language"},
		{"rubbish after", "SELECT * FROM devices;", 21, "unexpected character ';'"},
		{"word after", "SELECT * FROM devices d", 22, `expected the end of the query, found "d"`},
		{"AND", "SELECT * FROM devices WHERE deviceId = 'a' AND status = 'enabled'", 43, "AND is not supported yet"},
		{"OR", "SELECT * FROM devices WHERE deviceId = 'a' or deviceId = 'b'", 43, "OR is not supported yet"},
		{"NOT", "SELECT * FROM devices WHERE NOT deviceId = 'a'", 28, `"NOT" in a condition is not supported yet`},
		{"parenthesis", "SELECT * FROM devices WHERE (deviceId = 'a')", 28, `"(" in a condition is not supported yet`},
		{"IN", "SELECT * FROM devices WHERE deviceId IN ['a', 'b']", 37, "IN is not supported yet"},
		{"NIN", "SELECT * FROM devices WHERE deviceId nin ['a', 'b']", 37, "NIN is not supported yet"},
		{"function", "SELECT * FROM devices WHERE STARTSWITH(id, 'p')", 38, "functions are not supported yet"},
		{"operator", "SELECT * FROM devices WHERE deviceId != 'a'", 37, "the operator != is not supported yet"},
		{"operator of two marks", "SELECT * FROM devices WHERE deviceId <>'a'", 37, "the operator <> is not supported yet"},
		{"other attribute", "SELECT * FROM devices WHERE capabilities.iotEdge = true", 49, "a condition on capabilities.iotEdge is not supported yet"},
		{"attribute called devices", "SELECT * FROM devices WHERE devices = 'a'", 36, "a condition on devices is not supported yet"},
		{"constant first", "SELECT * FROM devices WHERE 'a' = deviceId", 28, "a condition that begins with a constant is not supported yet"},
		{"hex constant first", "SELECT * FROM devices WHERE 0xF = a", 28, "a condition that begins with a constant is not supported yet"},
		{"nothing compared", "SELECT * FROM devices WHERE", 27, "expected the name of an attribute, found the end"},
		{"no operator", "SELECT * FROM devices WHERE deviceId 'a'", 37, "expected =, found the string 'a'"},
		{"no value", "SELECT * FROM devices WHERE deviceId =", 38, "expected a string in quotes, found the end"},
		{"number", "SELECT * FROM devices WHERE deviceId = 1.5", 39, `expected a string in quotes, found "1.5"`},
		{"name for a string", "SELECT * FROM devices WHERE deviceId = d1", 39, `expected a string in quotes, found "d1"`},
		{"dot at the end", "SELECT * FROM devices WHERE devices.", 36, "expected the name of an attribute"},
		{"open string", "SELECT * FROM devices WHERE deviceId = 'a", 39, "no closing quote"},
		{"escape at the end", `SELECT * FROM devices WHERE deviceId = 'a\`, 39, "no closing quote"},
		{"unknown escape", `SELECT * FROM devices WHERE deviceId = 'a\x'`, 39, "not allowed"},
		{"half a code point", `SELECT * FROM devices WHERE deviceId = '\u00'`, 39, "not allowed"},
		{"not UTF-8", "SELECT * FROM devices WHERE deviceId = '\xff'", 39, "not allowed"},
		{"unknown character", "SELECT * FROM devices WHERE deviceId ~ 'a'", 37, "unexpected character '~'"},
		{"too long", strings.Repeat(" ", MaxLength+1), MaxLength, "longer than 8192 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			q, err := Parse(tt.src)
			var got *Error
			if !errors.As(err, &got) {
				t.Fatalf("got %+v, %v; want an Error", q, err)
			}
			if got.Offset != tt.offset || !strings.Contains(got.Reason, tt.reason) {
				t.Errorf("got %d %q, want %d %q", got.Offset, got.Reason, tt.offset, tt.reason)
			}
		})
	}
}

// TestOfficialQueries are texts that tools send; those that are not understood must be refused by name.
func TestOfficialQueries(t *testing.T) {
	for _, src := range []string{
		"select * from devices where capabilities.iotEdge = true",
		"select deviceId from devices where array_contains(parentScopes, 'x')",
		"SELECT * FROM devices WHERE STARTSWITH(devices.deviceId, 'p')",
		"SELECT properties.reported.telemetryConfig.status AS status, COUNT() AS numberOfDevices FROM devices GROUP BY properties.reported.telemetryConfig.status",
		"SELECT deviceId as DeviceId,\n    status as Status FROM devices",
		"select * from devices where configurations.[[id]].status = 'Applied'",
	} {
		if _, err := Parse(src); err == nil {
			t.Errorf("%s: parsed", src)
		}
	}
}

// FuzzParse checks that any text is either refused with a place inside it, or means the same when it is written in the
// plainest way.
func FuzzParse(f *testing.F) {
	for _, src := range []string{"SELECT * FROM devices", `select * from devices where devices.deviceId="a\u0041'"`, "SELECT * FROM devices WHERE deviceId = 'x' AND 0x1 <> [[a]] %", "'"} {
		f.Add(src)
	}
	f.Fuzz(func(t *testing.T, src string) {
		q, err := Parse(src)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Offset < 0 || e.Offset > len(src) || e.Reason == "" {
				t.Fatalf("error %#v for %q", err, src)
			}
			return
		}
		id, ok := q.DeviceID()
		if !ok {
			return
		}
		plain := "SELECT * FROM devices WHERE deviceId = '" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(id) + "'"
		if len(plain) > MaxLength {
			return
		}
		again, err := Parse(plain)
		if err != nil {
			t.Fatalf("%q, from %q: %v", plain, src, err)
		}
		if got, _ := again.DeviceID(); got != id {
			t.Fatalf("%q, from %q: got %q, want %q", plain, src, got, id)
		}
	})
}
