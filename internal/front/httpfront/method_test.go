package httpfront

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/twinhub/twinhub/internal/core/session"
)

// echo answers a call with its own payload.
func echo(_ context.Context, call session.Call) (session.Reply, error) {
	return session.Reply{Status: 200, Payload: call.Payload}, nil
}

func TestMethodPayloadReachesDeviceAsSent(t *testing.T) {
	tests := []struct{ name, request, want string }{
		{"object with spaces and literals", `{"methodName":"m","payload":{ "a" : 1.0, "b":[1e2 , -0] }}`, `{ "a" : 1.0, "b":[1e2 , -0] }`},
		{"escapes stay escapes", `{"methodName":"m","payload":"\u0041\/é"}`, `"\u0041\/é"`},
		{"number beyond float64", `{"methodName":"m","payload":12345678901234567890123}`, `12345678901234567890123`},
		{"null", `{"methodName":"m","payload":null}`, `null`},
		{"zero", `{"methodName":"m","payload":0}`, `0`},
		{"false", `{"methodName":"m","payload":false}`, `false`},
		{"empty string", `{"methodName":"m","payload":""}`, `""`},
		{"empty object", `{"methodName":"m","payload":{}}`, `{}`},
		{"empty array", `{"methodName":"m","payload":[]}`, `[]`},
		{"absent", `{"methodName":"m"}`, `null`},
		{"first in the body", `{"payload":[1],"methodName":"m"}`, `[1]`},
	}
	h := newHub(t)
	h.create(t, "d1")
	d := h.connect(t, "d1", &fakeDevice{answer: echo})
	for n, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := h.send(t, http.MethodPost, "/twins/d1/methods"+version, tt.request)
			if a.status != http.StatusOK {
				t.Fatalf("got status %d: %s", a.status, a.body)
			}
			if got := d.calls[n]; string(got.Payload) != tt.want || got.Name != "m" {
				t.Errorf("device got %q with payload %q, want payload %q", got.Name, got.Payload, tt.want)
			}
		})
	}
}

