// Package session knows who is connected, exactly, and how to reach them. A front end opens a Session when a device
// has signed in and closes it when the connection ends; the core finds devices through the Directory. At most one
// session per identity is current: a newer one takes over, whatever the protocol of either.
package session

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/clock"
	"github.com/twinhub/twinhub/internal/core/routing"
	"github.com/twinhub/twinhub/internal/engine"
)

// Errors of a Link.
var (
	// ErrGone says that the connection ended before the device answered.
	ErrGone = errors.New("device connection closed")
	// ErrBusy says that too many calls wait for this device already.
	ErrBusy = errors.New("too many method calls in flight")
	// ErrNotListening says that the device has stopped listening for method calls.
	ErrNotListening = errors.New("device does not listen for method calls")
)

// A Reason says why the hub ends a session.
type Reason string

// The reasons the core gives.
const (
	TakenOver    Reason = "a newer connection of the same identity took over"
	Removed      Reason = "the identity was disabled or given new keys"
	Deleted      Reason = "the identity was deleted"
	Expired      Reason = "the access token expired"
	ShuttingDown Reason = "the hub is shutting down"
	StoreFailed  Reason = "the hub's storage failed"
)

// A Call is a direct method for a device. Payload is JSON text, or empty.
type Call struct {
	Name    string
	Payload []byte
}

// A Reply is a device's answer to a Call. Payload is as the device sent it.
type Reply struct {
	Status  int
	Payload []byte
}

// A Link reaches one connected device. Front ends implement it; its methods are safe for concurrent use.
type Link interface {
	// Desired queues a desired properties patch, in call order, for a device that subscribed to them; it drops the
	// patch for one that did not. It never blocks.
	Desired(version int64, patch []byte)
	// Invoke sends a call and waits for the device's reply, ctx, or the end of the connection (ErrGone). It fails at
	// once with ErrBusy or ErrNotListening.
	Invoke(ctx context.Context, call Call) (Reply, error)
	// Close ends the connection soon and does not wait for it.
	Close(reason Reason)
}

// A Session is one connection of an identity.
type Session struct {
	ID        twinhub.ID
	link      Link
	directory *Directory
	since     time.Time
	activity  atomic.Int64 // Unix nanoseconds of hub time when the device was last heard from
	saved     atomic.Int64 // the activity last queued for storage

	// Guarded by Directory.mu.
	methods    bool // the device listens for method calls
	documented bool // a state of the identity was on disk during the session: it stays for as long as the identity does
	deleted    bool // ended because the identity was deleted
}

// Directory finds sessions by identity. It is safe for concurrent use. Run must be running, or changes of connection
// state are not stored.
type Directory struct {
	engine engine.Engine
	router *routing.Router
	clock  clock.Clock
	log    *slog.Logger
	hub    string

	mu       sync.Mutex
	sessions map[twinhub.ID]*Session
	waiting  map[twinhub.ID]*waiters
	queue    []transition            // to be stored by Run, in order
	queued   int                     // transitions that are not settled: in queue, or being stored
	unsaved  map[twinhub.ID]*unsaved // what the queue will have stored of an identity that is not connected
	wake     chan struct{}           // capacity 1: the queue is not empty
	started  time.Time
	sequence uint64 // of connection state events since started
}

// waiters are the callers of AwaitMethods for one identity.
type waiters struct {
	ready chan struct{} // closed when the identity's methods become reachable
	n     int
}

// Options are what a Directory needs.
type Options struct {
	Engine  engine.Engine
	Router  *routing.Router
	Clock   clock.Clock
	Logger  *slog.Logger
	HubName string
}

// New makes an empty Directory.
func New(o Options) *Directory {
	return &Directory{
		engine: o.Engine, router: o.Router, clock: o.Clock, log: o.Logger, hub: o.HubName,
		sessions: map[twinhub.ID]*Session{},
		waiting:  map[twinhub.ID]*waiters{},
		unsaved:  map[twinhub.ID]*unsaved{},
		wake:     make(chan struct{}, 1),
		started:  o.Clock.Now(),
	}
}

