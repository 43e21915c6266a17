package system

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// lasting returns what of a hub's connection.env and certificate authority clients keep: all but the picked ports.
// Keys are hashed, since test logs are kept too.
func lasting(t testing.TB, h *hub) string {
	t.Helper()
	ca, err := os.ReadFile(h.env["TWINHUB_CA_FILE"])
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "CA %x", sha256.Sum256(ca))
	names := make([]string, 0, len(h.env))
	for name := range h.env {
		names = append(names, name)
	}
	slices.Sort(names)
	ports := regexp.MustCompile(`:[0-9]+`)
	for _, name := range names {
		fmt.Fprintf(&b, " %s %.6x", name, sha256.Sum256([]byte(ports.ReplaceAllString(h.env[name], ":port"))))
	}
	_, fingerprint, _ := strings.Cut(h.banner, "SHA-256 ")
	fingerprint, _, _ = strings.Cut(fingerprint, "\n")
	return b.String() + " " + fingerprint
}

// TestRestart shows what a restart keeps: keys, trust, partitions, tokens, and where each device is.
func TestRestart(t *testing.T) {
	data, secrets := t.TempDir(), new(secretSet)
	h := startHub(t, data, secrets)
	key := h.register(t, "d1")
	before, token := lasting(t, h), h.token
	connect := h.connectPacket("d1", key)
	partitions, err := heads(t.Context(), h.mustConsume(t))
	if err != nil {
		t.Fatal(err)
	}
	type lastingIdentity struct {
		ETag, GenerationID string
		Authentication     struct {
			SymmetricKey struct{ PrimaryKey, SecondaryKey string }
		}
	}
	identity := decode[lastingIdentity](t, h.must(t, http.MethodGet, "/devices/d1", "").body)
	h.kill()
	for name, end := range map[string]func(*hub) error{"terminated": (*hub).terminate, "killed": func(h *hub) error { h.kill(); return nil }} {
		t.Run(name, func(t *testing.T) {
			if err := end(startHub(t, data, secrets)); err != nil {
				t.Fatal(err)
			}
			// Another number of partitions is refused: it would send devices elsewhere.
			config := t.TempDir() + "/hub.yaml"
			if err := os.WriteFile(config, []byte("partitions: 7\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			code, stderr := run(t, serveArgs(data, "--config", config)...)
			oneLine(t, code, stderr, "4 partitions", "7")
			h := startHub(t, data, secrets)
			if after := lasting(t, h); after != before {
				t.Errorf("connection.env and certificate authority are %s, were %s", after, before)
			}
			a, err := h.do(t.Context(), http.MethodGet, "/devices/d1", "", "Authorization", token)
			if err != nil || a.status != http.StatusOK || decode[lastingIdentity](t, a.body) != identity {
				t.Errorf("with the token from before: got %d (%v) or another etag, generation or key than before", a.status, err)
			}
			c, err := h.openMQTT(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if code, err := c.signIn(connect); err != nil || code != 0 {
				t.Errorf("CONNECT with the token from before: got %d (%v), want 0", code, err)
			}
			now, err := heads(t.Context(), h.mustConsume(t))
			if err != nil || len(now) != len(partitions) {
				t.Errorf("partitions: got %v (%v), want %v", now, err, partitions)
			}
		})
	}
}

// run runs the program to its end, which has to come by itself.
func run(t testing.TB, args ...string) (code int, stderr string) {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	var out bytes.Buffer
	cmd.Stderr = &out
	cmd.WaitDelay = time.Second
	began := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(startWithin, func() { _ = cmd.Process.Kill() }) // an error says that it has ended
	defer timer.Stop()
	_ = cmd.Wait() // the state tells
	if time.Since(began) >= startWithin {
		t.Fatalf("%v did not end within %v\n%s", args, startWithin, out.String())
	}
	return cmd.ProcessState.ExitCode(), out.String()
}

// oneLine expects an error of one line that holds every text.
func oneLine(t testing.TB, code int, stderr string, texts ...string) {
	t.Helper()
	var lines []string
	for line := range strings.Lines(stderr) {
		if !strings.HasPrefix(line, "{") { // the log is JSON
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	if code != 1 || len(lines) != 1 {
		t.Errorf("got exit status %d and %d lines, want 1 and one line:\n%s", code, len(lines), stderr)
	}
	for _, text := range texts {
		if !strings.Contains(strings.Join(lines, "\n"), text) {
			t.Errorf("the error does not say %q:\n%s", text, stderr)
		}
	}
}

func TestSecondProcess(t *testing.T) {
	h := startHub(t, t.TempDir(), new(secretSet))
	env, err := os.ReadFile(h.data + "/connection.env")
	if err != nil {
		t.Fatal(err)
	}
	code, stderr := run(t, serveArgs(h.data)...)
	oneLine(t, code, stderr, h.data, fmt.Sprintf("PID %d", h.cmd.Process.Pid), "--data")
	if now, err := os.ReadFile(h.data + "/connection.env"); err != nil || !bytes.Equal(now, env) {
		t.Errorf("the second process changed connection.env (%v):\n%s", err, now)
	}
	h.register(t, "unharmed")
	// The holder may be killed: its folder is free then.
	h.kill()
	again := startHub(t, h.data, h.secrets)
	again.must(t, http.MethodGet, "/devices/unharmed", "")
}

func TestPortInUse(t *testing.T) {
	h := startHub(t, t.TempDir(), new(secretSet))
	for door, address := range h.doors {
		t.Run(door, func(t *testing.T) {
			_, port, err := net.SplitHostPort(address)
			if err != nil {
				t.Fatal(err)
			}
			data := t.TempDir()
			code, stderr := run(t, serveArgs(data, "--"+door+"-port", port)...)
			oneLine(t, code, stderr, door, port, fmt.Sprintf("PID %d", h.cmd.Process.Pid), "--"+door+"-port")
			// Nothing of the attempt is left behind: the folder can be used at once.
			startHub(t, data, h.secrets).must(t, http.MethodGet, "/devices?top=1", "")
		})
	}
}
