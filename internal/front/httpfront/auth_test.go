package httpfront

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/twinhub/twinhub/internal/core/auth"
	"github.com/twinhub/twinhub/internal/sas"
)

// TestRights asks every operation under every built-in policy.
func TestRights(t *testing.T) {
	operations := []struct {
		method, path string
		right        string
	}{
		{http.MethodGet, "/devices", "RegistryRead"},
		{http.MethodGet, "/devices/d1", "RegistryRead"},
		{http.MethodPut, "/devices/d1", "RegistryWrite"},
		{http.MethodDelete, "/devices/d1", "RegistryWrite"},
		{http.MethodGet, "/devices/d1/modules", "RegistryRead"},
		{http.MethodGet, "/devices/d1/modules/m", "RegistryRead"},
		{http.MethodPut, "/devices/d1/modules/m", "RegistryWrite"},
		{http.MethodDelete, "/devices/d1/modules/m", "RegistryWrite"},
		{http.MethodGet, "/statistics/devices", "RegistryRead"},
		{http.MethodGet, "/statistics/service", "RegistryRead"},
		{http.MethodPost, "/devices/query", "ServiceConnect"},
		{http.MethodGet, "/twins/d1", "ServiceConnect"},
		{http.MethodPatch, "/twins/d1", "ServiceConnect"},
		{http.MethodPut, "/twins/d1", "ServiceConnect"},
		{http.MethodPost, "/twins/d1/methods", "ServiceConnect"},
		{http.MethodGet, "/twins/d1/modules/m", "ServiceConnect"},
		{http.MethodPost, "/twins/d1/modules/m/methods", "ServiceConnect"},
		{http.MethodGet, "/digitaltwins/d1", "ServiceConnect"},
		{http.MethodPatch, "/digitaltwins/d1", "ServiceConnect"},
		{http.MethodPost, "/digitaltwins/d1/commands/c", "ServiceConnect"},
		{http.MethodPost, "/digitaltwins/d1/components/p/commands/c", "ServiceConnect"},
	}
	has := map[string][]string{
		auth.OwnerPolicy:    {"RegistryRead", "RegistryWrite", "ServiceConnect"},
		auth.ServicePolicy:  {"ServiceConnect"},
		"device":            {},
		"registryRead":      {"RegistryRead"},
		"registryReadWrite": {"RegistryRead", "RegistryWrite"},
	}
	h := newHub(t)
	for policy, rights := range has {
		for _, op := range operations {
			allowed := strings.Contains(strings.Join(rights, " ")+" ", op.right+" ")
			a := h.send(t, op.method, op.path+version, "", "Authorization: "+h.token(t, policy, ""))
			if refused := a.status == http.StatusUnauthorized; refused == allowed {
				t.Errorf("%s %s as %s: got status %d, allowed is %v", op.method, op.path, policy, a.status, allowed)
			}
		}
	}
}

