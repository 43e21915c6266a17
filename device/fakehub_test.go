package device

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/twinhub/twinhub/internal/wire/mqtt"
)

const (
	fakeName = "hub.example"
	fakeKey  = "c2VjcmV0IGtleSBvZiBhIGRldmljZQ=="
)

// fakeHub is the other end of pipes: it answers as a test tells it, and notes what it is told and when. Made inside a
// synctest bubble.
type fakeHub struct {
	t     *testing.T
	tls   *tls.Config
	roots *x509.CertPool
	wg    sync.WaitGroup

	// refuse says whether the n-th attempt to connect, from 1, fails before TLS.
	refuse func(n int) error
	// connack says what the n-th connection is answered; default Accepted.
	connack func(n int) mqtt.ConnectCode
	// take handles a packet of the n-th connection; it reports whether the usual answer is to be given.
	take func(n int, p mqtt.Packet, send func(mqtt.Packet)) bool

	// mu guards what follows.
	mu       sync.Mutex
	dials    []time.Time
	connects []mqtt.Connect
	packets  []noted
	conns    map[int]net.Conn
}

// noted is a packet that connection n brought.
type noted struct {
	n    int
	at   time.Time
	p    mqtt.Packet
	body string
}

func newFakeHub(t *testing.T) *fakeHub {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{fakeName}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(10000 * time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	h := &fakeHub{t: t, roots: x509.NewCertPool(), conns: map[int]net.Conn{}, tls: &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}}
	h.roots.AddCert(certificate)
	return h
}

// options returns options that lead to the hub.
func (h *fakeHub) options() *Options {
	return &Options{TLS: &tls.Config{RootCAs: h.roots}, DialContext: h.dial}
}

func (h *fakeHub) connect(o *Options) *Client {
	h.t.Helper()
	c, err := Dial(h.t.Context(), "HostName="+fakeName+";DeviceId=d1;SharedAccessKey="+fakeKey, o)
	if err != nil {
		h.t.Fatal(err)
	}
	return c
}

// stop closes the client, if there is one, and waits for the hub's goroutines.
func (h *fakeHub) stop(c *Client) {
	h.t.Helper()
	if err := c.Close(context.WithoutCancel(h.t.Context())); err != nil {
		h.t.Error(err)
	}
	h.mu.Lock()
	for _, conn := range h.conns {
		conn.Close()
	}
	h.mu.Unlock()
	h.wg.Wait()
}

func (h *fakeHub) dial(_ context.Context, _, address string) (net.Conn, error) {
	if address != fakeName+":8883" {
		return nil, fmt.Errorf("dialled %s", address)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dials = append(h.dials, time.Now())
	n := len(h.dials)
	if h.refuse != nil {
		if err := h.refuse(n); err != nil {
			return nil, err
		}
	}
	client, server := net.Pipe()
	h.conns[n] = server
	h.wg.Go(func() { h.serve(n, server) })
	return client, nil
}

func (h *fakeHub) serve(n int, raw net.Conn) {
	defer raw.Close()
	conn := tls.Server(raw, h.tls)
	var out sync.Mutex
	send := func(p mqtt.Packet) {
		out.Lock()
		defer out.Unlock()
		_, _ = conn.Write(p.AppendTo(nil)) // the test's subject may have gone
	}
	r := mqtt.NewReader(conn, mqtt.Options{From: mqtt.Client, Limit: 1 << 20})
	for {
		p, err := r.ReadPacket()
		if err != nil {
			return
		}
		h.note(n, p)
		if h.take != nil && !h.take(n, p, send) {
			continue
		}
		switch p := p.(type) {
		case *mqtt.Connect:
			code := mqtt.Accepted
			if h.connack != nil {
				code = h.connack(n)
			}
			send(&mqtt.Connack{Code: code})
			if code != mqtt.Accepted {
				return
			}
		case *mqtt.Subscribe:
			send(&mqtt.Suback{ID: p.ID, Codes: []byte{1}})
		case *mqtt.Publish:
			send(&mqtt.Puback{ID: p.ID})
		case *mqtt.Pingreq:
			send(&mqtt.Pingresp{})
		case *mqtt.Disconnect:
			return
		}
	}
}

func (h *fakeHub) note(n int, p mqtt.Packet) {
	h.mu.Lock()
	defer h.mu.Unlock()
	e := noted{n: n, at: time.Now(), p: p}
	switch p := p.(type) {
	case *mqtt.Connect:
		h.connects = append(h.connects, *p)
	case *mqtt.Publish:
		kept := *p
		kept.Payload = nil
		e.p, e.body = &kept, string(p.Payload)
	case *mqtt.Puback:
		kept := *p
		e.p = &kept
	}
	h.packets = append(h.packets, e)
}

// said returns the packets of connection n that are of type T.
func said[T mqtt.Packet](h *fakeHub, n int) []T {
	h.mu.Lock()
	defer h.mu.Unlock()
	var found []T
	for _, e := range h.packets {
		if p, ok := e.p.(T); ok && e.n == n {
			found = append(found, p)
		}
	}
	return found
}

// cut ends connection n.
func (h *fakeHub) cut(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.conns[n].Close()
}

// times returns when the client dialled, and how often.
func (h *fakeHub) times() []time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]time.Time(nil), h.dials...)
}

var errNoRoute = errors.New("no route to the hub")
