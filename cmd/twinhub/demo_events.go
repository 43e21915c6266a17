package main

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/twinhub/twinhub/service"
)

// collector keeps the events that were read until somebody asks for them.
type collector struct {
	// mu guards what follows.
	mu      sync.Mutex
	events  []*service.Event
	err     error         // why reading ended
	changed chan struct{} // closed and replaced with each event
}

func newCollector() *collector { return &collector{changed: make(chan struct{})} }

// run reads until ctx ends or reading fails. It keeps the events of which keep says so.
func (c *collector) run(ctx context.Context, from *service.Events, keep func(*service.Event) bool) {
	for e, err := range from.All(ctx) {
		c.mu.Lock()
		switch {
		case err != nil:
			c.err = err
		case keep(e):
			c.events = append(c.events, e)
		}
		close(c.changed)
		c.changed = make(chan struct{})
		c.mu.Unlock()
	}
}

// take waits for the first event that fits, and removes it.
func (c *collector) take(ctx context.Context, fits func(*service.Event) bool) (*service.Event, error) {
	for {
		c.mu.Lock()
		for i, e := range c.events {
			if fits(e) {
				c.events = append(c.events[:i:i], c.events[i+1:]...)
				c.mu.Unlock()
				return e, nil
			}
		}
		changed, err := c.changed, c.err
		c.mu.Unlock()
		if err != nil {
			return nil, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("no such event came: %w", ctx.Err())
		}
	}
}

// eventView is an event as commands show it: body, what the sender set, what the hub set.
type eventView struct {
	Partition string          `json:"partition"`
	Body      json.RawMessage `json:"body"`
	// Properties are those set by the device, or those that describe a notification.
	Properties map[string]any `json:"properties"`
	// System are those set by the hub.
	System map[string]any `json:"systemProperties"`
}

// viewEvent names system properties as Event Hubs clients do; times are milliseconds since 1970.
func viewEvent(e *service.Event) eventView {
	v := eventView{Partition: e.Partition, Body: e.Body, Properties: map[string]any{}, System: map[string]any{}}
	if !json.Valid(e.Body) {
		v.Body, _ = json.Marshal(printable(string(e.Body))) // a string is always JSON
	}
	for name, value := range e.Properties {
		v.Properties[name] = viewValue(value)
	}
	for name, value := range e.SystemProperties {
		v.System[name] = viewValue(value)
	}
	for name, value := range map[string]string{
		"message-id": e.MessageID, "correlation-id": e.CorrelationID, "user-id": string(e.UserID),
		"content-type": e.ContentType, "content-encoding": e.ContentEncoding, "x-opt-offset": e.Offset,
	} {
		if value != "" {
			v.System[name] = printable(value)
		}
	}
	v.System["x-opt-sequence-number"] = e.SequenceNumber
	if !e.EnqueuedTime.IsZero() {
		v.System["x-opt-enqueued-time"] = e.EnqueuedTime.UnixMilli()
	}
	return v
}

func viewValue(v any) any {
	switch v := v.(type) {
	case time.Time:
		return v.UnixMilli()
	case []byte:
		return printable(string(v))
	}
	return v
}
