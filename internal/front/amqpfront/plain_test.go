package amqpfront

import (
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	goamqp "github.com/Azure/go-amqp"

	"github.com/twinhub/twinhub/internal/core/auth"
	"github.com/twinhub/twinhub/internal/sas"
	"github.com/twinhub/twinhub/internal/wire/amqp"
)

// dialPlain connects with SASL PLAIN, as over TLS, where alone it is offered.
func (h *testFront) dialPlain(user, password string) (*goamqp.Conn, error) {
	h.t.Helper()
	client, server := net.Pipe()
	c := newConn(h.Front, server.RemoteAddr())
	config := h.config
	config.Mechanisms = c.mechanisms()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = amqp.Serve(h.t.Context(), server, config, c) // why it ended is told to the client
		c.end()
	}()
	peer, err := goamqp.NewConn(h.t.Context(), client, &goamqp.ConnOptions{SASLType: goamqp.SASLTypePlain(user, password), IdleTimeout: -1})
	h.t.Cleanup(func() {
		if peer != nil {
			peer.Close()
		}
		<-done
	})
	return peer, err
}

// TestPlain tries what clients and strangers sign in with: whether they are let in, and whether that lets them read.
func TestPlain(t *testing.T) {
	service := policyKey("service")
	token := func(form func(string) (sas.Key, error), resource string) func(*testing.T) string {
		return func(t *testing.T) string { return sign(t, form, service, "service", resource, time.Hour) }
	}
	text := func(s string) func(*testing.T) string { return func(*testing.T) string { return s } }
	for name, test := range map[string]struct {
		user     string
		password func(*testing.T) string
		reason   string // that the log gives, "" when it is let in
		reads    bool
	}{
		"key":                      {"service", text(service), "", true},
		"secondary key":            {"service", text(policyKey("service 2")), "", true},
		"owner's key":              {"iothubowner", text(policyKey("iothubowner")), "", true},
		"token":                    {"service@sas.root.my-pnp-hub", token(sas.HubKey, hubHost), "", true},
		"token for less":           {"service@sas.root.my-pnp-hub", token(sas.EventHubsKey, "sb://"+hubHost+"/other"), "", false},
		"encoded":                  {"service%40sas.root.my-pnp-hub", func(t *testing.T) string { return url.PathEscape(token(sas.HubKey, hubHost)(t)) }, "", true},
		"another key":              {"service", text(policyKey("iothubowner")), "the key matches neither key of policy", false},
		"no key":                   {"service", text(""), "the key matches neither key of policy", false},
		"decoded key":              {"service", text("0123456789abcdef key of service"), "the key matches neither key of policy", false},
		"unknown policy":           {"servant", text(service), "there is no policy", false},
		"policy without right":     {"device", text(policyKey("device")), "lacks the right", false},
		"token without its kind":   {"service", token(sas.HubKey, hubHost), "the key matches neither key of policy", false},
		"key where a token is due": {"service@sas.root.my-pnp-hub", text(service), "the access token cannot be read", false},
		"another policy's token":   {"iothubowner@sas.root.my-pnp-hub", token(sas.HubKey, hubHost), "of another policy", false},
		"expired": {"service@sas.root.my-pnp-hub", func(t *testing.T) string {
			return sign(t, sas.HubKey, service, "service", hubHost, -time.Second)
		}, "expired", false},
		"device": {"d1@sas.my-pnp-hub", token(sas.HubKey, hubHost), "devices cannot sign in over AMQP", false},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, h *testFront) {
				password := test.password(t)
				c, err := h.dialPlain(test.user, password)
				if (err == nil) != (test.reason == "") {
					t.Fatalf("sign in: got %v, want refused %t", err, test.reason != "")
				}
				switch {
				case test.reason != "":
					h.logged(test.reason, "remedy=")
				case test.reads:
					h.mustAttach(c, readerOf("0"), nil)
				default:
					h.refused(c, readerOf("0"), nil, goamqp.ErrCondUnauthorizedAccess)
				}
				secrets := []string{service, url.QueryEscape(service)}
				if _, signature, ok := strings.Cut(password, "sig="); ok {
					signature, _, _ = strings.Cut(signature, "&")
					secrets = append(secrets, signature)
				}
				for _, secret := range secrets {
					if strings.Contains(h.log.String(), secret) {
						t.Errorf("the log shows a secret:\n%s", h.log)
					}
				}
			})
		})
	}
}

func TestPlainResponses(t *testing.T) {
	bubble(t, func(t *testing.T, h *testFront) {
		key := policyKey("service")
		for response, want := range map[string]bool{
			"\x00service\x00" + key:              true,
			"service\x00service\x00" + key:       true,
			"":                                   false,
			"service\x00" + key:                  false,
			"\x00service\x00" + key + "\x00":     false,
			"\x00service\x00" + key + "\x00more": false,
		} {
			c := newConn(h.Front, &net.TCPAddr{})
			claim, err := c.plain(amqp.SASLRequest{Response: []byte(response)})
			if (err == nil) != want {
				t.Errorf("%q: got %v, %v", response, claim, err)
			}
			if c.explained.Load() == want {
				t.Errorf("%q: explained is %t: the end of the connection would be logged twice, or not at all", response, !want)
			}
		}
		h.logged("not of the form authzid NUL user name NUL password")
	})
}

// TestPlainLasts checks how long a sign-in lasts: with a token until it expires, with a key for good.
func TestPlainLasts(t *testing.T) {
	bubble(t, func(t *testing.T, h *testFront) {
		withKey, err := h.dialPlain("service", policyKey("service"))
		if err != nil {
			t.Fatal(err)
		}
		withToken, err := h.dialPlain("service@sas.root.hub", sign(t, sas.HubKey, policyKey(auth.ServicePolicy), "service", hubHost, time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		stays := h.mustAttach(withKey, readerOf("0"), from(latest))
		ends := h.mustAttach(withToken, readerOf("0"), from(latest))
		time.Sleep(time.Hour + time.Second)
		if e := h.detached(ends); e.Condition != goamqp.ErrCondUnauthorizedAccess {
			t.Errorf("reader with a token that expired: got %v", e)
		}
		time.Sleep(24 * time.Hour)
		h.write(0, "a")
		h.expect(stays, "a")
		<-withToken.Done() // the sign-in time has passed without another
	})
}
