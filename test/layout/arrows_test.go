package layout

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/twinhub/twinhub"

// A pkg is what go list says of a package of this module.
type pkg struct {
	ImportPath string
	Doc        string
	Imports    []string
	Dir        string
}

// rel is the path below the module, "." for its root.
func rel(importPath string) string {
	if importPath == module {
		return "."
	}
	return strings.TrimPrefix(importPath, module+"/")
}

func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Doc,Imports,Dir", module+"/...")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var list []pkg
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return list
		} else if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
}

// may lists, for each package or tree of packages, what it may import of this module, besides the root package and
// internal/clock, which all may. A trailing /... stands for the tree below. The first line that fits counts.
var may = []struct {
	from string
	to   []string
}{
	{".", nil},
	{"internal/clock", nil},
	{"internal/wire/...", nil},
	{"internal/sas", nil},
	{"internal/jsondoc", nil},
	{"internal/query", []string{"internal/jsondoc"}},
	{"dtdl", nil},
	{"internal/trust", nil},
	{"internal/ops", nil},
	{"internal/engine", nil},
	{"internal/engine/enginetest", []string{"internal/engine"}},
	{"internal/engine/local", []string{"internal/engine"}},
	{"internal/eventlog", []string{"internal/engine", "internal/wire/amqp"}},
	{"internal/core/routing", []string{"internal/query", "internal/eventlog", "internal/engine"}},
	{"internal/core/session", []string{"internal/core/routing", "internal/engine"}},
	{"internal/core/identity", []string{"internal/core/session", "internal/engine"}},
	{"internal/core/auth", []string{"internal/core/identity", "internal/engine", "internal/sas"}},
	{"internal/core/index", []string{"internal/core/identity", "internal/core/session", "internal/core/twin", "internal/query", "internal/engine", "internal/jsondoc"}},
	{"internal/core/twin", []string{"internal/core/identity", "internal/core/session", "internal/core/routing", "internal/engine", "internal/jsondoc"}},
	{"internal/core/method", []string{"internal/core/identity", "internal/core/session", "internal/engine"}},
	{"internal/core/digitaltwin", []string{"internal/core/twin", "internal/jsondoc"}},
	{"internal/core/telemetry", []string{"internal/core/routing", "internal/engine"}},
	{"internal/core/registry", []string{"internal/core/identity", "internal/core/session", "internal/core/routing", "internal/core/twin", "internal/engine", "internal/jsondoc", "internal/sas"}},
	{"internal/front/mqttfront", []string{"internal/core/...", "internal/wire/mqtt", "internal/wire/poll", "internal/engine", "internal/sas"}},
	{"internal/front/amqpfront", []string{"internal/core/...", "internal/eventlog", "internal/wire/amqp", "internal/engine"}},
	{"internal/front/httpfront", []string{"internal/core/...", "internal/eventlog", "internal/jsondoc"}},
	{"internal/hub", []string{"internal/..."}},
	{"hubtest", []string{"internal/hub", "internal/core/routing"}},
	{"device", []string{"internal/wire/mqtt", "internal/sas"}},
	{"service", []string{"internal/sas"}},
	{"cmd/...", []string{"internal/hub", "internal/core/routing", "device", "service", "internal/sas"}},
	{"test/...", []string{"..."}},
}

func fits(pattern, path string) bool {
	if tree, ok := strings.CutSuffix(pattern, "/..."); ok {
		return path == tree || strings.HasPrefix(path, tree+"/")
	}
	return pattern == "..." || pattern == path
}

func TestArrows(t *testing.T) {
	for _, p := range packages(t) {
		from := rel(p.ImportPath)
		i := slices.IndexFunc(may, func(rule struct {
			from string
			to   []string
		}) bool {
			return fits(rule.from, from)
		})
		if i < 0 {
			t.Errorf("package %s has no place in the room plan: add a line for it", from)
			continue
		}
		for _, imported := range p.Imports {
			if imported != module && !strings.HasPrefix(imported, module+"/") {
				continue
			}
			to := rel(imported)
			allowed := to == "." || to == "internal/clock" || slices.ContainsFunc(may[i].to, func(pattern string) bool { return fits(pattern, to) })
			if !allowed {
				t.Errorf("%s imports %s, which the room plan does not allow", from, to)
			}
		}
	}
}

// The vocabulary package is for everybody, so it depends on nothing but the standard library.
func TestRootImportsStandardLibraryOnly(t *testing.T) {
	for _, p := range packages(t) {
		if p.ImportPath != module {
			continue
		}
		for _, imported := range p.Imports {
			if strings.Contains(imported, ".") {
				t.Errorf("the root package imports %s", imported)
			}
		}
	}
}

func TestEveryPackageHasADoc(t *testing.T) {
	for _, p := range packages(t) {
		if p.Doc == "" && !strings.Contains(p.ImportPath, "/testdata/") {
			t.Errorf("package %s has no doc comment", rel(p.ImportPath))
		}
	}
}
