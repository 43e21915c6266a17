package twin

import (
	"strconv"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/core/identity"
	"github.com/twinhub/twinhub/internal/core/session"
	"github.com/twinhub/twinhub/internal/jsondoc"
)

// Show returns the twin as services see it, in answers and in queries.
// Reference: IoT Hub, "Understand and use device twins", device twins.
func Show(i *identity.Identity, d *Document, s session.State) jsondoc.Value {
	b := jsondoc.NewBuilder(20)
	text := func(key, value string) { b.Set(key, jsondoc.String(value)) }
	text("deviceId", i.DeviceID)
	if i.ModuleID != "" {
		text("moduleId", i.ModuleID)
	}
	text("etag", d.ETag())
	text("deviceEtag", i.ETag())
	text("status", i.Status)
	if i.StatusReason != "" {
		text("statusReason", i.StatusReason)
	}
	text("statusUpdateTime", twinhub.FormatTime(i.StatusUpdatedTime))
	connection := "Disconnected"
	if s.Connected {
		connection = "Connected"
	}
	text("connectionState", connection)
	text("lastActivityTime", twinhub.FormatTime(s.LastActivityTime))
	b.Set("cloudToDeviceMessageCount", jsondoc.Int(0))
	text("authenticationType", i.Auth.Type)
	b.Set("x509Thumbprint", jsondoc.Object(
		jsondoc.Member{Key: "primaryThumbprint", Value: textOrNull(i.Auth.PrimaryThumbprint)},
		jsondoc.Member{Key: "secondaryThumbprint", Value: textOrNull(i.Auth.SecondaryThumbprint)}))
	text("modelId", d.ModelID)
	d.showContent(b)
	if i.ModuleID == "" {
		b.Set("capabilities", jsondoc.Object(jsondoc.Member{Key: "iotEdge", Value: jsondoc.Bool(i.Edge)}))
	}
	if i.DeviceScope != "" {
		text("deviceScope", i.DeviceScope)
	}
	if len(i.ParentScopes) > 0 {
		scopes := make([]jsondoc.Value, len(i.ParentScopes))
		for n, scope := range i.ParentScopes {
			scopes[n] = jsondoc.String(scope)
		}
		b.Set("parentScopes", jsondoc.Array(scopes...))
	}
	return b.Object()
}

func textOrNull(s string) jsondoc.Value {
	if s == "" {
		return jsondoc.Null()
	}
	return jsondoc.String(s)
}

// showContent sets version, tags unless there are none, and properties.
func (d *Document) showContent(b *jsondoc.Builder) {
	b.Set("version", jsondoc.Int(d.Version))
	if d.Tags.Len() > 0 {
		b.Set("tags", d.Tags)
	}
	b.Set("properties", jsondoc.Object(
		jsondoc.Member{Key: "desired", Value: d.Desired.show()},
		jsondoc.Member{Key: "reported", Value: d.Reported.show()}))
}

func (s Section) show() jsondoc.Value {
	b := jsondoc.NewBuilder(s.Values.Len() + 2)
	for key, v := range s.Values.Members() {
		b.Set(key, v)
	}
	return b.Set(metadataName, s.Metadata).Set(versionName, jsondoc.Int(s.Version)).Object()
}

// Notification returns the body of the events that show a whole twin: replaced, identity created, identity deleted.
// Reference: IoT Hub, "Non-telemetry event schemas", device twin change events, device lifecycle events.
func (d *Document) Notification(id twinhub.ID) []byte {
	b := jsondoc.NewBuilder(6)
	b.Set("deviceId", jsondoc.String(id.Device))
	if id.IsModule() {
		b.Set("moduleId", jsondoc.String(id.Module))
	}
	b.Set("etag", jsondoc.String(d.ETag()))
	d.showContent(b)
	return b.Object().Marshal()
}

// appendForDevice appends the twin as its device gets it: both sections without metadata.
func (d *Document) appendForDevice(dst []byte) []byte {
	dst = appendSection(append(dst, `{"desired":`...), d.Desired.Values, nil, d.Desired.Version)
	dst = appendSection(append(dst, `,"reported":`...), d.Reported.Values, nil, d.Reported.Version)
	return append(dst, '}')
}

// appendSection appends the members of the object values, then $metadata unless it is nil, then $version.
func appendSection(dst []byte, values jsondoc.Value, metadata *jsondoc.Value, version int64) []byte {
	dst = values.Append(dst)
	dst = dst[:len(dst)-1] // the closing brace
	if values.Len() > 0 {
		dst = append(dst, ',')
	}
	if metadata != nil {
		dst = append(metadata.Append(append(dst, `"$metadata":`...)), ',')
	}
	dst = strconv.AppendInt(append(dst, `"$version":`...), version, 10)
	return append(dst, '}')
}
