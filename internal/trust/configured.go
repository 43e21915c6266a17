package trust

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"os"
	"runtime"
	"slices"
)

// loadConfigured shows the certificate of CertFile and KeyFile if it is not the one shown already. The operator's files
// are read and never changed.
func (t *Trust) loadConfigured() error {
	pair, err := tls.LoadX509KeyPair(t.certFile, t.keyFile)
	if err != nil {
		return fmt.Errorf("configured certificate %s with key %s, PEM without a password is needed: %w", t.certFile, t.keyFile, err)
	}
	if shown := t.shown.Load(); shown != nil && slices.EqualFunc(shown.Certificate, pair.Certificate, bytes.Equal) {
		return nil
	}
	first := t.shown.Swap(&pair) == nil
	t.state = Authority{Origin: OriginNone}
	if !first {
		t.log.Info("configured certificate changed", "file", t.certFile, "expires", pair.Leaf.NotAfter)
	}
	t.warnConfigured(&pair)
	return nil
}

// warnConfigured tells why clients may refuse the certificate.
func (t *Trust) warnConfigured(pair *tls.Certificate) {
	for _, name := range t.names.given {
		if err := pair.Leaf.VerifyHostname(name); err != nil {
			t.log.Warn("a hostname is not in the configured certificate: clients that connect by it will refuse the hub",
				"hostname", name, "file", t.certFile, "err", err)
		}
	}
	if now := t.clock.Now(); now.After(pair.Leaf.NotAfter) || now.Before(pair.Leaf.NotBefore) {
		t.log.Warn("the configured certificate is not valid now: clients will refuse the hub",
			"file", t.certFile, "begins", pair.Leaf.NotBefore, "expires", pair.Leaf.NotAfter)
	}
	info, err := os.Stat(t.keyFile)
	if err == nil && info.Mode().Perm()&0o007 != 0 && runtime.GOOS != "windows" {
		t.log.Warn("every user of this machine can read the configured key", "file", t.keyFile, "mode", fmt.Sprintf("%04o", info.Mode().Perm()))
	}
}
