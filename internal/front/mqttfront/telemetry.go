package mqttfront

import (
	"context"
	"strings"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/wire/mqtt"
)

// Telemetry: PUBLISH devices/{device}[/modules/{module}]/messages/events/{property bag}, QoS 0 or 1.
//
//   - PUBACK is sent once the event is in the log, never before; PUBACKs keep the order of the PUBLISHes.
//   - The bag may end with a slash; bag and slash may be missing.
//   - Retain and dup become the application properties mqtt-retain and mqtt-dup.
//   - A topic of another identity, an unreadable bag or a message over 256 KiB closes the connection.
//
// Reference: IoT Hub, "Send device-to-cloud messages over MQTT".

// telemetryBag returns the bag of a topic that is id's telemetry topic.
func telemetryBag(id twinhub.ID, topic string) (bag string, ok bool) {
	rest, ok := strings.CutPrefix(topic, "devices/")
	if ok {
		rest, ok = strings.CutPrefix(rest, id.Device)
	}
	if ok && id.IsModule() {
		if rest, ok = strings.CutPrefix(rest, "/modules/"); ok {
			rest, ok = strings.CutPrefix(rest, id.Module)
		}
	}
	if ok {
		rest, ok = strings.CutPrefix(rest, "/messages/events")
	}
	if !ok || rest != "" && rest[0] != '/' {
		return "", false
	}
	return strings.TrimPrefix(rest, "/"), true
}

// publish hands a PUBLISH to the operation that its topic names.
func (c *conn) publish(ctx context.Context, p *mqtt.Publish) error {
	number, err := c.acks.begin(p.ID)
	if err != nil {
		return err
	}
	if bag, ok := telemetryBag(c.id, p.Topic); ok {
		return c.publishTelemetry(number, p, bag)
	}
	rest, ok := strings.CutPrefix(p.Topic, "$iothub/")
	switch {
	case !ok:
	case strings.HasPrefix(rest, "twin/"):
		return c.publishTwin(ctx, number, p)
	case strings.HasPrefix(rest, "methods/res/"):
		return c.publishMethodReply(number, p)
	}
	return violates("publish only on the device's own topics", "PUBLISH to topic %q", clip(p.Topic))
}

func (c *conn) publishTelemetry(number uint64, p *mqtt.Publish, bag string) error {
	ev := &c.event
	*ev = twinhub.Event{Body: p.Payload, Properties: ev.Properties[:0]}
	if err := parseBag(bag, ev); err != nil {
		return violates("percent-encode names and values", "the property bag cannot be read: %v", err)
	}
	if p.Retain {
		setProperty(ev, "mqtt-retain", "true")
	}
	if p.Dup {
		setProperty(ev, "mqtt-dup", "true")
	}
	c.front.Telemetry.Send(&c.sender, ev, func(err error) {
		c.acks.finish(number, err)
		if err != nil {
			hangUp(c.nc) // run then finds err in acks
		}
	})
	if cap(ev.Properties) > keptProperties {
		ev.Properties = nil
	}
	clear(ev.Properties) // an idle connection keeps no text
	*ev = twinhub.Event{Properties: ev.Properties}
	return nil
}

// keptProperties is how many properties an idle connection keeps room for: 512 bytes.
const keptProperties = 16

// publishWill sends the will of a connection that ended without DISCONNECT, as telemetry marked as such.
func (c *conn) publishWill() {
	if c.will == nil {
		return
	}
	ev := &twinhub.Event{Body: c.will.Payload}
	bag, _ := telemetryBag(c.id, c.will.Topic)
	if err := parseBag(bag, ev); err != nil {
		c.front.Logger.Warn("will dropped", "device", c.id.String(), "error", err)
		return
	}
	setProperty(ev, "iothub-MessageType", "Will")
	if c.will.Retain {
		setProperty(ev, "mqtt-retain", "true")
	}
	c.front.Telemetry.Send(&c.sender, ev, func(err error) {
		if err != nil {
			c.front.Logger.Warn("will dropped", "device", c.id.String(), "error", err)
		}
	})
}
