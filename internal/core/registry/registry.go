// Package registry decides which devices exist: it creates, updates and deletes their identities, each together with
// all that depends on it. An identity, its twin and the event that tells of them are one commit; a deletion takes the
// twin and what was stored of the connection along, and ends the connection.
package registry

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/clock"
	"github.com/twinhub/twinhub/internal/core/identity"
	"github.com/twinhub/twinhub/internal/core/routing"
	"github.com/twinhub/twinhub/internal/core/session"
	"github.com/twinhub/twinhub/internal/core/twin"
	"github.com/twinhub/twinhub/internal/engine"
	"github.com/twinhub/twinhub/internal/jsondoc"
)

// Options are what a Service needs; all fields are required.
type Options struct {
	Engine   engine.Engine
	Router   *routing.Router
	Sessions *session.Directory
	Clock    clock.Clock
	HubName  string
}

// Service changes the registry. It is safe for concurrent use. Methods that write return when the change is on disk;
// when ctx ends first, it may still happen.
type Service struct {
	engine   engine.Engine
	router   *routing.Router
	sessions *session.Directory
	clock    clock.Clock
	hub      string

	mu        sync.Mutex
	lastTicks int64 // the newest that ticks returned
}

// New makes a Service.
func New(o Options) *Service {
	return &Service{engine: o.Engine, router: o.Router, sessions: o.Sessions, clock: o.Clock, hub: o.HubName}
}

// Get returns a device. It fails with CodeDeviceNotFound.
func (s *Service) Get(ctx context.Context, deviceID string) (*Device, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	i, _, err := identity.Get(s.engine, twinhub.ID{Device: deviceID})
	if err != nil {
		return nil, err
	}
	return s.show(i)
}

func (s *Service) show(i *identity.Identity) (*Device, error) {
	state, err := s.sessions.State(i.ID())
	if err != nil {
		return nil, err
	}
	return show(i, state), nil
}

// Put creates a device, or with an If-Match header replaces it: * replaces any, an etag (quoted or bare) only the one
// that has it. It returns the device as it is then. An update that disables a device or changes how it authenticates
// ends its connection.
//
// Fails with CodeArgumentInvalid when the spec is not acceptable; without ifMatch with CodeDeviceAlreadyExists; with
// ifMatch with CodeDeviceNotFound or, when the etag is another, CodePreconditionFailed.
func (s *Service) Put(ctx context.Context, spec *Spec, ifMatch string) (*Device, error) {
	next, err := spec.identity()
	if err != nil {
		return nil, err
	}
	if strings.TrimSpace(ifMatch) == "" {
		err = s.create(ctx, next)
	} else {
		err = s.update(ctx, next, ifMatch)
	}
	if err != nil {
		return nil, err
	}
	return s.show(next)
}

// The number in the etag of a new identity is random, so that an etag from before a deletion does not match what was
// created after it. It has nine digits, like the original's.
const minFirstVersion, maxFirstVersion = 100_000_000, 999_999_999

func firstVersion() uint64 {
	var b [8]byte
	rand.Read(b[:]) // documented never to fail
	return minFirstVersion + binary.BigEndian.Uint64(b[:])%(maxFirstVersion-minFirstVersion+1)
}

// create commits a new identity with a new twin. What a former identity of the same id left of its connections goes.
func (s *Service) create(ctx context.Context, next *identity.Identity) error {
	now, ticks := s.now()
	next.GenerationID = strconv.FormatInt(ticks, 10)
	next.Version = firstVersion()
	if err := scope(next, nil, ticks); err != nil {
		return err
	}
	record, err := next.Write(engine.Absent)
	if err != nil {
		return err
	}
	id := next.ID()
	document, err := twin.NewDocument(now, "", jsondoc.Null(), jsondoc.Null())
	if err != nil {
		return fmt.Errorf("make twin: %w", err)
	}
	stored, err := document.Write(id, engine.Any)
	if err != nil {
		return fmt.Errorf("make twin: %w", err)
	}
	announced, err := twin.NewDocument(time.Time{}, "", jsondoc.Null(), jsondoc.Null()) // as never written, in events
	if err != nil {
		return fmt.Errorf("make twin: %w", err)
	}
	err = s.do(ctx, id, engine.Commit{
		Writes: []engine.Write{
			record, stored,
			{Key: session.StateKey(id), Expect: engine.Any},
			{Key: session.SubscriptionsKey(id), Expect: engine.Any},
		},
		Appends: s.lifecycle(id, opCreate, announced, now),
	})
	if errors.Is(err, engine.ErrConflict) {
		return twinhub.Errorf(twinhub.CodeDeviceAlreadyExists, "A device with ID '%s' is already registered.", id.Device)
	}
	return err
}

