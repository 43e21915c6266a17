package system

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/Azure/go-amqp"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/sas"
	"github.com/twinhub/twinhub/internal/wire/mqtt"
)

// A wrongToken has to be refused; the log then says why.
type wrongToken struct {
	token, log string
	malformed  bool
}

// wrongTokens are tokens for a resource that have to be refused: each names what the log says of it. The key is a
// policy's, or a device's without a policy.
func (h *hub) wrongTokens(resource string, key sas.Key, policy string) map[string]wrongToken {
	other, err := sas.HubKey(h.newKey())
	if err != nil {
		panic("system: " + err.Error())
	}
	later, past := time.Now().Add(time.Hour), time.Now().Add(-time.Hour)
	unsigned := fmt.Sprintf("SharedAccessSignature sr=%s&se=%d&skn=%s", resource, later.Unix(), policy)
	return map[string]wrongToken{
		"another key":    {h.sign(resource, other, policy, later), "match", false},
		"expired":        {h.sign(resource, key, policy, past), "1h0m", false}, // the difference of the clocks
		"another host":   {h.sign("other.example.net", key, policy, later), "is not this hub", false},
		"unknown policy": {h.sign(resource, key, "nobody", later), `there is no policy`, false},
		"nonsense":       {"SharedAccessSignature nonsense", "cannot be read", true},
		"empty":          {"", "there is no access token", false},
		"no signature":   {unsigned, "cannot be read", true},
		"far too long":   {"SharedAccessSignature " + strings.Repeat("sr=x&", 2000), "cannot be read", true},
	}
}

func TestWrongSASOverHTTPS(t *testing.T) {
	h := sharedHub(t)
	watch(t, h)
	h.register(t, "sas-https")
	unchanged(t, h, "sas-https")
	for name, wrong := range h.wrongTokens(host, h.owner, "iothubowner") {
		t.Run(name, func(t *testing.T) {
			for _, op := range []struct{ method, path, body string }{
				{http.MethodGet, "/devices/sas-https", ""}, {http.MethodPatch, "/twins/sas-https", `{"tags":{"a":1}}`},
				{http.MethodDelete, "/devices/sas-https", ""}, {http.MethodPost, "/devices/query", `{"query":"SELECT * FROM devices"}`},
			} {
				a, err := h.do(t.Context(), op.method, op.path, op.body, "Authorization", wrong.token, "If-Match", "*")
				if err != nil {
					t.Fatal(err)
				}
				checkRefusal(t, a, twinhub.CodeIotHubUnauthorizedAccess, true)
			}
			h.explained(t, "https", wrong.log)
		})
	}
}

