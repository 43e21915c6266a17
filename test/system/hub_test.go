package system

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twinhub/twinhub/internal/sas"
)

// Times a hub is allowed. Starting includes recovery on a busy machine; stopping is what users are promised.
const (
	startWithin = 30 * time.Second
	stopWithin  = 5 * time.Second
)

// hub is a running twinhub process.
type hub struct {
	cmd    *exec.Cmd
	data   string
	env    map[string]string // connection.env
	doors  map[string]string // host:port by name
	banner string            // what it printed
	log    *hubLog
	exited chan struct{} // closed once the process has ended, with err set
	err    error

	roots   *x509.CertPool
	owner   sas.Key
	secrets *secretSet
	client  *http.Client
	token   string // of iothubowner
}

// shared is the hub of the tests of bad input: what one sends, the others must not notice.
var shared struct {
	sync.Mutex
	hub  *hub
	data string
	err  error
}

func sharedHub(t testing.TB) *hub {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.hub == nil && shared.err == nil {
		if shared.data, shared.err = os.MkdirTemp("", "twinhub-data-"); shared.err == nil {
			shared.hub, shared.err = runHub(shared.data, new(secretSet))
		}
	}
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.hub
}

// isShared reports whether h is the shared hub.
func (h *hub) isShared() bool {
	shared.Lock()
	defer shared.Unlock()
	return h == shared.hub
}

// stopShared ends the shared hub, which must have survived everything, and looks for secrets in its log.
func stopShared() error {
	shared.Lock()
	defer shared.Unlock()
	if shared.hub == nil {
		return nil
	}
	return errors.Join(shared.hub.terminate(), shared.hub.leaks(), os.RemoveAll(shared.data))
}

// startHub runs a hub on data and returns when it is ready. The end of the test kills it if it still runs, and looks
// for secrets in its log.
func startHub(t testing.TB, data string, secrets *secretSet, args ...string) *hub {
	t.Helper()
	h, err := runHub(data, secrets, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		h.kill()
		if err := h.leaks(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// serveArgs are the arguments of a hub on picked ports.
func serveArgs(data string, more ...string) []string {
	return append([]string{"serve", "--data", data, "--https-port", "0", "--mqtts-port", "0", "--amqps-port", "0", "--amqp-port", "0", "--ops-port", "0"}, more...)
}

func runHub(data string, secrets *secretSet, args ...string) (*hub, error) {
	path, err := program()
	if err != nil {
		return nil, err
	}
	h := &hub{data: data, log: new(hubLog), exited: make(chan struct{}), secrets: secrets}
	h.cmd = exec.Command(path, serveArgs(data, args...)...)
	h.cmd.Stderr = h.log
	out, err := h.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := h.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", path, err)
	}
	greeted := make(chan string, 1)
	go func() {
		var banner strings.Builder
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			banner.WriteString(lines.Text() + "\n")
			if strings.HasPrefix(lines.Text(), "Next, ") {
				greeted <- banner.String()
			}
		}
		h.err = h.cmd.Wait()
		close(h.exited)
	}()
	select {
	case h.banner = <-greeted:
	case <-h.exited:
		return nil, fmt.Errorf("twinhub serve ended before it was ready: %w\n%s", h.err, h.log)
	case <-time.After(startWithin):
		h.kill()
		return nil, fmt.Errorf("twinhub serve did not start within %v\n%s", startWithin, h.log)
	}
	if err := h.learn(); err != nil {
		h.kill()
		return nil, err
	}
	return h, nil
}

// learn reads how to connect, and waits for readiness.
func (h *hub) learn() error {
	var err error
	if h.env, err = readEnv(filepath.Join(h.data, "connection.env")); err != nil {
		return err
	}
	h.doors = map[string]string{}
	for _, door := range strings.Fields(h.env["TWINHUB_ENDPOINTS"]) {
		name, address, _ := strings.Cut(door, "=")
		h.doors[name] = address
	}
	ca, err := os.ReadFile(h.env["TWINHUB_CA_FILE"])
	if err != nil {
		return err
	}
	h.roots = x509.NewCertPool()
	if !h.roots.AppendCertsFromPEM(ca) {
		return fmt.Errorf("no certificate in %s", h.env["TWINHUB_CA_FILE"])
	}
	c, err := sas.ParseHubConnectionString(h.env["IOTHUB_CONNECTION_STRING"])
	if err != nil {
		return err
	}
	e, err := sas.ParseEventHubsConnectionString(h.env["EVENTHUB_CONNECTION_STRING"])
	if err != nil {
		return err
	}
	h.secrets.add(c.SharedAccessKey, e.SharedAccessKey)
	if h.owner, err = sas.HubKey(c.SharedAccessKey); err != nil {
		return err
	}
	h.token = h.sign(host, h.owner, "iothubowner", time.Now().Add(time.Hour))
	h.client = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		DialContext:     h.dialer("https"),
		TLSClientConfig: h.tls(), MaxIdleConnsPerHost: 64,
	}}
	for deadline := time.Now().Add(startWithin); ; time.Sleep(5 * time.Millisecond) {
		res, err := http.Get("http://" + h.doors["ops"] + "/readyz")
		if err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not ready within %v: %w\n%s", startWithin, err, h.log)
		}
	}
}

