package httpfront

import (
	"errors"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/core/identity"
	"github.com/twinhub/twinhub/internal/engine"
)

func TestErrorBody(t *testing.T) {
	const id = "01234567-89ab-4def-8123-456789abcdef"
	h := newHub(t)
	online := twinhub.Errorf(twinhub.CodeDeviceNotOnline, "not \"online\"; sorry")
	online.Timeout = "00:00:03"
	tests := []struct {
		name  string
		err   *twinhub.Error
		shape shape
		want  string
	}{
		{"A", twinhub.Errorf(twinhub.CodeDeviceNotFound, "Device d1 is not registered."), shapeA,
			`{"Message":"ErrorCode:DeviceNotFound;Device d1 is not registered.","ExceptionMessage":"Tracking ID:0123456789ab4def8123456789abcdef-G:0-TimeStamp:2026-03-04T05:06:07.8912345Z"}`},
		{"C without info", twinhub.Errorf(twinhub.CodeIotHubUnauthorizedAccess, "Unauthorized"), shapeC,
			`{"Message":"{\"errorCode\":401002,\"trackingId\":\"0123456789ab4def8123456789abcdef-TimeStamp:2026-03-04T05:06:07.8912345Z\",\"message\":\"Unauthorized\",\"info\":null,\"timestampUtc\":\"2026-03-04T05:06:07.8912345Z\"}","ExceptionMessage":""}`},
		{"C with info", online, shapeC,
			`{"Message":"{\"errorCode\":404103,\"trackingId\":\"0123456789ab4def8123456789abcdef-TimeStamp:2026-03-04T05:06:07.8912345Z\",\"message\":\"not \\\"online\\\"; sorry\",\"info\":{\"timeout\":\"00:00:03\"},\"timestampUtc\":\"2026-03-04T05:06:07.8912345Z\"}","ExceptionMessage":""}`},
		{"not UTF-8", twinhub.Errorf(twinhub.CodeArgumentInvalid, "bad \xff id"), shapeA,
			`{"Message":"ErrorCode:ArgumentInvalid;bad ` + "\uFFFD" + ` id","ExceptionMessage":"Tracking ID:0123456789ab4def8123456789abcdef-G:0-TimeStamp:2026-03-04T05:06:07.8912345Z"}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := string(errorBody(tt.err, tt.shape, id, h.clock.Now())); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// TestErrorHeadersAgree asks for many errors and compares what clients compare: status, headers, the name or number in
// the body, and the tracking id with the request id.
func TestErrorHeadersAgree(t *testing.T) {
	h := newHub(t)
	h.create(t, "d1")
	tests := []struct{ method, path, body, header string }{
		{http.MethodGet, "/devices/none" + version, "", ""},
		{http.MethodPut, "/devices/d1" + version, `{"deviceId":"d1"}`, ""},
		{http.MethodDelete, "/devices/d1" + version, "", ""},
		{http.MethodGet, "/devices/d1", "", ""},
		{http.MethodGet, "/nothing" + version, "", ""},
		{http.MethodPost, "/devices/d1" + version, "", ""},
		{http.MethodGet, "/twins/d1" + version, "", "Authorization: none"},
		{http.MethodPost, "/twins/d1/methods" + version, `{"methodName":"m"}`, ""},
		{http.MethodGet, "/twins/d1/modules/m" + version, "", ""},
		{http.MethodPut, "/devices/d1" + version, `<device/>`, "Content-Type: text/xml"},
		{http.MethodPatch, "/digitaltwins/d1" + version, `{}`, ""},
	}
	guid := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	for _, tt := range tests {
		t.Run(tt.method+" "+tt.path, func(t *testing.T) {
			var headers []string
			if tt.header != "" {
				headers = append(headers, tt.header)
			}
			a := h.send(t, tt.method, tt.path, tt.body, headers...)
			name := a.header.Get("iothub-errorcode")
			if name == "" || name != a.header.Get("IotHubErrorCode") {
				t.Errorf("headers name %q and %q", name, a.header.Get("IotHubErrorCode"))
			}
			if a.header.Get("Content-Type") != jsonType {
				t.Errorf("content type %q", a.header.Get("Content-Type"))
			}
			var body envelope
			if err := json.Unmarshal([]byte(a.body), &body); err != nil {
				t.Fatalf("body %s: %v", a.body, err)
			}
			requestID := a.header.Get("x-ms-request-id")
			if !guid.MatchString(requestID) || !strings.Contains(a.body, strings.ReplaceAll(requestID, "-", "")) {
				t.Errorf("request id %q, not in the body %s", requestID, a.body)
			}
			var inner detail
			if strings.HasPrefix(body.Message, "{") {
				if err := json.Unmarshal([]byte(body.Message), &inner); err != nil {
					t.Fatalf("message %s: %v", body.Message, err)
				}
				if inner.ErrorCode.String() != name || inner.ErrorCode.Status() != a.status {
					t.Errorf("body says %v, header %s, status %d", inner.ErrorCode, name, a.status)
				}
			} else if !strings.HasPrefix(body.Message, "ErrorCode:"+name+";") {
				t.Errorf("body says %s, header %s", body.Message, name)
			}
		})
	}
}

func TestInternalErrors(t *testing.T) {
	h := newHub(t)
	h.create(t, "d1")
	// A record that cannot be read is the hub's own trouble.
	c := engine.Commit{Partition: engine.PartitionOf(h.engine, "d2"), Writes: []engine.Write{{Key: identity.Key(twinhub.ID{Device: "d2"}), Value: []byte("secret garbage"), Expect: engine.Any}}}
	if _, err := engine.Do(t.Context(), h.engine, c); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/devices/d2", "/devices", "/statistics/devices", "/twins/d2"} {
		a := h.send(t, http.MethodGet, path+version, "")
		if a.status != 500 || a.header.Get("iothub-errorcode") != "ServerError" || strings.Contains(a.body, "garbage") {
			t.Errorf("%s: got %d %s, want 500 without details", path, a.status, a.body)
		}
		if log := h.log.String(); !strings.Contains(log, a.header.Get("x-ms-request-id")) {
			t.Errorf("%s: the log does not name the request", path)
		}
	}
	// Storage that has stopped is a 503 for reads and writes.
	if err := h.engine.Close(); err != nil {
		t.Fatal(err)
	}
	for _, method := range []string{http.MethodGet, http.MethodDelete} {
		a := h.send(t, method, "/devices/d1"+version, "", "If-Match: *")
		if a.status != 503 || a.header.Get("iothub-errorcode") != "ServiceUnavailable" {
			t.Errorf("%s: got %d %s, want 503", method, a.status, a.body)
		}
	}
}

// TestFailedEngine covers the error of writes after a failed sync.
func TestFailedEngine(t *testing.T) {
	h := newHub(t)
	r := &request{Request: (&http.Request{}).WithContext(t.Context())}
	if got := h.clientError(r, errors.Join(errors.New("store identity"), engine.ErrFailed)); got.Code != twinhub.CodeServiceUnavailable {
		t.Errorf("got %v, want 503001", got)
	}
}