func TestWrongSASOverMQTT(t *testing.T) {
	h := sharedHub(t)
	watch(t, h)
	const id = "sas-mqtt"
	key := h.register(t, id)
	secret, err := sas.HubKey(key)
	if err != nil {
		t.Fatal(err)
	}
	h.create(t, "sas-disabled", strings.Replace(identityBody("sas-disabled", key), "enabled", "disabled", 1))
	h.register(t, "sas-other")
	unchanged(t, h, id)
	type attempt struct {
		id, token, log string
		code           mqtt.ConnectCode
	}
	attempts := map[string]attempt{
		"unknown device":           {"nobody", h.deviceToken("nobody", key, time.Hour), "there is no identity nobody", mqtt.RefusedNotAuthorized},
		"disabled device":          {"sas-disabled", h.deviceToken("sas-disabled", key, time.Hour), "is disabled", mqtt.RefusedNotAuthorized},
		"token of another device":  {"sas-other", h.deviceToken(id, key, time.Hour), "does not cover", mqtt.RefusedNotAuthorized},
		"key of another device":    {"sas-other", h.deviceToken("sas-other", key, time.Hour), "matches neither of its keys", mqtt.RefusedNotAuthorized},
		"policy without the right": {id, "", "lacks the right DeviceConnect", mqtt.RefusedNotAuthorized},
	}
	service, err := sas.ParseEventHubsConnectionString(h.env["EVENTHUB_CONNECTION_STRING"])
	if err != nil {
		t.Fatal(err)
	}
	serviceKey, err := sas.HubKey(service.SharedAccessKey)
	if err != nil {
		t.Fatal(err)
	}
	a := attempts["policy without the right"]
	a.token = h.sign(host, serviceKey, service.SharedAccessKeyName, time.Now().Add(time.Hour))
	attempts["policy without the right"] = a
	for name, wrong := range h.wrongTokens(sas.DeviceResource(host, id, ""), secret, "") {
		code := mqtt.RefusedNotAuthorized
		if wrong.malformed {
			code = mqtt.RefusedCredentials
		}
		attempts[name] = attempt{id, wrong.token, wrong.log, code}
	}
	for name, a := range attempts {
		t.Run(name, func(t *testing.T) {
			c, err := h.openMQTT(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			connect := h.connectPacket(a.id, key)
			connect.Password = []byte(a.token)
			code, err := c.signIn(connect)
			if err != nil || code != a.code {
				t.Fatalf("got return code %d (%v), want %d", code, err, a.code)
			}
			c.mustEnd(t, noticeable)
			h.explained(t, "mqtt", a.log)
		})
	}
}

func TestWrongSASOverAMQP(t *testing.T) {
	h := sharedHub(t)
	watch(t, h)
	owner, err := sas.ParseHubConnectionString(h.env["IOTHUB_CONNECTION_STRING"])
	if err != nil {
		t.Fatal(err)
	}
	key, err := sas.EventHubsKey(owner.SharedAccessKey)
	if err != nil {
		t.Fatal(err)
	}
	wrong := h.wrongTokens(h.eventsResource(), key, "iothubowner")
	device, err := sas.HubKey(h.register(t, "sas-amqp"))
	if err != nil {
		t.Fatal(err)
	}
	wrong["of a device"] = wrongToken{h.sign(h.eventsResource(), device, "", time.Now().Add(time.Hour)), "names no policy", false}
	for name, w := range wrong {
		t.Run(name, func(t *testing.T) {
			c, err := h.openAMQP(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			code, err := putToken(t.Context(), c, h.eventsResource(), w.token)
			// A token says itself what it is for: one for another host may be kept, and covers nothing.
			kept := name == "another host" && code == 200
			if err != nil || code != 401 && !kept {
				t.Errorf("got %d (%v), want 401", code, err)
			}
			s, err := c.NewSession(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			_, err = s.NewReceiver(t.Context(), partitionAddress("0"), nil)
			wantCondition(t, err, amqp.ErrCondUnauthorizedAccess)
			if name == "another host" {
				w.log = "No valid token on this connection covers"
			}
			h.explained(t, "amqp", w.log)
		})
	}
	t.Run("no token", func(t *testing.T) {
		c, err := h.openAMQP(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		s, err := c.NewSession(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range []string{"0", "99"} { // who is not let in does not learn what there is
			_, err = s.NewReceiver(t.Context(), partitionAddress(p), nil)
			wantCondition(t, err, amqp.ErrCondUnauthorizedAccess)
		}
		h.explained(t, "amqp", "No valid token on this connection covers")
	})
}

// TestExpiry lets tokens expire while they are in use.
func TestExpiry(t *testing.T) {
	t.Parallel()
	h := sharedHub(t)
	watch(t, h)
	const lifetime = 6 * time.Second // enough to sign in on a busy machine
	t.Run("MQTT", func(t *testing.T) {
		t.Parallel()
		const id = "expires"
		key := h.register(t, id)
		c, err := h.openMQTT(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		connect := h.connectPacket(id, key)
		connect.Password = []byte(h.deviceToken(id, key, lifetime))
		began := time.Now()
		if code, err := c.signIn(connect); err != nil || code != mqtt.Accepted {
			t.Fatalf("got return code %d (%v)", code, err)
		}
		c.mustEnd(t, lifetime+noticeable)
		if got := time.Since(began); got < lifetime-1500*time.Millisecond {
			t.Errorf("closed after %v, the token was good for %v", got, lifetime) // se has whole seconds
		}
		h.explained(t, "mqtt", "expired")
	})
	t.Run("AMQP", func(t *testing.T) {
		t.Parallel()
		c, err := h.openAMQP(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		token := h.sign(h.eventsResource(), h.owner, "iothubowner", time.Now().Add(lifetime))
		if code, err := putToken(t.Context(), c, h.eventsResource(), token); err != nil || code != 200 {
			t.Fatalf("$cbs: got %d (%v), want 200", code, err)
		}
		s, err := c.NewSession(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		r, err := s.NewReceiver(t.Context(), partitionAddress("0"), &amqp.ReceiverOptions{Credit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), lifetime+noticeable)
		defer cancel()
		for err == nil {
			_, err = r.Receive(ctx, nil)
		}
		wantCondition(t, err, amqp.ErrCondUnauthorizedAccess)
		h.explained(t, "amqp", "expired")
	})
}

// TestRefusalsAreRateLimited repeats a refusal: the log says it once, and later how often.
func TestRefusalsAreRateLimited(t *testing.T) {
	h := startHub(t, t.TempDir(), new(secretSet))
	wrong := h.wrongTokens(host, h.owner, "iothubowner")
	mark, began, count := h.log.mark(), time.Now(), 0
	for time.Since(began) < 3*time.Second { // reasons that tell the time in seconds change meanwhile
		for _, w := range wrong {
			a, err := h.do(t.Context(), http.MethodGet, "/devices/x", "", "Authorization", w.token)
			if err != nil || a.status != http.StatusUnauthorized {
				t.Fatalf("got %d (%v), want 401", a.status, err)
			}
			count++
		}
	}
	const interval = 10 * time.Second
	most := 1 + int(time.Since(began)/interval)
	seen := map[string]int{}
	for _, r := range h.log.since(mark) {
		seen[strings.SplitN(r.Reason, " expired at", 2)[0]]++
	}
	for reason, n := range seen {
		if n > most {
			t.Errorf("%d refusals made %d lines within %v, want %d: %s", count, n, time.Since(began), most, reason)
		}
	}
	if len(seen) == 0 || len(seen) > len(wrong) {
		t.Errorf("%d different refusals are logged, want 1 to %d", len(seen), len(wrong))
	}
}
