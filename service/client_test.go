package service

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/sas"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const fakeString = "HostName=hub.example;SharedAccessKeyName=service;SharedAccessKey=c2VjcmV0IGtleQ=="

// canned answers requests and keeps the last one.
type canned struct {
	status int
	header http.Header
	body   string
	last   *http.Request
	sent   string
}

func (c *canned) RoundTrip(r *http.Request) (*http.Response, error) {
	c.last, c.sent = r, ""
	if r.Body != nil {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		c.sent = string(body)
	}
	header := c.header
	if header == nil {
		header = http.Header{}
	}
	return &http.Response{StatusCode: c.status, Header: header, Body: io.NopCloser(strings.NewReader(c.body)), Request: r}, nil
}

func newCanned(t *testing.T, status int, body string) (*Client, *canned) {
	t.Helper()
	transport := &canned{status: status, body: body}
	c, err := NewClient(fakeString, &Options{Transport: transport})
	if err != nil {
		t.Fatal(err)
	}
	return c, transport
}

// Errors come in three forms, and as anything at all from what stands between.
func TestErrors(t *testing.T) {
	tests := []struct {
		name   string
		status int
		header string
		body   string
		want   Error // without Body
		text   string
	}{
		{"name in Message", 404, "DeviceNotFound",
			`{"Message":"ErrorCode:DeviceNotFound;E2E: not registered; d1","ExceptionMessage":"Tracking ID:0123456789abcdef0123456789abcdef-G:0-TimeStamp:2026-08-15T09:07:36Z"}`,
			Error{Code: 404001, Name: "DeviceNotFound", Message: "E2E: not registered; d1", TrackingID: "0123456789abcdef0123456789abcdef"},
			"DeviceNotFound (404001): E2E: not registered; d1 (tracking id 0123456789abcdef0123456789abcdef)"},
		{"two names in Message", 400, "", `{"Message":"ErrorCode:ArgumentInvalid;BadRequest","ExceptionMessage":""}`,
			Error{Code: 400004, Name: "ArgumentInvalid", Message: "BadRequest"}, "ArgumentInvalid (400004): BadRequest"},
		{"number", 409, "", `{"errorCode":409301,"message":"already contains Module m","trackingId":"abcdef01-TimeStamp:now","timestampUtc":"now"}`,
			Error{Code: 409301, Name: "ModuleAlreadyExistsOnDevice", Message: "already contains Module m", TrackingID: "abcdef01"},
			"ModuleAlreadyExistsOnDevice (409301): already contains Module m (tracking id abcdef01)"},
		{"number inside Message", 404, "", `{"Message":"{\"errorCode\":404103,\"trackingId\":\"abc\",\"message\":\"Timed out waiting for device to connect.\",\"info\":{\"timeout\":\"00:00:00\"},\"timestampUtc\":\"x\"}","ExceptionMessage":""}`,
			Error{Code: 404103, Name: "DeviceNotOnline", Message: "Timed out waiting for device to connect.", TrackingID: "abc"},
			"DeviceNotOnline (404103): Timed out waiting for device to connect. (tracking id abc)"},
		{"an unknown number", 400, "NewThing", `{"errorCode":400999,"message":"new"}`, Error{Code: 400999, Name: "NewThing", Message: "new"}, "NewThing (400999): new"},
		{"header only", 412, "PreconditionFailed", ``, Error{Code: 412001, Name: "PreconditionFailed"}, "PreconditionFailed (412001)"},
		{"a proxy's page", 502, "", "<html>oh no</html>", Error{Message: "<html>oh no</html>"}, "BadGateway (502): <html>oh no</html>"},
		{"an array", 500, "", "[1]", Error{Message: "[1]"}, "InternalServerError (500): [1]"},
		{"members of other types", 400, "", `{"Message":7,"errorCode":"x","message":[],"trackingId":{}}`, Error{}, "BadRequest (400)"},
		{"Message that is neither", 400, "", `{"Message":"just text"}`, Error{Message: "just text"}, "BadRequest (400): just text"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, transport := newCanned(t, tt.status, tt.body)
			transport.header = http.Header{"Iothub-Errorcode": {tt.header}}
			_, err := c.GetTwin(t.Context(), "d1")
			var got *Error
			if !errors.As(err, &got) {
				t.Fatalf("got %v, want an *Error", err)
			}
			if string(got.Body) != tt.body || got.Status != tt.status {
				t.Errorf("got status %d and body %q", got.Status, got.Body)
			}
			if got.Code != tt.want.Code || got.Name != tt.want.Name || got.Message != tt.want.Message || got.TrackingID != tt.want.TrackingID {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
			if got.Error() != tt.text || err.Error() != "get twin of d1: "+tt.text {
				t.Errorf("text: got %q, want %q", err, tt.text)
			}
			if tt.want.Code != 0 && (!HasCode(err, tt.want.Code) || HasCode(err, 1)) {
				t.Error("HasCode does not see the code")
			}
		})
	}
}

