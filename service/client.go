package service

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/twinhub/twinhub/internal/sas"
)

// APIVersion is the version of the service API that every request names.
const APIVersion = "2021-04-12"

const (
	// DefaultTokenLifetime is how long a token signed with a connection string's key is good.
	DefaultTokenLifetime = time.Hour
	// maxAnswerBytes bounds an answer. The largest honest one, a page of 1,000 devices or of 100 twins with every
	// section full, stays below 16 MiB.
	maxAnswerBytes = 64 << 20
	// idlePerHost is how many idle connections are kept: the usual two would be reopened all the time by a back end
	// that calls many methods at once.
	idlePerHost = 32
)

// ErrNoCredentials is returned by NewClient for a connection string without key and signature when Options has no
// Authorization.
var ErrNoCredentials = errors.New("service: the connection string has neither SharedAccessKey nor SharedAccessSignature")

// Options change how a Client works. The zero value is right for a hub on its usual port, with a certificate that the
// system's roots vouch for.
type Options struct {
	// Address is the host:port to connect to instead of port 443 of the connection string's HostName. Certificate and
	// Host header are still those of HostName.
	Address string
	// TLS configures connections, for example with RootCAs. It is cloned. Nil means the system's roots. The hub may
	// renegotiate, as Azure does to ask for a certificate.
	TLS *tls.Config
	// TokenLifetime is how long each token signed with the connection string's key is good; default one hour. A new one
	// is signed when a fifth of it is left.
	TokenLifetime time.Duration
	// Authorization, if not nil, returns the Authorization header of a request instead of the connection string's key:
	// a SharedAccessSignature, or "Bearer " and an Entra ID token. It is called for each request, also concurrently,
	// and should cache.
	Authorization func(ctx context.Context) (string, error)
	// Transport carries the requests instead of the Client's own; Address and TLS are then ignored.
	Transport http.RoundTripper
	// UserAgent is put before the package's own.
	UserAgent string
}

// Client talks to the service API of one hub. Its methods may be called concurrently. They return when the hub has
// answered, which for writes means that the change is stored, and stop waiting when ctx ends; the change may have
// happened then.
type Client struct {
	hostName      string
	http          *http.Client
	authorization func(ctx context.Context) (string, error)
	userAgent     string
}

// NewClient returns a client for the hub and the policy of a connection string such as
// "HostName=my-hub.azure-devices.net;SharedAccessKeyName=service;SharedAccessKey=...". It does not connect. Registry
// operations need a policy with RegistryRead or RegistryWrite, all others ServiceConnect; iothubowner has both.
// Options may be nil.
func NewClient(connectionString string, o *Options) (*Client, error) {
	if o == nil {
		o = &Options{}
	}
	cs, err := sas.ParseHubConnectionString(connectionString)
	if err != nil {
		return nil, fmt.Errorf("service: %w", err)
	}
	c := &Client{hostName: cs.HostName, userAgent: strings.TrimSpace(o.UserAgent + " twinhub-go-service"), authorization: o.Authorization}
	switch {
	case c.authorization != nil:
	case cs.SharedAccessSignature != "":
		c.authorization = func(context.Context) (string, error) { return cs.SharedAccessSignature, nil }
	case cs.SharedAccessKey != "":
		key, err := sas.HubKey(cs.SharedAccessKey)
		if err != nil {
			return nil, fmt.Errorf("service: SharedAccessKey: %w", err)
		}
		lifetime := o.TokenLifetime
		if lifetime <= 0 {
			lifetime = DefaultTokenLifetime
		}
		s := &signer{resource: cs.HostName, policy: cs.SharedAccessKeyName, key: key, lifetime: lifetime}
		c.authorization = func(context.Context) (string, error) { return s.token(time.Now()), nil }
	default:
		return nil, ErrNoCredentials
	}
	transport := o.Transport
	if transport == nil {
		transport = newTransport(o)
	}
	c.http = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return c, nil
}

