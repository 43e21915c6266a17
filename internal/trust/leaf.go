package trust

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"
)

const (
	leafCertFile = "leaf.pem"
	leafKeyFile  = "leaf.key"

	// leafLife stays below the 398 days after which browsers and Apple's libraries refuse a server certificate.
	leafLife = 397 * 24 * time.Hour
)

// openLeaf shows the leaf of the files if it serves, or issues one.
func (t *Trust) openLeaf() error {
	if !t.ephemeral {
		leaf, err := t.loadLeaf()
		switch {
		case err == nil:
			reason := t.leafUnfit(leaf.Leaf)
			if reason == "" {
				t.shown.Store(leaf)
				return nil
			}
			t.log.Info("the server certificate is made anew", "reason", reason)
		case !errors.Is(err, os.ErrNotExist):
			t.log.Warn("the server certificate is made anew", "reason", err.Error())
		}
	}
	return t.issueLeaf()
}

// loadLeaf reads both files.
func (t *Trust) loadLeaf() (*tls.Certificate, error) {
	certPath, keyPath := t.path(leafCertFile), t.path(leafKeyFile)
	content, err := readFile(certPath)
	if err != nil {
		return nil, err
	}
	cert, err := parseCert(content)
	if err != nil {
		return nil, fmt.Errorf("%s does not hold a certificate: %w", certPath, err)
	}
	content, err = t.readPrivate(keyPath)
	if err != nil {
		return nil, err
	}
	key, err := parseKey(content)
	if err != nil {
		return nil, fmt.Errorf("%s does not hold a private key: %w", keyPath, err)
	}
	if !matches(cert, key) {
		return nil, fmt.Errorf("%s is not the key of %s", keyPath, certPath)
	}
	return shownCert(cert, key), nil
}

// shownCert is what a handshake shows: the leaf alone. Clients have the CA already, and some small TLS libraries fail on
// a chain that holds a critical extension they do not know.
func shownCert(cert *x509.Certificate, key crypto.Signer) *tls.Certificate {
	return &tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
}

// leafUnfit returns why a leaf can not, or soon can not, be shown, or "".
func (t *Trust) leafUnfit(leaf *x509.Certificate) string {
	ca, now := t.issued.Load(), t.clock.Now()
	switch {
	case leaf.CheckSignatureFrom(ca.cert) != nil:
		return "it is not of the present CA"
	case leaf.Subject.CommonName != t.names.commonName() || !sameNames(leaf, t.names):
		return "the hostnames have changed"
	case now.Before(leaf.NotBefore) && leaf.NotBefore.After(ca.cert.NotBefore):
		return "it is not valid yet"
	case leaf.NotAfter.Sub(now) < leaf.NotAfter.Sub(leaf.NotBefore)/3:
		return "less than a third of its life is left"
	}
	return ""
}

// sameNames reports whether a leaf is for n, all of it and nothing else.
func sameNames(leaf *x509.Certificate, n names) bool {
	have := make([]netip.Addr, 0, len(leaf.IPAddresses))
	for _, ip := range leaf.IPAddresses {
		addr, _ := netip.AddrFromSlice(ip)
		have = append(have, addr.Unmap())
	}
	return slices.Equal(sorted(leaf.DNSNames), sorted(n.dns)) &&
		slices.EqualFunc(sortedAddrs(have), sortedAddrs(n.ips), func(a, b netip.Addr) bool { return a == b })
}

func sorted(list []string) []string { return slices.Sorted(slices.Values(list)) }

func sortedAddrs(list []netip.Addr) []netip.Addr {
	return slices.SortedFunc(slices.Values(list), netip.Addr.Compare)
}

// issueLeaf makes a leaf with a new key, writes it, and shows it to every handshake from then on. A crash between the
// two files leaves a key that does not match, which openLeaf repairs.
func (t *Trust) issueLeaf() error {
	ca := t.issued.Load()
	leaf, err := ca.issue(t.names, t.clock.Now())
	if err != nil {
		return fmt.Errorf("make the server certificate: %w", err)
	}
	if !t.ephemeral {
		key, err := encodeKey(leaf.PrivateKey.(crypto.Signer))
		if err != nil {
			return fmt.Errorf("make the server certificate: %w", err)
		}
		if err := writeFile(t.path(leafKeyFile), key, privateMode); err != nil {
			return fmt.Errorf("make the server certificate: %w", err)
		}
		if err := writeFile(t.path(leafCertFile), encodeCert(leaf.Leaf, ca.cert), publicMode); err != nil {
			return fmt.Errorf("make the server certificate: %w", err)
		}
	}
	t.shown.Store(leaf)
	t.log.Info("made the server certificate", "hostnames", t.names.list(), "expires", leaf.Leaf.NotAfter)
	return nil
}

// issue makes a server certificate for n that lives for leafLife, but not longer than the CA.
func (ca *issuer) issue(n names, now time.Time) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	id, err := keyID(key)
	if err != nil {
		return nil, err
	}
	// A machine whose clock still stands before the CA's birth gets a leaf that serves once it has been set.
	begin := now.Add(-backdate)
	if begin.Before(ca.cert.NotBefore) {
		begin = ca.cert.NotBefore
	}
	end := begin.Add(leafLife - time.Second)
	if end.After(ca.cert.NotAfter) {
		end = ca.cert.NotAfter
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{Organization: []string{organization}, CommonName: n.commonName()},
		NotBefore:             begin,
		NotAfter:              end,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		SubjectKeyId:          id,
		DNSNames:              n.dns,
		IPAddresses:           n.netIPs(),
	}
	cert, err := sign(template, ca.cert, key.Public(), ca.key)
	if err != nil {
		return nil, err
	}
	// A leaf that clients would refuse is found here rather than in their opaque errors.
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: begin}); err != nil {
		return nil, fmt.Errorf("check it against the CA: %w", err)
	}
	return shownCert(cert, key), nil
}

// renew does what has become due for the CA, the leaf and the bundle.
func (t *Trust) renew() error {
	ca := t.issued.Load()
	if reason := ca.unfit(t.names, t.clock.Now()); reason != "" {
		if err := t.replaceAuthority(ca, reason); err != nil {
			return err
		}
	}
	if t.leafUnfit(t.shown.Load().Leaf) != "" {
		if err := t.issueLeaf(); err != nil {
			return err
		}
		t.warnAuthority(t.issued.Load())
	}
	if bytes.Equal(ca.cert.Raw, t.issued.Load().cert.Raw) {
		return nil
	}
	return t.writeBundle()
}
