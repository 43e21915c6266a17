// Package record stands between a client and a hub and notes what the client says: each HTTP request, and each MQTT
// packet but acknowledgements and pings. It changes nothing of either. It holds test code only, and trusts every hub.
package record

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/twinhub/twinhub/internal/wire/mqtt"
)

// A Request is one HTTP request.
type Request struct {
	Method string
	Path   string // as it was escaped
	Query  url.Values
	Header http.Header
	Body   []byte
	// ETag is the header of the answer.
	ETag string
}

// Front listens where clients expect a hub and forwards to one.
type Front struct {
	// CA is the certificate to trust, PEM.
	CA []byte

	https, mqtts net.Listener
	server       *http.Server
	hub          string // host:port of the hub's MQTT door
	tls          *tls.Config
	wg           sync.WaitGroup

	// mu guards what follows.
	mu       sync.Mutex
	requests []*Request
	packets  []mqtt.Packet
	conns    map[net.Conn]bool
	closed   bool
}

// Listen listens on ports httpsPort and mqttsPort of ip, 0 picking one, and forwards to the doors of a hub that is
// verified by trust. Close the Front.
func Listen(ip string, httpsPort, mqttsPort, httpsHub, mqttsHub string, trust *tls.Config) (*Front, error) {
	certificate, ca, err := certify(ip)
	if err != nil {
		return nil, err
	}
	own := &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	f := &Front{CA: ca, hub: mqttsHub, tls: trust, conns: map[net.Conn]bool{}}
	if f.https, err = tls.Listen("tcp", net.JoinHostPort(ip, httpsPort), own); err != nil {
		return nil, err
	}
	own = own.Clone()
	own.NextProtos = nil
	if f.mqtts, err = tls.Listen("tcp", net.JoinHostPort(ip, mqttsPort), own); err != nil {
		return nil, errors.Join(err, f.https.Close())
	}
	f.server = &http.Server{Handler: f.proxy(httpsHub), ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.New(io.Discard, "", 0)}
	f.wg.Go(func() { _ = f.server.Serve(f.https) }) // ends with Close
	f.wg.Go(f.serveMQTT)
	return f, nil
}

// HTTPS and MQTTS return the host:port of the doors.
func (f *Front) HTTPS() string { return f.https.Addr().String() }

// MQTTS returns the host:port of the MQTT door.
func (f *Front) MQTTS() string { return f.mqtts.Addr().String() }

// Take returns what has been noted since the last Take.
func (f *Front) Take() ([]*Request, []mqtt.Packet) {
	f.mu.Lock()
	defer f.mu.Unlock()
	requests, packets := f.requests, f.packets
	f.requests, f.packets = nil, nil
	return requests, packets
}

// Said reports whether a packet that match accepts has been noted since the last Take.
func (f *Front) Said(match func(p mqtt.Packet) bool) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.ContainsFunc(f.packets, match)
}

// Close ends listening and every connection.
func (f *Front) Close() error {
	err := errors.Join(f.server.Close(), f.mqtts.Close())
	f.mu.Lock()
	f.closed = true
	for conn := range f.conns {
		conn.Close()
	}
	f.mu.Unlock()
	f.wg.Wait()
	return err
}

func (f *Front) proxy(hub string) http.Handler {
	transport := &http.Transport{
		TLSClientConfig: f.tls,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, hub)
		},
	}
	forward := &httputil.ReverseProxy{
		Transport: transport,
		ErrorLog:  log.New(io.Discard, "", 0),
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = "https", "hub", r.In.Host
		},
		ModifyResponse: func(r *http.Response) error {
			f.mu.Lock()
			defer f.mu.Unlock()
			r.Request.Context().Value(requestKey{}).(*Request).ETag = r.Header.Get("ETag")
			return nil
		},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		noted := &Request{Method: r.Method, Path: r.URL.EscapedPath(), Query: r.URL.Query(), Header: r.Header.Clone(), Body: body}
		f.mu.Lock()
		f.requests = append(f.requests, noted)
		f.mu.Unlock()
		r.Body = io.NopCloser(bytes.NewReader(body))
		forward.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), requestKey{}, noted)))
	})
}

type requestKey struct{}

func (f *Front) serveMQTT() {
	for {
		conn, err := f.mqtts.Accept()
		if err != nil {
			return
		}
		f.wg.Go(func() { f.forward(conn) })
	}
}

// hold keeps conn until release; it reports false once the Front is closed.
func (f *Front) hold(conn net.Conn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.conns[conn] = true
	return !f.closed
}

func (f *Front) release(conn net.Conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.conns, conn)
	conn.Close()
}

// forward carries one MQTT connection, packet by packet towards the hub and byte by byte back.
func (f *Front) forward(client net.Conn) {
	defer f.release(client)
	if !f.hold(client) {
		return
	}
	hub, err := tls.Dial("tcp", f.hub, f.tls)
	if err != nil {
		return
	}
	defer f.release(hub)
	if !f.hold(hub) {
		return
	}
	f.wg.Go(func() {
		_, _ = io.Copy(client, hub) // whoever reads next on the connection sees why it ended
		client.Close()
	})
	r := mqtt.NewReader(client, mqtt.Options{From: mqtt.Client, Limit: 1 << 20})
	for {
		p, err := r.ReadPacket()
		if err != nil {
			return
		}
		f.note(p)
		if _, err := hub.Write(p.AppendTo(nil)); err != nil {
			return
		}
	}
}

func (f *Front) note(p mqtt.Packet) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch p := p.(type) {
	case *mqtt.Puback, *mqtt.Pingreq:
	case *mqtt.Publish: // it belongs to the reader
		kept := *p
		kept.Payload = bytes.Clone(p.Payload)
		f.packets = append(f.packets, &kept)
	default:
		f.packets = append(f.packets, p)
	}
}

// certify makes a CA and a certificate for ip.
func certify(ip string) (tls.Certificate, []byte, error) {
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	now := time.Now()
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: fmt.Sprintf("recorder %d", now.UnixNano())}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano() + 1), Subject: pkix.Name{CommonName: ip}, IPAddresses: []net.IP{net.ParseIP(ip)},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), caKey)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER})
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, text, nil
}
