package system

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/twinhub/twinhub"
)

// A request that has to be refused.
type request struct {
	name, method, path, body string
	header                   []string
	code                     twinhub.Code
	enveloped                bool // the error stands as JSON text in Message, as for methods and whoever is not let in
}

var (
	plainMessage = regexp.MustCompile(`^ErrorCode:([A-Za-z]+);.+`)
	tracking     = regexp.MustCompile(`^Tracking ID:[0-9a-f]{32}-G:0-TimeStamp:\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$`)
)

// refuse sends each request and expects the refusal, in the form that clients parse.
func refuse(t *testing.T, h *hub, requests []request) {
	t.Helper()
	for _, r := range requests {
		t.Run(r.name, func(t *testing.T) {
			a, err := h.do(t.Context(), r.method, r.path, r.body, r.header...)
			if err != nil {
				t.Fatal(err)
			}
			checkRefusal(t, a, r.code, r.enveloped)
		})
	}
}

func checkRefusal(t testing.TB, a answer, code twinhub.Code, enveloped bool) {
	t.Helper()
	if a.status != code.Status() || a.header.Get("iothub-errorcode") != code.String() || a.header.Get("IotHubErrorCode") != code.String() {
		t.Errorf("got %d %q %s, want %d %s", a.status, a.header.Get("iothub-errorcode"), a.body, code.Status(), code)
	}
	body := decode[struct{ Message, ExceptionMessage string }](t, a.body)
	if !enveloped {
		if m := plainMessage.FindStringSubmatch(body.Message); m == nil || m[1] != code.String() || !tracking.MatchString(body.ExceptionMessage) {
			t.Errorf("body: got %s, want Message ErrorCode:%s;... and a tracking id", a.body, code)
		}
		return
	}
	inner := decode[struct {
		ErrorCode                         twinhub.Code
		TrackingID, Message, TimestampUTC string
	}](t, body.Message)
	if inner.ErrorCode != code || inner.Message == "" || inner.TrackingID == "" || inner.TimestampUTC == "" {
		t.Errorf("body: got %s, want errorCode %d with message, tracking id and time", a.body, code)
	}
}

// unchanged expects that nothing of a device and its twin changes until the test ends.
func unchanged(t testing.TB, h *hub, id string) {
	t.Helper()
	read := func() string {
		twin := h.must(t, http.MethodGet, "/twins/"+id, "")
		return twin.header.Get("ETag") + twin.body + h.must(t, http.MethodGet, "/devices/"+id, "").body
	}
	before := read()
	t.Cleanup(func() {
		// The test's context has ended; a request of its own is needed.
		twin, err := h.do(background, http.MethodGet, "/twins/"+id, "")
		identity, err2 := h.do(background, http.MethodGet, "/devices/"+id, "")
		if after := twin.header.Get("ETag") + twin.body + identity.body; err != nil || err2 != nil || after != before {
			t.Errorf("what was refused changed something (%v, %v): got\n%s\nwant\n%s", err, err2, after, before)
		}
	})
}

func TestBadJSON(t *testing.T) {
	h := sharedHub(t)
	watch(t, h)
	h.register(t, "bad-json")
	unchanged(t, h, "bad-json")
	broken := []struct{ name, body string }{
		{"cut", `{"tags":{"a":1`}, {"trailing comma", `{"tags":{"a":1},}`}, {"single quotes", `{'tags':{}}`}, {"two documents", `{} {}`},
		{"NaN", `{"tags":{"a":NaN}}`}, {"not UTF-8", "{\"tags\":{\"a\":\"\xff\"}}"}, {"same name twice", `{"tags":{"a":1,"a":2}}`},
		{"NUL", "{\"tags\":{\"a\":\"\x00\"}}"}, {"array", `[]`}, {"number", `7`}, {"nothing", ``},
	}
	var list []request
	for _, b := range broken {
		list = append(list, request{"twin PATCH: " + b.name, http.MethodPatch, "/twins/bad-json", b.body, nil, twinhub.CodeArgumentInvalid, false},
			request{"twin PUT: " + b.name, http.MethodPut, "/twins/bad-json", b.body, nil, twinhub.CodeArgumentInvalid, false})
		code := twinhub.CodeArgumentInvalid
		if b.body == "" {
			code = twinhub.CodeArgumentNull
		}
		list = append(list, request{"method: " + b.name, http.MethodPost, "/twins/bad-json/methods", b.body, nil, code, true})
		if b.name == "same name twice" {
			continue // members that an identity does not have are passed over
		}
		list = append(list, request{"identity: " + b.name, http.MethodPut, "/devices/bad-json", b.body, nil, code, false},
			request{"query: " + b.name, http.MethodPost, "/devices/query", b.body, nil, code, false})
	}
	list = append(list,
		request{"digital twin: cut", http.MethodPatch, "/digitaltwins/bad-json", `[{"op":"add"`, nil, twinhub.CodeInvalidDigitalTwinJsonPatch, false},
		request{"digital twin: object", http.MethodPatch, "/digitaltwins/bad-json", `{}`, nil, twinhub.CodeInvalidDigitalTwinJsonPatch, false},
	)
	refuse(t, h, list)
}

