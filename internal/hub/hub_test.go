package hub

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"go.uber.org/goleak"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/core/auth"
	"github.com/twinhub/twinhub/internal/core/routing"
	"github.com/twinhub/twinhub/internal/core/telemetry"
	"github.com/twinhub/twinhub/internal/engine"
	"github.com/twinhub/twinhub/internal/eventlog"
	"github.com/twinhub/twinhub/internal/sas"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// logBuffer keeps what the hub logs.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// A running hub of a test.
type running struct {
	*Hub
	t    *testing.T
	log  *logBuffer
	stop context.CancelFunc
	done chan error // holds what Run returned
}

// start opens and runs a hub on loopback with picked ports. It is stopped with the test.
func start(t *testing.T, c Config) *running {
	t.Helper()
	r := &running{t: t, log: &logBuffer{}, done: make(chan error, 1)}
	c.Logger = slog.New(slog.NewTextHandler(r.log, nil))
	h, err := Open(t.Context(), c)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	r.Hub = h
	ctx, cancel := context.WithCancel(context.Background())
	r.stop = cancel
	go func() { r.done <- h.Run(ctx) }()
	t.Cleanup(func() {
		r.end()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	return r
}

// end stops the hub and returns what Run returned; it may be called again.
func (r *running) end() error {
	r.t.Helper()
	r.stop()
	select {
	case err := <-r.done:
		r.done <- err
		return err
	case <-time.After(10 * time.Second):
		r.t.Fatal("the hub does not end")
		return nil
	}
}

// ops asks the operator's door.
func (r *running) ops(path string) (status int, body string) {
	r.t.Helper()
	resp, err := http.Get("http://" + r.door("ops").String() + path)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// ready waits until every door is open.
func (r *running) ready() {
	r.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		if status, _ := r.ops("/readyz"); status == http.StatusOK {
			return
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("the hub does not get ready:\n%s", r.log)
		}
	}
}

// put makes a device over HTTPS and returns the status.
func (r *running) put(device string) (int, error) {
	key, err := sas.HubKey(r.policy(auth.OwnerPolicy).PrimaryKey)
	if err != nil {
		return 0, err
	}
	request, err := http.NewRequestWithContext(r.t.Context(), "PUT", "https://"+r.door("https").String()+"/devices/"+device+"?api-version=2021-04-12",
		strings.NewReader(`{"deviceId":"`+device+`"}`))
	if err != nil {
		return 0, err
	}
	request.Header.Set("Authorization", sas.Sign("localhost", key, auth.OwnerPolicy, time.Now().Add(time.Hour)))
	request.Header.Set("Content-Type", "application/json")
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: r.trust.CAPool(), ServerName: "localhost"}}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(request)
	if err != nil {
		return 0, err
	}
	resp.Body.Close()
	return resp.StatusCode, nil
}

// TestLifecycle runs a hub twice on the same data.
func TestLifecycle(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	first := start(t, Config{DataDir: dir, Name: "my-pnp-hub", Partitions: 3})
	first.ready()
	if status, err := first.put("d1"); err != nil || status != http.StatusOK {
		t.Errorf("create a device: got %d, %v", status, err)
	}
	if status, body := first.ops("/receivers"); status != http.StatusOK || body != "[]" {
		t.Errorf("receivers: got %d %s", status, body)
	}
	variables := fmt.Sprint(first.Environment())
	if err := first.end(); err != nil {
		t.Errorf("Run: got %v, want nil after its context has ended", err)
	}
	if err := first.Close(); err != nil {
		t.Errorf("Close after Run: %v", err)
	}
	if got := fmt.Sprint(first.Environment()); got != variables || first.Name() != "my-pnp-hub" || first.CAFile() == "" {
		t.Errorf("after Close the hub says\n%s\nand before\n%s", got, variables)
	}
	if err := first.failure(); err != nil {
		t.Errorf("failure after Close: %v", err)
	}
	if _, err := first.metrics().Gather(); err != nil {
		t.Errorf("metrics after Close: %v", err)
	}
	if got := first.receivers(); len(got) != 0 {
		t.Errorf("receivers after Close: got %v", got)
	}

	second := start(t, Config{DataDir: dir, Name: "my-pnp-hub"})
	second.ready()
	if status, err := second.put("d1"); err != nil || status != http.StatusConflict {
		t.Errorf("create the device again: got %d, %v; want 409", status, err)
	}
	if second.policy(auth.OwnerPolicy) != first.policy(auth.OwnerPolicy) || second.CAFingerprint() != first.CAFingerprint() {
		t.Error("keys or CA have changed over a restart")
	}
	if got := second.engine.Partitions(); got != 3 {
		t.Errorf("partitions: got %d, want the 3 of the first start", got)
	}
	if second.ReplacedCA() != "" {
		t.Errorf("ReplacedCA: got %q, want none", second.ReplacedCA())
	}
}

