package device

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinhub/twinhub/internal/wire/mqtt"
)

// answers returns what the device has answered, by request id: "status body".
func answers(h *fakeHub) map[string]string {
	h.mu.Lock()
	defer h.mu.Unlock()
	found := map[string]string{}
	for _, e := range h.packets {
		if p, ok := e.p.(*mqtt.Publish); ok {
			if rest, ok := strings.CutPrefix(p.Topic, "$iothub/methods/res/"); ok {
				status, id, _ := strings.Cut(rest, "/?$rid=")
				found[id] = status + " " + e.body
			}
		}
	}
	return found
}

func TestMethods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newFakeHub(t)
		c := h.connect(h.options())
		defer h.stop(c)
		handlers := map[string]MethodHandler{
			"echo":    func(_ context.Context, call MethodCall) (int, any) { return 200, call.Payload },
			"nothing": func(context.Context, MethodCall) (int, any) { return -7, nil },
			"broken":  func(context.Context, MethodCall) (int, any) { return 200, make(chan int) },
			"large":   func(context.Context, MethodCall) (int, any) { return 200, strings.Repeat("x", maxPayloadBytes) },
		}
		for name, fn := range handlers {
			if err := c.HandleMethod(t.Context(), name, fn); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.HandleCommand(t.Context(), "thermostat1", "report", func(_ context.Context, call MethodCall) (int, any) {
			component, command := call.Component()
			return 202, []string{component, command}
		}); err != nil {
			t.Fatal(err)
		}
		tests := []struct{ name, payload, want string }{
			{"echo", `{"n": 1.0}`, `200 {"n": 1.0}`},
			{"echo", ``, `200 null`},
			{"nothing", `1`, `-7 null`},
			{"broken", `1`, `500 {"message":"the device's answer is not valid"}`},
			{"large", `1`, `500 {"message":"the device's answer is not valid"}`},
			{"thermostat1*report", `null`, `202 ["thermostat1","report"]`},
			{"report", `null`, `501 {"message":"this device has no method report"}`},
		}
		for i, tt := range tests {
			c.dispatch(&mqtt.Publish{Topic: fmt.Sprintf("$iothub/methods/POST/%s/?$rid=%x", tt.name, i), Payload: []byte(tt.payload)})
		}
		synctest.Wait()
		got := answers(h)
		for i, tt := range tests {
			if a := got[fmt.Sprintf("%x", i)]; a != tt.want {
				t.Errorf("%s(%s): got %s, want %s", tt.name, tt.payload, a, tt.want)
			}
		}
		if filters := said[*mqtt.Subscribe](h, 1); len(filters) != 1 {
			t.Errorf("subscriptions: got %d, want one for all handlers", len(filters))
		}
		if err := c.HandleMethod(t.Context(), "", handlers["echo"]); err != nil {
			t.Fatal(err)
		}
		if err := c.HandleMethod(t.Context(), "nothing", nil); err != nil {
			t.Fatal(err)
		}
		c.dispatch(&mqtt.Publish{Topic: "$iothub/methods/POST/nothing/?$rid=last", Payload: []byte("5")})
		synctest.Wait()
		if a := answers(h)["last"]; a != "200 5" {
			t.Errorf("method without a handler of its own: got %s, want 200 5", a)
		}
	})
}

// Handlers run beside each other, up to a bound; more calls are told so.
func TestMethodsConcurrency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newFakeHub(t)
		o := h.options()
		o.MaxCalls = 5
		c := h.connect(o)
		defer h.stop(c)
		if err := c.HandleMethod(t.Context(), "slow", func(context.Context, MethodCall) (int, any) {
			time.Sleep(time.Second)
			return 200, nil
		}); err != nil {
			t.Fatal(err)
		}
		call := func(i int) {
			c.dispatch(&mqtt.Publish{Topic: fmt.Sprintf("$iothub/methods/POST/slow/?$rid=%d", i), Payload: []byte("1")})
		}
		for i := range 8 {
			call(i)
		}
		time.Sleep(1500 * time.Millisecond)
		synctest.Wait()
		count := func(status string) (n int) {
			for _, a := range answers(h) {
				if strings.HasPrefix(a, status) {
					n++
				}
			}
			return n
		}
		if count("200") != 5 || count("429") != 3 {
			t.Errorf("answers: got %v, want 5 with 200 and 3 with 429", answers(h))
		}
		call(8)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if count("200") != 6 {
			t.Errorf("answers: got %v, want a sixth with 200", answers(h))
		}
	})
}

// Close ends handlers by their context and waits for them.
func TestMethodClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newFakeHub(t)
		c := h.connect(h.options())
		ended := false
		if err := c.HandleMethod(t.Context(), "m", func(ctx context.Context, _ MethodCall) (int, any) {
			<-ctx.Done()
			time.Sleep(time.Second)
			ended = true
			return 200, nil
		}); err != nil {
			t.Fatal(err)
		}
		c.dispatch(&mqtt.Publish{Topic: "$iothub/methods/POST/m/?$rid=1"})
		synctest.Wait()
		h.stop(c)
		if !ended {
			t.Error("Close did not wait for the handler")
		}
	})
}

