package twin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/clock"
	"github.com/twinhub/twinhub/internal/core/identity"
	"github.com/twinhub/twinhub/internal/core/routing"
	"github.com/twinhub/twinhub/internal/core/session"
	"github.com/twinhub/twinhub/internal/engine"
	"github.com/twinhub/twinhub/internal/jsondoc"
)

// Options are what a Service needs.
type Options struct {
	Engine   engine.Engine
	Router   *routing.Router
	Sessions *session.Directory
	Clock    clock.Clock
	Logger   *slog.Logger
	HubName  string
	// View makes the digital twin change events; without it there are none.
	View View
}

// A Service reads and writes twins. It is safe for concurrent use. Methods that write return when the change is on
// disk; when ctx ends first, the change may still happen. Every method fails with CodeDeviceNotFound or
// CodeModuleNotFound when the identity does not exist.
type Service struct {
	engine   engine.Engine
	router   *routing.Router
	sessions *session.Directory
	clock    clock.Clock
	log      *slog.Logger
	hub      string
	view     View
	turns    turns
	updates  updates
}

// New makes a Service.
func New(o Options) *Service {
	return &Service{
		engine: o.Engine, router: o.Router, sessions: o.Sessions, clock: o.Clock, log: o.Logger, hub: o.HubName,
		view: o.View, turns: turns{queues: map[twinhub.ID]*queue{}},
	}
}

// Document returns the stored twin of id.
func (s *Service) Document(id twinhub.ID) (*Document, error) {
	d, _, err := s.load(id)
	return d, err
}

func (s *Service) load(id twinhub.ID) (*Document, engine.Revision, error) {
	stored, err := s.engine.Get(engine.PartitionOf(s.engine, id.Device), Key(id))
	if errors.Is(err, engine.ErrNotFound) {
		return nil, 0, identity.NotFound(id)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read twin: %w", err)
	}
	d, err := Decode(stored.Value)
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", id, err)
	}
	return d, stored.Revision, nil
}

// Get returns the twin as services see it, as JSON, and its unquoted etag.
func (s *Service) Get(ctx context.Context, id twinhub.ID) (doc []byte, etag string, err error) {
	if err := ctx.Err(); err != nil {
		return nil, "", err
	}
	i, _, err := identity.Get(s.engine, id)
	if err != nil {
		return nil, "", err
	}
	d, err := s.Document(id)
	if err != nil {
		return nil, "", err
	}
	return s.show(i, d)
}

func (s *Service) show(i *identity.Identity, d *Document) ([]byte, string, error) {
	state, err := s.sessions.State(i.ID())
	if err != nil {
		return nil, "", err
	}
	return Show(i, d, state).Append(make([]byte, 0, 2048)), d.ETag(), nil
}

// Update changes tags and desired properties as a service asks and returns the whole twin, as JSON, and its unquoted
// etag. body is a twin, of which all but tags and properties.desired is ignored. Without replace, they are merge
// patches, absent ones leave the section alone and null clears it; with replace they become the section, and absent
// ones clear it. A body that names neither changes nothing. The device gets the change of its desired properties.
//
// ifMatch is an If-Match header: see Matches. Fails with CodePreconditionFailed when it does not hold, with
// CodeArgumentInvalid when body is not acceptable or a section would become too large, with CodeMessageTooLarge when
// the change is too large to be announced. Reference: RFC 7396; IoT Hub, "Understand and use device twins", back-end
// operations.
func (s *Service) Update(ctx context.Context, id twinhub.ID, body []byte, ifMatch string, replace bool) (doc []byte, etag string, err error) {
	r, err := parseRequest(body, replace)
	if err != nil {
		return nil, "", err
	}
	i, _, err := identity.Get(s.engine, id)
	if err != nil {
		return nil, "", err
	}
	d, err := s.write(ctx, id, func(d *Document, now time.Time) (*change, error) {
		if err := d.match(ifMatch); err != nil {
			return nil, err
		}
		return d.service(r, now)
	})
	if err != nil {
		return nil, "", err
	}
	return s.show(i, d)
}

// A DesiredEdit is a change of desired properties that is made from what they are.
type DesiredEdit struct {
	// Patch is the merge patch to apply, an object; null changes nothing.
	Patch jsondoc.Value
	// Wire is the merge patch that the device gets, an object without $version.
	Wire jsondoc.Value
}

// EditDesired changes desired properties in one write and returns the new unquoted etag. edit makes the change from
// the present twin; it may be called again when another write came in between. Fails as Update does, or with the
// error of edit.
func (s *Service) EditDesired(ctx context.Context, id twinhub.ID, ifMatch string, edit func(*Document) (DesiredEdit, error)) (etag string, err error) {
	d, err := s.write(ctx, id, func(d *Document, now time.Time) (*change, error) {
		if err := d.match(ifMatch); err != nil {
			return nil, err
		}
		e, err := edit(d)
		if err != nil || e.Patch.IsNull() {
			return nil, err
		}
		if err := desiredSection.check(e.Patch); err != nil {
			return nil, err
		}
		c, err := d.service(request{desired: &e.Patch}, now)
		if err == nil {
			c.wire = &e.Wire
		}
		return c, err
	})
	if err != nil {
		return "", err
	}
	return d.ETag(), nil
}