// Every code that the vocabulary package names has the same name here.
func TestCodes(t *testing.T) {
	for name, code := range codes {
		if text := code.String(); !strings.HasPrefix(text, "Code") && text != name {
			t.Errorf("%d: got %s, want %s", int(code), name, text)
		}
		if nameOf(code) != name {
			t.Errorf("%d has two names", int(code))
		}
	}
	if codes["DeviceNotFound"] != twinhub.CodeDeviceNotFound {
		t.Error("DeviceNotFound has another number")
	}
}

func TestTemporary(t *testing.T) {
	for status, want := range map[int]bool{400: false, 404: false, 408: true, 412: false, 429: true, 500: true, 503: true, 504: true} {
		if got := (&Error{Status: status}).Temporary(); got != want {
			t.Errorf("%d: got %v, want %v", status, got, want)
		}
	}
}

// What goes out, operation by operation: line, If-Match, body.
func TestRequests(t *testing.T) {
	raw := json.RawMessage(`{"properties":{"desired":{ "n": 1.00 }}}`)
	long := &CallOptions{ConnectTimeout: 1500 * time.Millisecond, ResponseTimeout: 7 * time.Second}
	tests := []struct {
		name string
		do   func(ctx context.Context, c *Client) error
		want string
	}{
		{"id that needs escaping", func(ctx context.Context, c *Client) error { _, err := c.GetDevice(ctx, "a/b%2F+ü#?"); return err },
			`GET /devices/a%2Fb%252F%2B%C3%BC%23%3F?api-version=2021-04-12`},
		{"create", func(ctx context.Context, c *Client) error {
			_, err := c.CreateDevice(ctx, &Device{DeviceID: "d"})
			return err
		},
			`PUT /devices/d?api-version=2021-04-12 {"deviceId":"d","authentication":{"type":"sas","symmetricKey":{"primaryKey":"","secondaryKey":""}}}`},
		{"update", func(ctx context.Context, c *Client) error {
			_, err := c.UpdateDevice(ctx, &Device{DeviceID: "d", ETag: "NTg=", Status: "disabled"})
			return err
		}, `PUT /devices/d?api-version=2021-04-12 "NTg=" {"deviceId":"d","status":"disabled"}`},
		{"update in any case", func(ctx context.Context, c *Client) error {
			_, err := c.UpdateDevice(ctx, &Device{DeviceID: "d"})
			return err
		},
			`PUT /devices/d?api-version=2021-04-12 "*" {"deviceId":"d"}`},
		{"delete", func(ctx context.Context, c *Client) error { return c.DeleteDevice(ctx, "d", `"quoted"`) }, `DELETE /devices/d?api-version=2021-04-12 "quoted"`},
		{"delete in any case", func(ctx context.Context, c *Client) error { return c.DeleteDevice(ctx, "d", "") }, `DELETE /devices/d?api-version=2021-04-12 "*"`},
		{"list", func(ctx context.Context, c *Client) error { _, err := c.ListDevices(ctx, 7); return err }, `GET /devices?api-version=2021-04-12&top=7`},
		{"module twin, raw", func(ctx context.Context, c *Client) error {
			_, err := c.UpdateModuleTwin(ctx, "d", "m", raw, AnyETag)
			return err
		}, `PATCH /twins/d/modules/m?api-version=2021-04-12 "*" {"properties":{"desired":{ "n": 1.00 }}}`},
		{"replace", func(ctx context.Context, c *Client) error {
			_, err := c.ReplaceTwin(ctx, "d", TwinPatch{Tags: map[string]string{"a": "<&>"}, Desired: json.RawMessage(`{"b":1.0}`)}, "")
			return err
		}, `PUT /twins/d?api-version=2021-04-12 {"tags":{"a":"<&>"},"properties":{"desired":{"b":1.0}}}`},
		{"digital twin", func(ctx context.Context, c *Client) error {
			_, err := c.UpdateDigitalTwin(ctx, "d", []PatchOperation{{Op: "replace", Path: "/a", Value: nil}, {Op: "remove", Path: "/b", Value: 1}}, "x")
			return err
		}, `PATCH /digitaltwins/d?api-version=2021-04-12 "x" [{"op":"replace","path":"/a","value":null},{"op":"remove","path":"/b"}]`},
		{"method", func(ctx context.Context, c *Client) error {
			_, err := c.InvokeModuleMethod(ctx, "d", "m", "x", nil, long)
			return err
		},
			`POST /twins/d/modules/m/methods?api-version=2021-04-12 {"methodName":"x","responseTimeoutInSeconds":7,"connectTimeoutInSeconds":2}`},
		{"method with null", func(ctx context.Context, c *Client) error {
			_, err := c.InvokeMethod(ctx, "d", "x", json.RawMessage("null"), nil)
			return err
		}, `POST /twins/d/methods?api-version=2021-04-12 {"methodName":"x","payload":null}`},
		{"command", func(ctx context.Context, c *Client) error {
			_, err := c.InvokeComponentCommand(ctx, "d", "c", "x", 1.5, long)
			return err
		}, `POST /digitaltwins/d/components/c/commands/x?api-version=2021-04-12&connectTimeoutInSeconds=2&responseTimeoutInSeconds=7 1.5`},
		{"command without payload", func(ctx context.Context, c *Client) error {
			_, err := c.InvokeCommand(ctx, "d", "x", nil, nil)
			return err
		},
			`POST /digitaltwins/d/commands/x?api-version=2021-04-12`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			answer := `{}`
			if tt.name == "list" {
				answer = `[]`
			}
			c, transport := newCanned(t, 200, answer)
			if err := tt.do(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			got := transport.last.Method + " " + transport.last.URL.RequestURI()
			for _, more := range []string{transport.last.Header.Get("If-Match"), transport.sent} {
				if more != "" {
					got += " " + more
				}
			}
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if transport.last.URL.Host != "hub.example" || !strings.Contains(transport.last.Header.Get("User-Agent"), "twinhub-go-service") {
				t.Errorf("host %s, user agent %s", transport.last.URL.Host, transport.last.Header.Get("User-Agent"))
			}
		})
	}
}

