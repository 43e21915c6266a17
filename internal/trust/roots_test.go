package trust

import (
	"bytes"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func rootPEM(t *testing.T, name string) []byte {
	t.Helper()
	return encodeCert(selfSigned(t, name, time.Now(), time.Hour).Leaf)
}

func write(t *testing.T, path string, content ...[]byte) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, bytes.Join(content, nil), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFindRoots(t *testing.T) {
	dir := t.TempDir()
	a, b, c := rootPEM(t, "a"), rootPEM(t, "b"), rootPEM(t, "c")
	env := write(t, filepath.Join(dir, "env.pem"), []byte("# comment\n"), a, b, a)
	usual := write(t, filepath.Join(dir, "usual.pem"), c)
	bundle := write(t, filepath.Join(dir, "bundle.pem"), []byte(bundleHead), a)
	empty := write(t, filepath.Join(dir, "empty.pem"))
	folder := filepath.Join(dir, "certs")
	write(t, filepath.Join(folder, "1.pem"), a)
	write(t, filepath.Join(folder, "2.pem"), c)
	write(t, filepath.Join(folder, "3.pem"), a)
	write(t, filepath.Join(folder, "README"), []byte("not a certificate"))
	missing := filepath.Join(dir, "missing")
	for _, test := range []struct {
		name    string
		envFile string
		files   []string
		envDirs string
		dirs    []string
		want    []byte
		source  string
	}{
		{"the variable first", env, []string{usual}, "", nil, append(bytes.Clone(a), b...), env},
		{"a hub's bundle does not count", bundle, []string{usual}, "", nil, c, usual},
		{"missing and empty files are passed", missing, []string{empty, usual}, "", nil, c, usual},
		{"a folder does not pass as a file", folder, []string{usual}, "", nil, c, usual},
		{"folder of the variable", "", []string{missing}, missing + string(os.PathListSeparator) + folder, nil, append(bytes.Clone(a), c...), folder},
		{"usual folder", "", nil, "", []string{missing, folder}, append(bytes.Clone(a), c...), folder},
		{"nothing", "", []string{missing}, "", []string{missing}, nil, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, source := findRoots(test.envFile, test.files, test.envDirs, test.dirs)
			if !bytes.Equal(got, test.want) || source != test.source {
				t.Errorf("got %d certificates from %q, want %d from %q", bytes.Count(got, []byte("BEGIN")), source, bytes.Count(test.want, []byte("BEGIN")), test.source)
			}
		})
	}
}

func TestBundle(t *testing.T) {
	dir := t.TempDir()
	root := rootPEM(t, "root")
	t.Setenv("SSL_CERT_FILE", write(t, filepath.Join(t.TempDir(), "roots.pem"), root))
	tr := mustOpen(t, Options{Dir: dir})
	ca := encodeCert(tr.issued.Load().cert)
	want := bytes.Join([][]byte{[]byte(bundleHead), ca, root}, nil)
	check := func(step string) {
		t.Helper()
		if got, err := os.ReadFile(tr.BundleFile()); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%s: bundle (%v):\n%s\nwant:\n%s", step, err, got, want)
		}
	}
	check("first")
	write(t, tr.BundleFile(), []byte("damaged"))
	mustOpen(t, Options{Dir: dir})
	check("damaged")
	other := rootPEM(t, "other")
	t.Setenv("SSL_CERT_FILE", write(t, filepath.Join(t.TempDir(), "roots.pem"), other, ca))
	mustOpen(t, Options{Dir: dir})
	want = bytes.Join([][]byte{[]byte(bundleHead), ca, other}, nil)
	check("other roots, which hold the CA already")
	// A hub started from a shell that has sourced the bundle falls back on the machine's own roots.
	t.Setenv("SSL_CERT_FILE", tr.BundleFile())
	roots, source := SystemRoots()
	if source == tr.BundleFile() || bytes.Contains(roots, other) {
		t.Errorf("SystemRoots took the hub's own bundle from %q", source)
	}
	mustOpen(t, Options{Dir: dir})
	want = bytes.Join([][]byte{[]byte(bundleHead), ca, roots}, nil)
	check("SSL_CERT_FILE is the bundle")
}

func TestSystemRoots(t *testing.T) {
	roots, source := SystemRoots()
	if (len(roots) == 0) != (source == "") {
		t.Fatalf("%d bytes from %q", len(roots), source)
	}
	for rest := roots; len(rest) > 0; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil || block.Type != "CERTIFICATE" {
			t.Fatalf("%q holds something that is not a certificate: %.80q", source, rest)
		}
	}
	if strings.Contains(string(roots), "#") {
		t.Error("comments are left in the roots")
	}
}