// TestFailedOpen makes Open fail at each step. Nothing may be left: another hub can have folder and ports.
func TestFailedOpen(t *testing.T) {
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	taken := Port(other.Addr().(*net.TCPAddr).Port)
	for name, test := range map[string]struct {
		config Config
		want   string
	}{
		"configuration": {Config{Partitions: 1000}, "partitions"},
		"ports":         {Config{Ops: taken}, "is in use by PID"},
		"host names":    {Config{Hostnames: []string{"not a name"}}, "certificates:"},
		"certificate":   {Config{CertFile: "none.pem", KeyFile: "none.key"}, "certificates:"},
		"storage":       {Config{fs: errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(errorfs.Op) error { return errors.New("broken disk") }))}, "storage:"},
		"keys":          {Config{OwnerKey: "!"}, "key of policy"},
		"routes":        {Config{Routing: routing.Config{Routes: []routing.Route{{Name: "r", Endpoint: "elsewhere"}}}}, "elsewhere"},
	} {
		t.Run(name, func(t *testing.T) {
			test.config.DataDir = filepath.Join(t.TempDir(), "data")
			for range 2 { // the second time finds what the first left
				h, err := Open(t.Context(), test.config)
				if h != nil || err == nil || !strings.Contains(err.Error(), test.want) {
					t.Fatalf("got %v, %v; want an error with %q", h, err, test.want)
				}
			}
			if _, err := os.Stat(filepath.Join(test.config.DataDir, "pid")); err == nil {
				t.Error("the pid file is still there")
			}
			f, err := openFolder(test.config.DataDir, false)
			if err != nil {
				t.Fatalf("the folder is still locked: %v", err)
			}
			if err := f.close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestOpenWithoutRun checks that Close alone is enough.
func TestOpenWithoutRun(t *testing.T) {
	h, err := Open(t.Context(), Config{Ephemeral: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(h.EnvFile()); err != nil {
		t.Errorf("connection.env: %v", err)
	}
	folder, address := h.folder.path, h.door("https").String()
	for range 2 {
		if err := h.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	if _, err := os.Stat(folder); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the temporary folder after Close: got %v, want none", err)
	}
	if nc, err := net.Dial("tcp", address); err == nil {
		nc.Close()
		t.Error("a door is open after Close")
	}
}

// TestEphemeral checks that nothing is left in the file system, not even beside the data folder that is named.
func TestEphemeral(t *testing.T) {
	temp, dir := t.TempDir(), filepath.Join(t.TempDir(), "data")
	t.Setenv("TMPDIR", temp)
	h := start(t, Config{Ephemeral: true, DataDir: dir})
	h.ready()
	if !strings.HasPrefix(h.EnvFile(), temp) || !strings.HasPrefix(h.CAFile(), temp) {
		t.Errorf("connection.env is %s and the CA %s, want both below %s", h.EnvFile(), h.CAFile(), temp)
	}
	err := filepath.WalkDir(temp, func(path string, _ os.DirEntry, err error) error {
		if strings.HasSuffix(path, ".key") {
			t.Errorf("a key in a file: %s", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if err := h.end(); err != nil {
		t.Errorf("Run: %v", err)
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) != 0 {
		t.Errorf("left in the temporary folder: %v, %v", left, err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the data folder: got %v, want none", err)
	}
}

// TestClosedDoors runs a hub with one door.
func TestClosedDoors(t *testing.T) {
	h := start(t, Config{Ephemeral: true, Bind: []netip.Addr{localAddr}, HTTPS: PortOff, MQTTS: PortOff, AMQPS: PortOff, AMQP: PortOff})
	h.ready()
	for _, d := range h.Doors() {
		if open := len(d.Addresses) > 0; open != (d.Name == "ops") {
			t.Errorf("door %s: open %v", d.Name, open)
		}
	}
	if err := h.end(); err != nil {
		t.Errorf("Run: %v", err)
	}
}

// TestStorageFailure lets the disk fail under a running hub: it says so and ends with the cause.
func TestStorageFailure(t *testing.T) {
	var failing atomic.Bool
	broken := errors.New("injected: the disk is gone")
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if failing.Load() && op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			return broken
		}
		return nil
	}))
	dir := filepath.Join(t.TempDir(), "data")
	h := start(t, Config{DataDir: dir, fs: fs})
	h.ready()
	if status, err := h.put("before"); err != nil || status != http.StatusOK {
		t.Fatalf("create a device: got %d, %v", status, err)
	}
	failing.Store(true)
	// The answer may be an error of the hub, or a connection that it closed on its way down.
	if status, err := h.put("after"); err == nil && status < 500 {
		t.Errorf("create a device on a broken disk: got %d", status)
	}
	select {
	case err := <-h.done:
		h.done <- err
		if !errors.Is(err, broken) || !strings.Contains(err.Error(), "storage:") {
			t.Errorf("Run: got %v, want %v", err, broken)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the hub goes on without its storage")
	}
	if h.failure() == nil {
		t.Error("the hub does not say that it has failed")
	}
	// Whoever still reaches the operator's door is told.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- h.Hub.ops.Serve(ctx, l) }()
	resp, err := http.Get("http://" + l.Addr().String() + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(text), "the disk is gone") {
		t.Errorf("/readyz: got %d %q, want 503 with the cause", resp.StatusCode, text)
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
	f, err := openFolder(dir, false)
	if err != nil {
		t.Fatalf("the folder is still locked: %v", err)
	}
	if err := f.close(); err != nil {
		t.Error(err)
	}
}

// TestDoorFails breaks one listener: the whole hub ends, with the reason.
func TestDoorFails(t *testing.T) {
	for _, name := range []string{"https", "mqtts", "amqps", "amqp", "ops"} {
		t.Run(name, func(t *testing.T) {
			h := start(t, Config{Ephemeral: true, Bind: []netip.Addr{localAddr}})
			h.ready()
			h.door(name).close()
			err := <-h.done
			h.done <- err
			if !errors.Is(err, net.ErrClosed) {
				t.Errorf("Run: got %v, want %v", err, net.ErrClosed)
			}
		})
	}
}

// TestConfiguredCertificate runs a hub with a certificate of the operator's.
func TestConfiguredCertificate(t *testing.T) {
	certFile, keyFile, pool := certificate(t)
	h := start(t, Config{DataDir: t.TempDir(), Bind: []netip.Addr{localAddr}, CertFile: certFile, KeyFile: keyFile})
	h.ready()
	if h.CAFile() != "" || h.CAFingerprint() != "" || h.ReplacedCA() != "" {
		t.Errorf("CA: got %q %q %q, want none", h.CAFile(), h.CAFingerprint(), h.ReplacedCA())
	}
	for _, name := range []string{"https", "mqtts", "amqps"} {
		nc, err := tls.Dial("tcp", h.door(name).String(), &tls.Config{RootCAs: pool, ServerName: "localhost"})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		nc.Close()
	}
	if got := h.variable("TWINHUB_CA_FILE") + h.variable("TWINHUB_CA_BUNDLE"); got != "" {
		t.Errorf("CA files: got %q, want none", got)
	}
}

// certificate makes a server certificate for localhost.
func certificate(t *testing.T) (certFile, keyFile string, pool *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "configured"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	return write(t, "cert.pem", string(text)), write(t, "key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))), pool
}

// TestReplacedCA asks for a host name that the CA of the first start does not permit.
func TestReplacedCA(t *testing.T) {
	dir := t.TempDir()
	var fingerprints []string
	for i, host := range []string{"localhost", "hub.example.net"} {
		h := start(t, Config{DataDir: dir, Hostnames: []string{host}})
		h.ready()
		fingerprints = append(fingerprints, h.CAFingerprint())
		if got := h.ReplacedCA(); (got != "") != (i == 1) || i == 1 && !strings.Contains(got, host) {
			t.Errorf("ReplacedCA with %s: got %q", host, got)
		}
		if err := h.end(); err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	if fingerprints[0] == fingerprints[1] {
		t.Error("the CA is the same")
	}
}

// TestMetrics looks at what is counted.
func TestMetrics(t *testing.T) {
	h := start(t, Config{Ephemeral: true, Bind: []netip.Addr{localAddr}, Partitions: 2})
	h.ready()
	if status, err := h.put("d1"); err != nil || status != http.StatusOK {
		t.Fatalf("create a device: got %d, %v", status, err)
	}
	record := eventlog.Encode(&twinhub.Event{ID: twinhub.ID{Device: "d1"}, EnqueuedTime: time.Now()})
	c := engine.Commit{Partition: 1, Appends: []engine.Append{{Log: eventlog.Name, Records: [][]byte{record, record, record}}}}
	if _, err := engine.Do(t.Context(), h.engine, c); err != nil {
		t.Fatal(err)
	}
	h.telemetry.Send(&telemetry.Sender{ID: twinhub.ID{Device: "d1"}}, &twinhub.Event{Body: make([]byte, telemetry.MaxMessage+1)}, func(err error) {
		if !twinhub.HasCode(err, twinhub.CodeMessageTooLarge) {
			t.Errorf("a message that is too large: %v", err)
		}
	})
	_, text := h.ops("/metrics")
	for _, want := range []string{
		"\ntwinhub_telemetry_refused_messages_total{reason=\"too_large\"} 1\n",
		"\ntwinhub_telemetry_refused_messages_total{reason=\"storage\"} 0\n",
		"\ntwinhub_eventlog_events_total{partition=\"0\"} 0\n",
		"\ntwinhub_eventlog_events_total{partition=\"1\"} 3\n",
		fmt.Sprintf("\ntwinhub_eventlog_bytes_total{partition=\"1\"} %d\n", 3*len(record)),
		"\ntwinhub_amqpfront_connections 0\n",
		"\ntwinhub_amqpfront_receivers 0\n",
		"\ntwinhub_amqpfront_events_total 0\n",
		"\ntwinhub_mqttfront_connections 0\n",
		"\ntwinhub_session_devices 0\n",
		"\ntwinhub_engine_commit_seconds_bucket{le=",
		"\ntwinhub_engine_group_bytes_sum ",
		"\ngo_goroutines ",
		"\nprocess_open_fds ",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("/metrics lacks %q", want)
		}
	}
	for _, name := range []string{"twinhub_engine_commit_seconds", "twinhub_engine_write_seconds", "twinhub_engine_group_commits", "twinhub_engine_group_bytes"} {
		if strings.Contains(text, "\n"+name+"_count 0\n") {
			t.Errorf("%s has counted nothing", name)
		}
	}
}
