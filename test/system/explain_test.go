package system

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/Azure/go-amqp"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/sas"
)

// TestUntrusted connects with clients that refuse the hub's certificate, and with some that speak no TLS. They learn
// little, so the hub says what to do.
func TestUntrusted(t *testing.T) {
	protocols := map[string]string{"https": "https", "mqtts": "mqtt", "amqps": "amqp"}
	// One reason is logged once in ten seconds, so that each way to fail needs a hub of its own.
	for name, trust := range map[string]func(h *hub) *tls.Config{
		"no trust":     func(*hub) *tls.Config { return &tls.Config{RootCAs: x509.NewCertPool(), ServerName: host} },
		"another name": func(h *hub) *tls.Config { return &tls.Config{RootCAs: h.roots, ServerName: "hub.example.net"} },
		"no trust, TLS 1.2": func(*hub) *tls.Config {
			return &tls.Config{RootCAs: x509.NewCertPool(), ServerName: host, MaxVersion: tls.VersionTLS12}
		},
		"another name, TLS 1.2": func(h *hub) *tls.Config {
			return &tls.Config{RootCAs: h.roots, ServerName: "hub.example.net", MaxVersion: tls.VersionTLS12}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := startHub(t, t.TempDir(), new(secretSet))
			watch(t, h)
			for door, protocol := range protocols {
				nc, err := h.openPort(door)
				if err != nil {
					t.Fatal(err)
				}
				defer nc.Close()
				var untrusted *tls.CertificateVerificationError
				if err := tls.Client(nc, trust(h)).HandshakeContext(t.Context()); !errors.As(err, &untrusted) {
					t.Errorf("%s: got %v, want a certificate that is not trusted", door, err)
				}
				h.explained(t, protocol, "does not trust this hub's certificate, or asked for a host name that is not in it")
			}
		})
	}
	t.Run("no TLS", func(t *testing.T) {
		t.Parallel()
		h := sharedHub(t)
		watch(t, h)
		for door, protocol := range protocols {
			nc, err := h.openPort(door)
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			if err := nc.SetDeadline(time.Now().Add(noticeable)); err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(nc, "AMQP\x03\x01\x00\x00"); err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, nc); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s: still open after %v", door, noticeable)
			}
			h.explained(t, protocol, "the client spoke no TLS on a TLS port")
		}
	})
}

// TestUnknownVersions asks for versions of the service API that are none.
func TestUnknownVersions(t *testing.T) {
	h := sharedHub(t)
	watch(t, h)
	h.register(t, "versions")
	unchanged(t, h, "versions")
	for name, tt := range map[string]struct{ query, log string }{
		"none":    {"", "no api-version"},
		"empty":   {"?api-version=", "no api-version"},
		"unknown": {"?api-version=1999-01-01", `api-version "1999-01-01" is unknown`},
	} {
		t.Run(name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPatch, "https://"+host+"/twins/versions"+tt.query, strings.NewReader(`{"tags":{"a":1}}`))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", h.token)
			req.Header.Set("Content-Type", "application/json")
			res, err := h.client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			text, err := io.ReadAll(res.Body)
			if err != nil {
				t.Fatal(err)
			}
			checkRefusal(t, answer{res.StatusCode, res.Header, string(text)}, twinhub.CodeInvalidProtocolVersion, false)
			h.explained(t, "https", tt.log)
		})
	}
}

// TestMissingRights uses policies for what they do not allow.
func TestMissingRights(t *testing.T) {
	secrets, config := new(secretSet), t.TempDir()+"/hub.yaml"
	text := (&hub{secrets: secrets}).newKey()
	if err := os.WriteFile(config, []byte("policies:\n- {name: readers, rights: RegistryRead, primaryKey: '"+text+"'}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	h := startHub(t, t.TempDir(), secrets, "--config", config)
	watch(t, h)
	h.register(t, "rights")
	unchanged(t, h, "rights")
	service, err := sas.ParseEventHubsConnectionString(h.env["EVENTHUB_CONNECTION_STRING"])
	if err != nil {
		t.Fatal(err)
	}
	tokens := map[string]string{}
	for policy, key := range map[string]string{"readers": text, service.SharedAccessKeyName: service.SharedAccessKey} {
		secret, err := sas.HubKey(key)
		if err != nil {
			t.Fatal(err)
		}
		tokens[policy] = h.sign(host, secret, policy, time.Now().Add(time.Hour))
	}
	for _, r := range []struct{ policy, method, path, body, right string }{
		{"readers", http.MethodPut, "/devices/rights", identityBody("rights", h.newKey()), "RegistryRead, RegistryWrite"},
		{"readers", http.MethodDelete, "/devices/rights", "", "RegistryRead, RegistryWrite"},
		{"readers", http.MethodPatch, "/twins/rights", `{"tags":{"a":1}}`, "ServiceConnect"},
		{"readers", http.MethodPost, "/twins/rights/methods", `{"methodName":"m"}`, "ServiceConnect"},
		{"readers", http.MethodPatch, "/digitaltwins/rights", `[{"op":"add","path":"/a","value":1}]`, "ServiceConnect"},
		{"service", http.MethodGet, "/devices/rights", "", "RegistryRead"},
		{"service", http.MethodPut, "/devices/rights", identityBody("rights", h.newKey()), "RegistryRead, RegistryWrite"},
	} {
		t.Run(r.policy+" "+r.method+" "+r.path, func(t *testing.T) {
			a, err := h.do(t.Context(), r.method, r.path, r.body, "Authorization", tokens[r.policy], "If-Match", "*")
			if err != nil {
				t.Fatal(err)
			}
			checkRefusal(t, a, twinhub.CodeIotHubUnauthorizedAccess, true)
			h.explained(t, "https", `policy "`+r.policy+`" lacks the right `+r.right)
		})
	}
	for policy, token := range tokens { // the tokens themselves are good
		path := map[string]string{"readers": "/devices/rights", "service": "/twins/rights"}[policy]
		h.must(t, http.MethodGet, path, "", "Authorization", token)
	}
	t.Run("readers, events", func(t *testing.T) {
		c, err := h.openAMQP(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		key, err := sas.EventHubsKey(text)
		if err != nil {
			t.Fatal(err)
		}
		token := h.sign(h.eventsResource(), key, "readers", time.Now().Add(time.Hour))
		if code, err := putToken(t.Context(), c, h.eventsResource(), token); err != nil || code != http.StatusUnauthorized {
			t.Errorf("$cbs: got %d (%v), want 401", code, err)
		}
		s, err := c.NewSession(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.NewReceiver(t.Context(), partitionAddress("0"), nil)
		wantCondition(t, err, amqp.ErrCondUnauthorizedAccess)
		h.explained(t, "amqp", `policy "readers" lacks the right ServiceConnect`)
	})
}
