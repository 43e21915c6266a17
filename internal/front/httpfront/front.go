// Package httpfront is the HTTPS service API: it turns requests of back ends and tools into calls of the core, and
// results into answers. It holds no business rules. Each operation group has a file, opened by its wire form; paths
// are in path.go, errors in error.go, admission in auth.go.
//
// A Front bounds each request body in size and time itself. The http.Server that carries it should have
// ReadHeaderTimeout 10 s, IdleTimeout 120 s and MaxHeaderBytes 32 KiB against idle strangers, and WriteTimeout 330 s: a
// method call may take 300 s before its answer is written. The Front must be given requests with their path as it came:
// not behind a http.ServeMux, which cleans paths and redirects.
package httpfront

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/clock"
	"github.com/twinhub/twinhub/internal/core/auth"
	"github.com/twinhub/twinhub/internal/core/digitaltwin"
	"github.com/twinhub/twinhub/internal/core/index"
	"github.com/twinhub/twinhub/internal/core/method"
	"github.com/twinhub/twinhub/internal/core/registry"
	"github.com/twinhub/twinhub/internal/core/twin"
)

// Bounds of request bodies, in bytes. Each is above what the operation's own limits can need.
const (
	maxDeviceBody      = 64 << 10  // an identity: ids, keys and scopes, a few KiB
	maxTwinBody        = 2 << 20   // a whole twin, which clients send back with its metadata; stored ones have at most 1 MiB
	maxDigitalTwinBody = 512 << 10 // a patch: desired properties hold 32 KiB, plus a path for each
	maxMethodBody      = 256 << 10 // a payload of 128 KiB in its envelope
	maxQueryBody       = 64 << 10  // a text of 8192 bytes, each perhaps written as \uXXXX
)

// bodyTimeout is how long a body may take to arrive once its header is there: the largest, over 1 Mbit/s, twice.
const bodyTimeout = 30 * time.Second

// jsonType is the content type of every answer with a body.
const jsonType = "application/json; charset=utf-8"

// Options are what a Front needs; all fields are required.
type Options struct {
	Auth         *auth.Authenticator
	Refusals     *auth.Refusals
	Registry     *registry.Service
	Twins        *twin.Service
	DigitalTwins *digitaltwin.Service
	Methods      *method.Service
	Index        *index.Service
	Clock        clock.Clock
	Logger       *slog.Logger
}

// Front serves the API. It is an http.Handler, keeps no state between requests and is safe for concurrent use.
type Front struct {
	auth         *auth.Authenticator
	refusals     *auth.Refusals
	registry     *registry.Service
	twins        *twin.Service
	digitalTwins *digitaltwin.Service
	methods      *method.Service
	index        *index.Service
	clock        clock.Clock
	log          *slog.Logger
	routes       []route
}

// New makes a Front.
func New(o Options) *Front {
	return &Front{
		auth: o.Auth, refusals: o.Refusals, registry: o.Registry, twins: o.Twins, digitalTwins: o.DigitalTwins,
		methods: o.Methods, index: o.Index, clock: o.Clock, log: o.Logger, routes: routes(),
	}
}

// A request is a http.Request with what the path said.
type request struct {
	*http.Request
	id     string // x-ms-request-id
	unread bool   // there is a body, not read to its end
	match
}

// device returns the device id of the path, or the error for one that no device can have.
func (r *request) device() (string, error) {
	id := r.ids["device"]
	return id, registry.CheckID(id)
}

// ServeHTTP implements http.Handler.
func (f *Front) ServeHTTP(w http.ResponseWriter, hr *http.Request) {
	r := &request{Request: hr, id: newRequestID()}
	r.boundBody(w)
	w.Header().Set("x-ms-request-id", r.id)
	segments, err := splitPath(hr)
	if err != nil {
		f.fail(w, r, twinhub.Errorf(twinhub.CodeGenericBadRequest, "Bad request: %v.", err), shapeA)
		return
	}
	m, ok := find(f.routes, hr.Method, segments)
	r.match = m
	switch {
	case !ok:
		f.absent(r, "this hub has no operation at the path")
		f.fail(w, r, twinhub.Errorf(twinhub.CodeGenericNotFound, "This hub has no operation at this path."), shapeA)
		return
	case m.handle == nil:
		f.absent(r, "this hub has no such operation at the path")
		slices.Sort(m.allow)
		w.Header().Set("Allow", strings.Join(m.allow, ", "))
		f.fail(w, r, twinhub.Errorf(twinhub.CodeGenericMethodNotAllowed, "The method %.20s is not allowed at this path; allowed are %s.", hr.Method, strings.Join(m.allow, ", ")), shapeA)
		return
	}
	if err := f.authorize(r, m.right); err != nil {
		f.fail(w, r, err, shapeC)
		return
	}
	if err := f.checkVersion(r, hr.URL.Query()); err != nil {
		f.fail(w, r, err, m.shape)
		return
	}
	if err := m.handle(f, w, r); err != nil {
		f.fail(w, r, err, m.shape)
	}
}

// absent logs a request for what this hub does not have: clients show the answer as a bare "Not found", or, when they
// asked for a WebSocket, not at all.
func (f *Front) absent(r *request, reason string) {
	f.refusals.Log("https", reason, "docs/compat.md lists what is not there yet; else look for a typing error in the URL",
		"remote", r.RemoteAddr, "method", cut(r.Method), "path", cut(r.URL.Path), "upgrade", cut(r.Header.Get("Upgrade")))
}

