package trust

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"
)

const (
	caCertFile = "ca.pem"
	caKeyFile  = "ca.key"

	organization = "twinhub" // subject O of what we made; a CA without it is the operator's and is never replaced

	caLife   = 3650 * 24 * time.Hour
	caLast   = 30 * 24 * time.Hour  // with less than this left a CA is replaced
	caWarn   = 365 * 24 * time.Hour // with less than this left each open warns
	backdate = time.Hour            // certificates begin this much in the past, for clients whose clock is behind
)

// issuer is a CA that can sign.
type issuer struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// openAuthority takes the CA from its files if it serves, or makes one.
func (t *Trust) openAuthority() error {
	if t.ephemeral {
		return t.makeAuthority(Authority{Origin: OriginMade})
	}
	ca, err := t.loadAuthority()
	if errors.Is(err, os.ErrNotExist) {
		// A key alone is what a crash amid a replacement leaves, or somebody's hand: there was a CA.
		if _, err := os.Lstat(t.path(caKeyFile)); err == nil {
			return t.makeAuthority(Authority{Origin: OriginReplaced, Reason: caCertFile + " was missing beside " + caKeyFile})
		}
		return t.makeAuthority(Authority{Origin: OriginMade})
	}
	if err != nil {
		return err
	}
	if reason := ca.unfit(t.names, t.clock.Now()); reason != "" {
		return t.replaceAuthority(ca, reason)
	}
	t.issued.Store(ca)
	t.state = Authority{Origin: OriginKept, Fingerprint: fingerprint(ca.cert), NotAfter: ca.cert.NotAfter}
	t.warnAuthority(ca)
	return nil
}

// loadAuthority reads both files. The error matches os.ErrNotExist only if there is no ca.pem.
func (t *Trust) loadAuthority() (*issuer, error) {
	certPath, keyPath := t.path(caCertFile), t.path(caKeyFile)
	content, err := readFile(certPath)
	if err != nil {
		return nil, fmt.Errorf("read the CA certificate: %w", err)
	}
	remedy := fmt.Sprintf("restore %s and %s from a backup, or remove both: the hub then makes a new CA, which every client has to trust", certPath, keyPath)
	cert, err := parseCert(content)
	if err != nil {
		return nil, fmt.Errorf("%s does not hold a certificate (%w): %s", certPath, err, remedy)
	}
	if !cert.IsCA || cert.KeyUsage != 0 && cert.KeyUsage&x509.KeyUsageCertSign == 0 {
		return nil, fmt.Errorf("%s holds a certificate that is not a CA's: %s", certPath, remedy)
	}
	content, err = t.readPrivate(keyPath)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s is missing, the key of the CA in %s: %s", keyPath, certPath, remedy)
	}
	if err != nil {
		return nil, fmt.Errorf("read the CA key: %w", err)
	}
	key, err := parseKey(content)
	if err != nil {
		return nil, fmt.Errorf("%s does not hold a private key (%w): %s", keyPath, err, remedy)
	}
	if !matches(cert, key) {
		return nil, fmt.Errorf("%s is not the key of the CA in %s: %s", keyPath, certPath, remedy)
	}
	return &issuer{cert, key}, nil
}

// makeAuthority makes a CA for t.names and puts it in place. The certificate is written last and, if there was one,
// removed first, so that a crash never leaves a certificate beside another one's key.
func (t *Trust) makeAuthority(state Authority) error {
	ca, err := newIssuer(t.names, t.clock.Now())
	if err != nil {
		return fmt.Errorf("make a CA: %w", err)
	}
	if !t.ephemeral {
		key, err := encodeKey(ca.key)
		if err != nil {
			return fmt.Errorf("make a CA: %w", err)
		}
		if err := removeFile(t.path(caCertFile)); err != nil {
			return fmt.Errorf("make a CA: %w", err)
		}
		if err := writeFile(t.path(caKeyFile), key, privateMode); err != nil {
			return fmt.Errorf("make a CA: %w", err)
		}
	}
	if err := writeFile(t.path(caCertFile), encodeCert(ca.cert), publicMode); err != nil {
		return fmt.Errorf("make a CA: %w", err)
	}
	state.Fingerprint, state.NotAfter = fingerprint(ca.cert), ca.cert.NotAfter
	t.issued.Store(ca)
	t.state = state
	if state.Origin == OriginMade {
		t.log.Info("made a certificate authority", "file", t.path(caCertFile), "fingerprint", state.Fingerprint, "permits", t.names.list())
		return nil
	}
	t.log.Warn("THE CERTIFICATE AUTHORITY WAS REPLACED: every client has to trust the new ca.pem before it can connect again; "+
		"start once with every hostname that will be used, and any of them can be left out later without a new one",
		"reason", state.Reason, "file", t.path(caCertFile), "fingerprint", state.Fingerprint, "previous", state.Previous, "permits", t.names.list())
	return nil
}

// replaceAuthority makes a CA in place of old, whose key is gone then. The operator's own CA is never thrown away.
func (t *Trust) replaceAuthority(old *issuer, reason string) error {
	if !slices.Equal(old.cert.Subject.Organization, []string{organization}) {
		return fmt.Errorf("the CA in %s is not of the hub's making, and %s: put one that serves in its place, or remove %s and %s to let the hub make its own",
			t.path(caCertFile), reason, t.path(caCertFile), t.path(caKeyFile))
	}
	return t.makeAuthority(Authority{Origin: OriginReplaced, Reason: reason, Previous: fingerprint(old.cert)})
}

