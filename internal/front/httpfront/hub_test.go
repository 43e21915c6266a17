package httpfront

import (
	"bytes"
	"context"
	"encoding/base64"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/clock"
	"github.com/twinhub/twinhub/internal/core/auth"
	"github.com/twinhub/twinhub/internal/core/digitaltwin"
	"github.com/twinhub/twinhub/internal/core/index"
	"github.com/twinhub/twinhub/internal/core/method"
	"github.com/twinhub/twinhub/internal/core/registry"
	"github.com/twinhub/twinhub/internal/core/routing"
	"github.com/twinhub/twinhub/internal/core/session"
	"github.com/twinhub/twinhub/internal/core/twin"
	"github.com/twinhub/twinhub/internal/engine"
	"github.com/twinhub/twinhub/internal/engine/local"
	"github.com/twinhub/twinhub/internal/sas"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// hubHost is the host name of test hubs.
const hubHost = "hub.example.net"

// version is the query that most requests of tests carry.
const version = "?api-version=2021-04-12"

// A testHub is the core over an engine in memory, with a Front.
type testHub struct {
	*Front
	engine   *local.Engine
	sessions *session.Directory
	clock    *testClock
	log      *logBuffer
}

// testClock is hub time that stands still.
type testClock struct {
	clock.System
	mu  sync.Mutex
	now time.Time
}

func (c *testClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *testClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// logBuffer keeps what the hub logs.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// policyKey returns the primary key of a policy of test hubs.
func policyKey(policy string) string {
	return base64.StdEncoding.EncodeToString([]byte("0123456789abcdef key of " + policy))
}

// newHub starts a hub that ends with the test.
func newHub(t *testing.T) *testHub {
	t.Helper()
	h := &testHub{clock: &testClock{now: time.Date(2026, 3, 4, 5, 6, 7, 891234500, time.UTC)}, log: &logBuffer{}}
	logger := slog.New(slog.NewTextHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	e, err := local.Open(local.Options{Dir: "data", FS: vfs.NewMem(), Clock: h.clock})
	if err != nil {
		t.Fatalf("open engine: %v", err)
	}
	router, err := routing.New(routing.Config{Routes: []routing.Route{{Name: "lifecycle", Source: twinhub.DeviceLifecycle, Endpoint: routing.BuiltIn}}})
	if err != nil {
		t.Fatalf("make router: %v", err)
	}
	sessions := session.New(session.Options{Engine: e, Router: router, Clock: h.clock, Logger: logger, HubName: "hub"})
	twins := twin.New(twin.Options{Engine: e, Router: router, Sessions: sessions, Clock: h.clock, Logger: logger, HubName: "hub", View: digitaltwin.View{}})
	pages, err := index.New(index.Options{Engine: e, Twins: twins, Key: bytes.Repeat([]byte("k"), 32)})
	if err != nil {
		t.Fatalf("make index: %v", err)
	}
	policies := auth.BuiltInPolicies()
	for n := range policies {
		policies[n].PrimaryKey, policies[n].SecondaryKey = policyKey(policies[n].Name), policyKey(policies[n].Name+"2")
	}
	h.engine, h.sessions = e, sessions
	h.Front = New(Options{
		Auth: auth.New(e, h.clock, []string{hubHost}, policies), Refusals: auth.NewRefusals(logger),
		Registry: registry.New(registry.Options{Engine: e, Router: router, Sessions: sessions, Clock: h.clock, HubName: "hub"}),
		Twins:    twins, DigitalTwins: digitaltwin.New(twins), Methods: method.New(e, sessions),
		Index: pages, Clock: h.clock, Logger: logger,
	})
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan error, 1)
	go func() { stopped <- sessions.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-stopped // an engine that a test has closed makes it fail
		if err := e.Close(); err != nil && err != engine.ErrClosed {
			t.Errorf("close engine: %v", err)
		}
	})
	return h
}

// token returns a token of a policy for a resource of the hub ("" is all of it), good for an hour.
func (h *testHub) token(t *testing.T, policy, resource string) string {
	t.Helper()
	key, err := sas.HubKey(policyKey(policy))
	if err != nil {
		t.Fatalf("key of %s: %v", policy, err)
	}
	return sas.Sign(hubHost+resource, key, policy, h.clock.Now().Add(time.Hour))
}

// An answer is a response with its body.
type answer struct {
	status int
	header http.Header
	body   string
}

// send serves a request. headers are "Name: value"; without Authorization it is of the owner's policy.
func (h *testHub) send(t *testing.T, method, target, body string, headers ...string) answer {
	t.Helper()
	var content io.Reader
	if body != "" {
		content = strings.NewReader(body)
	}
	r := httptest.NewRequest(method, target, content)
	r.Host = hubHost
	r.Header.Set("Authorization", h.token(t, auth.OwnerPolicy, ""))
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ":")
		if value = strings.TrimSpace(value); value == "" {
			r.Header.Del(name)
			continue
		}
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return answer{status: w.Code, header: w.Header(), body: w.Body.String()}
}

// create makes a device.
func (h *testHub) create(t *testing.T, id string) {
	t.Helper()
	if _, err := h.registry.Put(t.Context(), &registry.Spec{DeviceID: id}, ""); err != nil {
		t.Fatalf("create %s: %v", id, err)
	}
}

// A fakeDevice is a connected device; answer, if set, takes method calls.
type fakeDevice struct {
	answer func(ctx context.Context, call session.Call) (session.Reply, error)

	mu      sync.Mutex
	calls   []session.Call
	desired []string
	closed  []session.Reason
	session *session.Session
}

// connect opens a session of a device; it listens for methods when it has an answer.
func (h *testHub) connect(t *testing.T, id string, d *fakeDevice) *fakeDevice {
	t.Helper()
	d.session = h.sessions.Open(twinhub.ID{Device: id}, d)
	d.session.SetMethods(d.answer != nil)
	t.Cleanup(d.session.Close)
	return d
}

func (d *fakeDevice) Desired(_ int64, patch []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.desired = append(d.desired, string(patch))
}

func (d *fakeDevice) Invoke(ctx context.Context, call session.Call) (session.Reply, error) {
	d.mu.Lock()
	d.calls = append(d.calls, call)
	d.mu.Unlock()
	return d.answer(ctx, call)
}

func (d *fakeDevice) Close(reason session.Reason) {
	d.mu.Lock()
	d.closed = append(d.closed, reason)
	d.mu.Unlock()
	d.session.Close()
}
