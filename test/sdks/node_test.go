package sdks

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// nodeOnce installs what node/package-lock.json lists into a folder of the user's cache.
var nodeOnce = sync.OnceValues(func() (string, error) {
	var inputs [][]byte
	for _, name := range []string{"node/package.json", "node/package-lock.json"} {
		text, err := os.ReadFile(name)
		if err != nil {
			return "", err
		}
		inputs = append(inputs, text)
	}
	version, err := exec.Command("node", "--version").Output()
	if err != nil {
		return "", missing{err}
	}
	npm, err := exec.LookPath("npm")
	if err != nil {
		return "", missing{err}
	}
	dir, err := cacheFolder("node", append(inputs, version)...)
	if err != nil {
		return "", err
	}
	return dir, makeOnce(dir, func(dir string) error {
		if err := errors.Join(os.WriteFile(filepath.Join(dir, "package.json"), inputs[0], 0o644),
			os.WriteFile(filepath.Join(dir, "package-lock.json"), inputs[1], 0o644)); err != nil {
			return err
		}
		install := exec.Command(npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
		install.Dir = dir
		if out, err := install.CombinedOutput(); err != nil {
			return missing{fmt.Errorf("npm ci: %w\n%s", err, out)}
		}
		return nil
	})
})

// nodeCommand prepares a program of node/ for h, whose CA it trusts if trusted.
func nodeCommand(t testing.TB, h *hub, trusted bool, program string, args ...string) *exec.Cmd {
	t.Helper()
	dir, err := nodeOnce()
	if m := (missing{}); errors.As(err, &m) {
		skipOrFail(t, "no packages for Node: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	// Node looks for packages above the file it runs, so the programs lie beside them.
	programs, err := filepath.Glob("node/*.js")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range programs {
		text, err := os.ReadFile(name)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, filepath.Base(name)), text, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("node", append([]string{filepath.Join(dir, program)}, args...)...)
	cmd.Env = clientEnv(h)
	if trusted {
		cmd.Env = append(cmd.Env, "NODE_EXTRA_CA_CERTS="+h.env["TWINHUB_CA_FILE"])
	}
	return cmd
}

// TestNode looks at what Node's clients show differently from Python's.
func TestNode(t *testing.T) {
	h := sharedHub(t)
	h.awaitReceivers(t, 0)
	t.Run("twins", func(t *testing.T) { runChecks(t, nodeCommand(t, h, true, "twins.js"), 7) })
	t.Run("commands", func(t *testing.T) { runChecks(t, nodeCommand(t, h, true, "commands.js"), 5) })
	t.Run("events", func(t *testing.T) { runChecks(t, nodeCommand(t, h, true, "events.js"), 4) })
	t.Run("redirect", func(t *testing.T) { runChecks(t, nodeCommand(t, h, true, "redirect.js"), 2) })
}