// update replaces an identity. When another write comes in between, it looks again.
func (s *Service) update(ctx context.Context, next *identity.Identity, ifMatch string) error {
	wanted := *next
	for {
		before, revision, err := s.find(ctx, next.ID(), ifMatch)
		if err != nil {
			return err
		}
		now, ticks := s.now()
		*next = wanted
		next.GenerationID, next.Version, next.StatusUpdatedTime = before.GenerationID, before.Version+1, before.StatusUpdatedTime
		if next.Status != before.Status {
			next.StatusUpdatedTime = now.Truncate(twinhub.Tick)
		}
		if err := scope(next, before, ticks); err != nil {
			return err
		}
		record, err := next.Write(revision)
		if err != nil {
			return err
		}
		err = s.do(ctx, next.ID(), engine.Commit{Writes: []engine.Write{record}})
		switch {
		case errors.Is(err, engine.ErrConflict):
			continue
		case err != nil:
			return err
		}
		if next.Status != identity.Enabled || next.Auth != before.Auth {
			s.sessions.Disconnect(next.ID(), session.Removed)
		}
		return nil
	}
}

// Delete removes a device with its twin and all that was stored of its connection, which it ends. ifMatch is an
// If-Match header, as for Put, and required. It fails with CodeDeviceNotFound, or with CodePreconditionFailed when
// ifMatch is empty or the etag is another.
func (s *Service) Delete(ctx context.Context, deviceID, ifMatch string) error {
	if strings.TrimSpace(ifMatch) == "" {
		return twinhub.Errorf(twinhub.CodePreconditionFailed, "Etag missing: send If-Match with the device's etag, or * for any.")
	}
	id := twinhub.ID{Device: deviceID}
	for {
		_, revision, err := s.find(ctx, id, ifMatch)
		if err != nil {
			return err
		}
		document, twinRevision, err := s.twin(id)
		if err != nil {
			return err
		}
		now, _ := s.now()
		err = s.do(ctx, id, engine.Commit{
			Writes: []engine.Write{
				{Key: identity.Key(id), Expect: revision},
				{Key: twin.Key(id), Expect: twinRevision},
				{Key: session.StateKey(id), Expect: engine.Any},
				{Key: session.SubscriptionsKey(id), Expect: engine.Any},
			},
			Appends: s.lifecycle(id, opDelete, document, now),
		})
		switch {
		case errors.Is(err, engine.ErrConflict):
			continue
		case err != nil:
			return err
		}
		s.sessions.Disconnect(id, session.Deleted)
		return nil
	}
}

// find returns the identity that a write is about, if the precondition holds.
func (s *Service) find(ctx context.Context, id twinhub.ID, ifMatch string) (*identity.Identity, engine.Revision, error) {
	if err := ctx.Err(); err != nil {
		return nil, 0, err
	}
	i, revision, err := identity.Get(s.engine, id)
	if err != nil {
		return nil, 0, err
	}
	if !twin.Matches(ifMatch, i.ETag()) {
		return nil, 0, twinhub.Errorf(twinhub.CodePreconditionFailed, "PreconditionFailed, ETag may be invalid.")
	}
	return i, revision, nil
}

// twin reads the twin that a deletion takes along. One that vanished with its identity in between has no revision, so
// that the commit finds the conflict.
func (s *Service) twin(id twinhub.ID) (*twin.Document, engine.Revision, error) {
	stored, err := s.engine.Get(engine.PartitionOf(s.engine, id.Device), twin.Key(id))
	if errors.Is(err, engine.ErrNotFound) {
		return nil, engine.Absent, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read twin: %w", err)
	}
	document, err := twin.Decode(stored.Value)
	return document, stored.Revision, err
}

// do commits what concerns one identity.
func (s *Service) do(ctx context.Context, id twinhub.ID, c engine.Commit) error {
	c.Partition = engine.PartitionOf(s.engine, id.Device)
	if _, err := engine.Do(ctx, s.engine, c); err != nil {
		return fmt.Errorf("store identity: %w", err)
	}
	return nil
}

// unixTicks is the number of ticks, of 100 ns, from the year 1 to 1970.
const unixTicks = 621355968000000000

// now returns the present time, and it in ticks since the year 1; ticks never repeat, so that they can name what is
// made then.
func (s *Service) now() (now time.Time, ticks int64) {
	now = s.clock.Now()
	ticks = now.Unix()*int64(time.Second/twinhub.Tick) + int64(now.Nanosecond())/int64(twinhub.Tick) + unixTicks
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastTicks = max(ticks, s.lastTicks+1)
	return now, s.lastTicks
}
