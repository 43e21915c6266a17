// Package trust is what clients trust a hub by: its own certificate authority (CA), the server certificate (leaf) that
// every TLS door shows, and the keys of TLS session tickets. It is not for the certificates of devices: those are asked
// for at the handshake and judged by the package that authenticates.
//
// [Open] reads or makes everything and [Trust.Run] keeps it fresh: leaves are renewed and ticket keys rotated while
// doors keep serving from the configuration that [Trust.ServerConfig] gave them once.
//
// Files in Options.Dir:
//
//	ca.pem      0644  the CA certificate, the file a client is told to trust
//	ca.key      0600  its private key
//	leaf.pem    0644  the server certificate, then the CA certificate
//	leaf.key    0600  its private key
//	bundle.pem  0644  the CA certificate and the machine's roots, for variables such as SSL_CERT_FILE that replace them
//	tickets     0600  session ticket keys, newest first
//
// The invariant: a CA that was once handed to clients stays as it is for as long as it can serve the hostnames asked
// for. If it can not, or is about to expire, a new one takes its place and [Trust.Authority] and the log say so.
// A leaf or tickets file that does not serve is made anew, because nobody but the hub needs it; a CA file that can not
// be read is an error, because clients would stop trusting the hub.
package trust

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twinhub/twinhub/internal/clock"
)

// checkEvery is the longest time between two looks of Run: short enough that a machine which slept, or a certificate
// file that another program renewed, is noticed soon.
const checkEvery = time.Hour

// Options says where trust is kept and for which names. The zero value is an in-memory CA for the loopback names.
type Options struct {
	// Dir is the folder of the files, made if absent. If empty, Ephemeral is implied and Dir is a temporary folder that
	// Close removes.
	Dir string

	// Ephemeral keeps private keys and tickets in memory and neither reads nor writes their files: each Open makes a new
	// CA. Only ca.pem and bundle.pem are written, because clients are given their paths.
	Ephemeral bool

	// Hostnames are the DNS names and IP addresses clients use, in any case, the most used first: it becomes the common
	// name. localhost, 127.0.0.1 and ::1 are always added. Names without a dot are fine; wildcards are not.
	Hostnames []string

	// CertFile and KeyFile are a certificate chain and its key in PEM, both or neither. With them the hub makes no CA and
	// no leaf; they are read again while Run works, so that renewing them needs no restart.
	CertFile, KeyFile string

	// Clock dates certificates, ticket keys and the work of Run. It has to be the time clients live in: the machine's,
	// even in a hub whose own time can be moved. Default clock.System.
	Clock clock.Clock

	// Logger is told what is made, renewed, replaced or found wrong; never keys. Default: nothing is logged.
	Logger *slog.Logger
}

// Origin says where the CA in use comes from.
type Origin string

// The origins of a CA.
const (
	OriginNone     Origin = "none"     // a certificate was configured: there is no CA of our own
	OriginKept     Origin = "kept"     // found in Dir and still good
	OriginMade     Origin = "made"     // there was none before
	OriginReplaced Origin = "replaced" // one was there and did not serve: every client has to trust the new one
)

// Authority describes the CA in use, and how it came to be.
type Authority struct {
	Origin      Origin
	Reason      string    // why it was replaced, a clause such as "it does not permit hub.example"; else empty
	Previous    string    // fingerprint of the one it replaced, empty if not known
	Fingerprint string    // as CAFingerprint
	NotAfter    time.Time // when it expires
}

// Trust holds a hub's CA, server certificate and ticket keys. It is safe for concurrent use.
type Trust struct {
	dir       string
	temporary bool // dir is ours to remove
	ephemeral bool
	certFile  string
	keyFile   string
	names     names
	clock     clock.Clock
	log       *slog.Logger

	shown  atomic.Pointer[tls.Certificate] // what handshakes show
	issued atomic.Pointer[issuer]          // nil with a configured certificate
	seal   tls.Config                      // only its ticket keys are used; SetSessionTicketKeys is safe at any time

	mu      sync.Mutex // guards the fields below and the files
	state   Authority
	tickets []ticketKey
}

// Open reads what is in o.Dir, makes what is missing, and returns when it is on disk. The caller calls Run to keep it
// fresh and Close at the end; no two processes may have the same Dir open.
//
// It fails if a hostname can not be in a certificate, if the configured files do not hold a certificate and its key, if
// ca.pem or ca.key can not be used, or if Dir can not be written; messages name the file and the remedy. It warns,
// through the Logger, if a hostname is not in the configured certificate.
func Open(o Options) (*Trust, error) {
	if (o.CertFile == "") != (o.KeyFile == "") {
		return nil, errors.New("trust: a certificate file and a key file have to be given together")
	}
	wanted, err := parseNames(o.Hostnames)
	if err != nil {
		return nil, fmt.Errorf("trust: %w", err)
	}
	t := &Trust{
		dir:       o.Dir,
		ephemeral: o.Ephemeral || o.Dir == "",
		certFile:  o.CertFile,
		keyFile:   o.KeyFile,
		names:     wanted,
		clock:     o.Clock,
		log:       o.Logger,
	}
	if t.clock == nil {
		t.clock = clock.System{}
	}
	if t.log == nil {
		t.log = slog.New(slog.DiscardHandler)
	}
	if err := t.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("trust: %w", err), t.Close())
	}
	return t, nil
}