func newTransport(o *Options) *http.Transport {
	dialer := &net.Dialer{Timeout: 30 * time.Second}
	t := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           dialer.DialContext,
		TLSHandshakeTimeout:   15 * time.Second,
		MaxIdleConnsPerHost:   idlePerHost,
		IdleConnTimeout:       90 * time.Second,
		ExpectContinueTimeout: time.Second,
	}
	t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	if o.TLS != nil {
		t.TLSClientConfig = o.TLS.Clone()
	}
	if t.TLSClientConfig.Renegotiation == tls.RenegotiateNever {
		t.TLSClientConfig.Renegotiation = tls.RenegotiateFreelyAsClient
	}
	if address := o.Address; address != "" {
		t.Proxy = nil
		t.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, address)
		}
	}
	return t
}

// HostName returns the hub's name as the connection string gives it.
func (c *Client) HostName() string { return c.hostName }

// Close closes connections that no request uses. Requests under way end as usual, and the Client stays usable.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// signer makes tokens and keeps the last one while it is good.
type signer struct {
	resource, policy string
	key              sas.Key
	lifetime         time.Duration

	mu    sync.Mutex
	text  string
	renew time.Time // when text has a fifth of its life left
}

func (s *signer) token(now time.Time) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.text == "" || !now.Before(s.renew) {
		s.text = sas.Sign(s.resource, s.key, s.policy, now.Add(s.lifetime))
		s.renew = now.Add(s.lifetime * 4 / 5)
	}
	return s.text
}

// request is one call of the API.
type request struct {
	method  string
	path    string // escaped, begins with a slash
	query   url.Values
	body    []byte // nil for none
	ifMatch string // as it goes out; "" for none
	header  map[string]string
}

// do sends r and returns the answer's header and body, or an *Error if the hub refuses.
func (c *Client) do(ctx context.Context, r request) (http.Header, []byte, error) {
	query := url.Values{"api-version": {APIVersion}}
	for name, values := range r.query {
		query[name] = values
	}
	var body io.Reader
	if r.body != nil {
		body = bytes.NewReader(r.body)
	}
	req, err := http.NewRequestWithContext(ctx, r.method, "https://"+c.hostName+r.path+"?"+query.Encode(), body)
	if err != nil {
		return nil, nil, err
	}
	authorization, err := c.authorization(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("authorization: %w", err)
	}
	req.Header.Set("Authorization", authorization)
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", c.userAgent)
	if r.body != nil {
		req.Header.Set("Content-Type", "application/json; charset=utf-8")
	}
	if r.ifMatch != "" {
		req.Header.Set("If-Match", r.ifMatch)
	}
	for name, value := range r.header {
		req.Header.Set(name, value)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, nil, err
	}
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswerBytes+1))
	closeErr := res.Body.Close()
	switch {
	case err != nil:
		return nil, nil, fmt.Errorf("read the answer: %w", err)
	case closeErr != nil:
		return nil, nil, fmt.Errorf("read the answer: %w", closeErr)
	case len(answer) > maxAnswerBytes:
		return nil, nil, fmt.Errorf("the answer is longer than %d bytes", maxAnswerBytes)
	case res.StatusCode < 200 || res.StatusCode > 299:
		return nil, nil, parseError(res, answer)
	}
	return res.Header, answer, nil
}

// escape percent-encodes every byte of a path segment but the unreserved ones, since ids may hold any of "%+#?;=$'".
func escape(segment string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(segment) {
		switch ch := segment[i]; {
		case 'a' <= ch && ch <= 'z', 'A' <= ch && ch <= 'Z', '0' <= ch && ch <= '9', ch == '-', ch == '.', ch == '_', ch == '~':
			b.WriteByte(ch)
		default:
			b.WriteByte('%')
			b.WriteByte(hex[ch>>4])
			b.WriteByte(hex[ch&15])
		}
	}
	return b.String()
}

// quoteETag returns the header form of an etag: quoted, as the API wants it, unless it already is.
func quoteETag(etag string) string {
	if etag == "" || strings.HasPrefix(etag, `"`) || strings.HasPrefix(etag, "W/") {
		return etag
	}
	return `"` + etag + `"`
}

// encode returns v as JSON: a json.RawMessage unchanged, if it is valid, anything else by encoding/json.
func encode(v any) ([]byte, error) {
	if raw, ok := v.(json.RawMessage); ok && raw != nil {
		if !json.Valid(raw) {
			return nil, errors.New("encode JSON: the json.RawMessage is not valid")
		}
		return raw, nil
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("encode JSON: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
