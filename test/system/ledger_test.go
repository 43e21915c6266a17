package system

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
)

func unmarshal(text string, v any) error { return json.Unmarshal([]byte(text), v) }

// ledger is what was seen of a hub, live and after restarts, against which it is audited.
type ledger struct {
	seed maphash.Seed

	mu    sync.Mutex
	live  map[string]map[int64]uint64 // hashes of events that readers saw since the last audit, by partition and number
	twins map[string]twin             // the newest that observers saw

	book                      *book
	lost, reordered, observed int
}

func newLedger() *ledger {
	return &ledger{seed: maphash.MakeSeed(), live: map[string]map[int64]uint64{}, twins: map[string]twin{}, book: newBook()}
}

// book is what an ordered reading of the log has shown so far.
type book struct {
	head       map[string]event       // the last event of each partition
	stored     map[string]map[int]int // telemetry by device and round: the last number, without gaps
	lastRound  map[string]int         // by device
	version    map[string]int64       // of the twin, in the last twin change of a device
	lifecycle  map[string]string      // the last operation on an identity
	connection map[string]string      // the last connection event of a device
	telemetry  int
}

func newBook() *book {
	return &book{head: map[string]event{}, stored: map[string]map[int]int{}, lastRound: map[string]int{}, version: map[string]int64{},
		lifecycle: map[string]string{}, connection: map[string]string{}}
}

// heads returns the number of the last audited event of each partition.
func (l *ledger) heads() map[string]int64 {
	last := map[string]int64{}
	for p, e := range l.book.head {
		last[p] = e.number
	}
	return last
}

func (l *ledger) hash(e event) uint64 {
	return maphash.String(l.seed, fmt.Sprintf("%d %s %s %s %s", e.offset, e.device, e.source, e.operation, e.body))
}

// observe notes an event that a reader was given while the hub ran.
func (l *ledger) observe(e event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.live[e.partition] == nil {
		l.live[e.partition] = map[int64]uint64{}
	}
	l.live[e.partition][e.number] = l.hash(e)
}

// observeTwin notes a twin that a back end was given.
func (l *ledger) observeTwin(id string, seen twin) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if seen.Version > l.twins[id].Version {
		l.twins[id] = seen
	}
}

// enter takes the next event of the log into the book and returns what is wrong with it, if anything is.
func (b *book) enter(e event) (problem string) {
	if last, ok := b.head[e.partition]; ok && (e.number != last.number+1 || e.offset <= last.offset) {
		problem = fmt.Sprintf("partition %s: event %d at offset %d follows %d at %d", e.partition, e.number, e.offset, last.number, last.offset)
	} else if !ok && (e.number != 0 || e.offset < 0) {
		problem = fmt.Sprintf("partition %s begins with event %d at offset %d", e.partition, e.number, e.offset)
	}
	b.head[e.partition] = e
	switch e.source {
	case "Telemetry":
		b.telemetry++
		if p := b.enterTelemetry(e); p != "" {
			return p
		}
	case "twinChangeEvents":
		var body struct{ Version int64 }
		if err := unmarshal(e.body, &body); err != nil {
			return fmt.Sprintf("twin change of %s: %v", e.device, err)
		}
		before := max(b.version[e.device], 2) // a new twin has version 2
		if body.Version != before+1 {
			problem = fmt.Sprintf("%s: the twin change to version %d follows the one to %d", e.device, body.Version, before)
		}
		b.version[e.device] = body.Version
	case "deviceLifecycleEvents":
		if b.lifecycle[e.device] == e.operation {
			problem = fmt.Sprintf("%s: %s twice in a row", e.device, e.operation)
		}
		b.lifecycle[e.device] = e.operation
	case "deviceConnectionStateEvents":
		if b.connection[e.device] == e.operation {
			problem = fmt.Sprintf("%s: %s twice in a row", e.device, e.operation)
		}
		b.connection[e.device] = e.operation
	default:
		problem = fmt.Sprintf("partition %s, event %d: unknown source %q", e.partition, e.number, e.source)
	}
	return problem
}

