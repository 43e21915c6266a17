package auth

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/clock"
	"github.com/twinhub/twinhub/internal/core/identity"
	"github.com/twinhub/twinhub/internal/engine"
	"github.com/twinhub/twinhub/internal/engine/local"
	"github.com/twinhub/twinhub/internal/sas"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var now = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

type stoppedClock struct{ clock.System }

func (stoppedClock) Now() time.Time { return now }

// key is the key of a name, as text.
func key(name string) string {
	return base64.StdEncoding.EncodeToString([]byte("0123456789abcdef" + name))
}

func sign(t *testing.T, resource, name, policy string, life time.Duration) string {
	t.Helper()
	k, err := sas.HubKey(key(name))
	if err != nil {
		t.Fatal(err)
	}
	return sas.Sign(resource, k, policy, now.Add(life))
}

// newAuthenticator knows d1 and its module m1, off (disabled) with its module m1, and cert, on two host names.
func newAuthenticator(t *testing.T) *Authenticator {
	t.Helper()
	e, err := local.Open(local.Options{Dir: "data", FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil && !errors.Is(err, engine.ErrClosed) {
			t.Error(err)
		}
	})
	for _, i := range []*identity.Identity{
		{DeviceID: "d1", Status: identity.Enabled, GenerationID: "1", Auth: identity.Auth{Type: identity.AuthSAS, PrimaryKey: key("d1"), SecondaryKey: key("d1b")}},
		{DeviceID: "d1", ModuleID: "m1", Status: identity.Enabled, Auth: identity.Auth{Type: identity.AuthSAS, PrimaryKey: key("m1")}},
		{DeviceID: "off", Status: identity.Disabled, Auth: identity.Auth{Type: identity.AuthSAS, PrimaryKey: key("off")}},
		{DeviceID: "off", ModuleID: "m1", Status: identity.Enabled, Auth: identity.Auth{Type: identity.AuthSAS, PrimaryKey: key("m1")}},
		{DeviceID: "cert", Status: identity.Enabled, Auth: identity.Auth{Type: identity.AuthSelfSigned}},
		{DeviceID: "nokeys", Status: identity.Enabled, Auth: identity.Auth{Type: identity.AuthSAS}},
	} {
		w, err := i.Write(engine.Absent)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := engine.Do(t.Context(), e, engine.Commit{Partition: engine.PartitionOf(e, i.DeviceID), Writes: []engine.Write{w}}); err != nil {
			t.Fatal(err)
		}
	}
	policies := BuiltInPolicies()
	for n := range policies {
		policies[n].PrimaryKey, policies[n].SecondaryKey = key(policies[n].Name), key(policies[n].Name+"b")
	}
	return New(e, stoppedClock{}, []string{"hub.example.net", "localhost"}, policies)
}

