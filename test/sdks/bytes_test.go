package sdks

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azeventhubs/v2"
)

// TestBytes looks at payloads byte by byte, which no SDK's device client shows: what the service sends is what the device
// gets, and the device's answer is what the service gets.
func TestBytes(t *testing.T) {
	h := sharedHub(t)
	s := newService(t, h)
	d := s.connect(h, "bytes", s.register("bytes"), "dtmi:com:example:TemperatureController;1")
	payloads := []string{`null`, `0`, `false`, `""`, `{}`, `[]`, `1.0`, `1e3`, `-0.50`, `"2020-10-21T14:10:42Z"`, `"{\"a\": 1}"`,
		`{"temperature": 12}`, `{ "b" : [ 1.0 , null ] , "a" : "\u00e9" }`, `{"z":1,"a":{"y":[1,{}]}}`, `"é€😀"`}
	forms := []struct{ name, path, method, body string }{
		{"method", "/twins/bytes/methods", "act", `{"methodName":"act","payload":%s}`},
		{"command", "/digitaltwins/bytes/commands/act", "act", "%s"},
		{"component command", "/digitaltwins/bytes/components/thermostat1/commands/act", "thermostat1*act", "%s"},
	}
	for _, form := range forms {
		for _, payload := range payloads {
			t.Run(form.name+" "+payload, func(t *testing.T) {
				type result struct {
					status int
					body   []byte
					header http.Header
					err    error
				}
				done := make(chan result, 1)
				go func() {
					status, body, header, err := s.request(http.MethodPost, form.path, fmt.Sprintf(form.body, payload))
					done <- result{status, body, header, err}
				}()
				c := take(d, d.calls, "call")
				if c.name != form.method || c.payload != payload {
					t.Errorf("the device got %s %s, want %s %s", c.name, c.payload, form.method, payload)
				}
				d.answer(c, 202, payload)
				r := <-done
				if r.err != nil {
					t.Fatal(r.err)
				}
				want := payload
				if form.name == "method" {
					want = `{"status":202,"payload":` + payload + `}`
				} else if got := r.header.Get("x-ms-command-statuscode"); got != "202" {
					t.Errorf("x-ms-command-statuscode: got %q, want 202", got)
				}
				if r.status != http.StatusOK || string(r.body) != want || !strings.HasPrefix(r.header.Get("Content-Type"), "application/json") || r.header.Get("x-ms-request-id") == "" {
					t.Errorf("answer: got %d %s %v, want 200 %s", r.status, r.body, r.header, want)
				}
			})
		}
	}
	t.Run("desired", func(t *testing.T) {
		const patch = `{"a":1.0,"thermostat1":{"__t":"c","x":null},"z":{"y":[1e3,"é"]},"b":"{\"q\":1}"}`
		s.want(http.StatusOK, http.MethodPatch, "/twins/bytes", `{"properties":{"desired":`+patch+`}}`)
		want := strings.TrimSuffix(patch, "}") + `,"$version":2}`
		if got := take(d, d.desired, "desired patch"); got != want {
			t.Errorf("desired patch: got %s, want %s", got, want)
		}
	})
	t.Run("telemetry", func(t *testing.T) {
		c := consumer(t, h, true)
		before := heads(t, c)
		bodies := []string{`{"temperature": 12}`, "", "\x00\xff\xfe", strings.Repeat("x", 200_000), " spaced\r\n"}
		for _, body := range bodies {
			d.telemetry("", body)
		}
		partition := grown(t, c, before)
		last := before[partition]
		f := startFollow(t, c, partition, azeventhubs.StartPosition{SequenceNumber: &last})
		for i, want := range bodies {
			if got := string(f.nextOf(d.id).Body); got != want {
				t.Errorf("body %d: got %d bytes %.40q, want %d bytes %.40q", i, len(got), got, len(want), want)
			}
		}
	})
}
