package session

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/engine"
)

// SubscriptionsKey is the key of the document that keeps the subscriptions of id between MQTT connections. It is
// deleted with the identity.
func SubscriptionsKey(id twinhub.ID) string { return "s/" + id.String() }

// Subscriptions returns what SaveSubscriptions stored last: filter to granted QoS; nil if nothing.
func (d *Directory) Subscriptions(id twinhub.ID) (map[string]byte, error) {
	doc, err := d.engine.Get(engine.PartitionOf(d.engine, id.Device), SubscriptionsKey(id))
	if errors.Is(err, engine.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read subscriptions: %w", err)
	}
	var filters map[string]byte
	if err := json.Unmarshal(doc.Value, &filters); err != nil {
		return nil, fmt.Errorf("decode subscriptions of %s: %w", id, err)
	}
	return filters, nil
}

// SaveSubscriptions stores what the device has subscribed to, as Directory.SaveSubscriptions does. It fails with ErrGone
// when a newer connection took over or the identity is gone: theirs must not be overwritten.
func (s *Session) SaveSubscriptions(ctx context.Context, filters map[string]byte) error {
	if !s.Current() {
		return ErrGone
	}
	return s.directory.SaveSubscriptions(ctx, s.ID, filters)
}

// SaveSubscriptions stores the subscriptions of id for its next connection, or with none removes them. It returns
// when they are on disk.
func (d *Directory) SaveSubscriptions(ctx context.Context, id twinhub.ID, filters map[string]byte) error {
	w := engine.Write{Key: SubscriptionsKey(id), Expect: engine.Any}
	if len(filters) > 0 {
		value, err := json.Marshal(filters, json.Deterministic(true))
		if err != nil {
			return fmt.Errorf("encode subscriptions: %w", err)
		}
		w.Value = value
	}
	c := engine.Commit{Partition: engine.PartitionOf(d.engine, id.Device), Writes: []engine.Write{w}}
	if _, err := engine.Do(ctx, d.engine, c); err != nil {
		return fmt.Errorf("store subscriptions: %w", err)
	}
	return nil
}
