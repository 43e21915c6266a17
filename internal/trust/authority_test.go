package trust

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestAuthorityShape(t *testing.T) {
	tr := mustOpen(t, Options{Hostnames: []string{"hub.example", "192.0.2.7"}})
	ca := tr.issued.Load().cert
	if !ca.IsCA || !ca.MaxPathLenZero || ca.MaxPathLen != 0 {
		t.Errorf("basic constraints: CA %v, path length %d (zero %v); want a CA of path length 0", ca.IsCA, ca.MaxPathLen, ca.MaxPathLenZero)
	}
	if !ca.PermittedDNSDomainsCritical {
		t.Error("name constraints are not critical")
	}
	if got, want := strings.Join(ca.PermittedDNSDomains, " "), "hub.example localhost"; got != want {
		t.Errorf("permitted DNS names: got %q, want %q", got, want)
	}
	var ranges []string
	for _, r := range ca.PermittedIPRanges {
		ranges = append(ranges, r.String())
	}
	if got, want := strings.Join(ranges, " "), "192.0.2.7/32 127.0.0.1/32 ::1/128"; got != want {
		t.Errorf("permitted addresses: got %q, want %q", got, want)
	}
	leaf := tr.Leaf()
	if len(ca.SubjectKeyId) != 20 || !bytes.Equal(leaf.AuthorityKeyId, ca.SubjectKeyId) || len(leaf.SubjectKeyId) != 20 {
		t.Errorf("key ids: CA %x, leaf %x of %x", ca.SubjectKeyId, leaf.SubjectKeyId, leaf.AuthorityKeyId)
	}
	if leaf.IsCA || len(leaf.ExtKeyUsage) != 1 || leaf.ExtKeyUsage[0] != x509.ExtKeyUsageServerAuth {
		t.Errorf("leaf: CA %v, extended usages %v; want serverAuth alone", leaf.IsCA, leaf.ExtKeyUsage)
	}
	if leaf.Subject.CommonName != "hub.example" {
		t.Errorf("common name: got %q, want hub.example", leaf.Subject.CommonName)
	}
	if ca.SerialNumber.BitLen() < 64 || leaf.SerialNumber.BitLen() < 64 || ca.SerialNumber.Cmp(leaf.SerialNumber) == 0 {
		t.Errorf("serial numbers %x and %x are not random", ca.SerialNumber, leaf.SerialNumber)
	}
	if life := ca.NotAfter.Sub(ca.NotBefore) + time.Second; life != 3650*24*time.Hour {
		t.Errorf("CA lives %v, want 3650 days", life)
	}
	if life := leaf.NotAfter.Sub(leaf.NotBefore) + time.Second; life != 397*24*time.Hour {
		t.Errorf("leaf lives %v, want 397 days", life)
	}
	if got := tr.CAFingerprint(); !regexp.MustCompile(`^([0-9A-F]{2}:){31}[0-9A-F]{2}$`).MatchString(got) {
		t.Errorf("fingerprint %q is not 32 octets with colons", got)
	}
}

