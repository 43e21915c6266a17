package system

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twinhub/twinhub/internal/wire/mqtt"
)

// The load: enough devices and messages in flight that every commit carries many of them, and writers of everything
// else that is acknowledged.
const (
	fleetSenders    = 40 // devices that send telemetry
	fleetReporters  = 6  // devices that also report properties, and whose desired properties a back end writes
	fleetRegistrars = 2  // back ends that create, change and delete identities
	fleetObservers  = 2  // back ends that read twins
	inFlight        = 8  // messages of a device that wait for their PUBACK
	keptIdentities  = 8  // identities that a registrar leaves behind in each round
)

// fleet is the clients of a hub over all its restarts, with what they know.
type fleet struct {
	senders    []*sender
	writers    []*writer
	registrars []*registrar
	round      int
	acked      atomic.Int64 // over all rounds: PUBACKs, 204s to reported patches, 200s to changes by REST
	byREST     atomic.Int64 // of them, those by REST
	ledger     *ledger

	mu       sync.Mutex
	failures []string // what no kill explains
}

// newFleet registers the devices of a new hub.
func newFleet(t testing.TB, h *hub) *fleet {
	t.Helper()
	f := &fleet{ledger: newLedger()}
	for i := range fleetSenders + fleetReporters {
		s := &sender{fleet: f, id: fmt.Sprintf("sender-%02d", i)}
		if i >= fleetSenders {
			s.id = fmt.Sprintf("reporter-%02d", i-fleetSenders)
			s.reportEvery = 3
			f.writers = append(f.writers, &writer{fleet: f, id: s.id})
		}
		s.key = h.register(t, s.id)
		f.senders = append(f.senders, s)
	}
	for i := range fleetRegistrars {
		f.registrars = append(f.registrars, &registrar{fleet: f, name: fmt.Sprintf("made-%d", i), identities: map[string]*identity{}})
	}
	return f
}

// failf notes something that should never be seen, killed hub or not.
func (f *fleet) failf(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.failures) < 20 {
		f.failures = append(f.failures, fmt.Sprintf("round %d: ", f.round)+fmt.Sprintf(format, args...))
	}
}

// A load is a running round.
type load struct {
	cancel context.CancelFunc
	wait   sync.WaitGroup
	before int64 // acknowledgements of earlier rounds
	fleet  *fleet
}

// start begins a round against h: it ends when the hub does, or with end. Every client is connected when it returns.
func (f *fleet) start(t testing.TB, h *hub) *load {
	t.Helper()
	f.round++
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{cancel: cancel, before: f.acked.Load(), fleet: f}
	c := h.mustConsume(t)
	ends, err := heads(ctx, c)
	if err != nil {
		t.Fatalf("round %d: %v", f.round, err)
	}
	for _, s := range f.senders {
		c, err := h.connect(ctx, s.id, s.key)
		if err != nil {
			t.Fatalf("round %d: %v", f.round, err)
		}
		s.begin(f.round, c)
	}
	after := f.ledger.heads()
	for p := range ends {
		from, ok := after[p]
		if !ok {
			from = -1
		}
		l.wait.Go(func() {
			// It ends with an error, because the hub or the round does; what counts is what it saw.
			_ = follow(ctx, c, p, from, func(e event) error {
				f.ledger.observe(e)
				return nil
			})
		})
	}
	for _, s := range f.senders {
		l.wait.Go(s.write)
		l.wait.Go(s.read)
	}
	for _, w := range f.writers {
		l.wait.Go(func() { w.run(ctx, h) })
	}
	for _, r := range f.registrars {
		l.wait.Go(func() { r.run(ctx, h) })
	}
	for range fleetObservers {
		l.wait.Go(func() { f.observeTwins(ctx, h) })
	}
	return l
}

// acked returns the acknowledgements of this round.
func (l *load) acked() int64 { return l.fleet.acked.Load() - l.before }

// await returns after n acknowledgements.
func (l *load) await(t testing.TB, n int64) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); l.acked() < n; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("round %d: %d acknowledgements in two minutes, want %d", l.fleet.round, l.acked(), n)
		}
	}
}

// end returns after the last client, whose hub has ended or is told to go on without them.
func (l *load) end() {
	l.cancel()
	for _, s := range l.fleet.senders {
		s.conn.Close()
	}
	l.wait.Wait()
}

