package device

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"
)

// maxDesired is how many patches may wait for a handler that is slow. When more come they are dropped, and the handler
// gets the whole section instead.
const maxDesired = 64

// Desired is a change of the desired properties.
type Desired struct {
	// Version is the section's $version after the change.
	Version int64
	// Properties is a JSON object: the patch as the back end made it, in which null means deleted, or the whole section
	// if Whole is set. It has a member $version in either case.
	Properties json.RawMessage
	// Whole says that patches may have been missed, because the device was not connected or its handler was slow, and
	// that Properties is everything there is.
	Whole bool
}

// Decode unmarshals the properties into v.
func (d Desired) Decode(v any) error {
	if err := json.Unmarshal(d.Properties, v); err != nil {
		return fmt.Errorf("device: decode desired properties: %w", err)
	}
	return nil
}

// HandleDesired makes fn the handler of changes of the desired properties and returns when the hub will send them. It
// replaces the handler before; nil only ends that one. Calls of fn come one at a time, in the order of the changes, with a
// context that ends with Close. What is desired at the time of HandleDesired is not a change: see [Client.Twin]. After a
// connection was lost the client fetches the section, and fn gets it whole if its version is another than that of the
// last change it got, or if it has got none.
func (c *Client) HandleDesired(ctx context.Context, fn func(ctx context.Context, d Desired)) error {
	d := &c.desired
	d.mu.Lock()
	d.handler = fn
	start := fn != nil && !d.started
	d.started = d.started || start
	d.mu.Unlock()
	if fn == nil {
		return nil
	}
	if start && !c.start(c.followDesired) {
		return fmt.Errorf("device: handle desired properties: %w", ErrClosed)
	}
	if err := c.subscribe(ctx, twinDesired+allLevels); err != nil {
		return fmt.Errorf("device: handle desired properties: %w", err)
	}
	return nil
}

// start runs fn as one of the client's goroutines, unless the client is closed.
func (c *Client) start(fn func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.wg.Go(fn)
	return true
}

// desired are the changes that wait for the handler.
type desired struct {
	wake chan struct{} // holds one token when there is something to do

	// mu guards what follows.
	mu      sync.Mutex
	handler func(ctx context.Context, d Desired)
	started bool
	queue   []Desired
	missed  bool // changes may have been missed
	linked  bool // there has been a connection before
}

func (d *desired) init() { d.wake = make(chan struct{}, 1) }

func (d *desired) signal() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// connected notes a new connection. Only the first can have missed nothing.
func (d *desired) connected() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.missed = d.missed || d.linked && d.started
	d.linked = true
	d.signal()
}

// next returns the next change, or that some may have been missed, or that there is nothing to do.
func (d *desired) next() (change Desired, missed, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.missed {
		d.missed, d.queue = false, nil
		return Desired{}, true, true
	}
	if len(d.queue) == 0 {
		return Desired{}, false, false
	}
	change = d.queue[0]
	d.queue = d.queue[1:]
	return change, false, true
}

// takeDesired takes the body of a patch from the hub.
func (c *Client) takeDesired(body []byte) error {
	body = append([]byte(nil), body...)
	version, err := versionOf(body)
	if err != nil {
		return err
	}
	d := &c.desired
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.handler == nil {
		return nil
	}
	if len(d.queue) == maxDesired {
		d.missed = true
	} else if !d.missed {
		d.queue = append(d.queue, Desired{Version: version, Properties: body})
	}
	d.signal()
	return nil
}

// followDesired calls the handler for each change until the client closes.
func (c *Client) followDesired() {
	d := &c.desired
	seen, known := int64(0), false
	for {
		change, missed, ok := d.next()
		if !ok {
			select {
			case <-d.wake:
				continue
			case <-c.ctx.Done():
				return
			}
		}
		if missed {
			twin, err := c.fetchDesired()
			if err != nil {
				return
			}
			if known && twin.DesiredVersion == seen {
				continue
			}
			change = Desired{Version: twin.DesiredVersion, Properties: twin.Desired, Whole: true}
		} else if known && change.Version <= seen {
			continue // the section that was fetched had it
		}
		seen, known = change.Version, true
		d.mu.Lock()
		handler := d.handler
		d.mu.Unlock()
		if handler != nil {
			handler(c.ctx, change)
		}
		if c.ctx.Err() != nil {
			return
		}
	}
}

// fetchDesired gets the twin, however often that takes. It fails only when the client closes.
func (c *Client) fetchDesired() (*Twin, error) {
	var wait backoff
	wait.init(c.s.MinBackoff, c.s.MaxBackoff)
	for {
		twin, err := c.Twin(c.ctx)
		if err == nil {
			return twin, nil
		}
		if c.ctx.Err() != nil || errors.Is(err, ErrClosed) {
			return nil, err
		}
		delay := wait.next()
		c.s.Logger.Warn("no desired properties", "device", c.s.id, "error", err, "retry", delay)
		timer := time.NewTimer(delay)
		select {
		case <-timer.C:
		case <-c.ctx.Done():
			timer.Stop()
			return nil, c.ctx.Err()
		}
	}
}
