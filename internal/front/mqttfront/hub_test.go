package mqttfront

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/clock"
	"github.com/twinhub/twinhub/internal/core/auth"
	"github.com/twinhub/twinhub/internal/core/identity"
	"github.com/twinhub/twinhub/internal/core/method"
	"github.com/twinhub/twinhub/internal/core/registry"
	"github.com/twinhub/twinhub/internal/core/routing"
	"github.com/twinhub/twinhub/internal/core/session"
	"github.com/twinhub/twinhub/internal/core/telemetry"
	"github.com/twinhub/twinhub/internal/core/twin"
	"github.com/twinhub/twinhub/internal/engine"
	"github.com/twinhub/twinhub/internal/engine/local"
	"github.com/twinhub/twinhub/internal/eventlog"
	"github.com/twinhub/twinhub/internal/jsondoc"
	"github.com/twinhub/twinhub/internal/sas"
	"github.com/twinhub/twinhub/internal/trust"
	"github.com/twinhub/twinhub/internal/wire/amqp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// hubHost is the host name of test hubs.
const hubHost = "localhost"

// A testHub is the core over an engine in memory, with a Front that listens.
type testHub struct {
	*Front
	engine   *slowEngine
	log      *logBuffer
	registry *registry.Service
	twins    *twin.Service
	methods  *method.Service
	trust    *trust.Trust
	listener interface {
		net.Listener
		dial(testing.TB) net.Conn
	}
	disk vfs.FS
	stop func()
}

// slowEngine is an engine whose answers a test can hold back.
type slowEngine struct {
	engine.Engine

	mu      sync.Mutex
	holds   func(engine.Commit) bool // nil: nothing is held
	waiting []func()
	arrived chan struct{} // a token for each answer that is held
}

func (e *slowEngine) Submit(c engine.Commit, done func(engine.Result, error)) {
	e.Engine.Submit(c, func(r engine.Result, err error) {
		e.mu.Lock()
		if e.holds != nil && e.holds(c) {
			e.waiting = append(e.waiting, func() { done(r, err) })
			e.mu.Unlock()
			e.arrived <- struct{}{}
			return
		}
		e.mu.Unlock()
		done(r, err)
	})
}

// hold holds back the answers to commits that match.
func (e *slowEngine) hold(match func(engine.Commit) bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.holds = match
}

// release gives the answers that are held, and holds no more.
func (e *slowEngine) release() {
	e.mu.Lock()
	waiting := e.waiting
	e.waiting, e.holds = nil, nil
	e.mu.Unlock()
	for _, answer := range waiting {
		answer()
	}
}

// telemetryCommits matches commits that only append.
func telemetryCommits(c engine.Commit) bool { return len(c.Appends) > 0 && len(c.Writes) == 0 }

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

// pipeListener is a net.Listener of in-memory connections, which work in a synctest bubble.
type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case nc := <-l.conns:
		return nc, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Net: "pipe"} }

// dial returns the client's end of a new connection.
func (l *pipeListener) dial(testing.TB) net.Conn {
	client, server := net.Pipe()
	select {
	case l.conns <- server:
	case <-l.done:
		server.Close()
	}
	return client
}

// tcpListener is a listener of real connections, which a poll.Loop serves where there is one.
type tcpListener struct{ net.Listener }

func (l tcpListener) dial(t testing.TB) net.Conn {
	t.Helper()
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return nc
}