func TestTokens(t *testing.T) {
	h := newHub(t)
	h.create(t, "d1")
	key := func(policy string) sas.Key {
		k, err := sas.HubKey(policyKey(policy))
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	now := h.clock.Now()
	tests := []struct {
		name, token, path string
		ok                bool
		log               string
	}{
		{"whole hub", sas.Sign(hubHost, key("registryRead"), "registryRead", now.Add(time.Second)), "/devices/d1", true, ""},
		{"secondary key", sas.Sign(hubHost, key("registryRead2"), "registryRead", now.Add(time.Second)), "/devices/d1", true, ""},
		{"host in capitals", sas.Sign(strings.ToUpper(hubHost), key("registryRead"), "registryRead", now.Add(time.Second)), "/devices/d1", true, ""},
		{"path of the device", sas.Sign(hubHost+"/devices/d1", key("registryRead"), "registryRead", now.Add(time.Second)), "/devices/d1", true, ""},
		{"path of the device, request in other case", sas.Sign(hubHost+"/devices/d1", key("registryRead"), "registryRead", now.Add(time.Second)), "/DEVICES%2fd1", true, ""},
		{"another device", sas.Sign(hubHost+"/devices/d", key("registryRead"), "registryRead", now.Add(time.Second)), "/devices/d1", false, "does not cover"},
		{"another host", sas.Sign("other.example.net", key("registryRead"), "registryRead", now.Add(time.Second)), "/devices/d1", false, "start the hub with --hostname"},
		{"expired this second", sas.Sign(hubHost, key("registryRead"), "registryRead", now), "/devices/d1", false, "expired"},
		{"key of another policy", sas.Sign(hubHost, key("service"), "registryRead", now.Add(time.Second)), "/devices/d1", false, "matches neither key"},
		{"unknown policy", sas.Sign(hubHost, key("registryRead"), "nobody", now.Add(time.Second)), "/devices/d1", false, "there is no policy"},
		{"no policy", sas.Sign(hubHost, key("registryRead"), "", now.Add(time.Second)), "/devices/d1", false, "names no policy"},
		{"lacks the right", sas.Sign(hubHost, key("service"), "service", now.Add(time.Second)), "/devices/d1", false, "lacks the right RegistryRead"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := len(h.log.String())
			a := h.send(t, http.MethodGet, tt.path+version, "", "Authorization: "+tt.token)
			logged := h.log.String()[before:]
			if tt.ok {
				if a.status != http.StatusOK {
					t.Errorf("got %d %s, want 200", a.status, a.body)
				}
				return
			}
			if a.status != http.StatusUnauthorized || !strings.Contains(a.body, `\"errorCode\":401002`) || a.header.Get("iothub-errorcode") != "IotHubUnauthorizedAccess" {
				t.Errorf("got %d %q %s, want 401 with code 401002", a.status, a.header.Get("iothub-errorcode"), a.body)
			}
			if !strings.Contains(logged, tt.log) || !strings.Contains(logged, "remedy=") || !strings.Contains(logged, "remote=192.0.2.1:1234") {
				t.Errorf("log says %q, want %q with remedy and remote", logged, tt.log)
			}
			_, signature, _ := strings.Cut(tt.token, "sig=")
			signature, _, _ = strings.Cut(signature, "&")
			if strings.Contains(logged+a.body, signature) {
				t.Errorf("the token's signature is in the log or the answer")
			}
		})
	}
}

func TestVersionRefusalIsLogged(t *testing.T) {
	h := newHub(t)
	h.send(t, http.MethodGet, "/devices?api-version=1999-01-01", "")
	if log := h.log.String(); !strings.Contains(log, "1999-01-01") || !strings.Contains(log, "send api-version=2021-04-12") {
		t.Errorf("log says %q, want the version and the remedy", log)
	}
}

// TestAbsentOperationsAreLogged asks for what this hub does not have, also at length.
func TestAbsentOperationsAreLogged(t *testing.T) {
	for target, method := range map[string]string{"/configurations": http.MethodGet, "/$iothub/websocket": http.MethodGet, "/devices": http.MethodPost} {
		h := newHub(t)
		h.send(t, method, target+"?api-version=2021-04-12", "")
		if log := h.log.String(); !strings.Contains(log, "method="+method+" path="+target+" ") || !strings.Contains(log, "docs/compat.md") {
			t.Errorf("%s %s: the log says %q, want the request and where to look", method, target, log)
		}
	}
	h := newHub(t)
	h.send(t, http.MethodGet, "/"+strings.Repeat("x", 20000), "")
	if n := len(h.log.String()); n > 1000 {
		t.Errorf("a path of 20,000 bytes makes a log of %d", n)
	}
}

func TestKnownVersions(t *testing.T) {
	h := newHub(t)
	for _, v := range []string{"2016-02-03", "2016-11-14", "2017-06-30", "2017-11-08-preview", "2018-06-30", "2019-07-01-preview", "2019-10-01", "2020-03-13", "2020-05-31-preview", "2020-05-31-PREVIEW", "2020-09-30", "2021-04-12", "2024-03-31"} {
		if a := h.send(t, http.MethodGet, "/devices?api-version="+v, ""); a.status != http.StatusOK {
			t.Errorf("api-version %s: got %d %s, want 200", v, a.status, a.body)
		}
	}
}