// Open makes link the current connection of id and closes the one it replaces. Because the identity may be deleted or
// disabled between its sign-in and Open, the caller checks it once more after Open: Disconnect finds only what is open.
func (d *Directory) Open(id twinhub.ID, link Link) *Session {
	d.mu.Lock()
	now := d.clock.Now()
	s := &Session{ID: id, link: link, directory: d, since: now}
	s.activity.Store(now.UnixNano())
	s.saved.Store(now.UnixNano())
	old := d.sessions[id]
	d.sessions[id] = s
	if old != nil {
		d.enqueue(transition{id: id, session: old, State: State{UpdatedTime: now, LastActivityTime: old.lastActivity()}, event: true})
	}
	d.enqueue(transition{id: id, session: s, State: State{Connected: true, UpdatedTime: now, LastActivityTime: now}, event: true})
	d.mu.Unlock()
	if old != nil {
		old.link.Close(TakenOver)
	}
	return s
}

// Close ends the session. It may be called twice. Unless a newer session took over, the identity is disconnected.
func (s *Session) Close() {
	d := s.directory
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.sessions[s.ID] == s {
		d.remove(s)
	}
}

// remove makes the current session s none. d.mu is held.
func (d *Directory) remove(s *Session) {
	delete(d.sessions, s.ID)
	d.enqueue(transition{id: s.ID, session: s, State: State{UpdatedTime: d.clock.Now(), LastActivityTime: s.lastActivity()}, event: true})
}

// Current reports whether s is still the connection of its identity.
func (s *Session) Current() bool {
	d := s.directory
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.sessions[s.ID] == s
}

// activityInterval is how often, at most, the last activity of a connected device is stored.
const activityInterval = time.Minute

// Touch notes that the device was heard from at the hub time now.
func (s *Session) Touch(now time.Time) {
	s.activity.Store(now.UnixNano())
	saved := s.saved.Load()
	if now.UnixNano()-saved < int64(activityInterval) || !s.saved.CompareAndSwap(saved, now.UnixNano()) {
		return
	}
	d := s.directory
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.sessions[s.ID] == s {
		d.enqueue(transition{id: s.ID, session: s, State: State{Connected: true, UpdatedTime: s.since, LastActivityTime: now}})
	}
}

func (s *Session) lastActivity() time.Time { return time.Unix(0, s.activity.Load()).UTC() }

// SetMethods says whether the device listens for method calls.
func (s *Session) SetMethods(listening bool) {
	d := s.directory
	d.mu.Lock()
	defer d.mu.Unlock()
	s.methods = listening
	if listening && d.sessions[s.ID] == s {
		if w := d.waiting[s.ID]; w != nil {
			close(w.ready)
			delete(d.waiting, s.ID)
		}
	}
}

// Lookup returns the link of a connected identity.
func (d *Directory) Lookup(id twinhub.ID) (Link, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s := d.sessions[id]; s != nil {
		return s.link, true
	}
	return nil, false
}

// AwaitMethods returns the link of id once it is connected and listens for method calls, at once if it does, or the
// error of ctx.
func (d *Directory) AwaitMethods(ctx context.Context, id twinhub.ID) (Link, error) {
	for {
		d.mu.Lock()
		if s := d.sessions[id]; s != nil && s.methods {
			d.mu.Unlock()
			return s.link, nil
		}
		w := d.waiting[id]
		if w == nil {
			w = &waiters{ready: make(chan struct{})}
			d.waiting[id] = w
		}
		w.n++
		d.mu.Unlock()
		select {
		case <-w.ready:
		case <-ctx.Done():
			d.mu.Lock()
			if w.n--; w.n == 0 && d.waiting[id] == w {
				delete(d.waiting, id)
			}
			d.mu.Unlock()
			return nil, ctx.Err()
		}
	}
}

// Connected returns how many sessions are current.
func (d *Directory) Connected() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.sessions)
}

// Queued returns how many changes of connection state are not stored yet.
func (d *Directory) Queued() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.queued
}

// Disconnect ends the session of id, if there is one: when it returns, id is disconnected and cannot be reached, while
// its connection may take a moment to close. Nothing more is stored of an identity that was deleted before: with the
// reason Deleted never, with another as soon as its connection has been stored once.
func (d *Directory) Disconnect(id twinhub.ID, reason Reason) {
	d.mu.Lock()
	s := d.sessions[id]
	if s != nil {
		s.deleted = reason == Deleted
		d.remove(s)
	}
	d.mu.Unlock()
	if s != nil {
		s.link.Close(reason)
	}
}

// DisconnectAll closes every current connection.
func (d *Directory) DisconnectAll(reason Reason) {
	d.mu.Lock()
	links := make([]Link, 0, len(d.sessions))
	for _, s := range d.sessions {
		links = append(links, s.link)
	}
	d.mu.Unlock()
	for _, link := range links {
		link.Close(reason)
	}
}
