package amqpfront

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	goamqp "github.com/Azure/go-amqp"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/clock"
	"github.com/twinhub/twinhub/internal/core/auth"
	"github.com/twinhub/twinhub/internal/engine"
	"github.com/twinhub/twinhub/internal/engine/local"
	"github.com/twinhub/twinhub/internal/eventlog"
	"github.com/twinhub/twinhub/internal/sas"
)

func TestMain(m *testing.M) {
	// Microsoft's client leaves a goroutine that renews the token for $management, also after Close.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction(
		"github.com/Azure/azure-sdk-for-go/sdk/messaging/azeventhubs/v2/internal.(*Namespace).startNegotiateClaimRenewer.func3"))
}

// What test hubs are called.
const (
	hubHost  = "hub.example.net"
	eventHub = "my-pnp-hub"
)

// created is when the data of test hubs were made.
var created = time.UnixMilli(1_600_000_000_000).UTC()

// A testFront is a Front over a real engine in memory. Connections are pipes, and time is that of the bubble.
type testFront struct {
	*Front
	t      *testing.T
	engine *local.Engine
	dials  pipeListener
	log    *logBuffer
	stop   func() // ends Serve and returns after it; may be called again
}

// bubble runs f in a bubble with a Front, which ends with it.
func bubble(t *testing.T, f func(t *testing.T, h *testFront)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newFront(t)) })
}

// policyKey returns the primary key of a policy of test hubs.
func policyKey(policy string) string {
	return base64.StdEncoding.EncodeToString([]byte("0123456789abcdef key of " + policy))
}

func newFront(t *testing.T) *testFront {
	t.Helper()
	h := &testFront{t: t, log: &logBuffer{}, dials: make(pipeListener)}
	e, err := local.Open(local.Options{Dir: "data", FS: vfs.NewMem()})
	if err != nil {
		t.Fatalf("open engine: %v", err)
	}
	policies := auth.BuiltInPolicies()
	for n := range policies {
		policies[n].PrimaryKey, policies[n].SecondaryKey = policyKey(policies[n].Name), policyKey(policies[n].Name+" 2")
	}
	logger := slog.New(slog.NewTextHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	h.engine = e
	h.Front = New(Options{
		TLS: &tls.Config{}, Hosts: []string{hubHost, "localhost"}, EventHub: eventHub, ConsumerGroups: []string{"$Default", "second"},
		Created: created, AMQPSPort: 5671, Engine: e, Auth: auth.New(e, clock.System{}, []string{hubHost, "localhost"}, policies),
		Refusals: auth.NewRefusals(logger), Clock: clock.System{}, Logger: logger,
	})
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- h.Serve(ctx, h.dials, true) }()
	h.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve: got %v, want nil after its context has ended", err)
		}
	})
	t.Cleanup(func() {
		h.stop()
		if n := h.Connections(); n != 0 {
			t.Errorf("connections after Serve: got %d, want 0", n)
		}
		if r := h.Readers(); len(r) != 0 {
			t.Errorf("readers after Serve: got %v, want none", r)
		}
		if err := e.Close(); err != nil && !errors.Is(err, engine.ErrClosed) {
			t.Errorf("close engine: %v", err)
		}
	})
	return h
}

// A pipeListener accepts the pipes that are sent into it.
type pipeListener chan net.Conn

func (l pipeListener) Accept() (net.Conn, error) {
	nc, ok := <-l
	if !ok {
		return nil, net.ErrClosed
	}
	return nc, nil
}

