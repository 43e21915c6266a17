package mqttfront

import (
	"context"
	"maps"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/wire/mqtt"
)

// SUBSCRIBE and UNSUBSCRIBE of the fixed filters.
//
//   - QoS 2 is granted as 1. A filter that is not one of the fixed ones is refused with 0x80, and explained in the log.
//   - With CleanSession 0 the subscriptions are on disk before SUBACK, and are there again at the next CONNECT with
//     CleanSession 0, whose CONNACK says so; CleanSession 1 drops them.
//
// Reference: IoT Hub, "MQTT support", receiving messages; MQTT 3.1.1 section 3.8.

// The filters that mean something to this hub, beside those of an identity's own messages.
const (
	twinResponseFilter = "$iothub/twin/res/#"
	desiredFilter      = "$iothub/twin/PATCH/properties/desired/#"
	methodsFilter      = "$iothub/methods/POST/#"
)

// subscriptions are the granted QoS by filter.
type subscriptions map[string]mqtt.QoS

// known reports whether id may subscribe to the filter.
func known(id twinhub.ID, filter string) bool {
	switch filter {
	case twinResponseFilter, desiredFilter, methodsFilter:
		return true
	}
	if id.IsModule() {
		own := "devices/" + id.Device + "/modules/" + id.Module + "/"
		return filter == own+"messages/devicebound/#" || filter == own+"inputs/#" || filter == own+"#"
	}
	return filter == "devices/"+id.Device+"/messages/devicebound/#"
}

// listens reports whether the device subscribes to the filter.
func (c *conn) listens(filter string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.subscriptions[filter]
	return ok
}

func (c *conn) subscribe(ctx context.Context, p *mqtt.Subscribe) error {
	next := c.copySubscriptions()
	codes := make([]byte, len(p.Subscriptions))
	for i, s := range p.Subscriptions {
		if !known(c.id, s.Filter) {
			codes[i] = mqtt.SubackFailure
			c.front.explain(c.nc, c.id.String(), violates("subscribe only to the documented filters of the device itself", "SUBSCRIBE to filter %q", clip(s.Filter)))
			continue
		}
		granted := min(s.QoS, mqtt.QoS1)
		next[s.Filter] = granted
		codes[i] = byte(granted)
	}
	return c.change(ctx, next, &mqtt.Suback{ID: p.ID, Codes: codes})
}

func (c *conn) unsubscribe(ctx context.Context, p *mqtt.Unsubscribe) error {
	next := c.copySubscriptions()
	for _, filter := range p.Filters {
		delete(next, filter)
	}
	return c.change(ctx, next, &mqtt.Unsuback{ID: p.ID})
}

// copySubscriptions returns the subscriptions to be changed. Only the reader, which calls it, changes them.
func (c *conn) copySubscriptions() subscriptions {
	next := make(subscriptions, len(c.subscriptions)+1)
	maps.Copy(next, c.subscriptions)
	return next
}

// change makes next the subscriptions and answers. A session that outlives the connection is stored first. The answer
// leaves before anything that the new subscriptions let through.
func (c *conn) change(ctx context.Context, next subscriptions, answer mqtt.Packet) error {
	if !c.clean && !maps.Equal(next, c.subscriptions) {
		if err := c.save(ctx, next); err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.subscriptions = next
	_, listening := next[methodsFilter]
	c.session.SetMethods(listening) // before the answer: who has read it finds the device reachable
	return c.out.add(answer)        // c.mu keeps what is sent to the device behind it
}

func (c *conn) save(ctx context.Context, s subscriptions) error {
	stored := make(map[string]byte, len(s))
	for filter, qos := range s {
		stored[filter] = byte(qos)
	}
	return c.session.SaveSubscriptions(ctx, stored)
}

// storedSubscriptions returns what earlier connections subscribed to, none if there were none; for a clean session it
// drops them.
func (c *conn) storedSubscriptions(ctx context.Context) (subscriptions, error) {
	stored, err := c.front.Sessions.Subscriptions(c.id)
	if err != nil || len(stored) == 0 {
		return nil, err
	}
	if c.clean {
		return nil, c.save(ctx, nil)
	}
	s := make(subscriptions, len(stored))
	for filter, qos := range stored {
		s[filter] = mqtt.QoS(qos)
	}
	return s, nil
}