func TestMethodAnswer(t *testing.T) {
	tests := []struct {
		name    string
		status  int
		payload string
		want    string
	}{
		{"as sent", 200, `{ "max" : 23.50 }`, `{ "max" : 23.50 }`},
		{"error status", 500, `"no"`, `"no"`},
		{"negative status", -1, `1`, `1`},
		{"none", 200, ``, `null`},
		{"white space", 200, " \n", `null`},
		{"null", 204, `null`, `null`},
		{"not JSON", 200, `it's "ok"`, `"it's \"ok\""`},
		{"broken JSON", 200, `{"a":`, `"{\"a\":"`},
		{"two values", 200, `1 2`, `"1 2"`},
		{"not UTF-8", 200, "\xff", `"` + "\uFFFD" + `"`},
		{"member twice", 200, `{"a":1,"a":2}`, `{"a":1,"a":2}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHub(t)
			h.create(t, "d1")
			h.connect(t, "d1", &fakeDevice{answer: func(context.Context, session.Call) (session.Reply, error) {
				return session.Reply{Status: tt.status, Payload: []byte(tt.payload)}, nil
			}})
			status, err := json.Marshal(tt.status)
			if err != nil {
				t.Fatal(err)
			}
			a := h.send(t, http.MethodPost, "/twins/d1/methods"+version, `{"methodName":"m"}`)
			if want := `{"status":` + string(status) + `,"payload":` + tt.want + `}`; a.status != http.StatusOK || a.body != want {
				t.Errorf("method: got %d %s, want 200 %s", a.status, a.body, want)
			}
			a = h.send(t, http.MethodPost, "/digitaltwins/d1/commands/m"+version, "")
			if a.status != http.StatusOK || a.body != tt.want || a.header.Get("x-ms-command-statuscode") != string(status) {
				t.Errorf("command: got %d, x-ms-command-statuscode %q, %s; want 200, %s, %s", a.status, a.header.Get("x-ms-command-statuscode"), a.body, status, tt.want)
			}
		})
	}
}

func TestCommandNameAndPayload(t *testing.T) {
	tests := []struct{ name, path, body, method, payload string }{
		{"of the device", "/digitaltwins/d1/commands/reboot", `{"delay": 1.0}`, "reboot", `{"delay": 1.0}`},
		{"of a component", "/digitaltwins/d1/components/thermostat1/commands/getMaxMinReport", `null`, "thermostat1*getMaxMinReport", `null`},
		{"whole path encoded", "/digitaltwins%2Fd1%2Fcomponents%2Fc%2Fcommands%2Fr", `""`, "c*r", `""`},
		{"no body", "/digitaltwins/d1/commands/reboot", ``, "reboot", `null`},
		{"member twice", "/digitaltwins/d1/commands/reboot", `{"a":1,"a":2}`, "reboot", `{"a":1,"a":2}`},
	}
	h := newHub(t)
	h.create(t, "d1")
	d := h.connect(t, "d1", &fakeDevice{answer: echo})
	for n, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if a := h.send(t, http.MethodPost, tt.path+version, tt.body); a.status != http.StatusOK {
				t.Fatalf("got status %d: %s", a.status, a.body)
			}
			if got := d.calls[n]; got.Name != tt.method || string(got.Payload) != tt.payload {
				t.Errorf("device got %s(%s), want %s(%s)", got.Name, got.Payload, tt.method, tt.payload)
			}
		})
	}
}

// TestMethodFailures runs in a bubble, so that time-outs take no time.
func TestMethodFailures(t *testing.T) {
	silent := func(ctx context.Context, _ session.Call) (session.Reply, error) {
		<-ctx.Done()
		return session.Reply{}, ctx.Err()
	}
	failing := func(err error) func(context.Context, session.Call) (session.Reply, error) {
		return func(context.Context, session.Call) (session.Reply, error) { return session.Reply{}, err }
	}
	tests := []struct {
		name    string
		device  *fakeDevice // nil: not connected
		request string
		after   time.Duration
		status  int
		want    string // in the body
	}{
		{"offline", nil, `{"methodName":"m"}`, 0, 404, `\"errorCode\":404103`},
		{"offline after the connect time-out", nil, `{"methodName":"m","connectTimeoutInSeconds":75,"responseTimeoutInSeconds":100}`, 75 * time.Second, 404, `\"info\":{\"timeout\":\"00:01:15\"}`},
		{"connected, not listening", &fakeDevice{}, `{"methodName":"m","connectTimeoutInSeconds":2}`, 2 * time.Second, 404, `\"errorCode\":404103`},
		{"no answer", &fakeDevice{answer: silent}, `{"methodName":"m","responseTimeoutInSeconds":7}`, 7 * time.Second, 504, `\"errorCode\":504101`},
		{"no answer by default", &fakeDevice{answer: silent}, `{"methodName":"m"}`, 30 * time.Second, 504, `Timed out waiting for the response from device.`},
		{"gone while waiting", &fakeDevice{answer: failing(session.ErrGone)}, `{"methodName":"m"}`, 0, 404, `\"errorCode\":404104`},
		{"too many in flight", &fakeDevice{answer: failing(session.ErrBusy)}, `{"methodName":"m"}`, 0, 403, `\"errorCode\":403800`},
		{"payload too large", &fakeDevice{answer: echo}, `{"methodName":"m","payload":"` + strings.Repeat("x", 128<<10) + `"}`, 0, 400, `\"errorCode\":400004`},
		{"the hub's own trouble", &fakeDevice{answer: failing(errors.New("wire torn in room 7"))}, `{"methodName":"m"}`, 0, 500, `\"errorCode\":500001`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHub(t)
				h.create(t, "d1")
				if tt.device != nil {
					h.connect(t, "d1", tt.device)
				}
				start := time.Now()
				a := h.send(t, http.MethodPost, "/twins/d1/methods"+version, tt.request)
				if got := time.Since(start); got != tt.after {
					t.Errorf("answered after %v, want %v", got, tt.after)
				}
				if a.status != tt.status || !strings.Contains(a.body, tt.want) || strings.Contains(a.body, "room 7") {
					t.Errorf("got %d %s, want %d with %s", a.status, a.body, tt.status, tt.want)
				}
				var outer struct{ Message, ExceptionMessage string }
				var inner struct {
					ErrorCode int `json:"errorCode"`
				}
				if err := json.Unmarshal([]byte(a.body), &outer); err != nil {
					t.Fatalf("body %s: %v", a.body, err)
				}
				if err := json.Unmarshal([]byte(outer.Message), &inner); err != nil {
					t.Fatalf("message %s: %v", outer.Message, err)
				}
				if inner.ErrorCode/1000 != a.status {
					t.Errorf("errorCode %d under status %d", inner.ErrorCode, a.status)
				}
			})
		})
	}
}

// TestMethodWaitsForDevice covers the connect time-out in its good case.
func TestMethodWaitsForDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t)
		h.create(t, "d1")
		time.AfterFunc(3*time.Second, func() { h.connect(t, "d1", &fakeDevice{answer: echo}) })
		a := h.send(t, http.MethodPost, "/twins/d1/methods"+version, `{"methodName":"m","payload":1,"connectTimeoutInSeconds":10}`)
		if a.status != http.StatusOK || a.body != `{"status":200,"payload":1}` {
			t.Errorf("got %d %s, want the device's answer", a.status, a.body)
		}
	})
}