func TestRefusedArguments(t *testing.T) {
	c, transport := newCanned(t, 200, "{}")
	ctx := t.Context()
	for name, do := range map[string]func() error{
		"no id":        func() error { _, err := c.GetTwin(ctx, ""); return err },
		"no id create": func() error { _, err := c.CreateDevice(ctx, &Device{}); return err },
		"no id delete": func() error { return c.DeleteDevice(ctx, "", "") },
		"no component": func() error { _, err := c.InvokeComponentCommand(ctx, "d", "", "x", nil, nil); return err },
		"no JSON":      func() error { _, err := c.UpdateTwin(ctx, "d", make(chan int), ""); return err },
		"broken JSON":  func() error { _, err := c.InvokeMethod(ctx, "d", "m", json.RawMessage("{"), nil); return err },
	} {
		if err := do(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if transport.last != nil {
		t.Errorf("something was sent: %v", transport.last.URL)
	}
}

func TestCommandResult(t *testing.T) {
	c, transport := newCanned(t, 200, ``)
	transport.header = http.Header{"X-Ms-Command-Statuscode": {"404"}, "X-Ms-Request-Id": {"r1"}}
	got, err := c.InvokeCommand(t.Context(), "d", "x", nil, nil)
	if err != nil || got.Status != 404 || string(got.Payload) != "null" || got.RequestID != "r1" {
		t.Errorf("got %+v, %v", got, err)
	}
	transport.header.Set("X-Ms-Command-Statuscode", "many")
	if _, err := c.InvokeCommand(t.Context(), "d", "x", nil, nil); err == nil {
		t.Error("a status that is no number: no error")
	}
	transport.status = 404
	for component, want := range map[string]string{"": "invoke command x of d: ", "thermostat1": "invoke command x of d/thermostat1: "} {
		if _, err := c.command(t.Context(), "d", component, "x", nil, nil); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want it to begin with %q", err, want)
		}
	}
}

// Pages follow each other by their continuation, which counts, not their length; breaking out asks for no more.
func TestQueryPages(t *testing.T) {
	pages := map[string]struct{ body, next string }{"": {`[{"deviceId":"a"},{"deviceId":"b"}]`, "t1"}, "t1": {`[]`, "t2"}, "t2": {`[{"deviceId":"c"}]`, ""}}
	asked := 0
	c, err := NewClient(fakeString, &Options{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		asked++
		p := pages[r.Header.Get("x-ms-continuation")]
		h := http.Header{"X-Ms-Item-Type": {"Twin"}}
		if p.next != "" {
			h.Set("x-ms-continuation", p.next)
		}
		return &http.Response{StatusCode: 200, Header: h, Body: io.NopCloser(strings.NewReader(p.body)), Request: r}, nil
	})})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for twin, err := range c.QueryTwins(t.Context(), "SELECT * FROM devices") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, twin.DeviceID)
	}
	if strings.Join(got, "") != "abc" || asked != 3 {
		t.Errorf("got %v in %d pages, want a b c in 3", got, asked)
	}
	asked = 0
	for range c.Query(t.Context(), "SELECT * FROM devices") {
		break
	}
	if asked != 1 {
		t.Errorf("pages after a break: got %d, want 1", asked)
	}
	c, _ = newCanned(t, 400, `{"Message":"ErrorCode:ArgumentInvalid;BadRequest"}`)
	failed := 0
	for _, err := range c.QueryTwins(t.Context(), "SELECT") {
		if !HasCode(err, twinhub.CodeArgumentInvalid) {
			t.Errorf("got %v, want ArgumentInvalid", err)
		}
		failed++
	}
	if failed != 1 {
		t.Errorf("errors: got %d, want 1", failed)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A token serves until a fifth of its life is left.
func TestTokenRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, transport := newCanned(t, 200, "{}")
		began := time.Now()
		token := func() sas.Token {
			t.Helper()
			if _, err := c.GetTwin(t.Context(), "d"); err != nil {
				t.Fatal(err)
			}
			token, err := sas.Parse(transport.last.Header.Get("Authorization"))
			if err != nil {
				t.Fatal(err)
			}
			return token
		}
		first := token()
		if first.URI != "hub.example" || first.KeyName != "service" || first.Expiry.Sub(began) != time.Hour {
			t.Errorf("token: got %v good for %v", first, first.Expiry.Sub(began))
		}
		time.Sleep(47 * time.Minute)
		if again := token(); again.Expiry != first.Expiry {
			t.Error("a token was signed while the last one had a quarter of its life")
		}
		time.Sleep(time.Minute)
		if next := token(); time.Until(next.Expiry) != time.Hour {
			t.Errorf("after 48 min: token good for %v, want an hour", time.Until(next.Expiry))
		}
	})
}

