package trust

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// logText is what a Trust has logged so far.
type logText struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (l *logText) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(line)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func logBuffer() (*slog.Logger, *logText) {
	var l logText
	return slog.New(slog.NewTextHandler(&l, nil)), &l
}

func mustOpen(t *testing.T, o Options) *Trust {
	t.Helper()
	tr, err := Open(o)
	if err != nil {
		t.Fatalf("Open(%+v): %v", o, err)
	}
	t.Cleanup(func() {
		if err := tr.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return tr
}

// handshake joins both ends through a pipe, lets a byte pass so that tickets arrive, and returns what each end saw.
func handshake(server, client *tls.Config) (serverState, clientState tls.ConnectionState, err error) {
	a, b := net.Pipe()
	done := make(chan struct{})
	s, c := tls.Server(a, server), tls.Client(b, client)
	go func() {
		defer close(done)
		defer a.Close()
		if s.Handshake() == nil {
			s.Write([]byte{0})
		}
	}()
	if err = c.Handshake(); err == nil {
		_, err = c.Read(make([]byte, 1))
	}
	b.Close()
	<-done
	return s.ConnectionState(), c.ConnectionState(), err
}

func TestHandshake(t *testing.T) {
	tr := mustOpen(t, Options{Hostnames: []string{"Hub.Example.", "e2ehub.azure-devices.net", "my_hub", "192.0.2.7", "2001:db8::7"}})
	other := mustOpen(t, Options{})
	var unknown x509.UnknownAuthorityError
	var wrongName x509.HostnameError
	tests := []struct {
		name   string
		client *tls.Config
		want   any // nil or a target of errors.As
	}{
		{"first name", &tls.Config{ServerName: "hub.example", RootCAs: tr.CAPool()}, nil},
		{"name of a hosts file", &tls.Config{ServerName: "e2ehub.azure-devices.net", RootCAs: tr.CAPool()}, nil},
		{"name with underscore and no dot", &tls.Config{ServerName: "my_hub", RootCAs: tr.CAPool()}, nil},
		{"IPv4", &tls.Config{ServerName: "192.0.2.7", RootCAs: tr.CAPool()}, nil},
		{"IPv6", &tls.Config{ServerName: "2001:db8::7", RootCAs: tr.CAPool()}, nil},
		{"localhost", &tls.Config{ServerName: "localhost", RootCAs: tr.CAPool()}, nil},
		{"loopback IPv4", &tls.Config{ServerName: "127.0.0.1", RootCAs: tr.CAPool()}, nil},
		{"loopback IPv6", &tls.Config{ServerName: "::1", RootCAs: tr.CAPool()}, nil},
		{"TLS 1.2", &tls.Config{ServerName: "localhost", RootCAs: tr.CAPool(), MaxVersion: tls.VersionTLS12}, nil},
		{"another name", &tls.Config{ServerName: "evil.example", RootCAs: tr.CAPool()}, &wrongName},
		{"without trust", &tls.Config{ServerName: "localhost"}, &unknown},
		{"another hub's CA", &tls.Config{ServerName: "localhost", RootCAs: other.CAPool()}, &unknown},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, state, err := handshake(tr.ServerConfig(), test.client)
			if test.want == nil {
				if err != nil {
					t.Fatalf("handshake: %v", err)
				}
				if got := len(state.PeerCertificates); got != 1 {
					t.Errorf("%d certificates shown, want the leaf alone", got)
				}
				return
			}
			if !errors.As(err, test.want) {
				t.Fatalf("handshake: got %v, want a %T", err, test.want)
			}
		})
	}
}

func TestOldTLSRefused(t *testing.T) {
	tr := mustOpen(t, Options{})
	_, _, err := handshake(tr.ServerConfig(), &tls.Config{
		ServerName: "localhost", RootCAs: tr.CAPool(), MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11,
	})
	if err == nil || !strings.Contains(err.Error(), "protocol version") {
		t.Fatalf("TLS 1.1: got %v, want a protocol version alert", err)
	}
}

