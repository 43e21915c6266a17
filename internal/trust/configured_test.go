package trust

import (
	"crypto"
	"crypto/x509"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// configure writes a certificate for hosts and returns Options that name it.
func configure(t *testing.T, dir string, begin time.Time, life time.Duration, hosts ...string) (Options, *x509.Certificate) {
	t.Helper()
	pair := selfSigned(t, "configured", begin, life, hosts...)
	key, err := encodeKey(pair.PrivateKey.(crypto.Signer))
	if err != nil {
		t.Fatal(err)
	}
	o := Options{CertFile: filepath.Join(dir, "c.pem"), KeyFile: filepath.Join(dir, "k.pem")}
	write(t, o.CertFile, encodeCert(pair.Leaf))
	if err := os.WriteFile(o.KeyFile, key, 0o600); err != nil {
		t.Fatal(err)
	}
	return o, pair.Leaf
}

func TestConfigured(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tls")
	o, cert := configure(t, t.TempDir(), time.Now().Add(-time.Hour), day, "hub.example")
	o.Dir, o.Hostnames = dir, []string{"hub.example"}
	logger, log := logBuffer()
	o.Logger = logger
	tr := mustOpen(t, o)
	if strings.Contains(log.String(), "level=WARN") {
		t.Errorf("warnings:\n%s", log)
	}
	if got, want := listDir(t, dir), []string{"tickets"}; !slices.Equal(got, want) {
		t.Errorf("files: got %q, want %q", got, want)
	}
	if tr.CAPool() != nil || tr.CAFingerprint() != "" || tr.CAFile() != "" || tr.BundleFile() != "" || tr.Authority() != (Authority{Origin: OriginNone}) {
		t.Errorf("there is a CA: %+v %q %q", tr.Authority(), tr.CAFile(), tr.BundleFile())
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	client := newClient(tr, 0)
	client.ServerName, client.RootCAs = "hub.example", roots
	if visit(t, tr.ServerConfig(), client) || !visit(t, tr.ServerConfig(), client) {
		t.Error("want a full handshake, then a resumed one")
	}
}

func TestConfiguredInMemory(t *testing.T) {
	o, cert := configure(t, t.TempDir(), time.Now().Add(-time.Hour), day, "hub.example")
	tr := mustOpen(t, o)
	if tr.dir != "" || !tr.Leaf().Equal(cert) {
		t.Errorf("folder %q, leaf %v", tr.dir, tr.Leaf().Subject)
	}
}

func TestConfiguredWarnings(t *testing.T) {
	for _, test := range []struct {
		name  string
		begin time.Duration
		life  time.Duration
		host  string
		mode  os.FileMode
		want  string // "" is no warning
	}{
		{"good", -time.Hour, day, "hub.example", 0o640, ""},
		{"other hostname", -time.Hour, day, "other.example", 0o600, "hostname=other.example"},
		{"expired", -2 * day, day, "hub.example", 0o600, "not valid now"},
		{"not yet valid", day, day, "hub.example", 0o600, "not valid now"},
		{"key open to all", -time.Hour, day, "hub.example", 0o644, "every user of this machine"},
	} {
		t.Run(test.name, func(t *testing.T) {
			o, _ := configure(t, t.TempDir(), time.Now().Add(test.begin), test.life, "hub.example")
			if err := os.Chmod(o.KeyFile, test.mode); err != nil {
				t.Fatal(err)
			}
			logger, log := logBuffer()
			o.Hostnames, o.Logger = []string{test.host}, logger
			mustOpen(t, o)
			if warned := strings.Contains(log.String(), "level=WARN"); warned != (test.want != "") || !strings.Contains(log.String(), test.want) {
				t.Errorf("want %q, log:\n%s", test.want, log)
			}
			if info, err := os.Stat(o.KeyFile); err != nil || info.Mode().Perm() != test.mode {
				t.Errorf("the mode of the operator's key was changed: %v, %v", info.Mode(), err)
			}
		})
	}
}

func TestConfiguredRefused(t *testing.T) {
	dir := t.TempDir()
	o, _ := configure(t, dir, time.Now(), day, "hub.example")
	stranger, _ := configure(t, t.TempDir(), time.Now(), day, "hub.example")
	for _, test := range []struct {
		name string
		cert string
		key  string
	}{
		{"no certificate file", filepath.Join(dir, "none.pem"), o.KeyFile},
		{"no key file", o.CertFile, filepath.Join(dir, "none.key")},
		{"key of another", o.CertFile, stranger.KeyFile},
		{"key as certificate", o.KeyFile, o.KeyFile},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Open(Options{CertFile: test.cert, KeyFile: test.key})
			if err == nil || !strings.Contains(err.Error(), test.cert) || !strings.Contains(err.Error(), test.key) {
				t.Errorf("Open: got %v, want an error that names both files", err)
			}
		})
	}
}

// TestConfiguredRenewed replaces the files under a running hub, first by halves.
func TestConfiguredRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		o, first := configure(t, dir, time.Now(), 90*day, "hub.example")
		logger, log := logBuffer()
		o.Logger = logger
		tr := mustOpen(t, o)
		run(t, tr)
		time.Sleep(60*day + time.Minute)
		next, second := configure(t, t.TempDir(), time.Now(), 90*day, "hub.example")
		move := func(from, to string) {
			t.Helper()
			if err := os.Rename(from, to); err != nil {
				t.Fatal(err)
			}
		}
		move(next.KeyFile, o.KeyFile)
		time.Sleep(checkEvery)
		synctest.Wait()
		if !tr.Leaf().Equal(first) || !strings.Contains(log.String(), "not read again") {
			t.Errorf("half renewed: kept %v, log:\n%s", tr.Leaf().Equal(first), log)
		}
		move(next.CertFile, o.CertFile)
		time.Sleep(checkEvery)
		synctest.Wait()
		if !tr.Leaf().Equal(second) || !strings.Contains(log.String(), "configured certificate changed") {
			t.Errorf("renewed: shown %v, log:\n%s", tr.Leaf().Equal(second), log)
		}
	})
}