func (t *Trust) open() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.makeDir(); err != nil {
		return err
	}
	if t.configured() {
		if err := t.loadConfigured(); err != nil {
			return err
		}
	} else {
		if err := t.openAuthority(); err != nil {
			return err
		}
		if err := t.openLeaf(); err != nil {
			return err
		}
		if err := t.writeBundle(); err != nil {
			return err
		}
	}
	return t.openTickets()
}

func (t *Trust) makeDir() error {
	if t.dir == "" {
		if t.configured() {
			return nil // nothing needs to be a file
		}
		dir, err := os.MkdirTemp("", "twinhub-tls-")
		if err != nil {
			return fmt.Errorf("make a folder for the CA file: %w", err)
		}
		t.dir, t.temporary = dir, true
	}
	// Others may pass through, unless the umask says otherwise: ca.pem and bundle.pem are for every client on the machine.
	// Keys have their own mode.
	if err := os.MkdirAll(t.dir, 0o755); err != nil {
		return fmt.Errorf("make the folder of TLS files: %w", err)
	}
	if _, err := os.Lstat(t.path(caKeyFile)); err == nil && t.ephemeral && !t.configured() {
		return fmt.Errorf("%s exists: an ephemeral CA would overwrite the one kept there, use another folder", t.path(caKeyFile))
	}
	if t.temporary {
		if err := os.Chmod(t.dir, 0o755); err != nil {
			return fmt.Errorf("open the folder of the CA file to readers: %w", err)
		}
	}
	return nil
}

// Close removes the temporary folder of an Options without Dir; else it does nothing. Configurations handed out stay
// usable. It is to be called after Run has returned.
func (t *Trust) Close() error {
	if !t.temporary {
		return nil
	}
	if err := os.RemoveAll(t.dir); err != nil {
		return fmt.Errorf("trust: remove the temporary folder: %w", err)
	}
	return nil
}

// Run renews the leaf when less than a third of its life is left, replaces a CA that is about to expire, rotates ticket
// keys daily and reads configured certificate files again when they change. It returns nil once ctx is done. A step
// that fails is logged and tried again within the hour; until then handshakes go on with what there is.
func (t *Trust) Run(ctx context.Context) error {
	woken := make(chan struct{}, 1)
	for {
		timer := t.clock.AfterFunc(checkEvery, func() { woken <- struct{}{} })
		select {
		case <-ctx.Done():
			if !timer.Stop() {
				<-woken // its goroutine has begun, and ends before we do
			}
			return nil
		case <-woken:
		}
		t.refresh()
	}
}

// refresh does what has become due. Each step stands alone: a failed one leaves the others to be done.
func (t *Trust) refresh() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.configured() {
		if err := t.loadConfigured(); err != nil {
			t.log.Error("configured certificate not read again, the previous one stays", "err", err)
		}
	} else if err := t.renew(); err != nil {
		t.log.Error("server certificate not renewed, the previous one stays", "err", err)
	}
	if err := t.rotateTickets(); err != nil {
		t.log.Error("session ticket keys not rotated", "err", err)
	}
}

func (t *Trust) configured() bool { return t.certFile != "" }

func (t *Trust) path(name string) string { return filepath.Join(t.dir, name) }

// Hostnames returns the names and addresses of the leaf as clients write them: those of the Options in lower case and
// without duplicates, then the loopback names. The caller owns the slice.
func (t *Trust) Hostnames() []string { return t.names.list() }

// Leaf returns the server certificate shown to clients at present. It must not be changed.
func (t *Trust) Leaf() *x509.Certificate { return t.shown.Load().Leaf }

// Authority returns the CA in use and how it came to be. Run may replace the CA in its last month.
func (t *Trust) Authority() Authority {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.state
}

// CAPool returns a new pool that holds the hub's CA alone. It is nil with a configured certificate: as the RootCAs of a
// tls.Config that means the machine's roots.
func (t *Trust) CAPool() *x509.CertPool {
	ca := t.issued.Load()
	if ca == nil {
		return nil
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	return pool
}

// CAFingerprint returns the SHA-256 of the CA certificate as openssl prints it, "AB:CD:...", or "" with a configured
// certificate.
func (t *Trust) CAFingerprint() string {
	ca := t.issued.Load()
	if ca == nil {
		return ""
	}
	return fingerprint(ca.cert)
}

// CAFile returns the path of ca.pem, relative if Options.Dir was, or "" with a configured certificate.
func (t *Trust) CAFile() string {
	if t.configured() {
		return ""
	}
	return t.path(caCertFile)
}

// BundleFile returns the path of bundle.pem, relative if Options.Dir was, or "" with a configured certificate: the
// machine's roots are enough then, or the operator knows better.
func (t *Trust) BundleFile() string {
	if t.configured() {
		return ""
	}
	return t.path(bundleFile)
}