// nested returns objects in objects, n of them, around a number.
func nested(n int) string { return strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n) }

func TestDeepAndLargeTwins(t *testing.T) {
	h := sharedHub(t)
	watch(t, h)
	h.register(t, "deep")
	// At the limits all is well: the bounds that are refused below are the right ones.
	h.must(t, http.MethodPatch, "/twins/deep", `{"properties":{"desired":{"a":`+nested(9)+`}}}`)
	h.must(t, http.MethodPatch, "/twins/deep", `{"tags":{"s":"`+strings.Repeat("x", 4096)+`"}}`)
	unchanged(t, h, "deep")
	many := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `"k%d":"%s",`, i, strings.Repeat("x", 4000))
		}
		return strings.TrimSuffix(b.String(), ",")
	}
	patch := func(name, body string, code twinhub.Code) request {
		return request{name, http.MethodPatch, "/twins/deep", body, nil, code, false}
	}
	refuse(t, h, []request{
		patch("11 objects", `{"properties":{"desired":{"a":`+nested(11)+`}}}`, twinhub.CodeArgumentInvalid),
		patch("100,000 objects", `{"properties":{"desired":{"a":`+nested(100_000)+`}}}`, twinhub.CodeArgumentInvalid),
		patch("100,000 arrays", `{"tags":{"a":`+strings.Repeat("[", 100_000)+strings.Repeat("]", 100_000)+`}}`, twinhub.CodeArgumentInvalid),
		patch("never closed", `{"tags":{"a":`+strings.Repeat("[", 1_000_000), twinhub.CodeArgumentInvalid),
		patch("tags over 8 KiB", `{"tags":{`+many(3)+`}}`, twinhub.CodeArgumentInvalid),
		patch("desired over 32 KiB", `{"properties":{"desired":{`+many(9)+`}}}`, twinhub.CodeArgumentInvalid),
		patch("string over 4 KiB", `{"tags":{"s":"`+strings.Repeat("x", 4097)+`"}}`, twinhub.CodeArgumentInvalid),
		patch("body over 2 MiB", `{"tags":{}}`+strings.Repeat(" ", 2<<20), twinhub.CodeMessageTooLarge),
		patch("body of 64 MiB", `{"tags":{}}`+strings.Repeat(" ", 64<<20), twinhub.CodeMessageTooLarge),
		{"identity over 64 KiB", http.MethodPut, "/devices/deep", identityBody("deep", h.newKey()) + strings.Repeat(" ", 64<<10), nil, twinhub.CodeMessageTooLarge, false},
		{"method payload over 128 KiB", http.MethodPost, "/twins/deep/methods", `{"methodName":"m","payload":"` + strings.Repeat("x", 300<<10) + `"}`, nil, twinhub.CodeMessageTooLarge, true},
	})
}

