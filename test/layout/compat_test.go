package layout

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A row of docs/compat.md that says "matches" names, in its last column, the tests that show it:
// package path below the module, a dot, the function.
var testName = regexp.MustCompile("`([a-z0-9/]+)\\.((?:Test|Fuzz|Example)[A-Za-z0-9_]*)`")

func TestCompatRowsNameTests(t *testing.T) {
	text, err := os.ReadFile("../../docs/compat.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(line, "|")
		if len(cells) < 5 || strings.TrimSpace(cells[2]) != "matches" {
			continue
		}
		rows++
		named := testName.FindAllStringSubmatch(cells[len(cells)-2], -1)
		if len(named) == 0 {
			t.Errorf("this row matches but names no test:\n%s", line)
		}
		for _, n := range named {
			if !exists(t, n[1], n[2]) {
				t.Errorf("there is no %s in %s, which this row names:\n%s", n[2], n[1], line)
			}
		}
	}
	if rows == 0 {
		t.Error("docs/compat.md has no row that matches")
	}
}

// exists reports whether a test file of the package declares the function.
func exists(t *testing.T, dir, function string) bool {
	t.Helper()
	found := false
	err := filepath.WalkDir("../../"+dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && path != "../../"+dir {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, decl := range f.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == function {
				found = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