// listen makes a listener: of pipes in a bubble of synctest, whose clock begins in the year 2000, and else of TCP.
func listen(t testing.TB) interface {
	net.Listener
	dial(testing.TB) net.Conn
} {
	t.Helper()
	if time.Now().Year() == 2000 {
		return newPipeListener()
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return tcpListener{l}
}

// hubOptions change what newHub makes.
type hubOptions struct {
	sources []twinhub.Source                  // routed to the built-in endpoint
	disk    vfs.FS                            // of an earlier hub
	sign    time.Duration                     // sign-in time
	store   func(engine.Engine) engine.Engine // what telemetry is sent to, unless nil
}

// newHub starts a hub that ends with the test.
func newHub(t testing.TB, o hubOptions) *testHub {
	t.Helper()
	h := &testHub{log: &logBuffer{}, disk: o.disk}
	if h.disk == nil {
		h.disk = vfs.NewMem()
	}
	logger := slog.New(slog.NewTextHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	c := clock.System{}
	e, err := local.Open(local.Options{Dir: "data", FS: h.disk, Clock: c})
	if err != nil {
		t.Fatalf("open engine: %v", err)
	}
	h.engine = &slowEngine{Engine: e, arrived: make(chan struct{}, 10000)}
	if h.trust, err = trust.Open(trust.Options{}); err != nil {
		t.Fatalf("make certificates: %v", err)
	}
	var routes routing.Config
	for _, s := range o.sources {
		routes.Routes = append(routes.Routes, routing.Route{Name: string(s), Source: s, Endpoint: routing.BuiltIn})
	}
	router, err := routing.New(routes)
	if err != nil {
		t.Fatalf("make router: %v", err)
	}
	sessions := session.New(session.Options{Engine: h.engine, Router: router, Clock: c, Logger: logger, HubName: "hub"})
	if err := sessions.Recover(context.Background()); err != nil {
		t.Fatalf("recover sessions: %v", err)
	}
	h.twins = twin.New(twin.Options{Engine: h.engine, Router: router, Sessions: sessions, Clock: c, Logger: logger, HubName: "hub"})
	h.registry = registry.New(registry.Options{Engine: h.engine, Router: router, Sessions: sessions, Clock: c, HubName: "hub"})
	h.methods = method.New(h.engine, sessions)
	policies := auth.BuiltInPolicies()
	for n := range policies {
		policies[n].PrimaryKey, policies[n].SecondaryKey = keyFor(policies[n].Name), keyFor(policies[n].Name+"2")
	}
	var store engine.Engine = h.engine
	if o.store != nil {
		store = o.store(store)
	}
	h.Front = New(Options{
		TLS: h.trust.ServerConfig(), Hosts: h.trust.Hostnames(),
		Auth:     auth.New(h.engine, c, h.trust.Hostnames(), policies),
		Refusals: auth.NewRefusals(logger), Sessions: sessions,
		Telemetry: telemetry.New(store, router, c), Twins: h.twins, Clock: c, Logger: logger,
	})
	if o.sign != 0 {
		h.signInTime = o.sign
	}
	h.listener = listen(t)
	ctx, cancel := context.WithCancel(context.Background())
	served, stored := make(chan error, 1), make(chan error, 1)
	go func() { served <- h.Serve(ctx, h.listener) }()
	directory, stopDirectory := context.WithCancel(context.Background())
	go func() { stored <- sessions.Run(directory) }()
	h.stop = sync.OnceFunc(func() {
		cancel()
		h.engine.release()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
		stopDirectory()
		if err := <-stored; err != nil {
			t.Errorf("sessions: %v", err)
		}
		if err := e.Close(); err != nil {
			t.Errorf("close engine: %v", err)
		}
		if err := h.trust.Close(); err != nil {
			t.Errorf("close trust: %v", err)
		}
	})
	t.Cleanup(h.stop)
	return h
}

// forgetRefusals makes the next refusal a line in the log, whatever came before. No connection may be open.
func (h *testHub) forgetRefusals() { h.Refusals = auth.NewRefusals(h.Logger) }

// keyFor returns the key of a policy or identity of test hubs, as text.
func keyFor(name string) string {
	key := sha256.Sum256([]byte(name))
	return base64.StdEncoding.EncodeToString(key[:])
}

// create makes a device whose keys are keyFor its name and keyFor its name + "2".
func (h *testHub) create(t testing.TB, id string) {
	t.Helper()
	primary, secondary := keyFor(id), keyFor(id+"2")
	spec := &registry.Spec{DeviceID: id, Authentication: &registry.Authentication{
		Type: identity.AuthSAS, SymmetricKey: registry.SymmetricKey{PrimaryKey: &primary, SecondaryKey: &secondary},
	}}
	if _, err := h.registry.Put(context.Background(), spec, ""); err != nil {
		t.Fatalf("create %s: %v", id, err)
	}
}

// createModule makes a module, whose key is keyFor its id.
func (h *testHub) createModule(t testing.TB, id twinhub.ID) {
	t.Helper()
	i := &identity.Identity{
		DeviceID: id.Device, ModuleID: id.Module, Version: 1, GenerationID: "1", Status: identity.Enabled,
		Auth: identity.Auth{Type: identity.AuthSAS, PrimaryKey: keyFor(id.String())},
	}
	record, err := i.Write(engine.Absent)
	if err != nil {
		t.Fatal(err)
	}
	document, err := twin.NewDocument(time.Now(), "", jsondoc.Null(), jsondoc.Null())
	if err != nil {
		t.Fatal(err)
	}
	stored, err := document.Write(id, engine.Absent)
	if err != nil {
		t.Fatal(err)
	}
	c := engine.Commit{Partition: engine.PartitionOf(h.engine, id.Device), Writes: []engine.Write{record, stored}}
	if _, err := engine.Do(context.Background(), h.engine, c); err != nil {
		t.Fatalf("create %s: %v", id, err)
	}
}

// sign returns a token for a resource, made with the key of that name and good for life.
func sign(t testing.TB, resource, keyName, policy string, life time.Duration) string {
	t.Helper()
	key, err := sas.HubKey(keyFor(keyName))
	if err != nil {
		t.Fatalf("key of %s: %v", keyName, err)
	}
	return sas.Sign(resource, key, policy, time.Now().Add(life))
}

// deviceToken returns the token with which an identity signs in.
func deviceToken(t testing.TB, id twinhub.ID) string {
	t.Helper()
	return sign(t, sas.DeviceResource(hubHost, id.Device, id.Module), id.String(), "", time.Hour)
}

// events returns the events of a device's partition.
func (h *testHub) events(t testing.TB, device string) []*amqp.Message {
	t.Helper()
	records, err := h.engine.Read(engine.PartitionOf(h.engine, device), eventlog.Name, 0, 10000, 1<<30)
	if err != nil {
		t.Fatalf("read events: %v", err)
	}
	list := make([]*amqp.Message, len(records))
	for n, r := range records {
		b, err := eventlog.AppendMessage(nil, r)
		if err != nil {
			t.Fatalf("event %d: %v", n, err)
		}
		if list[n], err = amqp.DecodeMessage(b); err != nil {
			t.Fatalf("event %d: %v", n, err)
		}
	}
	return list
}

// awaitEvents returns the first n events of a device's partition once they are there.
func (h *testHub) awaitEvents(t testing.TB, device string, n int) []*amqp.Message {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := h.engine.Await(ctx, engine.PartitionOf(h.engine, device), eventlog.Name, uint64(n)-1); err != nil {
		t.Fatalf("await %d events: %v, have %d", n, err, len(h.events(t, device)))
	}
	return h.events(t, device)[:n]
}

// eventually waits until the condition holds, which nothing announces.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// mustRouter returns a router that sends telemetry to the built-in endpoint.
func mustRouter(t testing.TB) *routing.Router {
	t.Helper()
	r, err := routing.New(routing.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}
