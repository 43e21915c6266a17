package twin

import (
	"crypto/rand"
	"encoding/hex"
	"strconv"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/jsondoc"
)

// A View shows device twins in another form; package digitaltwin implements it. It turns an arrow round: the event
// that tells how the other form changed belongs into the commit of the change, and digitaltwin imports twin.
type View interface {
	// Diff returns the JSON Patch from what a device's twin showed before to what it shows after; none when they
	// show the same. It is called for devices, not for modules, and must be safe for concurrent use.
	Diff(before, after *Document) jsondoc.Patch
}

// The operations that events name.
const (
	opUpdate  = "updateTwin"
	opReplace = "replaceTwin"
)

// events returns those that announce c and are wanted, the twin change before the digital twin change.
// Reference: IoT Hub, "Non-telemetry event schemas"; IoT Plug and Play, "Digital twin change notifications".
func (s *Service) events(id twinhub.ID, c *change) []*twinhub.Event {
	var list []*twinhub.Event
	var correlation string
	add := func(source twinhub.Source, schema, op, contentType string, body []byte) {
		if correlation == "" {
			correlation = newCorrelation()
		}
		ev := &twinhub.Event{
			ID: id, Source: source, UserID: []byte(s.hub), CorrelationID: correlation,
			ContentType: contentType, ContentEncoding: "utf-8", EnqueuedTime: twinhub.CeilMilli(c.at),
			Properties: make([]twinhub.Property, 0, 6), Body: body,
		}
		property := func(name, value string) {
			ev.Properties = append(ev.Properties, twinhub.Property{Name: name, Value: value})
		}
		property("hubName", s.hub)
		property("deviceId", id.Device)
		if id.IsModule() {
			property("moduleId", id.Module)
		}
		property("operationTimestamp", twinhub.FormatOperationTime(c.at))
		property("iothub-message-schema", schema)
		property("opType", op)
		list = append(list, ev)
	}
	if c.tags != nil || c.desired != nil || c.reported != nil {
		if s.router.Wants(twinhub.TwinChange) {
			op, body := opUpdate, c.appendUpdate
			if c.replaced {
				op, body = opReplace, func([]byte) []byte { return c.after.Notification(id) }
			}
			add(twinhub.TwinChange, "twinChangeNotification", op, "application/json", body(nil))
		}
	}
	if s.view != nil && !id.IsModule() && s.router.Wants(twinhub.DigitalTwinChange) {
		if patch := s.view.Diff(c.before, c.after); len(patch) > 0 {
			add(twinhub.DigitalTwinChange, "digitalTwinChangeNotification", opUpdate, "application/json-patch+json", patch.Append(nil))
		}
	}
	return list
}

// appendUpdate appends the body of an updateTwin event: the new version, and what changed as it was sent.
func (c *change) appendUpdate(dst []byte) []byte {
	dst = strconv.AppendInt(append(dst, `{"version":`...), c.after.Version, 10)
	if c.tags != nil {
		dst = c.tags.Append(append(dst, `,"tags":`...))
	}
	if c.desired != nil {
		dst = append(dst, `,"properties":{"desired":`...)
		dst = append(appendSection(dst, c.desired.patch, &c.desired.metadata, c.after.Desired.Version), '}')
	}
	if c.reported != nil {
		dst = append(dst, `,"properties":{"reported":`...)
		dst = append(appendSection(dst, c.reported.patch, &c.reported.metadata, c.after.Reported.Version), '}')
	}
	return append(dst, '}')
}

// newCorrelation returns 12 random hexadecimal digits.
func newCorrelation() string {
	var b [6]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
