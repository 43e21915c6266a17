package index

import (
	"context"
	"errors"
	"fmt"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/engine"
	"github.com/twinhub/twinhub/internal/query"
)

// MaxItems is the largest page, and the default. Reference: IoT Hub, "Quotas and throttling", query results.
const MaxItems = 100

// The kinds of rows, as clients are told.
const (
	// Twins are whole twins.
	Twins = "Twin"
)

// A TwinReader shows a twin as services see it; package twin has one. It fails with CodeDeviceNotFound for a device
// that does not exist.
type TwinReader interface {
	Get(ctx context.Context, id twinhub.ID) (doc []byte, etag string, err error)
}

// Options are what a Service needs; all fields are required.
type Options struct {
	Engine engine.Engine
	Twins  TwinReader
	// Key signs continuation tokens: at least 32 random bytes, the same for as long as tokens shall be good.
	Key []byte
}

// Service answers queries. It keeps nothing between pages and is safe for concurrent use.
type Service struct {
	engine engine.Engine
	twins  TwinReader
	key    []byte
}

// minKey is the least length of Options.Key, that of the hash.
const minKey = 32

// New makes a Service. It fails when the key is too short.
func New(o Options) (*Service, error) {
	if len(o.Key) < minKey {
		return nil, fmt.Errorf("index: the key for continuation tokens has %d bytes; at least %d are needed", len(o.Key), minKey)
	}
	return &Service{engine: o.Engine, twins: o.Twins, key: o.Key}, nil
}

// A Request asks for one page.
type Request struct {
	Query string
	// MaxItems bounds the page: 1 to MaxItems.
	MaxItems int
	// Continuation is what came with the page before; empty for the first.
	Continuation string
}

// A Page is a part of a query's answer.
type Page struct {
	// Kind says what the rows are.
	Kind string
	// Rows are JSON texts, in the order of their device ids.
	Rows [][]byte
	// Continuation asks for the next page; empty on the last. A page before the last may be short.
	Continuation string
}

// Query returns a page of the devices that the query selects, each as it is now. A device that exists and matches
// throughout is on exactly one page, whatever is created and deleted meanwhile. It fails with CodeArgumentInvalid for
// a query that is not understood, a MaxItems out of range, or a continuation that this hub did not make for this query.
func (s *Service) Query(ctx context.Context, r Request) (Page, error) {
	if r.MaxItems < 1 || r.MaxItems > MaxItems {
		return Page{}, twinhub.Errorf(twinhub.CodeArgumentInvalid, "BadRequest: the page size must be within [1; %d].", MaxItems)
	}
	q, err := query.Parse(r.Query)
	if err != nil {
		return Page{}, twinhub.Errorf(twinhub.CodeArgumentInvalid, "BadRequest: %v", err)
	}
	after, err := s.position(r)
	if err != nil {
		return Page{}, err
	}
	if err := s.engine.Barrier(ctx); err != nil {
		return Page{}, fmt.Errorf("await earlier writes: %w", err)
	}
	if id, ok := q.DeviceID(); ok {
		return s.one(ctx, id, after)
	}
	devices, more, err := Devices(s.engine, after, r.MaxItems)
	if err != nil {
		return Page{}, fmt.Errorf("query: %w", err)
	}
	page := Page{Kind: Twins}
	for _, i := range devices {
		if err := s.add(ctx, &page, i.DeviceID); err != nil {
			return Page{}, err
		}
	}
	if more {
		page.Continuation = s.seal(token{query: hash(r.Query), last: devices[len(devices)-1].DeviceID})
	}
	return page, nil
}

// one answers a query that is limited to one device.
func (s *Service) one(ctx context.Context, id, after string) (Page, error) {
	page := Page{Kind: Twins}
	if !twinhub.ValidID(id) || id <= after {
		return page, nil
	}
	return page, s.add(ctx, &page, id)
}

// add appends the row of a device, unless it was deleted meanwhile.
func (s *Service) add(ctx context.Context, page *Page, id string) error {
	doc, _, err := s.twins.Get(ctx, twinhub.ID{Device: id})
	if twinhub.HasCode(err, twinhub.CodeDeviceNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("query: %w", err)
	}
	page.Rows = append(page.Rows, doc)
	return nil
}

// position returns the id after which the page begins.
func (s *Service) position(r Request) (after string, err error) {
	if r.Continuation == "" {
		return "", nil
	}
	t, err := s.open(r.Continuation)
	if err != nil {
		return "", twinhub.Errorf(twinhub.CodeArgumentInvalid, "BadRequest: the continuation token is not one of this hub; start the query again.")
	}
	if t.query != hash(r.Query) {
		return "", twinhub.Errorf(twinhub.CodeArgumentInvalid, "BadRequest: the continuation token belongs to another query; send it with the query it came from.")
	}
	return t.last, nil
}

var errToken = errors.New("not a continuation token of this hub")
