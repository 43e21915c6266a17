package system

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/twinhub/twinhub/internal/wire/mqtt"
)

// TestSecretsInWrongPlaces puts tokens where names belong, as people do: the log must not repeat them.
func TestSecretsInWrongPlaces(t *testing.T) {
	h := startHub(t, t.TempDir(), new(secretSet)) // of its own: its log is read for lines that are rate-limited
	watch(t, h)
	const id = "misplaced"
	key := h.register(t, id)
	connects := map[string]func(c *mqtt.Connect, token string){
		"user name":          func(c *mqtt.Connect, token string) { c.Username = token },
		"user name, decoded": func(c *mqtt.Connect, token string) { c.Username = strings.ReplaceAll(token, "%2F", "/") },
		"user name and password swapped": func(c *mqtt.Connect, token string) {
			c.Username, c.Password = token, []byte(c.Username)
		},
		"client id":  func(c *mqtt.Connect, token string) { c.ClientID = token },
		"parameters": func(c *mqtt.Connect, token string) { c.Username = "other.example.net/" + id + "/?" + token },
		"host":       func(c *mqtt.Connect, token string) { c.Username = token + "/" + id + "/" },
		"will topic": func(c *mqtt.Connect, token string) { c.Will = &mqtt.Will{Topic: strings.ReplaceAll(token, "+", "-")} },
	}
	places := map[string]func(t *testing.T, token string){
		"topic": func(t *testing.T, token string) {
			c := h.mustConnect(t, id, key)
			c.mustSend(t, &mqtt.Publish{Topic: token, QoS: mqtt.QoS1, ID: 1})
			c.mustEnd(t, noticeable)
		},
		"filter": func(t *testing.T, token string) {
			c := h.mustConnect(t, id, key)
			c.mustSend(t, &mqtt.Subscribe{ID: 1, Subscriptions: []mqtt.Subscription{{Filter: token}}})
			mustReceive[*mqtt.Suback](t, c)
		},
		"path": func(t *testing.T, token string) {
			if _, err := h.do(t.Context(), http.MethodGet, "/devices/"+strings.ReplaceAll(token, " ", "%20"), "", "Authorization", "x"); err != nil {
				t.Fatal(err)
			}
		},
		"device id": func(t *testing.T, token string) {
			_, signature, _ := strings.Cut(token, "sig=")
			if _, err := h.do(t.Context(), http.MethodGet, "/devices/HostName=h;SharedAccessKey="+signature[:20], "", "Authorization", "x"); err != nil {
				t.Fatal(err)
			}
		},
		"query": func(t *testing.T, token string) {
			if _, err := h.do(t.Context(), http.MethodGet, "/devices/"+id+"?"+strings.ReplaceAll(token, " ", "%20"), "", "Authorization", "x"); err != nil {
				t.Fatal(err)
			}
		},
		"link address": func(t *testing.T, token string) {
			c, err := h.openAMQP(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			s, err := c.NewSession(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.NewReceiver(t.Context(), token, nil); err == nil {
				t.Error("it was accepted")
			}
		},
	}
	for name, edit := range connects {
		places[name] = func(t *testing.T, token string) {
			c, err := h.openMQTT(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			connect := h.connectPacket(id, key)
			edit(connect, token)
			if code, err := c.signIn(connect); err == nil && code == mqtt.Accepted {
				t.Error("it was accepted")
			}
		}
	}
	for name, use := range places {
		t.Run(name, func(t *testing.T) {
			// Without + and /, which percent-encoding would hide from the search below.
			token := h.deviceToken(id, key, time.Hour)
			for n := 1; strings.ContainsAny(token[strings.Index(token, "sig="):], "+/") || strings.Contains(token, "%2B"); n++ {
				token = h.deviceToken(id, key, time.Hour+time.Duration(n)*time.Second)
			}
			_, signature, _ := strings.Cut(token, "sig=")
			signature = signature[:20]
			mark := h.log.mark()
			use(t, token)
			const patience = 2 * time.Second // a reason that repeats an earlier one is not logged
			for deadline := time.Now().Add(patience); len(h.log.since(mark)) == 0 && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			}
			if logged := h.log.String()[mark:]; strings.Contains(logged, signature) {
				t.Errorf("the token is in the log: %s", strings.ReplaceAll(logged, signature, "(its signature)"))
			}
		})
	}
}