// cut shortens what a stranger wrote, for the log.
func cut(s string) string { return s[:min(len(s), 100)] }

// listModules answers for a device that exists: it has no modules, because this hub does not have them yet.
func (f *Front) listModules(w http.ResponseWriter, r *request) error {
	if err := f.noModule(w, r); !twinhub.HasCode(err, twinhub.CodeModuleNotFound) {
		return err
	}
	return f.answer(w, r, "", []byte("[]"))
}

// noModule answers for a module: that its device does not exist, or that it does not.
func (f *Front) noModule(_ http.ResponseWriter, r *request) error {
	id, err := r.device()
	if err != nil {
		return err
	}
	if _, err := f.registry.Get(r.Context(), id); err != nil {
		return err
	}
	return twinhub.Errorf(twinhub.CodeModuleNotFound, "This hub has no module identities.")
}

// boundBody bounds the time that the body may take to arrive, also when nobody asks for it: net/http reads on before it
// answers. When the body is there, net/http lifts the deadline.
func (r *request) boundBody(w http.ResponseWriter) {
	if r.Body == http.NoBody {
		return // net/http already waits for the client to go away: a deadline would end the request
	}
	r.unread = true
	// A ResponseWriter that is not of a connection has no deadlines, and no slow client either.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))
}

// body reads the body of a request: JSON of at most limit bytes, or nothing.
func (f *Front) body(w http.ResponseWriter, r *request, limit int64) ([]byte, error) {
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, twinhub.Errorf(twinhub.CodeMessageTooLarge, "The body has more than %d bytes, the most that this operation takes.", limit)
	case err != nil:
		w.Header().Set("Connection", "close")
		return nil, twinhub.Errorf(twinhub.CodeGenericBadRequest, "The body did not arrive whole within %v.", bodyTimeout)
	}
	r.unread = false
	if len(text) > 0 {
		return text, checkMedia(r.Header.Get("Content-Type"))
	}
	return text, nil
}

// checkMedia checks the type of a body: JSON in UTF-8, as it is also taken to be when the client does not say.
func checkMedia(contentType string) error {
	if contentType == "" {
		return nil
	}
	media, parameters, err := mime.ParseMediaType(contentType)
	isJSON := media == "application/json" || media == "text/json" || strings.HasSuffix(media, "+json")
	charset := strings.ToLower(parameters["charset"])
	if err == nil && isJSON && (charset == "" || charset == "utf-8" || charset == "utf8" || charset == "us-ascii") {
		return nil
	}
	return twinhub.Errorf(twinhub.CodeGenericUnsupportedMediaType, "The content type %.80q is not served; send %s.", contentType, jsonType)
}

// decode reads a JSON object into v, a pointer to a struct. Members that the struct does not have are passed over.
func decode(text []byte, v any) error {
	if len(text) == 0 {
		return twinhub.Errorf(twinhub.CodeArgumentNull, "The request has no body; send a JSON object.")
	}
	err := json.Unmarshal(text, v)
	var syntax *jsontext.SyntacticError
	var semantic *json.SemanticError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &syntax):
		return twinhub.Errorf(twinhub.CodeArgumentInvalid, "BadRequest: the body is not valid JSON at byte %d.", syntax.ByteOffset)
	case errors.As(err, &semantic) && semantic.JSONPointer != "":
		return twinhub.Errorf(twinhub.CodeArgumentInvalid, "BadRequest: the type of %.200s in the body is wrong.", semantic.JSONPointer)
	}
	return twinhub.Errorf(twinhub.CodeArgumentInvalid, "BadRequest: the body is not a JSON object.")
}

// answer sends a body of JSON with status 200. A bare etag becomes the ETag header; an empty one is left out.
func (f *Front) answer(w http.ResponseWriter, r *request, etag string, body []byte) error {
	w.Header().Set("Content-Type", jsonType)
	if etag != "" {
		w.Header().Set("ETag", `"`+etag+`"`)
	}
	f.write(w, r, http.StatusOK, body)
	return nil
}

// A client may take answerTime to read an answer, and longer for a large one: slowest is in bytes a second.
const (
	answerTime = 10 * time.Second
	slowest    = 1 << 20 / 8 // 1 Mbit/s
)

// write sends the status and the body of an answer. A client that does not take it loses its connection. Small clients
// cannot read chunks, so the length is always told.
func (f *Front) write(w http.ResponseWriter, r *request, status int, body []byte) {
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	deadline := time.Now().Add(answerTime + time.Duration(len(body))*time.Second/slowest)
	if r.unread {
		deadline = deadline.Add(bodyTimeout) // net/http waits for the rest of the body first
	}
	// A ResponseWriter that is not of a connection has no deadlines; net/http sets its own again for the next request.
	_ = http.NewResponseController(w).SetWriteDeadline(deadline)
	if _, err := w.Write(body); err != nil {
		f.log.Debug("answer not written", "request", r.id, "error", err)
	}
}

// answerValue is answer for a value that is yet to be encoded.
func (f *Front) answerValue(w http.ResponseWriter, r *request, etag string, value any) error {
	body, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	return f.answer(w, r, etag, body)
}