// TestNameConstraints signs leaves for names that are not the hub's with the hub's own CA key. Verifiers refuse them.
func TestNameConstraints(t *testing.T) {
	tr := mustOpen(t, Options{Hostnames: []string{"hub.example", "192.0.2.7"}})
	ca := tr.issued.Load()
	for _, test := range []struct {
		name  string
		dns   string
		ip    string
		usage x509.ExtKeyUsage
		want  bool
	}{
		{"the hostname", "hub.example", "", x509.ExtKeyUsageServerAuth, true},
		{"below the hostname", "a.hub.example", "", x509.ExtKeyUsageServerAuth, true},
		{"the address", "", "192.0.2.7", x509.ExtKeyUsageServerAuth, true},
		{"loopback IPv6", "", "::1", x509.ExtKeyUsageServerAuth, true},
		{"another name", "bank.example", "", x509.ExtKeyUsageServerAuth, false},
		{"a longer name", "evilhub.example", "", x509.ExtKeyUsageServerAuth, false},
		{"the parent", "example", "", x509.ExtKeyUsageServerAuth, false},
		{"a wildcard", "*.example", "", x509.ExtKeyUsageServerAuth, false},
		{"another IPv4", "", "127.0.0.2", x509.ExtKeyUsageServerAuth, false},
		{"another IPv6", "", "2001:db8::1", x509.ExtKeyUsageServerAuth, false},
		{"a client", "hub.example", "", x509.ExtKeyUsageClientAuth, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			template := &x509.Certificate{NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{test.usage}}
			if test.dns != "" {
				template.DNSNames = []string{test.dns}
			} else {
				template.IPAddresses = []net.IP{net.ParseIP(test.ip)}
			}
			cert, err := sign(template, ca.cert, key.Public(), ca.key)
			if err != nil {
				t.Fatal(err)
			}
			_, err = cert.Verify(x509.VerifyOptions{Roots: tr.CAPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
			var invalid x509.CertificateInvalidError
			switch {
			case test.want && err != nil:
				t.Errorf("Verify: %v", err)
			case test.usage == x509.ExtKeyUsageClientAuth:
				_, err = cert.Verify(x509.VerifyOptions{Roots: tr.CAPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
				if !errors.As(err, &invalid) || invalid.Reason != x509.IncompatibleUsage {
					t.Errorf("Verify as a client: got %v, want an incompatible usage", err)
				}
			case !test.want && (!errors.As(err, &invalid) || invalid.Reason != x509.CANotAuthorizedForThisName):
				t.Errorf("Verify: got %v, want a name constraint error", err)
			}
		})
	}
}

func TestHostnamesChange(t *testing.T) {
	for _, test := range []struct {
		name        string
		first, then []string
		origin      Origin
		reason      string
		newLeaf     bool
	}{
		{"none to none", nil, nil, OriginKept, "", false},
		{"same in another spelling", []string{"hub.example"}, []string{"HUB.example."}, OriginKept, "", false},
		{"one left out", []string{"hub.example", "b.example"}, []string{"b.example"}, OriginKept, "", true},
		{"back to loopback", []string{"hub.example"}, nil, OriginKept, "", true},
		{"another order", []string{"a.example", "b.example"}, []string{"b.example", "a.example"}, OriginKept, "", true},
		{"a name below", []string{"hub.example"}, []string{"hub.example", "eu.hub.example"}, OriginKept, "", true},
		{"a new name", []string{"hub.example"}, []string{"hub.example", "b.example"}, OriginReplaced, "it does not permit b.example", true},
		{"the parent", []string{"hub.example"}, []string{"example"}, OriginReplaced, "it does not permit example", true},
		{"a new address", nil, []string{"192.0.2.7"}, OriginReplaced, "it does not permit 192.0.2.7", true},
		{"a new IPv6 address", []string{"192.0.2.7"}, []string{"2001:db8::7"}, OriginReplaced, "it does not permit 2001:db8::7", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			first := mustOpen(t, Options{Dir: dir, Hostnames: test.first})
			logger, log := logBuffer()
			then := mustOpen(t, Options{Dir: dir, Hostnames: test.then, Logger: logger})
			state := then.Authority()
			if state.Origin != test.origin || state.Reason != test.reason {
				t.Errorf("authority: got %q because %q, want %q because %q", state.Origin, state.Reason, test.origin, test.reason)
			}
			if replaced := then.CAFingerprint() != first.CAFingerprint(); replaced != (test.origin == OriginReplaced) {
				t.Errorf("CA replaced: got %v", replaced)
			}
			if test.origin == OriginReplaced {
				if state.Previous != first.CAFingerprint() {
					t.Errorf("previous: got %s, want %s", state.Previous, first.CAFingerprint())
				}
				if !strings.Contains(log.String(), "level=WARN msg=\"THE CERTIFICATE AUTHORITY WAS REPLACED") {
					t.Errorf("the log is not loud:\n%s", log)
				}
				if bytes.Equal(then.issued.Load().cert.RawSubject, first.issued.Load().cert.RawSubject) {
					t.Error("both CAs have the same subject")
				}
			}
			if got := !then.Leaf().Equal(first.Leaf()); got != test.newLeaf {
				t.Errorf("new leaf: got %v, want %v", got, test.newLeaf)
			}
			for _, name := range then.Hostnames() {
				if _, err := then.Leaf().Verify(x509.VerifyOptions{Roots: then.CAPool(), DNSName: name}); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
			bundle, err := os.ReadFile(then.BundleFile())
			if err != nil || !bytes.Contains(bundle, encodeCert(then.issued.Load().cert)) {
				t.Errorf("the bundle lacks the CA (%v)", err)
			}
			again := mustOpen(t, Options{Dir: dir, Hostnames: test.then})
			if again.Authority().Origin != OriginKept || !again.Leaf().Equal(then.Leaf()) {
				t.Errorf("opened again: %q, want everything kept", again.Authority().Origin)
			}
		})
	}
}

func TestCorruptAuthority(t *testing.T) {
	otherKey := func(t *testing.T) []byte {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		content, err := encodeKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
	for _, test := range []struct {
		name    string
		file    string
		content func(*testing.T, *Trust) []byte // nil removes the file
		want    string
	}{
		{"empty certificate", "ca.pem", func(*testing.T, *Trust) []byte { return []byte{} }, "does not hold a certificate"},
		{"noise as certificate", "ca.pem", func(*testing.T, *Trust) []byte { return []byte("\x00noise") }, "does not hold a certificate"},
		{"broken DER", "ca.pem", func(*testing.T, *Trust) []byte {
			return []byte("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")
		}, "does not hold a certificate"},
		{"leaf as CA", "ca.pem", func(_ *testing.T, tr *Trust) []byte { return encodeCert(tr.Leaf()) }, "not a CA's"},
		{"empty key", "ca.key", func(*testing.T, *Trust) []byte { return []byte{} }, "does not hold a private key"},
		{"broken key", "ca.key", func(*testing.T, *Trust) []byte {
			return []byte("-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n")
		}, "does not hold a private key"},
		{"another key", "ca.key", func(t *testing.T, _ *Trust) []byte { return otherKey(t) }, "is not the key of the CA"},
		{"missing key", "ca.key", nil, "is missing"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			tr := mustOpen(t, Options{Dir: dir})
			path := filepath.Join(dir, test.file)
			if test.content == nil {
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
			} else if err := os.WriteFile(path, test.content(t, tr), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := Open(Options{Dir: dir})
			if err == nil {
				t.Fatal("Open succeeded")
			}
			for _, want := range []string{test.want, path, "remove both"} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q lacks %q", err, want)
				}
			}
			for _, name := range []string{"ca.pem", "ca.key"} { // the remedy
				if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
					t.Fatal(err)
				}
			}
			if got := mustOpen(t, Options{Dir: dir}).Authority().Origin; got != OriginMade {
				t.Errorf("after the remedy: got %q, want made", got)
			}
		})
	}
}

// TestInterruptedReplacement removes ca.pem, as a crash amid a replacement leaves it.
func TestInterruptedReplacement(t *testing.T) {
	dir := t.TempDir()
	first := mustOpen(t, Options{Dir: dir})
	if err := os.Remove(first.CAFile()); err != nil {
		t.Fatal(err)
	}
	then := mustOpen(t, Options{Dir: dir})
	if got := then.Authority(); got.Origin != OriginReplaced || !strings.Contains(got.Reason, "missing") {
		t.Errorf("authority: got %+v, want replaced because ca.pem was missing", got)
	}
	if then.CAFingerprint() == first.CAFingerprint() {
		t.Error("the CA is the same")
	}
}

// operatorCA puts a CA that the hub did not make into dir.
func operatorCA(t *testing.T, dir string, template x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.Subject = pkix.Name{Organization: []string{"Example Ltd"}, CommonName: "Example Root"}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(3*365*24*time.Hour)
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	cert, err := sign(&template, &template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	content, err := encodeKey(crypto.Signer(key))
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"ca.pem": encodeCert(cert), "ca.key": content} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOperatorAuthority(t *testing.T) {
	t.Run("unconstrained serves any name, with a warning", func(t *testing.T) {
		dir := t.TempDir()
		operatorCA(t, dir, x509.Certificate{})
		logger, log := logBuffer()
		tr := mustOpen(t, Options{Dir: dir, Hostnames: []string{"hub.example"}, Logger: logger})
		if tr.Authority().Origin != OriginKept || !strings.Contains(log.String(), "no name constraints") {
			t.Errorf("origin %q, log:\n%s", tr.Authority().Origin, log)
		}
	})
	t.Run("too narrow is refused and left alone", func(t *testing.T) {
		dir := t.TempDir()
		operatorCA(t, dir, x509.Certificate{ExcludedDNSDomains: []string{"secret.example"}})
		before, err := os.ReadFile(filepath.Join(dir, "ca.key"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Open(Options{Dir: dir, Hostnames: []string{"hub.secret.example"}}); err == nil || !strings.Contains(err.Error(), "not of the hub's making") {
			t.Errorf("Open: got %v, want a refusal to replace the operator's CA", err)
		}
		if after, err := os.ReadFile(filepath.Join(dir, "ca.key")); err != nil || !bytes.Equal(before, after) {
			t.Errorf("the operator's key was changed (%v)", err)
		}
	})
}

func TestAuthorityExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		first := mustOpen(t, Options{Dir: dir})
		end := first.Authority().NotAfter
		time.Sleep(time.Until(end) - 300*24*time.Hour)
		logger, log := logBuffer()
		tr := mustOpen(t, Options{Dir: dir, Logger: logger})
		if tr.Authority().Origin != OriginKept || !strings.Contains(log.String(), "expires within a year") {
			t.Fatalf("300 days before: origin %q, log:\n%s", tr.Authority().Origin, log)
		}
		if got := tr.Leaf().NotAfter; !got.Equal(end) {
			t.Errorf("leaf ends %v, want %v with its CA", got, end)
		}
		run(t, tr)
		time.Sleep(time.Until(end) - 31*24*time.Hour)
		if tr.CAFingerprint() != first.CAFingerprint() {
			t.Fatalf("replaced while 31 days are left")
		}
		time.Sleep(2 * 24 * time.Hour)
		synctest.Wait()
		state := tr.Authority()
		if state.Origin != OriginReplaced || state.Previous != first.CAFingerprint() || !strings.Contains(state.Reason, "expires") {
			t.Fatalf("29 days before: got %+v, want replaced", state)
		}
		if _, _, err := handshake(tr.ServerConfig(), clientConfig(tr)); err != nil {
			t.Errorf("handshake with the new CA: %v", err)
		}
		for _, path := range []string{tr.CAFile(), tr.BundleFile()} {
			content, err := os.ReadFile(path)
			if err != nil || !bytes.Contains(content, encodeCert(tr.issued.Load().cert)) {
				t.Errorf("%s lacks the new CA (%v)", path, err)
			}
		}
	})
}

// TestOpenSSL asks another implementation, with strict RFC 5280 checks.
func TestOpenSSL(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("no openssl in PATH")
	}
	dir := t.TempDir()
	tr := mustOpen(t, Options{Dir: dir, Hostnames: []string{"hub.example", "192.0.2.7"}})
	verify := func(leaf string, extra ...string) (string, error) {
		args := append([]string{"verify", "-x509_strict", "-check_ss_sig", "-purpose", "sslserver", "-CAfile", tr.CAFile()}, extra...)
		out, err := exec.CommandContext(t.Context(), openssl, append(args, leaf)...).CombinedOutput()
		return string(out), err
	}
	leaf := filepath.Join(dir, "leaf.pem")
	for _, args := range [][]string{
		{"-verify_hostname", "hub.example"}, {"-verify_hostname", "localhost"},
		{"-verify_ip", "192.0.2.7"}, {"-verify_ip", "127.0.0.1"}, {"-verify_ip", "::1"},
	} {
		if out, err := verify(leaf, args...); err != nil {
			t.Errorf("openssl verify %v: %v\n%s", args, err, out)
		}
	}
	ca := tr.issued.Load()
	n, err := parseNames([]string{"evil.example"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ca.issue(n, time.Now()); err == nil {
		t.Error("issue gave a leaf that the CA does not permit")
	}
	forged := filepath.Join(dir, "forged.pem")
	template := &x509.Certificate{NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"evil.example"}, SubjectKeyId: []byte{1}}
	cert, err := sign(template, ca.cert, ca.key.Public(), ca.key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(forged, encodeCert(cert), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := verify(forged); err == nil || !strings.Contains(out, "permitted subtree violation") {
		t.Errorf("openssl verify of a forged leaf: got %v\n%s\nwant a permitted subtree violation", err, out)
	}
	out, err := exec.CommandContext(t.Context(), openssl, "x509", "-noout", "-fingerprint", "-sha256", "-in", tr.CAFile()).Output()
	if err != nil || !strings.Contains(string(out), "="+tr.CAFingerprint()) {
		t.Errorf("openssl prints %q (%v), CAFingerprint is %s", out, err, tr.CAFingerprint())
	}
}
