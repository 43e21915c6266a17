package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// asProgram makes the test binary behave as twinhub.
const asProgram = "TWINHUB_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) == "1" {
		os.Exit(run())
	}
	os.Exit(m.Run())
}

// A program is twinhub as another process.
type program struct {
	t      *testing.T
	cmd    *exec.Cmd
	out    *bufio.Reader // standard output
	close  func()        // ends the reading of it
	log    *output       // standard error
	exited chan struct{} // closed when it has ended
}

// output collects what a process writes.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// launch starts twinhub with these arguments, and with settings NAME=value in its environment. It is killed with the test.
func launch(t *testing.T, env []string, args ...string) *program {
	t.Helper()
	p := &program{t: t, cmd: exec.Command(os.Args[0], args...), log: &output{}, exited: make(chan struct{})}
	p.cmd.Env = append(append(os.Environ(), asProgram+"=1", "TMPDIR="+t.TempDir()), env...)
	p.cmd.Dir = t.TempDir()
	p.cmd.Stderr = p.log
	r, w := io.Pipe()
	p.cmd.Stdout = w
	p.out, p.close = bufio.NewReader(r), func() { r.Close() }
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait() // the state tells
		w.Close()
		close(p.exited)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // fails when it has ended
		r.Close()
		<-p.exited
	})
	return p
}

// code waits for the end and returns the exit code.
func (p *program) code(within time.Duration) int {
	p.t.Helper()
	select {
	case <-p.exited:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(within):
		p.t.Fatalf("still running after %v:\n%s", within, p.log)
		return 0
	}
}

// call runs twinhub to its end.
func call(t *testing.T, args ...string) (code int, out, log string) {
	t.Helper()
	p := launch(t, nil, args...)
	text, err := io.ReadAll(p.out)
	if err != nil {
		t.Fatal(err)
	}
	return p.code(20 * time.Second), string(text), p.log.String()
}

// greeting returns what serve prints before it is ready, and the values of connection.env.
func (p *program) greeting() (string, map[string]string) {
	p.t.Helper()
	var text strings.Builder
	env := ""
	for {
		line, err := p.out.ReadString('\n')
		text.WriteString(line)
		if err != nil {
			p.t.Fatalf("no greeting (%v):\n%s\n%s", err, text.String(), p.log)
		}
		if path, ok := strings.CutPrefix(line, "  env    "); ok {
			env = strings.TrimSpace(path)
		}
		if strings.HasPrefix(line, "  set -a;") {
			break
		}
	}
	content, err := os.ReadFile(env)
	if err != nil {
		p.t.Fatal(err)
	}
	values := map[string]string{}
	for line := range strings.Lines(string(content)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		values[name] = strings.ReplaceAll(strings.Trim(value, "'"), `'\''`, "'")
	}
	return text.String(), values
}

// doors returns the addresses in TWINHUB_ENDPOINTS.
func doors(values map[string]string) map[string]string {
	list := map[string]string{}
	for _, word := range strings.Fields(values["TWINHUB_ENDPOINTS"]) {
		name, at, _ := strings.Cut(word, "=")
		list[name] = at
	}
	return list
}

// interrupt sends SIGTERM and expects a good end within five seconds.
func (p *program) interrupt() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	began := time.Now()
	if code := p.code(10 * time.Second); code != 0 {
		p.t.Errorf("exit code after SIGTERM: got %d, want 0\n%s", code, p.log)
	}
	if took := time.Since(began); took > 5*time.Second {
		p.t.Errorf("it took %v to end after SIGTERM, want at most 5 s", took)
	}
}

func TestWrongCalls(t *testing.T) {
	config := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(config, []byte("hubname: x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"unknown command":     {[]string{"sirve"}, "unknown command"},
		"unknown flag":        {[]string{"serve", "--port", "1"}, "unknown flag: --port"},
		"flag without value":  {[]string{"serve", "--data"}, "flag needs an argument"},
		"too many arguments":  {[]string{"serve", "now"}, `unknown command "now"`},
		"version of what":     {[]string{"version", "x"}, `unknown command "x"`},
		"port":                {[]string{"serve", "--https-port", "http"}, `port "http": use a number from 0 to 65535, or off`},
		"address":             {[]string{"serve", "--bind", "localhost"}, `address "localhost": use an IP address`},
		"route":               {[]string{"serve", "--route", "everything"}, `unknown route source "everything"`},
		"log level":           {[]string{"serve", "--log-level", "loud"}, `log level "loud": use debug, info, warn or error`},
		"missing config file": {[]string{"serve", "--config", "none.yaml"}, "none.yaml"},
		"unknown config key":  {[]string{"serve", "--config", config}, "hubname"},
		"cert without key":    {[]string{"serve", "--cert", "c.pem"}, "give --cert and --key together"},
		"key without cert":    {[]string{"serve", "--key", "k.pem"}, "give --cert and --key together"},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, log := call(t, test.args...)
			if code != 2 || !strings.Contains(log, test.want) {
				t.Errorf("got exit code %d and %q, want 2 and %q", code, log, test.want)
			}
			if out != "" {
				t.Errorf("standard output: got %q, want nothing", out)
			}
		})
	}
}

func TestHelp(t *testing.T) {
	code, out, log := call(t, "serve", "--help")
	if code != 0 || log != "" {
		t.Errorf("got exit code %d and %q", code, log)
	}
	for _, flag := range []string{
		"--data", "--ephemeral", "--bind", "--ops-bind", "--amqp-bind", "--hostname", "--hub-name", "--https-port", "--mqtts-port", "--amqps-port",
		"--amqp-port", "--ops-port", "--route", "--config", "--cert", "--key", "--log-level", "TWINHUB_OWNER_KEY", "connection.env",
	} {
		if !strings.Contains(out, flag) {
			t.Errorf("the help lacks %s", flag)
		}
	}
	if code, out, _ := call(t); code != 0 || !strings.Contains(out, "twinhub serve") {
		t.Errorf("without arguments: got exit code %d and %q", code, out)
	}
}

func TestVersion(t *testing.T) {
	code, out, _ := call(t, "version")
	if f := strings.Fields(out); code != 0 || len(f) != 4 || f[0] != "twinhub" || !strings.HasPrefix(f[2], "go1.") || !strings.Contains(f[3], "/") {
		t.Errorf("got exit code %d and %q, want twinhub VERSION GO OS/ARCH", code, out)
	}
}

func TestIsUsage(t *testing.T) {
	cause := errors.New("cause")
	if !isUsage(usageError{cause}) || isUsage(cause) || !errors.Is(usageError{cause}, cause) {
		t.Error("usage errors are not told from others, or lose their cause")
	}
}
