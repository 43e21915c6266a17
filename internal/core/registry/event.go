package registry

import (
	"crypto/rand"
	"encoding/hex"
	"time"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/core/twin"
	"github.com/twinhub/twinhub/internal/engine"
	"github.com/twinhub/twinhub/internal/jsondoc"
)

// The operations that lifecycle events name.
const (
	opCreate = "createDeviceIdentity"
	opDelete = "deleteDeviceIdentity"
)

// lifecycle makes the event that tells of a new or deleted identity, with its twin, for the logs that want it.
// Reference: IoT Hub, "Non-telemetry event schemas", device lifecycle events.
func (s *Service) lifecycle(id twinhub.ID, op string, document *twin.Document, now time.Time) []engine.Append {
	if document == nil || !s.router.Wants(twinhub.DeviceLifecycle) {
		return nil
	}
	var correlation [6]byte
	rand.Read(correlation[:]) // documented never to fail
	properties := []twinhub.Property{{Name: "hubName", Value: s.hub}, {Name: "deviceId", Value: id.Device}}
	if id.IsModule() {
		properties = append(properties, twinhub.Property{Name: "moduleId", Value: id.Module})
	}
	ev := &twinhub.Event{
		ID: id, Source: twinhub.DeviceLifecycle,
		ContentType: "application/json", ContentEncoding: "utf-8", UserID: []byte(s.hub),
		CorrelationID: hex.EncodeToString(correlation[:]),
		EnqueuedTime:  twinhub.CeilMilli(now),
		Properties: append(properties,
			twinhub.Property{Name: "operationTimestamp", Value: twinhub.FormatOperationTime(now)},
			twinhub.Property{Name: "iothub-message-schema", Value: "deviceLifecycleNotification"},
			twinhub.Property{Name: "opType", Value: op}),
		Body: document.Notification(id),
	}
	appends := s.router.Appends(ev)
	for _, a := range appends {
		if len(a.Records[0]) > engine.MaxValue {
			// A deletion must not fail because the twin hardly fits: it is told without the twin's content.
			ev.Body = bare(document).Notification(id)
			return s.router.Appends(ev)
		}
	}
	return appends
}

// bare returns the twin without tags, properties and metadata.
func bare(d *twin.Document) *twin.Document {
	b := *d
	b.Tags = jsondoc.Object()
	b.Desired.Values, b.Desired.Metadata = b.Tags, b.Tags
	b.Reported.Values, b.Reported.Metadata = b.Tags, b.Tags
	return &b
}
