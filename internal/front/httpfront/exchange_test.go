package httpfront

import (
	"encoding/base64"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write what the hub answers into testdata/exchange")

// TestExchanges replays the scripts in testdata/exchange, each against a hub of its own. A script is a list of
// paragraphs: lines "> " are a request (request line, headers, empty line, body), lines "< " the whole answer to it but
// for Date, Content-Length and x-ms-request-id, with what is random masked; "# " is a comment; "@ connect id",
// "@ listen id" (a device that answers methods with status 200 and what it got) and "@ close id" change who is
// connected. Hub time goes on by a second before each request.
func TestExchanges(t *testing.T) {
	files, err := filepath.Glob("testdata/exchange/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := replay(t, string(text))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			compare(t, file, got, string(text))
		})
	}
}

// compare reports the first paragraph that differs.
func compare(t *testing.T, file, got, want string) {
	t.Helper()
	if got == want {
		return
	}
	g, w := strings.Split(got, "\n\n"), strings.Split(want, "\n\n")
	for n := range min(len(g), len(w)) {
		if g[n] != w[n] {
			t.Fatalf("%s, paragraph %d:\ngot:\n%s\nwant:\n%s", file, n+1, g[n], w[n])
		}
	}
	t.Fatalf("%s: got %d paragraphs, want %d", file, len(g), len(w))
}

// replay plays a script and returns it with the answers that came.
func replay(t *testing.T, script string) string {
	h := newHub(t)
	devices := map[string]*fakeDevice{}
	paragraphs := strings.Split(strings.TrimRight(script, "\n"), "\n\n")
	for n, paragraph := range paragraphs {
		var keep, request []string
		for line := range strings.SplitSeq(paragraph, "\n") {
			switch {
			case strings.HasPrefix(line, "<"):
			case strings.HasPrefix(line, ">"):
				request = append(request, strings.TrimPrefix(strings.TrimPrefix(line, ">"), " "))
				keep = append(keep, line)
			case strings.HasPrefix(line, "@ "):
				direct(t, h, devices, strings.Fields(line[2:]))
				keep = append(keep, line)
			default:
				keep = append(keep, line)
			}
		}
		if request != nil {
			h.clock.advance(time.Second)
			keep = append(keep, exchange(t, h, request)...)
		}
		paragraphs[n] = strings.Join(keep, "\n")
	}
	return strings.Join(paragraphs, "\n\n") + "\n"
}

// direct obeys a line of stage directions.
func direct(t *testing.T, h *testHub, devices map[string]*fakeDevice, words []string) {
	switch words[0] {
	case "connect":
		devices[words[1]] = h.connect(t, words[1], &fakeDevice{})
	case "listen":
		devices[words[1]] = h.connect(t, words[1], &fakeDevice{answer: echo})
	case "close":
		devices[words[1]].session.Close()
	default:
		t.Fatalf("unknown direction %q", words)
	}
}

// exchange sends a request and returns the answer's lines.
func exchange(t *testing.T, h *testHub, request []string) []string {
	method, target, _ := strings.Cut(request[0], " ")
	blank := slices.Index(request, "")
	if blank < 0 {
		blank = len(request)
	}
	headers := request[1:blank]
	for n, header := range headers {
		if policy, found := strings.CutPrefix(header, "Policy: "); found {
			headers[n] = "Authorization: " + h.token(t, policy, "")
		}
	}
	body := ""
	if blank < len(request) {
		body = strings.Join(request[blank+1:], "\n")
	}
	a := h.send(t, method, target, body, headers...)
	if got := a.header.Get("Content-Length"); a.body != "" && got != strconv.Itoa(len(a.body)) {
		t.Errorf("%s: Content-Length is %q, the body has %d bytes", request[0], got, len(a.body))
	}
	lines := []string{fmt.Sprintf("< %d", a.status)}
	var names []string
	for name := range a.header {
		if name != "X-Ms-Request-Id" && name != "Content-Length" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		lines = append(lines, "< "+name+": "+mask(strings.Join(a.header[name], ", ")))
	}
	if a.body != "" {
		lines = append(lines, "<", "< "+mask(a.body))
	}
	return lines
}

var (
	trackingIDs = regexp.MustCompile(`[0-9a-f]{32}`)
	deviceKeys  = regexp.MustCompile(`[A-Za-z0-9+/]{43}=`)
	etags       = regexp.MustCompile(`[A-Za-z0-9+/]{8,16}={0,2}`)
	numbers     = regexp.MustCompile(`^[0-9]{9,10}$`)
	pageTokens  = regexp.MustCompile(`[A-Za-z0-9_-]{90,}`)
)

// mask replaces what differs from run to run.
func mask(s string) string {
	s = pageTokens.ReplaceAllString(s, "(page token)")
	s = trackingIDs.ReplaceAllString(s, "(32 hex)")
	s = deviceKeys.ReplaceAllString(s, "(new key)")
	return etags.ReplaceAllStringFunc(s, func(etag string) string {
		if text, err := base64.StdEncoding.DecodeString(etag); err == nil && numbers.Match(text) {
			return "(number in base64)"
		}
		return etag
	})
}
