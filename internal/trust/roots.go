package trust

import (
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

const bundleFile = "bundle.pem"

// bundleHead begins every bundle, so that a hub started with SSL_CERT_FILE pointing at one does not take it for the
// machine's roots.
const bundleHead = "# twinhub bundle: the hub's CA, then the roots of this machine. Rewritten when the hub starts.\n"

// rootFiles and rootDirs are where systems keep their roots, the most usual first. macOS keeps them in a keychain, and a
// copy for command line tools in /etc/ssl/cert.pem.
var (
	rootFiles = [...]string{
		"/etc/ssl/certs/ca-certificates.crt",                // Debian, Ubuntu, Arch, Alpine, Gentoo
		"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // Fedora, RHEL 7 and later
		"/etc/pki/tls/certs/ca-bundle.crt",                  // older Fedora and RHEL
		"/etc/ssl/ca-bundle.pem",                            // openSUSE
		"/etc/ssl/cert.pem",                                 // Alpine, macOS, OpenBSD, FreeBSD
		"/usr/local/share/certs/ca-root-nss.crt",            // FreeBSD
		"/opt/homebrew/etc/ca-certificates/cert.pem",        // Homebrew
		"/usr/local/etc/ca-certificates/cert.pem",           // Homebrew on Intel
	}
	rootDirs = [...]string{"/etc/ssl/certs", "/etc/pki/tls/certs", "/system/etc/security/cacerts"}
)

// SystemRoots returns the root certificates of this machine as PEM, and the file or folder they came from: the variable
// SSL_CERT_FILE if it is set and is not a hub's bundle, else the first of the usual files, else SSL_CERT_DIR or a usual
// folder. They are for bundle.pem only; Go programs find the roots by themselves. Without any (Windows, a bare container)
// both results are empty. The caller owns the slice.
func SystemRoots() (roots []byte, source string) {
	return findRoots(os.Getenv("SSL_CERT_FILE"), rootFiles[:], os.Getenv("SSL_CERT_DIR"), rootDirs[:])
}

func findRoots(envFile string, files []string, envDirs string, dirs []string) ([]byte, string) {
	for _, path := range append([]string{envFile}, files...) {
		if roots := rootsOf(path); len(roots) > 0 {
			return roots, path
		}
	}
	for _, dir := range append(filepath.SplitList(envDirs), dirs...) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		var roots []byte
		for _, entry := range entries {
			roots = append(roots, rootsOf(filepath.Join(dir, entry.Name()))...)
		}
		if roots = unique(roots, nil); len(roots) > 0 {
			return roots, dir
		}
	}
	return nil, ""
}

// rootsOf returns the certificates of a file, or nil if it can not be read or is a bundle of ours.
func rootsOf(path string) []byte {
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return nil
	}
	content, err := readFile(path)
	if err != nil || bytes.HasPrefix(content, []byte(bundleHead)) {
		return nil
	}
	return unique(content, nil)
}

// unique returns the certificates of content, each once and without comments, and without the one given in DER.
func unique(content, without []byte) []byte {
	var b bytes.Buffer
	seen := map[string]bool{string(without): true}
	for rest := content; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return b.Bytes()
		}
		if block.Type != "CERTIFICATE" || seen[string(block.Bytes)] {
			continue
		}
		seen[string(block.Bytes)] = true
		b.Write(pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes}))
	}
}

// writeBundle writes bundle.pem if its content is not the same already. The CA comes first: tools that import one
// certificate of a file take the first.
func (t *Trust) writeBundle() error {
	ca := t.issued.Load().cert
	roots, source := SystemRoots()
	if source == "" {
		t.log.Warn("no root certificates found on this machine: bundle.pem holds the hub's CA alone; SSL_CERT_FILE can name a file of roots", "file", t.path(bundleFile))
	}
	content := append([]byte(bundleHead), encodeCert(ca)...)
	content = append(content, unique(roots, ca.Raw)...)
	old, err := readFile(t.path(bundleFile))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.log.Warn("bundle.pem is written anew", "reason", err.Error())
	}
	if bytes.Equal(old, content) {
		return nil
	}
	if err := writeFile(t.path(bundleFile), content, publicMode); err != nil {
		return fmt.Errorf("write the bundle of roots: %w", err)
	}
	return nil
}