// A sender is a device. Telemetry bodies are round/number, reported patches {"p": count}.
type sender struct {
	fleet       *fleet
	id, key     string
	reportEvery int // 0: telemetry alone
	padding     int // bytes of every message, besides what it says
	round       int
	conn        *mqttClient

	mu      sync.Mutex
	room    sync.Cond
	closed  bool
	waiting []uint16 // packet ids in the order they were sent

	sent, ackedMessages   int // of this round; the write goroutine owns sent
	reports, ackedReports int64
}

func (s *sender) begin(round int, c *mqttClient) {
	s.round, s.conn, s.closed, s.waiting = round, c, false, nil
	s.sent, s.ackedMessages = 0, 0
	s.room.L = &s.mu
}

// write sends until the connection ends.
func (s *sender) write() {
	if s.reportEvery > 0 {
		if s.conn.send(&mqtt.Subscribe{ID: 65535, Subscriptions: []mqtt.Subscription{{Filter: "$iothub/twin/res/#"}}}) != nil {
			return
		}
	}
	for n := 1; ; n++ {
		id := uint16(n%65000 + 1)
		s.mu.Lock()
		for len(s.waiting) >= inFlight && !s.closed {
			s.room.Wait()
		}
		closed := s.closed
		s.waiting = append(s.waiting, id)
		s.mu.Unlock()
		if closed {
			return
		}
		p := &mqtt.Publish{QoS: mqtt.QoS1, ID: id}
		if s.reportEvery > 0 && n%s.reportEvery == 0 {
			s.reports++
			p.Topic, p.Payload = reportedTopic(s.reports), fmt.Appendf(nil, `{"p":%d}`, s.reports)
		} else {
			s.sent++
			p.Topic, p.Payload = telemetryTopic(s.id), fmt.Appendf(nil, "%d/%d%*s", s.round, s.sent, s.padding, "")
		}
		if s.conn.send(p) != nil {
			return
		}
	}
}

// read takes acknowledgements until the connection ends.
func (s *sender) read() {
	defer func() {
		s.mu.Lock()
		s.closed = true
		s.room.Broadcast()
		s.mu.Unlock()
		s.conn.Close()
	}()
	for n := 1; ; {
		packet, err := s.conn.reader.ReadPacket()
		if err != nil {
			return
		}
		switch p := packet.(type) {
		case *mqtt.Suback:
		case *mqtt.Puback:
			s.mu.Lock()
			want := s.waiting[0]
			s.waiting = s.waiting[1:]
			s.room.Signal()
			s.mu.Unlock()
			if p.ID != want {
				s.fleet.failf("%s: PUBACK of %d, want that of %d", s.id, p.ID, want)
				return
			}
			if s.reportEvery == 0 || n%s.reportEvery != 0 {
				s.ackedMessages++
				s.fleet.acked.Add(1)
			}
			n++
		case *mqtt.Publish:
			status, rid, version, err := twinAnswer(p.Topic)
			if err != nil || status != 204 || rid != s.ackedReports+1 || version != 1+rid {
				s.fleet.failf("%s: after report %d: got %s %s (%v)", s.id, s.ackedReports, p.Topic, p.Payload, err)
				return
			}
			s.ackedReports = rid
			s.fleet.acked.Add(1)
		default:
			s.fleet.failf("%s: unexpected %v", s.id, packet.Type())
			return
		}
	}
}

// A writer is a back end that writes the desired properties and tags of a device with its etag.
type writer struct {
	fleet *fleet
	id    string

	patches int64 // asked for
	acked   twin  // the last answer
	stale   string
}

func (w *writer) run(ctx context.Context, h *hub) {
	for {
		w.patches++
		body := fmt.Sprintf(`{"tags":{"p":%d},"properties":{"desired":{"p":%d}}}`, w.patches, w.patches)
		etag := w.acked.ETag
		if etag == "" {
			etag = "*"
		}
		a, err := h.do(ctx, http.MethodPatch, "/twins/"+w.id, body, "If-Match", `"`+etag+`"`)
		if err != nil {
			return
		}
		now, ok := w.check(a)
		if !ok {
			return
		}
		w.stale, w.acked = w.acked.ETag, now
		w.fleet.acked.Add(1)
		w.fleet.byREST.Add(1)
		if w.stale == "" || w.patches%4 != 0 {
			continue
		}
		a, err = h.do(ctx, http.MethodPatch, "/twins/"+w.id, `{"tags":{"p":-1}}`, "If-Match", `"`+w.stale+`"`)
		if err != nil {
			return
		}
		if a.status != http.StatusPreconditionFailed {
			w.fleet.failf("%s: a patch with the stale etag %s: got %d %s, want 412", w.id, w.stale, a.status, a.body)
			return
		}
	}
}

