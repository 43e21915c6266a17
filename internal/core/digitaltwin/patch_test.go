package digitaltwin

import (
	"strings"
	"testing"

	"github.com/twinhub/twinhub"
)

func TestPatchesThatAreRefused(t *testing.T) {
	const (
		patch   = twinhub.CodeInvalidDigitalTwinJsonPatch
		path    = twinhub.CodeInvalidDigitalTwinPatchPath
		payload = twinhub.CodeInvalidDigitalTwinPayload
	)
	set := func(value string) string { return `[{"op":"add","path":"/p","value":` + value + `}]` }
	at := func(path string) string { return `[{"op":"add","path":"` + path + `","value":1}]` }
	tests := []struct {
		name, body string
		want       twinhub.Code // 0: accepted
	}{
		{"not JSON", `[`, patch},
		{"object", `{}`, patch},
		{"null", `null`, patch},
		{"element no object", `[1]`, patch},
		{"no op", `[{"path":"/p","value":1}]`, patch},
		{"op test", `[{"op":"test","path":"/p","value":1}]`, patch},
		{"op move", `[{"op":"move","path":"/p","from":"/q"}]`, patch},
		{"op copy", `[{"op":"copy","path":"/p","from":"/q"}]`, patch},
		{"op in capitals", `[{"op":"ADD","path":"/p","value":1}]`, patch},
		{"no path", `[{"op":"remove"}]`, patch},
		{"path no string", `[{"op":"remove","path":1}]`, patch},
		{"add without value", `[{"op":"add","path":"/p"}]`, patch},
		{"second operation wrong", `[{"op":"add","path":"/p","value":1},{"op":"x"}]`, patch},
		{"too many operations", `[` + strings.Repeat(`{"op":"remove","path":"/p"},`, maxOperations) + `{"op":"remove","path":"/p"}]`, patch},
		{"too long", `[` + strings.Repeat(" ", maxPatch) + `]`, patch},

		{"empty path", at(""), path},
		{"root member without name", at("/"), path},
		{"no slash", at("p"), path},
		{"empty property", at("/c/"), path},
		{"three segments", at("/c/p/x"), path},
		{"metadata", at("/$metadata"), path},
		{"metadata inside", at("/$metadata/p"), path},
		{"metadata of a component", at("/c/$metadata"), path},
		{"id", at("/$dtId"), path},
		{"marker", at("/c/__t"), path},
		{"digit first", at("/1p"), path},
		{"underscore last", at("/p_"), path},
		{"hyphen", at("/p-q"), path},
		{"not ASCII", at("/é"), path},
		{"escape", at("/p~1q"), path},
		{"bad escape", at("/p~"), path},
		{"65 characters", at("/" + strings.Repeat("p", 65)), path},
		{"64 characters", at("/" + strings.Repeat("p", 64)), 0},
		{"one letter", at("/p"), 0},
		{"inner underscore and digits", at("/p_2/q__3x"), 0},

		{"array", set(`[1]`), payload},
		{"array inside", set(`{"a":[1]}`), payload},
		{"null", set(`null`), payload},
		{"null inside", set(`{"a":null}`), payload},
		{"five objects deep", set(`{"a":{"a":{"a":{"a":{"a":1}}}}}`), 0},
		{"six objects deep", set(`{"a":{"a":{"a":{"a":{"a":{"a":1}}}}}}`), payload},
		{"field no DTDL name", set(`{"a-b":1}`), payload},
		{"component marker by hand", set(`{"__t":"c","a":1}`), payload},
		{"metadata not empty", set(`{"$metadata":{"$model":"x"},"a":1}`), payload},
		{"metadata no object", set(`{"$metadata":1,"a":1}`), payload},
		{"component with a bad name", set(`{"$metadata":{},"a_":1}`), payload},
		{"component with null", set(`{"$metadata":{},"a":null}`), payload},
		{"component with an array", set(`{"$metadata":{},"a":[1]}`), payload},
		{"component property five deep", set(`{"$metadata":{},"x":{"a":{"a":{"a":{"a":{"a":1}}}}}}`), 0},
		{"component property six deep", set(`{"$metadata":{},"x":{"a":{"a":{"a":{"a":{"a":{"a":1}}}}}}}`), payload},
		{"metadata below a property path", `[{"op":"add","path":"/c/p","value":{"$metadata":{}}}]`, payload},
		{"remove ignores its value", `[{"op":"remove","path":"/p","value":[null]}]`, 0},
		{"empty patch", `[]`, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parsePatch([]byte(tt.body))
			if tt.want == 0 {
				if err != nil {
					t.Errorf("got %v, want none", err)
				}
				return
			}
			if !twinhub.HasCode(err, tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

func TestCommandMethod(t *testing.T) {
	if got := CommandMethod("", "getMaxMinReport"); got != "getMaxMinReport" {
		t.Errorf("root command: %q", got)
	}
	if got := CommandMethod("thermostat1", "getMaxMinReport"); got != "thermostat1*getMaxMinReport" {
		t.Errorf("component command: %q", got)
	}
}