// TestServerConfigOwned checks that a door may add its ALPN to a copy without the others seeing it.
func TestServerConfigOwned(t *testing.T) {
	tr := mustOpen(t, Options{})
	door := tr.ServerConfig()
	if len(door.NextProtos) != 0 {
		t.Fatalf("NextProtos: got %q, want none", door.NextProtos)
	}
	door.NextProtos = []string{"http/1.1"}
	_, state, err := handshake(door.Clone(), &tls.Config{ServerName: "localhost", RootCAs: tr.CAPool(), NextProtos: []string{"h2", "http/1.1"}})
	if err != nil || state.NegotiatedProtocol != "http/1.1" {
		t.Errorf("with ALPN: got %q, %v; want http/1.1", state.NegotiatedProtocol, err)
	}
	_, state, err = handshake(tr.ServerConfig(), &tls.Config{ServerName: "localhost", RootCAs: tr.CAPool(), NextProtos: []string{"mqtt"}})
	if err != nil || state.NegotiatedProtocol != "" {
		t.Errorf("another door: got %q, %v; want no ALPN and no error", state.NegotiatedProtocol, err)
	}
}

// TestClientCertificate checks that client certificates pass unverified, and that there need not be one.
func TestClientCertificate(t *testing.T) {
	tr := mustOpen(t, Options{})
	device := selfSigned(t, "device", time.Now().Add(-time.Hour), time.Hour*2)
	expired := selfSigned(t, "expired", time.Now().Add(-time.Hour*2), time.Hour)
	for _, test := range []struct {
		name  string
		certs []tls.Certificate
	}{{"none", nil}, {"self-signed", []tls.Certificate{device}}, {"expired", []tls.Certificate{expired}}} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(test.name+" "+tls.VersionName(version), func(t *testing.T) {
				state, _, err := handshake(tr.ServerConfig(), &tls.Config{
					ServerName: "localhost", RootCAs: tr.CAPool(), Certificates: test.certs, MaxVersion: version,
				})
				if err != nil {
					t.Fatalf("handshake: %v", err)
				}
				if len(state.PeerCertificates) != len(test.certs) || len(state.VerifiedChains) != 0 {
					t.Fatalf("hub saw %d certificates and %d chains, want %d and 0", len(state.PeerCertificates), len(state.VerifiedChains), len(test.certs))
				}
				if len(test.certs) > 0 && !state.PeerCertificates[0].Equal(test.certs[0].Leaf) {
					t.Errorf("hub saw %v, want %v", state.PeerCertificates[0].Subject, test.certs[0].Leaf.Subject)
				}
			})
		}
	}
}

// selfSigned makes a certificate no CA has signed, for hosts.
func selfSigned(t *testing.T, name string, begin time.Time, life time.Duration, hosts ...string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: begin, NotAfter: begin.Add(life), DNSNames: hosts,
	}
	cert, err := sign(template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
}

func TestEphemeral(t *testing.T) {
	for _, test := range []struct {
		name    string
		options Options
		removed bool
	}{
		{"no folder", Options{}, true},
		{"a folder", Options{Dir: filepath.Join(t.TempDir(), "tls"), Ephemeral: true}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			tr, err := Open(test.options)
			if err != nil {
				t.Fatalf("Open: %v", err)
			}
			dir := filepath.Dir(tr.CAFile())
			if got, want := listDir(t, dir), []string{"bundle.pem", "ca.pem"}; !slices.Equal(got, want) {
				t.Errorf("files: got %q, want %q", got, want)
			}
			if info, err := os.Stat(dir); err != nil || test.removed && info.Mode().Perm() != 0o755 {
				t.Errorf("temporary folder: %v, %v; other users' clients have to read ca.pem in it", info, err)
			}
			tr.refresh()
			if got, want := listDir(t, dir), []string{"bundle.pem", "ca.pem"}; !slices.Equal(got, want) {
				t.Errorf("files after a refresh: got %q, want %q", got, want)
			}
			if err := tr.Close(); err != nil {
				t.Fatalf("Close: %v", err)
			}
			if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) != test.removed {
				t.Errorf("after Close: folder gone is %v, want %v", !test.removed, test.removed)
			}
		})
	}
}