// The topic of a message holds its properties, encoded, in a fixed order; what a hub would hang up on is refused here.
func TestMessageTopic(t *testing.T) {
	tests := []struct {
		name string
		m    Message
		want string // the topic after the prefix, or the error's text
	}{
		{"nothing", Message{}, ""},
		{"all", Message{MessageID: "m", CorrelationID: "c", UserID: "u", ContentType: "application/json", ContentEncoding: "utf-8", Component: "thermostat1",
			CreationTime: time.Date(2020, 10, 21, 14, 10, 42, 417126300, time.UTC), Properties: map[string]string{"b": "", "a": "x y+z/ä&=%"}},
			"%24.mid=m&%24.cid=c&%24.uid=u&%24.ct=application%2Fjson&%24.ce=utf-8&%24.sub=thermostat1&%24.ctime=2020-10-21T14%3A10%3A42.4171263Z&a=x%20y%2Bz%2F%C3%A4%26%3D%25&b="},
		{"reserved name", Message{Properties: map[string]string{"$.ct": "x"}}, "names that begin with $. are the hub's"},
		{"no name", Message{Properties: map[string]string{"": "x"}}, "has no name"},
		{"largest body", Message{Body: make([]byte, maxMessageBytes)}, ""},
		{"body too large", Message{Body: make([]byte, maxMessageBytes+1)}, "too large"},
		{"properties too long", Message{Properties: map[string]string{"a": strings.Repeat("ä", 20000)}}, "too large"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.m.topic("devices/d1")
			if err != nil {
				got = err.Error()
			}
			if got != "devices/d1/messages/events/"+tt.want && (err == nil || !strings.Contains(got, tt.want)) {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestParseConnectionString(t *testing.T) {
	tests := []struct {
		name, text string
		want       string // fields, or the error's text
	}{
		{"device", "HostName=h;DeviceId=d;SharedAccessKey=" + fakeKey, "h d  " + fakeKey},
		{"module behind a gateway", "HostName=h;DeviceId=d;ModuleId=m;GatewayHostName=g;SharedAccessKey=" + fakeKey, "h d/m g " + fakeKey},
		{"no device", "HostName=h;SharedAccessKey=" + fakeKey, "DeviceId is missing"},
		{"no key", "HostName=h;DeviceId=d", "neither SharedAccessKey"},
		{"certificate", "HostName=h;DeviceId=d;x509=true", "h d  "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			id, err := ParseConnectionString(tt.text)
			got := fmt.Sprintf("%s %s %s %s", id.HostName, id.clientID(), id.GatewayHostName, id.SharedAccessKey)
			if err != nil {
				got = err.Error()
			}
			if got != tt.want && (err == nil || !strings.Contains(got, tt.want)) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if strings.Contains(fmt.Sprintf("%v %+v %#v", id, id, id), fakeKey) {
				t.Error("an Identity prints its key")
			}
		})
	}
}

func TestSettings(t *testing.T) {
	id := Identity{HostName: "h", GatewayHostName: "g", DeviceID: "d%1", ModuleID: "m", SharedAccessKey: fakeKey}
	s, err := newSettings(id, &Options{ModelID: "dtmi:x;1", Product: "my app"})
	if err != nil {
		t.Fatal(err)
	}
	if want := "h/d%1/m/?api-version=2021-04-12&model-id=dtmi%3Ax%3B1&DeviceClientType=my%20app%20twinhub-go-device"; s.username != want {
		t.Errorf("user name: got %s, want %s", s.username, want)
	}
	if s.tls.Renegotiation != tls.RenegotiateFreelyAsClient || s.tls.RootCAs != nil || s.tls.InsecureSkipVerify {
		t.Errorf("TLS: renegotiation %v, roots %v, insecure %v", s.tls.Renegotiation, s.tls.RootCAs, s.tls.InsecureSkipVerify)
	}
	if s.address != "g:8883" || s.tls.ServerName != "g" || id.prefix() != "devices/d%1/modules/m" {
		t.Errorf("got %s, %s, %s; want the gateway's address and name", s.address, s.tls.ServerName, id.prefix())
	}
	bad := map[string]struct {
		id Identity
		o  Options
	}{
		"no host":           {Identity{DeviceID: "d", SharedAccessKey: fakeKey}, Options{}},
		"no device":         {Identity{HostName: "h", SharedAccessKey: fakeKey}, Options{}},
		"no credentials":    {Identity{HostName: "h", DeviceID: "d"}, Options{}},
		"key not base64":    {Identity{HostName: "h", DeviceID: "d", SharedAccessKey: "?"}, Options{}},
		"keep alive":        {id, Options{KeepAlive: 1500 * time.Millisecond}},
		"long keep alive":   {id, Options{KeepAlive: time.Hour}},
		"in flight":         {id, Options{MaxInFlight: 70000}},
		"back-off":          {id, Options{MinBackoff: time.Minute, MaxBackoff: time.Second}},
		"negative back-off": {id, Options{MinBackoff: -1}},
	}
	names := make([]string, 0, len(bad))
	for name := range bad {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if _, err := newSettings(bad[name].id, &Options{KeepAlive: bad[name].o.KeepAlive, MaxInFlight: bad[name].o.MaxInFlight, MinBackoff: bad[name].o.MinBackoff, MaxBackoff: bad[name].o.MaxBackoff}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestEncode(t *testing.T) {
	tests := []struct {
		name string
		v    any
		want string
	}{
		{"raw as it is", json.RawMessage(`{ "a" : 1.00 }`), `{ "a" : 1.00 }`},
		{"nil raw", json.RawMessage(nil), "null"},
		{"no escaping for HTML", map[string]string{"a": "<b>&"}, `{"a":"<b>&"}`},
		{"nil", nil, "null"},
	}
	for _, tt := range tests {
		if got, err := encode(tt.v); err != nil || string(got) != tt.want {
			t.Errorf("%s: got %s, %v; want %s", tt.name, got, err, tt.want)
		}
	}
}