func TestDevice(t *testing.T) {
	a := newAuthenticator(t)
	d1, m1 := twinhub.ID{Device: "d1"}, twinhub.ID{Device: "d1", Module: "m1"}
	tests := []struct {
		name, token string
		id          twinhub.ID
		method      string // of the grant, or
		reason      string // of the denial
		subject     string
	}{
		{name: "device", token: sign(t, "hub.example.net/devices/d1", "d1", "", time.Hour), id: d1, method: "device"},
		{name: "secondary key, other host", token: sign(t, "localhost/devices/d1", "d1b", "", time.Hour), id: d1, method: "device"},
		{name: "module", token: sign(t, "localhost/devices/d1/modules/m1", "m1", "", time.Hour), id: m1, method: "module"},
		{name: "policy", token: sign(t, "localhost", "device", "device", time.Hour), id: d1, method: "hub"},
		{name: "policy for a module", token: sign(t, "localhost/devices/d1", "iothubowner", "iothubowner", time.Hour), id: m1, method: "hub"},
		{name: "policy for a device with a certificate", token: sign(t, "localhost", "device", "device", time.Hour), id: twinhub.ID{Device: "cert"}, method: "hub"},
		{name: "not a token", token: "x", id: d1, reason: "cannot be read"},
		{name: "expires now", token: sign(t, "localhost/devices/d1", "d1", "", 0), id: d1, reason: "expired at 2026-03-04T05:06:07Z, 0s before", subject: "localhost%2Fdevices%2Fd1"},
		{name: "policy token expired", token: sign(t, "localhost", "device", "device", -time.Minute), id: d1, reason: "1m0s before this hub's clock", subject: "device"},
		{name: "unknown device", token: sign(t, "localhost/devices/x", "d1", "", time.Hour), id: twinhub.ID{Device: "x"}, reason: "there is no identity x", subject: "x"},
		{name: "disabled", token: sign(t, "localhost/devices/off", "off", "", time.Hour), id: twinhub.ID{Device: "off"}, reason: "disabled", subject: "off"},
		{name: "module of a disabled device", token: sign(t, "localhost/devices/off", "m1", "", time.Hour), id: twinhub.ID{Device: "off", Module: "m1"}, reason: "identity off is disabled", subject: "off"},
		{name: "key of the device for the module", token: sign(t, "localhost/devices/d1/modules/m1", "d1", "", time.Hour), id: m1, reason: "matches neither", subject: "d1/m1"},
		{name: "token of the module for the device", token: sign(t, "localhost/devices/d1/modules/m1", "m1", "", time.Hour), id: d1, reason: "does not cover", subject: "d1"},
		{name: "certificate", token: sign(t, "localhost/devices/cert", "x", "", time.Hour), id: twinhub.ID{Device: "cert"}, reason: "selfSigned", subject: "cert"},
		{name: "no keys", token: sign(t, "localhost/devices/nokeys", "x", "", time.Hour), id: twinhub.ID{Device: "nokeys"}, reason: "matches neither", subject: "nokeys"},
		{name: "policy without the right", token: sign(t, "localhost", "registryRead", "registryRead", time.Hour), id: d1, reason: "lacks the right DeviceConnect", subject: "registryRead"},
		{name: "unknown policy", token: sign(t, "localhost", "x", "x", time.Hour), id: d1, reason: `no policy "x"`, subject: "x"},
		{name: "policy of another key", token: sign(t, "localhost", "x", "device", time.Hour), id: d1, reason: "neither key of policy", subject: "device"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			grant, err := a.Device(tt.token, tt.id)
			if tt.reason == "" {
				if err != nil || !strings.HasPrefix(grant.AuthMethod, `{"scope":"`+tt.method+`"`) || grant.Identity.ID() != tt.id || !grant.Expires.Equal(now.Add(time.Hour)) {
					t.Errorf("got %+v, %v, want scope %s", grant, err, tt.method)
				}
				return
			}
			var d *Denial
			if !errors.As(err, &d) || !strings.Contains(d.Reason, tt.reason) || d.Remedy == "" || d.Subject != tt.subject {
				t.Fatalf("got %+v, want a denial with %q and subject %q", err, tt.reason, tt.subject)
			}
			if errors.Is(err, sas.ErrMalformed) != (tt.token == "x") {
				t.Errorf("is ErrMalformed: %t", errors.Is(err, sas.ErrMalformed))
			}
		})
	}
}

func TestStorageTroubleIsNoDenial(t *testing.T) {
	a := newAuthenticator(t)
	if err := a.engine.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := a.Device(sign(t, "localhost/devices/d1", "d1", "", time.Hour), twinhub.ID{Device: "d1"})
	var d *Denial
	if err == nil || errors.As(err, &d) {
		t.Errorf("got %v, want an error that is no denial", err)
	}
}

func TestService(t *testing.T) {
	a := newAuthenticator(t)
	tests := []struct {
		name, token, path string
		want              Rights
		reason            string
	}{
		{"owner", sign(t, "hub.example.net", "iothubowner", "iothubowner", time.Hour), "/devices/d1", RegistryWrite, ""},
		{"secondary key", sign(t, "hub.example.net", "serviceb", "service", time.Hour), "/twins/d1", ServiceConnect, ""},
		{"write implies read", sign(t, "localhost", "registryReadWrite", "registryReadWrite", time.Hour), "/devices", RegistryRead, ""},
		{"read does not imply write", sign(t, "localhost", "registryRead", "registryRead", time.Hour), "/devices/d1", RegistryWrite, "lacks the right"},
		{"narrow token", sign(t, "localhost/devices/d1", "iothubowner", "iothubowner", time.Hour), "/devices/d1", RegistryRead, ""},
		{"narrow token elsewhere", sign(t, "localhost/devices/d1", "iothubowner", "iothubowner", time.Hour), "/devices/d2", RegistryRead, "does not cover"},
		{"device key", sign(t, "localhost/devices/d1", "d1", "", time.Hour), "/devices/d1", RegistryRead, "names no policy"},
		{"unknown policy", sign(t, "localhost", "service", "nobody", time.Hour), "/devices/d1", RegistryRead, `no policy "nobody"`},
		{"none", "", "/devices/d1", RegistryRead, "there is no access token"},
		{"of Entra ID", "bearer eyJ0eXAiOiJKV1QifQ.e30.c2ln", "/devices/d1", RegistryRead, "Microsoft Entra ID"},
		{"of another kind", "Basic eDp5", "/devices/d1", RegistryRead, "cannot be read"},
		{"expired", sign(t, "localhost", "service", "service", -time.Second), "/twins/d1", ServiceConnect, "expired"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			grant, err := a.Service(tt.token, tt.path, tt.want)
			if tt.reason == "" {
				if err != nil || grant.Policy == "" || grant.Identity != nil {
					t.Errorf("got %+v, %v", grant, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.reason) {
				t.Errorf("got %v, want %q", err, tt.reason)
			}
		})
	}
}

func TestClaim(t *testing.T) {
	a := newAuthenticator(t)
	eventHubs := func(resource, name, policy string) string {
		k, err := sas.EventHubsKey(key(name))
		if err != nil {
			t.Fatal(err)
		}
		return sas.Sign(resource, k, policy, now.Add(time.Hour))
	}
	tests := []struct {
		name, token string
		covers      string
		not         string
		reason      string
	}{
		{name: "Event Hubs key", token: eventHubs("sb://localhost/hub", "service", "service"), covers: "/hub/ConsumerGroups/$Default/Partitions/0", not: "/other"},
		{name: "IoT Hub key", token: sign(t, "localhost/hub", "service", "service", time.Hour), covers: "/HUB", not: "/hubs"},
		{name: "without the right", token: eventHubs("sb://localhost/hub", "registryRead", "registryRead"), reason: "lacks the right"},
		{name: "a device's", token: sign(t, "localhost/devices/d1", "d1", "", time.Hour), reason: "with MQTT"},
		{name: "unreadable", token: "x", reason: "cannot be read"},
		{name: "none, as with a certificate", token: "", reason: "certificate does not sign in"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := a.Claim(tt.token, ServiceConnect)
			if tt.reason != "" {
				if err == nil || !strings.Contains(err.Error(), tt.reason) {
					t.Errorf("got %v, want %q", err, tt.reason)
				}
				return
			}
			if err != nil || !c.Covers(tt.covers) || c.Covers(tt.not) || c.Expired(now) || !c.Expired(now.Add(time.Hour)) || c.Resource() == "" {
				t.Errorf("got %+v, %v", c, err)
			}
		})
	}
}

