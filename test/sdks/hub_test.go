package sdks

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Times a hub is allowed. Starting includes making its CA on a busy machine; stopping is what users are promised.
const (
	startWithin = 30 * time.Second
	stopWithin  = 5 * time.Second
)

// hubName is the hub's name on the page.
const hubName = "my-pnp-hub"

// hub is a running twinhub process.
type hub struct {
	cmd    *exec.Cmd
	env    map[string]string // connection.env
	data   string
	ops    string // URL of the ops door; empty if it is off
	log    *buffer
	exited chan error
}

// buffer collects a process's output.
type buffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

var buildOnce = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "twinhub-sdks-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "twinhub")
	if out, err := exec.Command("go", "build", "-o", path, "github.com/twinhub/twinhub/cmd/twinhub").CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})

var shared struct {
	sync.Mutex
	hub  *hub
	data string
	err  error
}

// sharedHub returns the package's hub, which routes twin and digital twin changes too, and makes Python trust it.
func sharedHub(t testing.TB) *hub {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.hub == nil && shared.err == nil {
		if shared.data, shared.err = os.MkdirTemp("", "twinhub-data-"); shared.err == nil {
			shared.hub, shared.err = runHub(shared.data, "127.0.0.1:9600", "--hub-name", hubName,
				"--route", "twinChangeEvents", "--route", "digitalTwinChangeEvents")
		}
	}
	if errors.Is(shared.err, errPermission) {
		skipOrFail(t, "the SDKs cannot be told other ports than 443: %v", shared.err)
	}
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.hub
}

// stopShared stops the package's hub, if one was started.
func stopShared() error {
	shared.Lock()
	defer shared.Unlock()
	if shared.hub == nil {
		return nil
	}
	err := shared.hub.stop()
	if path, buildErr := buildOnce(); buildErr == nil {
		err = errors.Join(err, os.RemoveAll(filepath.Dir(path)))
	}
	return errors.Join(err, os.RemoveAll(shared.data))
}

// otherHub starts a second hub, on address, a loopback address that is also its host name, and stops it with the test.
func otherHub(t *testing.T, address string, args ...string) *hub {
	t.Helper()
	args = append([]string{"--bind", address, "--hostname", address, "--hub-name", hubName, "--amqp-port", "off",
		"--ops-bind", address}, args...)
	h, err := runHub(t.TempDir(), net.JoinHostPort(address, "9600"), args...)
	if errors.Is(err, errPermission) {
		skipOrFail(t, "the SDKs cannot be told other ports than 443: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.stop(); err != nil {
			t.Error(err)
		}
	})
	return h
}

var errPermission = errors.New("no permission for the ports")

// runHub starts the binary on data and returns when it is ready.
func runHub(data, ops string, args ...string) (*hub, error) {
	path, err := buildOnce()
	if err != nil {
		return nil, err
	}
	h := &hub{data: data, ops: "http://" + ops, log: new(buffer), exited: make(chan error, 1)}
	h.cmd = exec.Command(path, append([]string{"serve", "--data", data}, args...)...)
	h.cmd.Stdout, h.cmd.Stderr = h.log, h.log
	if err := h.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", path, err)
	}
	go func() { h.exited <- h.cmd.Wait() }()
	deadline := time.Now().Add(startWithin)
	for !h.ready() {
		select {
		case err := <-h.exited:
			if strings.Contains(h.log.String(), "permission") && os.Geteuid() != 0 {
				return nil, errPermission
			}
			return nil, fmt.Errorf("twinhub serve ended before it was ready: %w\n%s", err, h.log)
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return nil, errors.Join(fmt.Errorf("twinhub serve was not ready within %v\n%s", startWithin, h.log), h.cmd.Process.Kill())
		}
	}
	if h.env, err = readEnv(filepath.Join(data, "connection.env")); err != nil {
		return nil, errors.Join(err, h.cmd.Process.Kill())
	}
	return h, nil
}

// ready reports whether the hub has written its file and says that it is ready: another one may be on the ports.
func (h *hub) ready() bool {
	if _, err := os.Stat(filepath.Join(h.data, "connection.env")); err != nil {
		return false
	}
	res, err := http.Get(h.ops + "/readyz")
	if err != nil {
		return false
	}
	res.Body.Close()
	return res.StatusCode == http.StatusOK
}

// stop sends SIGTERM and expects exit status 0 within stopWithin.
func (h *hub) stop() error {
	began := time.Now()
	if err := h.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("SIGTERM: %w\n%s", err, h.log)
	}
	select {
	case err := <-h.exited:
		if err != nil {
			return fmt.Errorf("after SIGTERM: got %w, want exit status 0\n%s", err, h.log)
		}
		return nil
	case <-time.After(stopWithin):
		return errors.Join(fmt.Errorf("still running %v after SIGTERM\n%s", time.Since(began), h.log), h.cmd.Process.Kill())
	}
}

// readEnv reads the NAME='value' lines of connection.env.
func readEnv(path string) (map[string]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	env := map[string]string{}
	for s := bufio.NewScanner(bytes.NewReader(text)); s.Scan(); {
		line, _, _ := strings.Cut(s.Text(), " #")
		name, value, ok := strings.Cut(line, "=")
		if !ok {
			continue
		}
		env[name] = strings.Trim(value, "'")
	}
	for _, name := range []string{"IOTHUB_CONNECTION_STRING", "EVENTHUB_CONNECTION_STRING", "EVENTHUB_EMULATOR_CONNECTION_STRING",
		"TWINHUB_CA_FILE", "TWINHUB_CA_BUNDLE", "TWINHUB_ENDPOINTS", "TWINHUB_DATA"} {
		if env[name] == "" {
			return nil, fmt.Errorf("%s has no %s:\n%s", path, name, text)
		}
	}
	return env, nil
}

// receiver is one attached reader of the built-in endpoint, as the ops door lists it.
type receiver struct {
	Address       string `json:"address"`
	Partition     string `json:"partition"`
	ConsumerGroup string `json:"consumerGroup"`
}

// awaitReceivers returns when exactly n receivers are attached, over all partitions and consumer groups.
func (h *hub) awaitReceivers(t testing.TB, n int) []receiver {
	t.Helper()
	var last []receiver
	for deadline := time.Now().Add(answerWithin); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		res, err := http.Get(h.ops + "/receivers")
		if err != nil {
			t.Fatalf("ops door: %v", err)
		}
		last = nil
		err = json.NewDecoder(res.Body).Decode(&last)
		res.Body.Close()
		if err != nil {
			t.Fatalf("GET /receivers: %v", err)
		}
		if len(last) == n {
			return last
		}
	}
	t.Fatalf("attached receivers: got %d, want %d: %+v", len(last), n, last)
	return nil
}
