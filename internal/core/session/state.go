package session

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/engine"
)

// A State is what is known of an identity's connection. Its JSON form is the stored one. Times are zero when the
// identity never connected.
type State struct {
	Connected        bool      `json:"connected"`
	UpdatedTime      time.Time `json:"updatedTime,omitzero"` // when Connected last changed
	LastActivityTime time.Time `json:"lastActivityTime,omitzero"`
}

// A transition is a State to be stored, with an event unless only the activity changed.
type transition struct {
	id      twinhub.ID
	session *Session // whose it is; nil for one of an earlier process
	State
	event bool
}

// unsaved is the last queued transition of an identity; n counts what is queued for it.
type unsaved struct {
	transition
	n int
}

const statePrefix = "c/"

// StateKey is the key of the document that stores the connection state of id. It is deleted with the identity.
func StateKey(id twinhub.ID) string { return statePrefix + id.String() }

// enqueue hands a transition to Run. d.mu is held.
func (d *Directory) enqueue(t transition) {
	d.queue = append(d.queue, t)
	d.queued++
	u := d.unsaved[t.id]
	if u == nil {
		u = new(unsaved)
		d.unsaved[t.id] = u
	}
	u.transition = t
	u.n++
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// State returns the connection state of id: exact for a connected identity, else as it was last left.
func (d *Directory) State(id twinhub.ID) (State, error) {
	d.mu.Lock()
	s, u := d.sessions[id], d.unsaved[id]
	var state State
	needsDocument := false
	switch {
	case s != nil:
		state = State{Connected: true, UpdatedTime: s.since, LastActivityTime: s.lastActivity()}
	case u != nil && u.session != nil && u.session.deleted:
		d.mu.Unlock()
		return State{}, nil // an identity of the same id that was made since has not connected yet
	case u != nil:
		state, needsDocument = u.State, u.needsDocument()
	}
	d.mu.Unlock()
	if s != nil || u != nil && !needsDocument {
		return state, nil
	}
	doc, err := d.document(id)
	switch {
	case err != nil:
		return State{}, err
	case doc.Revision == engine.Absent:
		return State{}, nil
	case u != nil:
		return state, nil
	}
	if err := json.Unmarshal(doc.Value, &state); err != nil {
		return State{}, fmt.Errorf("decode connection state of %s: %w", id, err)
	}
	return state, nil
}

// document reads the stored state of id. Its revision is engine.Absent when there is none.
func (d *Directory) document(id twinhub.ID) (engine.Document, error) {
	doc, err := d.engine.Get(engine.PartitionOf(d.engine, id.Device), StateKey(id))
	if err != nil && !errors.Is(err, engine.ErrNotFound) {
		return doc, fmt.Errorf("read connection state: %w", err)
	}
	return doc, nil
}

// needsDocument reports whether t may be stored only where a state is stored already. A document that was deleted with
// its identity must not come back: a new identity of the same id would show it. Directory.mu is held.
func (t *transition) needsDocument() bool {
	return t.session == nil || t.session.documented || t.session.deleted
}

// Run stores changes of connection state, in order, until ctx ends and what was queued by then is stored.
func (d *Directory) Run(ctx context.Context) error {
	for {
		select {
		case <-d.wake:
		case <-ctx.Done():
			return d.drain()
		}
		if err := d.drain(); err != nil {
			return err
		}
	}
}

// maxBatch bounds the transitions of one identity that are one commit.
const maxBatch = 100

// An outcome is what became of a batch: the first n transitions queued for id.
type outcome struct {
	id  twinhub.ID
	n   int
	err error
}

// drain stores the queue and returns when all of it is on disk. The transitions of one identity keep their order.
func (d *Directory) drain() error {
	d.mu.Lock()
	queue := d.queue
	d.queue = nil
	d.mu.Unlock()
	waiting := map[twinhub.ID][]transition{}
	var turn []twinhub.ID
	for _, t := range queue {
		if waiting[t.id] == nil {
			turn = append(turn, t.id)
		}
		waiting[t.id] = append(waiting[t.id], t)
	}
	for len(turn) > 0 {
		outcomes := make(chan outcome, len(turn))
		for _, id := range turn {
			batch := waiting[id]
			d.store(id, batch[:min(len(batch), maxBatch)], outcomes)
		}
		var next []twinhub.ID
		for range turn {
			o := <-outcomes
			switch {
			case errors.Is(o.err, engine.ErrConflict): // the identity came or went in between: look again
			case o.err != nil:
				return fmt.Errorf("store connection state: %w", o.err)
			default:
				d.settle(o.id, o.n)
				waiting[o.id] = waiting[o.id][o.n:]
			}
			if len(waiting[o.id]) > 0 {
				next = append(next, o.id)
			}
		}
		turn = next
	}
	return nil
}

// settle notes that n transitions of id need nothing more.
func (d *Directory) settle(id twinhub.ID, n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.queued -= n
	u := d.unsaved[id]
	if u.n -= n; u.n == 0 {
		delete(d.unsaved, id)
	}
}

// store commits a batch of one identity, unless the identity is gone, and sends one outcome.
func (d *Directory) store(id twinhub.ID, batch []transition, outcomes chan<- outcome) {
	doc, err := d.document(id)
	if err != nil {
		outcomes <- outcome{id: id, err: err}
		return
	}
	kept, deleted := d.storable(batch, doc.Revision != engine.Absent)
	if len(kept) == 0 {
		outcomes <- outcome{id: id, n: len(batch)}
		return
	}
	c, err := d.commit(id, kept, doc.Revision, deleted)
	if err != nil {
		outcomes <- outcome{id: id, err: err}
		return
	}
	d.engine.Submit(c, func(_ engine.Result, err error) {
		if err == nil {
			d.storable(kept, true)
		}
		outcomes <- outcome{id: id, n: len(batch), err: err}
	})
}

// storable returns the transitions of a batch that may be stored, given whether a state is stored already. deleted tells
// that the last of them belongs to a deleted identity: a state that is there even so was on its way to the disk while the
// identity was deleted, and has to go.
func (d *Directory) storable(batch []transition, exists bool) (kept []transition, deleted bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, t := range batch {
		switch {
		case !exists && t.needsDocument():
			continue
		case exists && t.session != nil:
			t.session.documented = true
		}
		kept = append(kept, t)
		deleted = t.session != nil && t.session.deleted
	}
	return kept, deleted
}

// commit makes the commit of a batch: the last state, none if the identity was deleted, and all events.
func (d *Directory) commit(id twinhub.ID, batch []transition, revision engine.Revision, deleted bool) (engine.Commit, error) {
	var value []byte
	if !deleted {
		var err error
		if value, err = json.Marshal(batch[len(batch)-1].State); err != nil {
			return engine.Commit{}, fmt.Errorf("encode connection state: %w", err)
		}
	}
	c := engine.Commit{
		Partition: engine.PartitionOf(d.engine, id.Device),
		Writes:    []engine.Write{{Key: StateKey(id), Value: value, Expect: revision}},
	}
	if d.router.Wants(twinhub.ConnectionState) {
		var events []*twinhub.Event
		for _, t := range batch {
			if t.event {
				events = append(events, d.event(t))
			}
		}
		c.Appends = d.router.Appends(events...)
	}
	return c, nil
}

// event makes the connection state notification of a transition. Reference: IoT Hub, "Non-telemetry events", device
// connection state events.
func (d *Directory) event(t transition) *twinhub.Event {
	opType := "deviceDisconnected"
	if t.Connected {
		opType = "deviceConnected"
	}
	ev := &twinhub.Event{
		ID: t.id, Source: twinhub.ConnectionState,
		ContentType: "application/json", ContentEncoding: "utf-8", UserID: []byte(d.hub), CorrelationID: uuid.NewString(), // where other events have 12 digits
		EnqueuedTime: twinhub.CeilMilli(d.clock.Now()),
		Properties:   []twinhub.Property{{Name: "hubName", Value: d.hub}, {Name: "deviceId", Value: t.id.Device}},
	}
	if t.id.IsModule() {
		ev.Properties = append(ev.Properties, twinhub.Property{Name: "moduleId", Value: t.id.Module})
	}
	ev.Properties = append(ev.Properties,
		twinhub.Property{Name: "operationTimestamp", Value: twinhub.FormatOperationTime(t.UpdatedTime)},
		twinhub.Property{Name: "iothub-message-schema", Value: "deviceConnectionStateNotification"},
		twinhub.Property{Name: "opType", Value: opType})
	d.mu.Lock()
	d.sequence++
	n := d.sequence
	d.mu.Unlock()
	// 64 hex digits that compare as text: the hub's start, then a counter.
	ev.Body = fmt.Appendf(nil, `{"sequenceNumber":"%032X%032X"}`, d.started.UnixNano(), n)
	return ev
}

// recoverPage bounds how many states Recover reads at a time.
const recoverPage = 1000

// Recover stores a disconnection for every identity that the data still show as connected: those whose connections a
// crash ended. It must return before the first Open.
func (d *Directory) Recover(ctx context.Context) error {
	for p := range engine.Partition(d.engine.Partitions()) {
		after := ""
		for {
			docs, err := d.engine.Scan(p, statePrefix, after, recoverPage)
			if err != nil {
				return fmt.Errorf("scan connection states: %w", err)
			}
			if err := d.recoverStates(docs); err != nil {
				return err
			}
			if len(docs) < recoverPage {
				break
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			after = docs[len(docs)-1].Key
		}
	}
	return d.drain()
}

func (d *Directory) recoverStates(docs []engine.Document) error {
	for _, doc := range docs {
		var s State
		if err := json.Unmarshal(doc.Value, &s); err != nil {
			return fmt.Errorf("decode %q: %w", doc.Key, err)
		}
		if !s.Connected {
			continue
		}
		s.Connected, s.UpdatedTime = false, d.clock.Now()
		d.mu.Lock()
		d.enqueue(transition{id: parseStateKey(doc.Key), State: s, event: true})
		d.mu.Unlock()
	}
	return nil
}

func parseStateKey(key string) twinhub.ID {
	device, module, _ := strings.Cut(strings.TrimPrefix(key, statePrefix), "/")
	return twinhub.ID{Device: device, Module: module}
}
