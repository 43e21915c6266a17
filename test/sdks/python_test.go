package sdks

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// pythonOnce makes the virtual environment that python/requirements.txt describes, in the user's cache folder.
var pythonOnce = sync.OnceValues(func() (environment, error) {
	requirements, err := os.ReadFile("python/requirements.txt")
	if err != nil {
		return environment{}, err
	}
	host, err := exec.LookPath("python3")
	if err != nil {
		return environment{}, missing{err}
	}
	version, err := exec.Command(host, "-c", "import sys; print(sys.version, sys.base_prefix)").Output()
	if err != nil {
		return environment{}, missing{err}
	}
	dir, err := cacheFolder("venv", requirements, version)
	if err != nil {
		return environment{}, err
	}
	exe := filepath.Join(dir, "bin", "python")
	if err := makeOnce(dir, func(dir string) error {
		if out, err := exec.Command(host, "-m", "venv", dir).CombinedOutput(); err != nil {
			return missing{fmt.Errorf("python3 -m venv: %w\n%s", err, out)}
		}
		install := exec.Command(exe, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", "python/requirements.txt")
		if out, err := install.CombinedOutput(); err != nil {
			return missing{fmt.Errorf("pip install: %w\n%s", err, out)}
		}
		return nil
	}); err != nil {
		return environment{}, err
	}
	roots, err := exec.Command(exe, "-m", "certifi").Output()
	if err != nil {
		return environment{}, fmt.Errorf("python -m certifi: %w", err)
	}
	return environment{exe: exe, roots: strings.TrimSpace(string(roots))}, nil
})

// environment is where an SDK's programs run.
type environment struct {
	exe   string
	roots string // Python: certifi's file
}

// missing is an error that says that this machine lacks a tool or a registry.
type missing struct{ error }

func (e missing) Unwrap() error { return e.error }

// cacheFolder names a folder for what is made from inputs.
func cacheFolder(kind string, inputs ...[]byte) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(bytes.Join(inputs, []byte{0}))
	return filepath.Join(cache, "twinhub-test", fmt.Sprintf("%s-%x", kind, sum[:8])), nil
}

// makeOnce calls build for dir unless an earlier call, perhaps of an earlier run, succeeded.
func makeOnce(dir string, build func(dir string) error) error {
	done := filepath.Join(dir, ".complete")
	if _, err := os.Stat(done); err == nil {
		return nil
	}
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
		return err
	}
	if err := build(dir); err != nil {
		return err
	}
	return os.WriteFile(done, nil, 0o644)
}

// pythonUsed says that a test has asked for the virtual environment.
var pythonUsed atomic.Bool

// python returns the virtual environment. It skips, or in CI fails, where there cannot be one.
func python(t testing.TB) environment {
	t.Helper()
	pythonUsed.Store(true)
	e, err := pythonOnce()
	if m := (missing{}); errors.As(err, &m) {
		skipOrFail(t, "no virtual environment for Python: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// pythonCommand prepares a program of python/, or any other file, for h, which it makes Python trust. It finds the hub
// in its environment, under the names of connection.env, and the ops door as TWINHUB_OPS.
func pythonCommand(t testing.TB, h *hub, program string, args ...string) *exec.Cmd {
	t.Helper()
	e := python(t)
	if err := trust(e, h); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(e.exe, append([]string{"-u", program}, args...)...)
	cmd.Env = append(clientEnv(h), "SSL_CERT_FILE="+h.env["TWINHUB_CA_BUNDLE"])
	return cmd
}

// clientEnv is this process's environment with the hub in it and without what would change whom a client trusts.
func clientEnv(h *hub) []string {
	var env []string
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		switch name {
		case "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "NODE_TLS_REJECT_UNAUTHORIZED":
		default:
			env = append(env, v)
		}
	}
	for name, value := range h.env {
		env = append(env, name+"="+value)
	}
	return append(env, "TWINHUB_OPS="+h.ops, "PYTHONDONTWRITEBYTECODE=1")
}

// The lines around what trust adds to certifi's file.
const (
	trustBegin = "\n# twinhub test: begin\n"
	trustEnd   = "# twinhub test: end\n"
)

// trust makes the CAs of hubs, and of no others, trusted by the programs of e that ask certifi.
func trust(e environment, hubs ...*hub) error {
	roots, err := os.ReadFile(e.roots)
	if err != nil {
		return err
	}
	want := withoutTrust(roots)
	if len(hubs) > 0 {
		want = append(want, trustBegin...)
		for _, h := range hubs {
			ca, err := os.ReadFile(h.env["TWINHUB_CA_FILE"])
			if err != nil {
				return err
			}
			want = append(append(want, ca...), '\n')
		}
		want = append(want, trustEnd...)
	}
	if bytes.Equal(roots, want) {
		return nil
	}
	return os.WriteFile(e.roots, want, 0o644)
}

// withoutTrust returns a copy of certifi's file as it was installed.
func withoutTrust(roots []byte) []byte {
	before, rest, ok := bytes.Cut(roots, []byte(trustBegin))
	if !ok {
		return bytes.Clone(roots)
	}
	_, after, _ := bytes.Cut(rest, []byte(trustEnd))
	return append(bytes.Clone(before), after...)
}

// forgetTrust takes every hub's CA out of certifi's file again, if this run put one in.
func forgetTrust() error {
	if !pythonUsed.Load() {
		return nil
	}
	e, err := pythonOnce()
	if err != nil {
		return nil // then nothing was put in
	}
	return trust(e)
}