// Reported merges a device's patch into its reported properties and returns their new $version. With expect, the
// $version must be that before, or CodePreconditionFailed is the answer; other errors are as for Update.
// Reference: IoT Hub, "Understand and use device twins", device operations.
func (s *Service) Reported(ctx context.Context, id twinhub.ID, patch []byte, expect *int64) (version int64, err error) {
	values, err := parseReported(patch)
	if err != nil {
		return 0, err
	}
	d, err := s.write(ctx, id, func(d *Document, now time.Time) (*change, error) {
		if expect != nil && *expect != d.Reported.Version {
			return nil, twinhub.Errorf(twinhub.CodePreconditionFailed,
				"PreconditionFailed, the version of the reported properties is %d, not %d.", d.Reported.Version, *expect)
		}
		return d.report(values, now)
	})
	if err != nil {
		return 0, err
	}
	return d.Reported.Version, nil
}

// ForDevice returns the twin as its device sees it: {"desired":{...,"$version":n},"reported":{...,"$version":n}}.
func (s *Service) ForDevice(ctx context.Context, id twinhub.ID) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	d, err := s.Document(id)
	if err != nil {
		return nil, err
	}
	return d.appendForDevice(make([]byte, 0, 1024)), nil
}

// maxModelID is the longest model id, in bytes. Reference: DTDL v2, "Digital Twin Model Identifier" (v3 allows less).
const maxModelID = 4096

// SetModel stores the model id that a device announced; it writes nothing when that is known already. Versions and
// etag stay as they are. Fails with CodeArgumentInvalid when it is longer than 4096 bytes.
// Reference: IoT Plug and Play, "Conventions", connection.
func (s *Service) SetModel(ctx context.Context, id twinhub.ID, modelID string) error {
	if len(modelID) > maxModelID {
		return twinhub.Errorf(twinhub.CodeArgumentInvalid, "The model id has %d bytes; the limit is %d.", len(modelID), maxModelID)
	}
	modelID = strings.ToValidUTF8(modelID, "\uFFFD") // as it will be stored
	known, err := s.Document(id)
	if err != nil || known.ModelID == modelID {
		return err
	}
	_, err = s.write(ctx, id, func(d *Document, now time.Time) (*change, error) { return d.model(modelID, now), nil })
	return err
}

// write changes the twin of id: edit says how, from the present one, and is asked again as long as others write in
// between. It returns the twin after the change, which is the present one when edit returns no change.
func (s *Service) write(ctx context.Context, id twinhub.ID, edit func(d *Document, now time.Time) (*change, error)) (*Document, error) {
	release, err := s.turns.take(ctx, id)
	if err != nil {
		return nil, err
	}
	defer release()
	for {
		before, revision, err := s.load(id)
		if err != nil {
			return nil, err
		}
		c, err := edit(before, s.clock.Now())
		if err != nil {
			return nil, err
		}
		if c == nil {
			return before, nil
		}
		commit, err := s.commit(id, c, revision)
		if err != nil {
			return nil, err
		}
		err = s.submit(ctx, id, c, commit)
		if err == nil {
			return c.after, nil
		}
		if !errors.Is(err, engine.ErrConflict) {
			return nil, fmt.Errorf("store twin: %w", err)
		}
		s.log.Debug("twin changed in between, write repeated", "device", id.Device, "module", id.Module)
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
}

// commit makes the commit of c: the document and the events.
func (s *Service) commit(id twinhub.ID, c *change, revision engine.Revision) (engine.Commit, error) {
	w, err := c.after.Write(id, revision)
	if err != nil {
		return engine.Commit{}, err
	}
	commit := engine.Commit{
		Partition: engine.PartitionOf(s.engine, id.Device),
		Writes:    []engine.Write{w},
		Appends:   s.router.Appends(s.events(id, c)...),
	}
	for _, a := range commit.Appends {
		for _, record := range a.Records {
			if len(record) > engine.MaxValue {
				return engine.Commit{}, twinhub.Errorf(twinhub.CodeMessageTooLarge,
					"The event that announces this change would take %d bytes; the limit is %d. Change the twin in smaller steps.", len(record), engine.MaxValue)
			}
		}
	}
	return commit, nil
}

// submit waits for the commit of c. Its callback, which runs on the committer in the order of the commits, hands the
// desired patch to the device's session: so a device gets patches in the order of their versions.
func (s *Service) submit(ctx context.Context, id twinhub.ID, c *change, commit engine.Commit) error {
	var patch []byte
	if c.wire != nil {
		patch = appendSection(nil, *c.wire, nil, c.after.Desired.Version)
	}
	done := make(chan error, 1)
	s.engine.Submit(commit, func(_ engine.Result, err error) {
		if err == nil {
			s.updates.add(c)
		}
		if err == nil && patch != nil {
			if link, ok := s.sessions.Lookup(id); ok {
				link.Desired(c.after.Desired.Version, patch)
			}
		}
		done <- err
	})
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
