package sdks

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// page is the text that shows what back ends written in Python send to a hub and get from it.
type page struct {
	code  []string // the blocks of Python, in the page's order
	shown [][]event
}

// The page's code blocks, in order.
const (
	blockTwin = iota
	blockUpdateTwin
	blockUpdateTwinComponent
	blockMethod
	blockComponentMethod
	blockDigitalTwin
	blockUpdateDigitalTwin
	blockUpdateDigitalTwinAgain // of the component by its text, of the root by its code
	blockCommand
	blockComponentCommand
	blockReader
	blocks
)

// The outputs it shows, in order.
const (
	shownTelemetry = iota
	shownComponentTelemetry
	shownTwin
	shownComponentTwin
	shownDigitalTwin
	shownComponentDigitalTwin
	showns
)

// readPage reads the page where it lies, beside this repository.
func readPage(t testing.TB) page {
	t.Helper()
	root, err := filepath.Abs("../../../shared/seed")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(root, "*.txt"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		skipOrFail(t, "no ../shared/seed/*.txt beside this repository")
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	var p page
	for _, m := range regexp.MustCompile("(?ms)^```(\\S+)\n(.*?)^```").FindAllStringSubmatch(string(text), -1) {
		switch m[1] {
		case "python":
			p.code = append(p.code, m[2])
		case "cmd/sh":
			events, err := parseEvents(strings.Split(m[2], "\n"))
			if err != nil {
				t.Fatalf("output %d of the page: %v", len(p.shown)+1, err)
			}
			p.shown = append(p.shown, events)
		}
	}
	if len(p.code) != blocks || len(p.shown) != showns {
		t.Fatalf("the page has %d blocks of code and %d outputs, want %d and %d", len(p.code), len(p.shown), blocks, showns)
	}
	return p
}

// script writes block, as it is printed, below the only additions allowed, and returns the file's name: variables, an
// import of datetime, the imports of the page's first block, and a body for on_error.
func (p page) script(t testing.TB, block int, deviceID string, h *hub) string {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "import datetime\niothub_connection_str = %q\nCONNECTION_STR = %q\ndevice_id = %q\n",
		h.env["IOTHUB_CONNECTION_STRING"], h.env["EVENTHUB_CONNECTION_STRING"], deviceID)
	for _, line := range strings.Split(p.code[blockTwin], "\n") {
		if strings.HasPrefix(line, "from ") {
			b.WriteString(line + "\n")
		}
	}
	const handler = "async def on_error(partition_context, error):\n    # ...\n"
	code := p.code[block]
	if block == blockReader {
		if !strings.Contains(code, handler) {
			t.Fatal("the page's reader has no empty on_error")
		}
		code = strings.Replace(code, handler, handler+"    print(\"on_error:\", partition_context, repr(error))\n", 1)
	}
	b.WriteString(code)
	name := filepath.Join(t.TempDir(), fmt.Sprintf("block%d.py", block))
	if err := os.WriteFile(name, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}