// enterTelemetry checks that a device's messages stand in the order in which they were sent, once each.
func (b *book) enterTelemetry(e event) (problem string) {
	roundText, numberText, _ := strings.Cut(strings.TrimRight(e.body, " "), "/")
	round, err := strconv.Atoi(roundText)
	number, err2 := strconv.Atoi(numberText)
	if err != nil || err2 != nil {
		return fmt.Sprintf("%s: telemetry %.40q was never sent", e.device, e.body)
	}
	rounds := b.stored[e.device]
	if rounds == nil {
		rounds = map[int]int{}
		b.stored[e.device] = rounds
	}
	if round < b.lastRound[e.device] || number != rounds[round]+1 {
		problem = fmt.Sprintf("%s: message %.20s follows %d/%d", e.device, e.body, b.lastRound[e.device], rounds[b.lastRound[e.device]])
	}
	b.lastRound[e.device] = max(round, b.lastRound[e.device])
	rounds[round] = max(number, rounds[round])
	return problem
}

// audit compares what a restarted hub has with what was acknowledged and observed before. It must run after the
// round's end and before the next.
func (f *fleet) audit(t testing.TB, h *hub) {
	t.Helper()
	for _, failure := range f.failures {
		t.Error(failure)
	}
	f.failures = nil
	f.auditStates(t, h)
	f.auditEvents(t, h, f.ledger.heads(), f.ledger.book)
	f.auditMessages(t)
	f.auditTwins(t, h)
	f.auditIdentities(t, h)
}

// auditStates expects every identity to be disconnected, before anyone has connected.
func (f *fleet) auditStates(t testing.TB, h *hub) {
	t.Helper()
	for _, d := range decode[[]device](t, h.must(t, http.MethodGet, "/devices?top=1000", "").body) {
		if d.ConnectionState != "Disconnected" {
			t.Errorf("round %d: %s is %s after the restart", f.round, d.DeviceID, d.ConnectionState)
		}
	}
}

