package device

import (
	"context"
	"crypto/tls"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinhub/twinhub/internal/wire/mqtt"
)

// What CONNECT says, for a device and for a module, with a token and with a certificate.
func TestSignIn(t *testing.T) {
	tests := []struct {
		name     string
		id       Identity
		o        Options
		clientID string
		username string
		resource string // of the token; empty: there is no password
	}{
		{"device", Identity{DeviceID: "d1", SharedAccessKey: fakeKey}, Options{ModelID: "dtmi:com:example:Thermostat;1"},
			"d1", "hub.example/d1/?api-version=2021-04-12&model-id=dtmi%3Acom%3Aexample%3AThermostat%3B1&DeviceClientType=twinhub-go-device", "hub.example/devices/d1"},
		{"module", Identity{DeviceID: "d1", ModuleID: "m", SharedAccessKey: fakeKey}, Options{KeepAlive: 5 * time.Minute, CleanSession: true},
			"d1/m", "hub.example/d1/m/?api-version=2021-04-12&DeviceClientType=twinhub-go-device", "hub.example/devices/d1/modules/m"},
		{"policy", Identity{DeviceID: "d1", SharedAccessKey: fakeKey, SharedAccessKeyName: "device"}, Options{},
			"d1", "hub.example/d1/?api-version=2021-04-12&DeviceClientType=twinhub-go-device", "hub.example/devices/d1"},
		{"certificate", Identity{DeviceID: "d1"}, Options{}, "d1", "hub.example/d1/?api-version=2021-04-12&DeviceClientType=twinhub-go-device", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newFakeHub(t)
				o := tt.o
				o.TLS, o.DialContext = &tls.Config{RootCAs: h.roots}, h.dial
				if tt.resource == "" {
					h.tls.ClientAuth = tls.RequireAnyClientCert
					o.TLS.Certificates = h.tls.Certificates
				}
				tt.id.HostName = fakeName
				c, err := Connect(t.Context(), tt.id, &o)
				if err != nil {
					t.Fatal(err)
				}
				defer h.stop(c)
				p := h.connects[0]
				if p.ClientID != tt.clientID || p.Username != tt.username || !p.HasUsername || p.CleanSession != tt.o.CleanSession || p.Will != nil {
					t.Errorf("CONNECT: got %+v", p)
				}
				keepAlive := tt.o.KeepAlive
				if keepAlive == 0 {
					keepAlive = time.Minute
				}
				if p.KeepAlive != keepAlive {
					t.Errorf("keep alive: got %v, want %v", p.KeepAlive, keepAlive)
				}
				if tt.resource == "" {
					if p.HasPassword {
						t.Error("a device with a certificate sent a password")
					}
					return
				}
				if token := tokenOf(t, p); token.URI != tt.resource || token.KeyName != tt.id.SharedAccessKeyName || time.Until(token.Expiry) != time.Hour {
					t.Errorf("token: got %v, want one for %s, good for an hour", token, tt.resource)
				}
			})
		})
	}
}

// A provider's error keeps the client from connecting, at first for good, later until it has a token again.
func TestTokenProvider(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newFakeHub(t)
		down := errors.New("the vault is shut")
		fail := false
		real, err := newSettings(Identity{HostName: fakeName, DeviceID: "d1", SharedAccessKey: fakeKey}, nil)
		if err != nil {
			t.Fatal(err)
		}
		id := Identity{HostName: fakeName, DeviceID: "d1", Token: func(ctx context.Context) (string, error) {
			if fail {
				return "", down
			}
			return real.token(ctx)
		}}
		fail = true
		if _, err := Connect(t.Context(), id, h.options()); !errors.Is(err, down) || len(h.times()) != 0 {
			t.Errorf("got %v, want the provider's error before any connection", err)
		}
		id.Token = func(context.Context) (string, error) { return "Bearer secret", nil }
		if _, err := Connect(t.Context(), id, h.options()); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("no token at all: got %v, want an error without it", err)
		}
		calls := 0
		id.Token = func(ctx context.Context) (string, error) {
			if calls++; calls == 2 || calls == 3 {
				return "", down
			}
			return real.token(ctx)
		}
		c, err := Connect(t.Context(), id, h.options())
		if err != nil {
			t.Fatal(err)
		}
		defer h.stop(c)
		h.cut(1)
		if err := c.Send(t.Context(), Message{}); err != nil || calls != 4 {
			t.Errorf("got %v after %d tokens, want success with the fourth", err, calls)
		}
	})
}

// A hub that does not take a subscription says so to whoever asked, and is not asked again; one that no longer takes what
// it took keeps the client away.
func TestSubscriptionRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newFakeHub(t)
		h.take = func(n int, p mqtt.Packet, send func(mqtt.Packet)) bool {
			if p, ok := p.(*mqtt.Subscribe); ok && (n == 3 || p.Subscriptions[0].Filter == "$iothub/twin/res/#") {
				send(&mqtt.Suback{ID: p.ID, Codes: []byte{mqtt.SubackFailure}})
				return false
			}
			return true
		}
		c := h.connect(h.options())
		defer h.stop(c)
		if _, err := c.Twin(t.Context()); !errors.Is(err, errFilter) {
			t.Errorf("got %v, want the refusal", err)
		}
		if err := c.HandleMethod(t.Context(), "m", func(context.Context, MethodCall) (int, any) { return 200, nil }); err != nil {
			t.Fatal(err)
		}
		for _, want := range []int{2, 4} { // the third connection does not have the subscription
			h.cut(len(h.times()))
			if err := c.Send(t.Context(), Message{}); err != nil {
				t.Error(err)
			}
			if got := len(h.times()); got != want {
				t.Errorf("connections: got %d, want %d", got, want)
			}
		}
	})
}