func (l pipeListener) Close() error   { close(l); return nil }
func (l pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

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

// logged fails the test unless the log holds all the words.
func (h *testFront) logged(words ...string) {
	h.t.Helper()
	for _, w := range words {
		if !strings.Contains(h.log.String(), w) {
			h.t.Errorf("the log lacks %q:\n%s", w, h.log)
		}
	}
}

// pipe returns the client's end of a connection to the hub.
func (h *testFront) pipe() net.Conn {
	client, server := net.Pipe()
	h.dials <- server
	return client
}

// dial connects without a token.
func (h *testFront) dial() *goamqp.Conn {
	h.t.Helper()
	c, err := goamqp.NewConn(h.t.Context(), h.pipe(), &goamqp.ConnOptions{SASLType: goamqp.SASLTypeAnonymous(), IdleTimeout: -1})
	if err != nil {
		h.t.Fatalf("dial: %v", err)
	}
	h.t.Cleanup(func() { c.Close() })
	return c
}

// signedIn connects with a token for the whole hub, good for an hour.
func (h *testFront) signedIn() *goamqp.Conn {
	h.t.Helper()
	c := h.dial()
	h.put(c, serviceToken("sb://"+hubHost+"/", time.Hour), 200)
	return c
}

// serviceToken returns a token of the policy service for a resource, in the form of Event Hubs clients.
func serviceToken(resource string, life time.Duration) string {
	key, err := sas.EventHubsKey(policyKey(auth.ServicePolicy))
	if err != nil {
		panic(err)
	}
	return sas.Sign(resource, key, auth.ServicePolicy, time.Now().Add(life))
}

// request sends a message to a node on a new session, as the Go client does, and returns the answer.
func (h *testFront) request(c *goamqp.Conn, node string, m *goamqp.Message) *goamqp.Message {
	h.t.Helper()
	s := h.session(c)
	defer func() {
		if err := s.Close(h.t.Context()); err != nil {
			h.t.Errorf("close session: %v", err)
		}
	}()
	return h.requestOn(s, node, m)
}

func (h *testFront) session(c *goamqp.Conn) *goamqp.Session {
	h.t.Helper()
	s, err := c.NewSession(h.t.Context(), nil)
	if err != nil {
		h.t.Fatalf("new session: %v", err)
	}
	return s
}

func (h *testFront) requestOn(s *goamqp.Session, node string, m *goamqp.Message) *goamqp.Message {
	h.t.Helper()
	ctx := h.t.Context()
	receiver, err := s.NewReceiver(ctx, node, nil)
	if err != nil {
		h.t.Fatalf("attach receiver to %s: %v", node, err)
	}
	defer receiver.Close(ctx)
	sender, err := s.NewSender(ctx, node, nil)
	if err != nil {
		h.t.Fatalf("attach sender to %s: %v", node, err)
	}
	defer sender.Close(ctx)
	if err := sender.Send(ctx, m, nil); err != nil {
		h.t.Fatalf("send to %s: %v", node, err)
	}
	reply, err := receiver.Receive(ctx, nil)
	if err != nil {
		h.t.Fatalf("answer of %s: %v", node, err)
	}
	return reply
}

// putMessage is what clients send to $cbs.
func putMessage(token string) *goamqp.Message {
	return &goamqp.Message{
		Value: token,
		ApplicationProperties: map[string]any{
			"operation": "put-token", "type": "servicebus.windows.net:sastoken", "name": "amqps://" + hubHost + "/",
		},
	}
}

// put puts a token and checks the status.
func (h *testFront) put(c *goamqp.Conn, token string, want int32) *goamqp.Message {
	h.t.Helper()
	reply := h.request(c, "$cbs", putMessage(token))
	if got := reply.ApplicationProperties["status-code"]; got != want {
		h.t.Errorf("status of put-token: got %T %v (%v), want int32 %d", got, got, reply.ApplicationProperties["status-description"], want)
	}
	return reply
}

// readerOf returns the address of a partition for $Default.
func readerOf(partition string) string {
	return eventHub + "/ConsumerGroups/$Default/Partitions/" + partition
}

// attach attaches a reader on a session of its own.
func (h *testFront) attach(c *goamqp.Conn, address string, o *goamqp.ReceiverOptions) (*goamqp.Receiver, error) {
	h.t.Helper()
	return h.session(c).NewReceiver(h.t.Context(), address, o)
}

// mustAttach is attach for a reader that is let in.
func (h *testFront) mustAttach(c *goamqp.Conn, address string, o *goamqp.ReceiverOptions) *goamqp.Receiver {
	h.t.Helper()
	r, err := h.attach(c, address, o)
	if err != nil {
		h.t.Fatalf("attach %s: %v", address, err)
	}
	return r
}

// from makes options with a start position, in the form of the Go client, with room for many events.
func from(expression string) *goamqp.ReceiverOptions {
	return &goamqp.ReceiverOptions{Credit: 100, Filters: []goamqp.LinkFilter{goamqp.NewSelectorFilter(expression)}}
}

const (
	earliest = "amqp.annotation.x-opt-offset > '-1'"
	latest   = "amqp.annotation.x-opt-offset > '@latest'"
)

// write commits events with these bodies to a partition.
func (h *testFront) write(p engine.Partition, bodies ...string) {
	h.t.Helper()
	var records [][]byte
	for _, body := range bodies {
		records = append(records, eventlog.Encode(&twinhub.Event{
			ID: twinhub.ID{Device: "d"}, Source: twinhub.Telemetry, EnqueuedTime: time.Now(), Body: []byte(body),
		}))
	}
	c := engine.Commit{Partition: p, Appends: []engine.Append{{Log: eventlog.Name, Records: records}}}
	if _, err := engine.Do(h.t.Context(), h.engine, c); err != nil {
		h.t.Fatalf("write events: %v", err)
	}
}

// numbered returns n bodies.
func numbered(n int) []string {
	bodies := make([]string, n)
	for i := range bodies {
		bodies[i] = strconv.Itoa(i)
	}
	return bodies
}

// next returns the body of the next event, which must be there or on its way.
func (h *testFront) next(r *goamqp.Receiver) *goamqp.Message {
	h.t.Helper()
	m, err := r.Receive(h.t.Context(), nil)
	if err != nil {
		h.t.Fatalf("receive: %v", err)
	}
	return m
}

// expect checks the bodies of the next events, and that nothing more has come.
func (h *testFront) expect(r *goamqp.Receiver, want ...string) {
	h.t.Helper()
	for _, w := range want {
		if got := string(h.next(r).GetData()); got != w {
			h.t.Errorf("event: got %q, want %q", got, w)
		}
	}
	h.expectNone(r)
}

// expectNone checks that no event has come when all is quiet.
func (h *testFront) expectNone(r *goamqp.Receiver) {
	h.t.Helper()
	synctest.Wait()
	if m := r.Prefetched(); m != nil {
		h.t.Errorf("one event too many: %q", m.GetData())
	}
}

// detached returns the error with which the hub has ended, or ends, a link.
func (h *testFront) detached(r *goamqp.Receiver) *goamqp.Error {
	h.t.Helper()
	_, err := r.Receive(h.t.Context(), nil)
	return h.linkError(err)
}

// linkError takes the hub's error out of one of the client's, and checks that it has all three fields, which the
// Event Hubs client for Python depends on.
func (h *testFront) linkError(err error) *goamqp.Error {
	h.t.Helper()
	var link *goamqp.LinkError
	var e *goamqp.Error
	if errors.As(err, &link) {
		e = link.RemoteErr // it is not in the chain
	} else {
		errors.As(err, &e)
	}
	if e == nil {
		h.t.Fatalf("got error %v, want one of the hub", err)
	}
	if e.Description == "" {
		h.t.Errorf("%s has no description", e.Condition)
	}
	if e.Info == nil {
		h.t.Errorf("%s has no info", e.Condition)
	}
	return e
}

// refused checks that a reader is not let in, and why.
func (h *testFront) refused(c *goamqp.Conn, address string, o *goamqp.ReceiverOptions, want goamqp.ErrCond) *goamqp.Error {
	h.t.Helper()
	_, err := h.attach(c, address, o)
	if err == nil {
		h.t.Fatalf("attach %s: let in, want %s", address, want)
	}
	e := h.linkError(err)
	if e.Condition != want {
		h.t.Errorf("attach %s: got %v, want %s", address, e, want)
	}
	return e
}