// host is the name that clients use for every hub here.
const host = "localhost"

// tls trusts the hub.
func (h *hub) tls() *tls.Config { return &tls.Config{RootCAs: h.roots, ServerName: host} }

// sign makes a token and remembers that it is a secret.
func (h *hub) sign(resource string, key sas.Key, policy string, expiry time.Time) string {
	token := sas.Sign(resource, key, policy, expiry)
	h.secrets.addToken(token)
	return token
}

// terminate sends SIGTERM and expects exit status 0 in time.
func (h *hub) terminate() error {
	if err := h.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("SIGTERM: %w\n%s", err, h.log)
	}
	select {
	case <-h.exited:
		if h.err != nil {
			return fmt.Errorf("after SIGTERM: got %w, want exit status 0\n%s", h.err, h.log)
		}
		return nil
	case <-time.After(stopWithin):
		h.kill()
		return fmt.Errorf("still running %v after SIGTERM\n%s", stopWithin, h.log)
	}
}

// kill sends SIGKILL and returns when the process has ended.
func (h *hub) kill() {
	_ = h.cmd.Process.Kill() // fails only for a process that has ended
	<-h.exited
}

// leaks looks for secrets in all that the hub has written.
func (h *hub) leaks() error { return h.secrets.find(h.log.String() + h.banner) }

// readEnv reads the NAME='value' lines of connection.env.
func readEnv(path string) (map[string]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	env := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			env[name] = strings.Trim(value, "'")
		}
	}
	return env, nil
}

// hubLog collects standard error.
type hubLog struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *hubLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *hubLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// mark returns the present end of the log, for since.
func (l *hubLog) mark() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Len()
}

// A record is a line of the log.
type record struct {
	Time     time.Time `json:"time"`
	Level    string    `json:"level"`
	Msg      string    `json:"msg"`
	Protocol string    `json:"protocol"`
	Reason   string    `json:"reason"`
	Remedy   string    `json:"remedy"`
	Error    string    `json:"error"`
	Repeated int       `json:"repeated"`
}

// since returns the whole lines after mark.
func (l *hubLog) since(mark int) []record {
	text := l.String()[mark:]
	var list []record
	for line := range strings.Lines(text) {
		var r record
		if strings.HasSuffix(line, "\n") && json.Unmarshal([]byte(line), &r) == nil {
			list = append(list, r)
		}
	}
	return list
}

// explained waits for a line of the log that explains a refusal: of the protocol, with a remedy, whose reason
// contains text. A line that an earlier test of the shared hub has caused counts for ten seconds, in which the hub does
// not repeat it.
func (h *hub) explained(t testing.TB, protocol, text string) {
	t.Helper()
	const quiet, patience = 10 * time.Second, 10 * time.Second
	deadline := time.Now().Add(patience)
	for {
		var near []string
		for _, r := range h.log.since(0) {
			if h.isShared() && time.Since(r.Time) > quiet+patience {
				continue
			}
			if r.Msg == "refused" && r.Protocol == protocol && strings.Contains(r.Reason, text) && r.Remedy != "" {
				return
			}
			if r.Protocol == protocol {
				near = append(near, fmt.Sprintf("%s: reason %q, remedy %q, error %q", r.Msg, r.Reason, r.Remedy, r.Error))
			}
		}
		if time.Now().After(deadline) {
			t.Errorf("the log does not explain %q of %s with reason and remedy; the last it says:\n%s", text, protocol, strings.Join(near[max(0, len(near)-5):], "\n"))
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// secretSet remembers every secret that was used, in each form in which it could be written.
type secretSet struct {
	mu    sync.Mutex
	forms map[string]struct{}
}

func (s *secretSet) add(keys ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.forms == nil {
		s.forms = map[string]struct{}{}
	}
	for _, key := range keys {
		s.forms[key] = struct{}{}
		s.forms[url.QueryEscape(key)] = struct{}{}
		if raw, err := base64.StdEncoding.DecodeString(key); err == nil {
			s.forms[fmt.Sprintf("%x", raw)] = struct{}{}
			s.forms[strings.TrimRight(base64.URLEncoding.EncodeToString(raw), "=")] = struct{}{}
		}
	}
}

// addToken remembers a token's signature.
func (s *secretSet) addToken(token string) {
	if parsed, err := sas.Parse(token); err == nil {
		s.add(base64.StdEncoding.EncodeToString(parsed.Signature))
	}
}

// find fails when text holds a secret; it shows where, without the secret.
func (s *secretSet) find(text string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for form := range s.forms {
		if at := strings.Index(text, form); at >= 0 {
			begin := max(0, strings.LastIndexByte(text[:at], '\n')+1)
			return fmt.Errorf("a secret is in the hub's output, after: %.600s", text[begin:at])
		}
	}
	return nil
}

// openPort connects to a door without TLS.
func (h *hub) openPort(door string) (net.Conn, error) {
	return net.DialTimeout("tcp", h.doors[door], 10*time.Second)
}