// warnAuthority tells what is odd about a CA that is nevertheless used.
func (t *Trust) warnAuthority(ca *issuer) {
	now := t.clock.Now()
	if now.Before(ca.cert.NotBefore) {
		t.log.Warn("the certificate authority is not valid yet: set the machine's clock, or remove ca.pem and ca.key if the CA was made while the clock was wrong",
			"file", t.path(caCertFile), "begins", ca.cert.NotBefore, "now", now)
	}
	if left := ca.cert.NotAfter.Sub(now); left < caWarn {
		t.log.Warn("the certificate authority expires within a year and will be replaced in its last month; remove ca.pem and ca.key to do it earlier",
			"file", t.path(caCertFile), "expires", ca.cert.NotAfter)
	}
	if !ca.constrained() {
		t.log.Warn("the certificate authority has no name constraints: whoever gets its key can pretend to be any server to the hub's clients",
			"file", t.path(caCertFile))
	}
}

// newIssuer makes a self-signed CA that can vouch for n and nothing else.
//
// Name constraints are critical (RFC 5280 4.2.1.10) and list both kinds of name a server has: a kind that is not
// listed would be unrestricted. A DNS subtree holds the name and what is below it. MaxPathLen 0 and the one extended
// key usage keep the key from making other CAs and client certificates.
func newIssuer(n names, now time.Time) (*issuer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	id, err := keyID(key)
	if err != nil {
		return nil, err
	}
	ranges := make([]*net.IPNet, len(n.ips))
	for i, ip := range n.ips {
		ranges[i] = &net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask(ip.BitLen(), ip.BitLen())}
	}
	template := &x509.Certificate{
		// Each CA has its own name, so that clients which hold an old one do not take it for the issuer and report a
		// wrong signature.
		Subject:                     pkix.Name{Organization: []string{organization}, CommonName: "twinhub CA " + hex.EncodeToString(id[:4])},
		NotBefore:                   now.Add(-backdate),
		NotAfter:                    now.Add(-backdate + caLife - time.Second), // the last second is included, RFC 5280 4.1.2.5
		IsCA:                        true,
		BasicConstraintsValid:       true,
		MaxPathLenZero:              true,
		KeyUsage:                    x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		ExtKeyUsage:                 []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		SubjectKeyId:                id,
		PermittedDNSDomainsCritical: true,
		PermittedDNSDomains:         n.dns,
		PermittedIPRanges:           ranges,
	}
	cert, err := sign(template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &issuer{cert, key}, nil
}

// sign returns the certificate of template, with a random serial number.
func sign(template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// unfit returns why ca can no longer be used for n, as a clause, or "" if it can.
func (ca *issuer) unfit(n names, now time.Time) string {
	if ca.cert.NotAfter.Sub(now) < caLast {
		return "it expires " + ca.cert.NotAfter.UTC().Format(time.DateOnly)
	}
	for _, name := range n.dns {
		if !ca.permitsDNS(name) {
			return "it does not permit " + name
		}
	}
	for _, ip := range n.ips {
		if !ca.permitsIP(ip) {
			return "it does not permit " + ip.String()
		}
	}
	return ""
}

func (ca *issuer) constrained() bool {
	return len(ca.cert.PermittedDNSDomains) > 0 && len(ca.cert.PermittedIPRanges) > 0
}

// permitsDNS follows RFC 5280 4.2.1.10: a subtree is a name and all names that end with it after a dot. Without a list
// every name is permitted.
func (ca *issuer) permitsDNS(name string) bool {
	within := func(subtree string) bool {
		subtree = strings.ToLower(subtree)
		bare := strings.TrimPrefix(subtree, ".")
		return bare == "" || name == subtree || strings.HasSuffix(name, "."+bare)
	}
	return (len(ca.cert.PermittedDNSDomains) == 0 || slices.ContainsFunc(ca.cert.PermittedDNSDomains, within)) &&
		!slices.ContainsFunc(ca.cert.ExcludedDNSDomains, within)
}

func (ca *issuer) permitsIP(ip netip.Addr) bool {
	within := func(subtree *net.IPNet) bool {
		// Contains would match an IPv4 address against its IPv6-mapped form; certificates keep the families apart.
		return len(subtree.IP) == len(ip.AsSlice()) && subtree.Contains(ip.AsSlice())
	}
	return (len(ca.cert.PermittedIPRanges) == 0 || slices.ContainsFunc(ca.cert.PermittedIPRanges, within)) &&
		!slices.ContainsFunc(ca.cert.ExcludedIPRanges, within)
}

// keyID identifies a public key, RFC 7093 2 method 1.
func keyID(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(der)
	return sum[:20], nil
}

// fingerprint is the SHA-256 of the certificate as openssl prints it.
func fingerprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	var b bytes.Buffer
	for i, octet := range sum {
		if i > 0 {
			b.WriteByte(':')
		}
		fmt.Fprintf(&b, "%02X", octet)
	}
	return b.String()
}
