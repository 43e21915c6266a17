package system

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// dialer connects to a door whatever address the client believes in.
func (h *hub) dialer(door string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, h.doors[door])
	}
}

// An answer is a response of the REST API, read to its end.
type answer struct {
	status int
	header http.Header
	body   string
}

// do sends a request as iothubowner, unless a header says otherwise. Headers are names and values by turns; an empty
// value removes the header.
func (h *hub) do(ctx context.Context, method, path, body string, header ...string) (answer, error) {
	mark := "?"
	if strings.Contains(path, "?") {
		mark = "&"
	}
	var source io.Reader
	if body != "" {
		source = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, "https://"+host+path+mark+"api-version=2021-04-12", source)
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Authorization", h.token)
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
		if header[i+1] == "" {
			req.Header.Del(header[i])
		}
	}
	res, err := h.client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return answer{}, fmt.Errorf("%s %s: read answer: %w", method, path, err)
	}
	return answer{status: res.StatusCode, header: res.Header, body: string(text)}, nil
}

// must is do for a request that has to be answered with 200.
func (h *hub) must(t testing.TB, method, path, body string, header ...string) answer {
	t.Helper()
	a, err := h.do(t.Context(), method, path, body, header...)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	if a.status != http.StatusOK {
		t.Fatalf("%s %s: got %d %s, want 200", method, path, a.status, a.body)
	}
	return a
}

// newKey returns the text of a random device key.
func (h *hub) newKey() string {
	raw := make([]byte, 32)
	rand.Read(raw)
	key := base64.StdEncoding.EncodeToString(raw)
	h.secrets.add(key)
	return key
}

// identityBody is the body that creates a device.
func identityBody(id, key string) string {
	return fmt.Sprintf(`{"deviceId":%q,"status":"enabled","authentication":{"type":"sas","symmetricKey":{"primaryKey":%q,"secondaryKey":%q}}}`, id, key, key)
}

// register makes a device and returns its key. The end of the test deletes it from the shared hub.
func (h *hub) register(t testing.TB, id string) string {
	t.Helper()
	key := h.newKey()
	h.create(t, id, identityBody(id, key))
	return key
}

// create is register for a body of any kind.
func (h *hub) create(t testing.TB, id, body string) {
	t.Helper()
	h.must(t, http.MethodPut, "/devices/"+url.PathEscape(id), body)
	if !h.isShared() {
		return
	}
	t.Cleanup(func() {
		a, err := h.do(background, http.MethodDelete, "/devices/"+url.PathEscape(id), "", "If-Match", "*")
		if err != nil || a.status != http.StatusNoContent {
			t.Errorf("delete %s: got %d %s (%v), want 204", id, a.status, a.body, err)
		}
	})
}

// twin is what the tests look at of a twin.
type twin struct {
	ETag            string `json:"etag"`
	Version         int64  `json:"version"`
	ConnectionState string `json:"connectionState"`
	Tags            struct {
		P int64 `json:"p"`
	} `json:"tags"`
	Properties struct {
		Desired, Reported struct {
			P       int64 `json:"p"`
			Version int64 `json:"$version"`
		}
	} `json:"properties"`
}

// device is what the tests look at of an identity.
type device struct {
	DeviceID        string `json:"deviceId"`
	ETag            string `json:"etag"`
	StatusReason    string `json:"statusReason"`
	ConnectionState string `json:"connectionState"`
}

// decode reads JSON that the hub has written.
func decode[T any](t testing.TB, text string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("not the JSON expected: %v: %.300s", err, text)
	}
	return v
}

// background is for what runs when a test's own context has ended.
var background = context.Background()