// TestEphemeralSparesKept checks that an ephemeral hub does not overwrite the CA of a lasting one.
func TestEphemeralSparesKept(t *testing.T) {
	dir := t.TempDir()
	kept := mustOpen(t, Options{Dir: dir}).CAFingerprint()
	if _, err := Open(Options{Dir: dir, Ephemeral: true}); err == nil || !strings.Contains(err.Error(), "ca.key") {
		t.Fatalf("ephemeral on a kept folder: got %v, want an error that names ca.key", err)
	}
	if got := mustOpen(t, Options{Dir: dir}).CAFingerprint(); got != kept {
		t.Errorf("CA afterwards: got %s, want %s", got, kept)
	}
}

func listDir(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, entry := range entries {
		list = append(list, entry.Name())
	}
	return list
}

func TestFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data", "tls")
	tr := mustOpen(t, Options{Dir: dir})
	want := map[string]fs.FileMode{"ca.pem": 0o644, "ca.key": 0o600, "leaf.pem": 0o644, "leaf.key": 0o600, "bundle.pem": 0o644, "tickets": 0o600}
	if got := listDir(t, dir); len(got) != len(want) {
		t.Errorf("files: got %q, want %d", got, len(want))
	}
	for name, mode := range want {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: got %v, %v; want mode %v", name, info, err, mode)
		}
	}
	if got, want := tr.CAFile(), filepath.Join(dir, "ca.pem"); got != want {
		t.Errorf("CAFile: got %s, want %s", got, want)
	}
	if got, want := tr.BundleFile(), filepath.Join(dir, "bundle.pem"); got != want {
		t.Errorf("BundleFile: got %s, want %s", got, want)
	}
	if got, want := tr.Hostnames(), []string{"localhost", "127.0.0.1", "::1"}; !slices.Equal(got, want) {
		t.Errorf("Hostnames: got %q, want %q", got, want)
	}
}

// TestReopen checks that a restart changes nothing that clients could notice, and writes nothing.
func TestReopen(t *testing.T) {
	dir := t.TempDir()
	o := Options{Dir: dir, Hostnames: []string{"hub.example"}}
	first := mustOpen(t, o)
	before := snapshot(t, dir)
	second := mustOpen(t, o)
	if first.Authority().Origin != OriginMade || second.Authority().Origin != OriginKept {
		t.Errorf("origins: got %q then %q, want made then kept", first.Authority().Origin, second.Authority().Origin)
	}
	if got, want := second.CAFingerprint(), first.CAFingerprint(); got != want || second.Authority().Fingerprint != want {
		t.Errorf("CA: got %s, want %s", got, want)
	}
	if !second.Leaf().Equal(first.Leaf()) {
		t.Errorf("the leaf was made anew")
	}
	for name, info := range snapshot(t, dir) {
		if !os.SameFile(info, before[name]) {
			t.Errorf("%s was written again", name)
		}
	}
}

func snapshot(t *testing.T, dir string) map[string]fs.FileInfo {
	t.Helper()
	infos := map[string]fs.FileInfo{}
	for _, name := range listDir(t, dir) {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		infos[name] = info
	}
	return infos
}

func TestPrivateModes(t *testing.T) {
	for _, name := range []string{"ca.key", "leaf.key", "tickets"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			mustOpen(t, Options{Dir: dir})
			path := filepath.Join(dir, name)
			if err := os.Chmod(path, 0o644); err != nil {
				t.Fatal(err)
			}
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			logger, log := logBuffer()
			mustOpen(t, Options{Dir: dir, Logger: logger})
			info, err := os.Stat(path)
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("mode: got %v, %v; want 0600", info.Mode(), err)
			}
			if !strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), path) {
				t.Errorf("log does not warn about %s:\n%s", path, log)
			}
			if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, content) {
				t.Errorf("the content changed (%v)", err)
			}
		})
	}
}

func TestOptionsRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name    string
		options Options
		want    string
	}{
		{"certificate without key", Options{CertFile: "c.pem"}, "together"},
		{"key without certificate", Options{KeyFile: "k.pem"}, "together"},
		{"hostname with port", Options{Hostnames: []string{"hub:443"}}, `"hub:443"`},
		{"folder is a file", Options{Dir: file}, file},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := Open(test.options); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Open: got %v, want an error with %q", err, test.want)
			}
		})
	}
}

// run starts tr.Run and stops it when the test ends.
func run(t *testing.T, tr *Trust) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- tr.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}