// The hub may renegotiate, the system's roots count, and the caller's configuration stays as it is.
func TestTransport(t *testing.T) {
	given := &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS13}
	for _, o := range []*Options{{}, {TLS: given}} {
		got := newTransport(o).TLSClientConfig
		if got.Renegotiation != tls.RenegotiateFreelyAsClient || got.InsecureSkipVerify || (got.RootCAs == nil) != (o.TLS == nil) {
			t.Errorf("renegotiation %v, roots %v, insecure %v", got.Renegotiation, got.RootCAs, got.InsecureSkipVerify)
		}
	}
	if given.Renegotiation != tls.RenegotiateNever {
		t.Error("the caller's configuration was changed")
	}
}

func TestNewClient(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"no host", "SharedAccessKeyName=x;SharedAccessKey=AAAA", "HostName is missing"},
		{"no key", "HostName=h;SharedAccessKeyName=x", "neither"},
		{"key not base64", "HostName=h;SharedAccessKeyName=x;SharedAccessKey=???", "not a shared access key"},
	} {
		if _, err := NewClient(tt.text, nil); err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "???") {
			t.Errorf("%s: got %v, want %q and no key", tt.name, err, tt.want)
		}
	}
	transport := &canned{status: 200, body: "{}"}
	c, err := NewClient("HostName=h", &Options{Transport: transport, Authorization: func(context.Context) (string, error) { return "Bearer x", nil }, UserAgent: "me"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.GetTwin(t.Context(), "d"); err != nil || transport.last.Header.Get("Authorization") != "Bearer x" || transport.last.Header.Get("User-Agent") != "me twinhub-go-service" {
		t.Errorf("got %v, headers %v", err, transport.last.Header)
	}
	c, err = NewClient("HostName=h", &Options{Transport: transport, Authorization: func(context.Context) (string, error) { return "", errors.New("no token") }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.GetTwin(t.Context(), "d"); err == nil || !strings.Contains(err.Error(), "no token") {
		t.Errorf("got %v, want the provider's error", err)
	}
}