func TestIllegalKeys(t *testing.T) {
	h := sharedHub(t)
	watch(t, h)
	h.register(t, "keys")
	h.must(t, http.MethodPatch, "/twins/keys", `{"tags":{"`+strings.Repeat("k", 1024)+`":1,"":2,"ключ":3}}`)
	unchanged(t, h, "keys")
	var list []request
	for name, key := range map[string]string{"dot": "a.b", "dollar": "$a", "hash": "a#b", "space": "a b", "control": `a\u0001b`, "C1 control": `a\u0085b`, "long": strings.Repeat("k", 1025)} {
		for _, section := range []string{`{"tags":{"%s":1}}`, `{"properties":{"desired":{"%s":1}}}`, `{"properties":{"desired":{"deep":[{"%s":1}]}}}`} {
			list = append(list, request{name + " in " + section, http.MethodPatch, "/twins/keys", fmt.Sprintf(section, key), nil, twinhub.CodeArgumentInvalid, false})
		}
	}
	refuse(t, h, append(list,
		request{"null in array", http.MethodPatch, "/twins/keys", `{"tags":{"a":[1,[null]]}}`, nil, twinhub.CodeArgumentInvalid, false},
		request{"digital twin root property", http.MethodPatch, "/digitaltwins/keys", `[{"op":"add","path":"/a.b","value":1}]`, nil, twinhub.CodeInvalidDigitalTwinPatchPath, false},
		request{"device id with a slash", http.MethodPut, "/devices/a%20b", identityBody("a b", h.newKey()), nil, twinhub.CodeArgumentInvalid, false},
		request{"device id of 129 characters", http.MethodGet, "/devices/" + strings.Repeat("d", 129), "", nil, twinhub.CodeArgumentInvalid, false},
	))
}

func TestWrongContentType(t *testing.T) {
	h := sharedHub(t)
	watch(t, h)
	h.register(t, "media")
	unchanged(t, h, "media")
	var list []request
	for _, media := range []string{"text/plain", "application/xml", "application/x-www-form-urlencoded", "application/json; charset=utf-16", "application/octet-stream", "json", "application/json;;=", "\xff"} {
		header := []string{"Content-Type", media}
		list = append(list,
			request{"twin as " + media, http.MethodPatch, "/twins/media", `{"tags":{"a":1}}`, header, twinhub.CodeGenericUnsupportedMediaType, false},
			request{"identity as " + media, http.MethodPut, "/devices/media2", identityBody("media2", h.newKey()), header, twinhub.CodeGenericUnsupportedMediaType, false},
			request{"method as " + media, http.MethodPost, "/twins/media/methods", `{"methodName":"m"}`, header, twinhub.CodeGenericUnsupportedMediaType, true},
		)
	}
	refuse(t, h, append(list, request{"nothing was made", http.MethodGet, "/devices/media2", "", nil, twinhub.CodeDeviceNotFound, false}))
}

func TestStaleETags(t *testing.T) {
	h := sharedHub(t)
	watch(t, h)
	key := h.register(t, "etags")
	old := decode[device](t, h.must(t, http.MethodGet, "/devices/etags", "").body).ETag
	h.must(t, http.MethodPut, "/devices/etags", identityBody("etags", key), "If-Match", `"*"`)
	oldTwin := h.must(t, http.MethodGet, "/twins/etags", "").header.Get("ETag")
	h.must(t, http.MethodPatch, "/twins/etags", `{"tags":{"a":1}}`, "If-Match", oldTwin)
	unchanged(t, h, "etags")
	var list []request
	for name, etag := range map[string]string{"old": oldTwin, "old and bare": strings.Trim(oldTwin, `"`), "of the identity": `"` + old + `"`, "not one": `"nonsense"`, "weak and old": "W/" + oldTwin} {
		header := []string{"If-Match", etag}
		list = append(list,
			request{"twin PATCH, " + name, http.MethodPatch, "/twins/etags", `{"tags":{"a":2}}`, header, twinhub.CodePreconditionFailed, false},
			request{"twin PUT, " + name, http.MethodPut, "/twins/etags", `{"tags":{"a":2}}`, header, twinhub.CodePreconditionFailed, false},
			request{"digital twin PATCH, " + name, http.MethodPatch, "/digitaltwins/etags", `[{"op":"add","path":"/a","value":1}]`, header, twinhub.CodePreconditionFailed, false},
			request{"identity PUT, " + name, http.MethodPut, "/devices/etags", identityBody("etags", key), header, twinhub.CodePreconditionFailed, false},
			request{"identity DELETE, " + name, http.MethodDelete, "/devices/etags", "", header, twinhub.CodePreconditionFailed, false},
		)
	}
	refuse(t, h, append(list,
		request{"DELETE without etag", http.MethodDelete, "/devices/etags", "", nil, twinhub.CodePreconditionFailed, false},
		request{"create what exists", http.MethodPut, "/devices/etags", identityBody("etags", key), nil, twinhub.CodeDeviceAlreadyExists, false},
	))
}