func TestKey(t *testing.T) {
	a := newAuthenticator(t)
	a.policies["one key"] = Policy{Name: "one key", Rights: ServiceConnect, PrimaryKey: key("one")}
	tests := []struct{ policy, key, reason string }{
		{"service", key("service"), ""},
		{"service", key("serviceb"), ""},
		{"iothubowner", key("iothubowner"), ""},
		{"one key", key("one"), ""},
		{"one key", "", "neither key"},
		{"service", "", "neither key"},
		{"service", key("iothubowner"), "neither key"},
		{"service", key("service") + "=", "neither key"},
		{"registryRead", key("registryRead"), "lacks the right"},
		{"x", key("service"), "no policy"},
	}
	for _, tt := range tests {
		c, err := a.Key(tt.policy, tt.key, ServiceConnect)
		if tt.reason != "" {
			var d *Denial
			if !errors.As(err, &d) || !strings.Contains(d.Reason, tt.reason) || tt.key != "" && strings.Contains(err.Error(), tt.key) {
				t.Errorf("Key(%s): got %v, want a denial with %q and no key", tt.policy, err, tt.reason)
			}
			continue
		}
		if err != nil || !c.Covers("/hub/ConsumerGroups/$Default/Partitions/0") || c.Expired(now.AddDate(100, 0, 0)) || !c.Expires.IsZero() || c.Policy != tt.policy {
			t.Errorf("Key(%s): got %+v, %v", tt.policy, c, err)
		}
	}
}

func TestNoSecretsInErrorsAndRecords(t *testing.T) {
	a := newAuthenticator(t)
	for _, token := range []string{
		sign(t, "localhost/devices/d1", "wrong", "", time.Hour), sign(t, "localhost/devices/d1", "d1", "", -time.Hour),
		"SharedAccessSignature sr=x&sig=" + key("d1") + "&se=1", key("d1"),
	} {
		_, err := a.Device(token, twinhub.ID{Device: "d1"})
		_, sig, _ := strings.Cut(token, "&sig=")
		sig, _, _ = strings.Cut(sig, "&")
		if err == nil || strings.Contains(err.Error(), key("d1")) || sig != "" && strings.Contains(err.Error(), sig) {
			t.Errorf("error %v", err)
		}
	}
}

func TestRights(t *testing.T) {
	tests := []struct {
		text string
		want Rights
		back string
	}{
		{"RegistryRead", RegistryRead, "RegistryRead"},
		{"registrywrite", RegistryWrite, "RegistryRead, RegistryWrite"},
		{" ServiceConnect ,DeviceConnect", ServiceConnect | DeviceConnect, "ServiceConnect, DeviceConnect"},
		{"RegistryWrite, ServiceConnect, DeviceConnect", 15, "RegistryRead, RegistryWrite, ServiceConnect, DeviceConnect"},
	}
	for _, tt := range tests {
		got, err := ParseRights(tt.text)
		if err != nil || got != tt.want || got.String() != tt.back {
			t.Errorf("ParseRights(%q) = %v, %v, want %s", tt.text, got, err, tt.back)
		}
	}
	for _, text := range []string{"", "Everything", "RegistryRead,", "RegistryRead ServiceConnect"} {
		if got, err := ParseRights(text); err == nil {
			t.Errorf("ParseRights(%q) = %v, want an error", text, got)
		}
	}
}