// auditEvents reads the log after the numbers into a book.
func (f *fleet) auditEvents(t testing.TB, h *hub, after map[string]int64, b *book) {
	t.Helper()
	l := f.ledger
	err := h.readAll(t.Context(), h.mustConsume(t), after, func(e event) error {
		if problem := b.enter(e); problem != "" {
			l.reordered++
			if l.reordered <= 20 {
				t.Errorf("round %d: %s", f.round, problem)
			}
		}
		if seen, ok := l.live[e.partition][e.number]; ok {
			delete(l.live[e.partition], e.number)
			l.observed++
			if seen != l.hash(e) {
				t.Errorf("round %d: partition %s: event %d is another one than a reader saw before the restart", f.round, e.partition, e.number)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatalf("round %d: %v", f.round, err)
	}
	for p, missing := range l.live {
		if len(missing) > 0 {
			l.lost += len(missing)
			t.Errorf("round %d: partition %s: %d events that readers saw are gone", f.round, p, len(missing))
		}
	}
	clear(l.live)
}

// auditMessages expects the stored messages of this round to be the first of those sent, and all acknowledged ones
// among them.
func (f *fleet) auditMessages(t testing.TB) {
	t.Helper()
	for _, s := range f.senders {
		stored := f.ledger.book.stored[s.id][s.round]
		if stored < s.ackedMessages {
			f.ledger.lost += s.ackedMessages - stored
			t.Errorf("round %d: %s: %d messages are stored, %d were acknowledged", f.round, s.id, stored, s.ackedMessages)
		}
		if stored > s.sent {
			t.Errorf("round %d: %s: %d messages are stored, %d were sent", f.round, s.id, stored, s.sent)
		}
		if got := f.ledger.book.connection[s.id]; got != "deviceDisconnected" {
			t.Errorf("round %d: %s: the last connection event is %q", f.round, s.id, got)
		}
	}
}

// etagNumber reads a twin's etag, which counts the writes of services.
func etagNumber(etag string) int64 {
	raw, err := base64.StdEncoding.DecodeString(etag)
	if err != nil || len(raw) != 8 {
		return -1
	}
	return int64(binary.BigEndian.Uint64(raw))
}

// auditTwins expects each twin at a state between what was acknowledged or observed and what was asked for, whole:
// every version and etag follows from the number of writes it has.
func (f *fleet) auditTwins(t testing.TB, h *hub) {
	t.Helper()
	for i, w := range f.writers {
		s := f.senders[fleetSenders+i]
		got := decode[twin](t, h.must(t, http.MethodGet, "/twins/"+w.id, "").body)
		desired, reported := got.Properties.Desired, got.Properties.Reported
		seen := f.ledger.twins[w.id]
		switch {
		case desired.P < w.acked.Properties.Desired.P || desired.P < seen.Properties.Desired.P || reported.P < s.ackedReports || reported.P < seen.Properties.Reported.P:
			f.ledger.lost++
			t.Errorf("round %d: %s went back: got desired %+v, reported %+v; acknowledged %+v, report %d; observed %+v", f.round, w.id, desired, reported, w.acked, s.ackedReports, seen)
		case desired.P > w.patches || reported.P > s.reports:
			t.Errorf("round %d: %s: got desired %+v of %d, reported %+v of %d", f.round, w.id, desired, w.patches, reported, s.reports)
		case got.Tags.P != desired.P || desired.Version != 1+desired.P || etagNumber(got.ETag) != 1+desired.P || reported.Version != 1+reported.P ||
			got.Version != 2+desired.P+reported.P:
			t.Errorf("round %d: %s is half written: %+v, etag %d", f.round, w.id, got, etagNumber(got.ETag))
		case desired.P == w.acked.Properties.Desired.P && w.acked.ETag != "" && got.ETag != w.acked.ETag:
			t.Errorf("round %d: %s: the etag %s that was acknowledged is %s now", f.round, w.id, w.acked.ETag, got.ETag)
		}
		if last := max(f.ledger.book.version[w.id], 2); last != got.Version {
			t.Errorf("round %d: %s has version %d, and its last event version %d: a change and its event are one commit", f.round, w.id, got.Version, last)
		}
		w.patches, w.acked = desired.P, got
		s.reports, s.ackedReports = reported.P, reported.P
	}
}

// auditIdentities expects each identity as it was acknowledged, or as an unanswered request would have made it, and
// none besides.
func (f *fleet) auditIdentities(t testing.TB, h *hub) {
	t.Helper()
	listed := map[string]device{}
	for _, d := range decode[[]device](t, h.must(t, http.MethodGet, "/devices?top=1000", "").body) {
		listed[d.DeviceID] = d
	}
	for _, s := range f.senders {
		if _, ok := listed[s.id]; !ok {
			f.ledger.lost++
			t.Errorf("round %d: %s is gone", f.round, s.id)
		}
		delete(listed, s.id)
	}
	for _, r := range f.registrars {
		for id, record := range r.identities {
			d, exists := listed[id]
			delete(listed, id)
			got := identityState{exists: exists, reason: d.StatusReason, etag: d.ETag}
			if asked := record.open && got.is(record.perhaps); !asked && !got.is(record.known) {
				f.ledger.lost++
				t.Errorf("round %d: %s: got %+v, want %+v", f.round, id, got, *record)
			}
			last, told := f.ledger.book.lifecycle[id], "deleteDeviceIdentity"
			if exists {
				told = "createDeviceIdentity"
			}
			if last != told && (last != "" || exists) {
				t.Errorf("round %d: %s exists: %v, and its last lifecycle event is %q: a change and its event are one commit", f.round, id, exists, last)
			}
			if record.known = got; !exists {
				delete(r.identities, id)
			}
		}
	}
	for id := range listed {
		t.Errorf("round %d: %s exists, and nobody made it, or it was deleted", f.round, id)
	}
}

// is reports whether a state agrees with an expected one.
func (s identityState) is(want identityState) bool {
	return s.exists == want.exists && s.reason == want.reason && (want.etag == "" || s.etag == want.etag)
}

// auditAll reads the whole log again from its beginning: it must be what the audits saw piece by piece.
func (f *fleet) auditAll(t testing.TB, h *hub) {
	t.Helper()
	again := newBook()
	f.auditEvents(t, h, nil, again)
	for p, want := range f.ledger.book.head {
		if got := again.head[p]; got != want {
			t.Errorf("partition %s ends with %+v, and did with %+v", p, got, want)
		}
	}
	if again.telemetry != f.ledger.book.telemetry {
		f.ledger.lost += max(0, f.ledger.book.telemetry-again.telemetry)
		t.Errorf("the log has %d messages, and had %d", again.telemetry, f.ledger.book.telemetry)
	}
}

// restarted ends a round whose hub runs no longer, restarts the hub on the same data, and audits it.
func (f *fleet) restarted(t testing.TB, l *load, data string, secrets *secretSet, args ...string) *hub {
	t.Helper()
	l.end()
	h := startHub(t, data, secrets, args...)
	f.audit(t, h)
	return h
}

// TestBook shows that the book sees each fault that the audits look for.
func TestBook(t *testing.T) {
	message := func(number, offset int64, body string) event {
		return event{partition: "0", number: number, offset: offset, device: "d", source: "Telemetry", body: body}
	}
	change := func(number int64, version string) event {
		return event{partition: "0", number: number, offset: 10 * number, device: "d", source: "twinChangeEvents", body: `{"version":` + version + `}`}
	}
	lifecycle := func(number int64, operation string) event {
		return event{partition: "0", number: number, offset: 10 * number, device: "d", source: "deviceLifecycleEvents", operation: operation}
	}
	tests := []struct {
		name   string
		events []event
		want   string // part of the last event's problem; empty: none
	}{
		{"as it should be", []event{message(0, 0, "1/1"), message(1, 9, "1/2"), message(2, 18, "2/1")}, ""},
		{"a message twice", []event{message(0, 0, "1/1"), message(1, 9, "1/1")}, "1/1 follows 1/1"},
		{"a gap", []event{message(0, 0, "1/1"), message(1, 9, "1/3")}, "1/3 follows 1/1"},
		{"two messages exchanged", []event{message(0, 0, "1/1"), message(1, 9, "1/3"), message(2, 18, "1/2")}, "1/2 follows 1/3"},
		{"a round after a later one", []event{message(0, 0, "2/1"), message(1, 9, "1/1")}, "1/1 follows 2/1"},
		{"a first message missing", []event{message(0, 0, "1/2")}, "1/2 follows"},
		{"never sent", []event{message(0, 0, "what")}, "never sent"},
		{"a sequence number missing", []event{message(0, 0, "1/1"), message(2, 9, "1/2")}, "event 2 at offset 9 follows 0"},
		{"a sequence number twice", []event{message(0, 0, "1/1"), message(0, 9, "1/2")}, "event 0 at offset 9 follows 0"},
		{"an offset twice", []event{message(0, 7, "1/1"), message(1, 7, "1/2")}, "at offset 7 follows"},
		{"a log that begins late", []event{message(1, 0, "1/1")}, "begins with event 1"},
		{"versions", []event{change(0, "3"), change(1, "4")}, ""},
		{"a version missing", []event{change(0, "3"), change(1, "5")}, "to version 5 follows the one to 3"},
		{"a version twice", []event{change(0, "3"), change(1, "3")}, "to version 3 follows"},
		{"created twice", []event{lifecycle(0, "createDeviceIdentity"), lifecycle(1, "createDeviceIdentity")}, "twice in a row"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBook()
			var problem string
			for _, e := range tt.events {
				problem = b.enter(e)
			}
			if tt.want == "" && problem != "" || !strings.Contains(problem, tt.want) {
				t.Errorf("got problem %q, want %q", problem, tt.want)
			}
		})
	}
}