func TestOutOfRange(t *testing.T) {
	h := sharedHub(t)
	watch(t, h)
	h.register(t, "ranges")
	h.must(t, http.MethodPatch, "/twins/ranges", `{"tags":{"a":4503599627370495,"b":-4503599627370496,"c":1e300}}`)
	unchanged(t, h, "ranges")
	method := func(name, members string) request {
		return request{name, http.MethodPost, "/twins/ranges/methods", `{"methodName":"m",` + members + `}`, nil, twinhub.CodeArgumentInvalid, true}
	}
	refuse(t, h, []request{
		{"integer above 2^52-1", http.MethodPatch, "/twins/ranges", `{"tags":{"a":4503599627370496}}`, nil, twinhub.CodeArgumentInvalid, false},
		{"integer below -2^52", http.MethodPatch, "/twins/ranges", `{"properties":{"desired":{"a":-4503599627370497}}}`, nil, twinhub.CodeArgumentInvalid, false},
		{"integer of a thousand digits", http.MethodPatch, "/twins/ranges", `{"tags":{"a":` + strings.Repeat("9", 1000) + `}}`, nil, twinhub.CodeArgumentInvalid, false},
		method("response time-out 4 s", `"responseTimeoutInSeconds":4`),
		method("response time-out 301 s", `"responseTimeoutInSeconds":301`),
		method("connect time-out -1 s", `"connectTimeoutInSeconds":-1`),
		method("connect time-out 301 s", `"connectTimeoutInSeconds":301`),
		method("connect time-out above response time-out", `"connectTimeoutInSeconds":60,"responseTimeoutInSeconds":30`),
		method("time-out of half a second", `"responseTimeoutInSeconds":5.5`),
		method("time-out as text", `"responseTimeoutInSeconds":"30"`),
		{"command time-out 301 s", http.MethodPost, "/digitaltwins/ranges/commands/c?connectTimeoutInSeconds=301", `1`, nil, twinhub.CodeArgumentInvalid, true},
		{"command time-out as text", http.MethodPost, "/digitaltwins/ranges/commands/c?responseTimeoutInSeconds=long", `1`, nil, twinhub.CodeArgumentInvalid, true},
		{"device key of 15 bytes", http.MethodPut, "/devices/short", identityBody("short", "MTIzNDU2Nzg5MDEyMzQ1"), nil, twinhub.CodeArgumentInvalid, false},
		{"query of 8,193 characters", http.MethodPost, "/devices/query", `{"query":"SELECT * FROM devices` + strings.Repeat(" ", 8193-21) + `"}`, nil, twinhub.CodeArgumentInvalid, false},
		{"query page size 0", http.MethodPost, "/devices/query", `{"query":"SELECT * FROM devices"}`, []string{"x-ms-max-item-count", "0"}, twinhub.CodeArgumentInvalid, false},
	})
}

func TestUnknownDevices(t *testing.T) {
	h := sharedHub(t)
	watch(t, h)
	refuse(t, h, []request{
		{"identity", http.MethodGet, "/devices/nobody", "", nil, twinhub.CodeDeviceNotFound, false},
		{"delete", http.MethodDelete, "/devices/nobody", "", []string{"If-Match", "*"}, twinhub.CodeDeviceNotFound, false},
		{"update", http.MethodPut, "/devices/nobody", identityBody("nobody", h.newKey()), []string{"If-Match", "*"}, twinhub.CodeDeviceNotFound, false},
		{"twin", http.MethodGet, "/twins/nobody", "", nil, twinhub.CodeDeviceNotFound, false},
		{"twin PATCH", http.MethodPatch, "/twins/nobody", `{"tags":{}}`, nil, twinhub.CodeDeviceNotFound, false},
		{"digital twin", http.MethodGet, "/digitaltwins/nobody", "", nil, twinhub.CodeDeviceNotFound, false},
		{"digital twin PATCH", http.MethodPatch, "/digitaltwins/nobody", `[{"op":"add","path":"/a","value":1}]`, nil, twinhub.CodeDeviceNotFound, false},
		{"method", http.MethodPost, "/twins/nobody/methods", `{"methodName":"m"}`, nil, twinhub.CodeDeviceNotFound, true},
		{"command", http.MethodPost, "/digitaltwins/nobody/commands/c", `1`, nil, twinhub.CodeDeviceNotFound, true},
		{"unknown path", http.MethodGet, "/nowhere", "", nil, twinhub.CodeGenericNotFound, false},
		{"unknown method", http.MethodPost, "/devices/nobody", "{}", nil, twinhub.CodeGenericMethodNotAllowed, false},
	})
}