// check reads the answer to a patch.
func (w *writer) check(a answer) (twin, bool) {
	var now twin
	if a.status == http.StatusServiceUnavailable {
		return now, false // the hub is failing, which is not for this test to judge
	}
	if err := unmarshal(a.body, &now); a.status != http.StatusOK || err != nil {
		w.fleet.failf("%s: patch %d: got %d %.200s", w.id, w.patches, a.status, a.body)
		return now, false
	}
	if now.Tags.P != w.patches || now.Properties.Desired.P != w.patches || now.Properties.Desired.Version != 1+w.patches {
		w.fleet.failf("%s: patch %d: answered with tags %d, desired %+v", w.id, w.patches, now.Tags.P, now.Properties.Desired)
		return now, false
	}
	return now, true
}

// observeTwins reads twins: what one reader has seen must still be true after a crash.
func (f *fleet) observeTwins(ctx context.Context, h *hub) {
	for i := 0; ; i++ {
		w := f.writers[i%len(f.writers)]
		a, err := h.do(ctx, http.MethodGet, "/twins/"+w.id, "")
		if err != nil || a.status == http.StatusServiceUnavailable {
			return
		}
		var seen twin
		if err := unmarshal(a.body, &seen); a.status != http.StatusOK || err != nil {
			f.failf("read twin %s: got %d %.200s", w.id, a.status, a.body)
			return
		}
		f.ledger.observeTwin(w.id, seen)
	}
}

// A registrar is a back end that creates, changes and deletes identities of its own.
type registrar struct {
	fleet      *fleet
	name       string
	identities map[string]*identity
	count      int
}

// An identity is what a registrar knows of one: the state that was acknowledged, and, where an answer did not come,
// the one that may hold instead.
type identity struct {
	known, perhaps identityState
	open           bool // perhaps counts
}

type identityState struct {
	exists bool
	reason string
	etag   string // empty: unknown
}

func (r *registrar) run(ctx context.Context, h *hub) {
	for n := 0; ; n++ {
		r.count++
		id := fmt.Sprintf("%s-%d", r.name, r.count)
		record := &identity{}
		r.identities[id] = record
		body := identityBody(id, h.newKey())
		if !r.change(ctx, h, id, record, identityState{exists: true}, http.MethodPut, body, "") {
			return
		}
		reason := fmt.Sprintf("reason %d", r.count)
		changed := strings.Replace(body, `"status"`, fmt.Sprintf(`"statusReason":%q,"status"`, reason), 1)
		if !r.change(ctx, h, id, record, identityState{exists: true, reason: reason}, http.MethodPut, changed, record.known.etag) {
			return
		}
		if n < keptIdentities {
			continue
		}
		if !r.change(ctx, h, id, record, identityState{}, http.MethodDelete, "", record.known.etag) {
			return
		}
	}
}

// change asks for next and reports whether it was acknowledged.
func (r *registrar) change(ctx context.Context, h *hub, id string, record *identity, next identityState, method, body, etag string) bool {
	record.perhaps, record.open = next, true
	var header []string
	if etag != "" {
		header = []string{"If-Match", `"` + etag + `"`}
	}
	a, err := h.do(ctx, method, "/devices/"+id, body, header...)
	if err != nil || a.status == http.StatusServiceUnavailable {
		return false
	}
	if a.status != http.StatusOK && a.status != http.StatusNoContent {
		r.fleet.failf("%s %s: got %d %s", method, id, a.status, a.body)
		return false
	}
	if next.exists {
		var d device
		if err := unmarshal(a.body, &d); err != nil || d.ETag == "" || d.ETag == etag {
			r.fleet.failf("%s %s: got %s, want another etag than %q", method, id, a.body, etag)
			return false
		}
		next.etag = d.ETag
	}
	record.known, record.open = next, false
	r.fleet.acked.Add(1)
	r.fleet.byREST.Add(1)
	return true
}
