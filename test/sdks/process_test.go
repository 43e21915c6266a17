package sdks

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// process is a client program with its standard input held open and its standard output read line by line.
type process struct {
	t      testing.TB
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	lines  chan string // closed at the end of the output
	stderr *buffer
	exited chan error
}

// startProcess starts cmd; the test's end kills it.
func startProcess(t testing.TB, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd, lines: make(chan string, 1<<16), stderr: new(buffer), exited: make(chan error, 1)}
	cmd.Stderr = p.stderr
	var err error
	if p.stdin, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %v: %v", cmd.Args, err)
	}
	go func() {
		s := bufio.NewScanner(out)
		s.Buffer(nil, 1<<22)
		for s.Scan() {
			p.lines <- s.Text()
		}
		close(p.lines)
		p.exited <- cmd.Wait()
	}()
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill() // an error says that it has just ended by itself
		}
	})
	return p
}

// until returns the lines up to the first that match accepts, that one included.
func (p *process) until(what string, within time.Duration, match func(line string) bool) []string {
	p.t.Helper()
	var seen []string
	timeout := time.After(within)
	for {
		select {
		case line, ok := <-p.lines:
			if !ok {
				p.t.Fatalf("%s ended before %s; output:\n%s\nerrors:\n%s", p.name(), what, strings.Join(seen, "\n"), p.stderr)
			}
			seen = append(seen, line)
			if match(line) {
				return seen
			}
		case <-timeout:
			p.t.Fatalf("%s: no %s within %v; output:\n%s\nerrors:\n%s", p.name(), what, within, strings.Join(seen, "\n"), p.stderr)
		}
	}
}

// untilPrefix is until for a line that begins with prefix, and returns only that line's rest.
func (p *process) untilPrefix(prefix string, within time.Duration) string {
	p.t.Helper()
	seen := p.until("line "+prefix, within, func(line string) bool { return strings.HasPrefix(line, prefix) })
	return strings.TrimSpace(strings.TrimPrefix(seen[len(seen)-1], prefix))
}

// say writes a line to the program.
func (p *process) say(line string) {
	p.t.Helper()
	if _, err := io.WriteString(p.stdin, line+"\n"); err != nil {
		p.t.Fatalf("%s: %v\n%s", p.name(), err, p.stderr)
	}
}

// end closes the program's input, if it still has one, and returns what it printed since, once it has ended.
func (p *process) end(within time.Duration) ([]string, error) {
	p.t.Helper()
	if err := p.stdin.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		p.t.Fatalf("%s: %v", p.name(), err)
	}
	var seen []string
	timeout := time.After(within)
	for {
		select {
		case line, ok := <-p.lines:
			if !ok {
				return seen, <-p.exited
			}
			seen = append(seen, line)
		case <-timeout:
			p.t.Fatalf("%s: still running after %v; output:\n%s\nerrors:\n%s", p.name(), within, strings.Join(seen, "\n"), p.stderr)
		}
	}
}

func (p *process) name() string {
	for _, arg := range p.cmd.Args[1:] {
		if !strings.HasPrefix(arg, "-") {
			return filepath.Base(arg)
		}
	}
	return filepath.Base(p.cmd.Path)
}

// checksWithin bounds a program that makes checks. The longest takes 50 s on an idle machine.
const checksWithin = 5 * time.Minute

// runChecks runs a program of python/ or node/ to its end and shows each line {"check": ..., "error": ...} it prints
// as a subtest. It fails if the program fails, or if it does not make as many checks as it is said to make.
func runChecks(t *testing.T, cmd *exec.Cmd, want int) {
	t.Helper()
	p := startProcess(t, cmd)
	lines, err := p.end(checksWithin)
	got := 0
	for _, line := range lines {
		var result struct {
			Check   string  `json:"check"`
			Error   *string `json:"error"`
			Seconds float64 `json:"seconds"`
		}
		if json.Unmarshal([]byte(line), &result) != nil || result.Check == "" {
			t.Log(line)
			continue
		}
		got++
		t.Run(result.Check, func(t *testing.T) {
			t.Logf("%.2f s", result.Seconds)
			if result.Error != nil {
				t.Error(*result.Error)
			}
		})
	}
	if err != nil {
		t.Errorf("%s: %v\n%s", p.name(), err, p.stderr)
	}
	if got != want {
		t.Errorf("%s: %d checks ran, want %d\n%s", p.name(), got, want, p.stderr)
	}
}
