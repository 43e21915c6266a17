package twin_test

import (
	"context"
	"strings"
	"testing"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/wire/amqp"
)

// checkEvent compares everything of an event but the numbers that the log gives it and its correlation id.
func checkEvent(t *testing.T, m *amqp.Message, source, contentType, body string, enqueued amqp.Timestamp, properties string) {
	t.Helper()
	if got := string(m.Body.Bytes()); got != body {
		t.Errorf("body\n got %s\nwant %s", got, body)
	}
	if got := text(m.ApplicationProperties); got != properties {
		t.Errorf("application properties\n got %s\nwant %s", got, properties)
	}
	p := m.Properties
	if string(p.UserID) != hub || string(p.ContentType) != contentType || p.ContentEncoding != "utf-8" {
		t.Errorf("user-id %q, content-type %q, content-encoding %q", p.UserID, p.ContentType, p.ContentEncoding)
	}
	want := []amqp.Entry{
		{Key: amqp.Symbol("iothub-connection-device-id"), Value: device.Device},
		{Key: amqp.Symbol("iothub-enqueuedtime"), Value: enqueued},
		{Key: amqp.Symbol("iothub-message-source"), Value: source},
	}
	for n, w := range want {
		if len(m.MessageAnnotations) <= n || m.MessageAnnotations[n] != w {
			t.Errorf("annotations\n%swant entry %d to be %v=%v", text(m.MessageAnnotations), n, w.Key, w.Value)
		}
	}
}

// correlated checks that two events are of one change and next to each other in the log.
func correlated(t *testing.T, a, b *amqp.Message) {
	t.Helper()
	id, _ := a.Properties.CorrelationID.(string)
	if len(id) != 12 || strings.Trim(id, "0123456789abcdef") != "" {
		t.Errorf("correlation-id %q is not 12 hexadecimal digits", id)
	}
	if b.Properties.CorrelationID != any(id) {
		t.Errorf("correlation-ids %v and %v differ", id, b.Properties.CorrelationID)
	}
	first, _ := a.MessageAnnotations.Get("x-opt-sequence-number")
	second, _ := b.MessageAnnotations.Get("x-opt-sequence-number")
	if n, ok := first.(int64); !ok || second != any(n+1) {
		t.Errorf("sequence numbers %v and %v do not follow each other", first, second)
	}
}

// The notifications printed in the Plug and Play service guide of the IoT Hub documentation, byte for byte.
func TestPublishedNotifications(t *testing.T) {
	tests := []struct {
		name         string
		now          string
		earlier      []string // reported patches before
		patch        string
		enqueued     amqp.Timestamp
		stamp        string
		twin, change string
	}{
		{
			name: "property of a device without components", now: "2020-10-21T14:10:42.4171263Z",
			patch: `{"maxTempSinceLastReboot":10.96}`, stamp: "2020-10-21T14:10:42.4171263+00:00", enqueued: 1603289442418,
			twin:   `{"version":3,"properties":{"reported":{"maxTempSinceLastReboot":10.96,"$metadata":{"$lastUpdated":"2020-10-21T14:10:42.4171263Z","maxTempSinceLastReboot":{"$lastUpdated":"2020-10-21T14:10:42.4171263Z"}},"$version":2}}}`,
			change: `[{"op":"add","path":"/$metadata/maxTempSinceLastReboot","value":{"lastUpdateTime":"2020-10-21T14:10:42.4171263Z"}},{"op":"add","path":"/maxTempSinceLastReboot","value":10.96}]`,
		},
		{
			name: "property of a component", now: "2020-10-21T14:13:39.36491Z", earlier: []string{`{"serialNumber":"alwinexlepaho8329"}`},
			patch: `{"thermostat1":{"maxTempSinceLastReboot":98.34,"__t":"c"}}`, stamp: "2020-10-21T14:13:39.3649100+00:00", enqueued: 1603289619365,
			twin:   `{"version":4,"properties":{"reported":{"thermostat1":{"maxTempSinceLastReboot":98.34,"__t":"c"},"$metadata":{"$lastUpdated":"2020-10-21T14:13:39.36491Z","thermostat1":{"$lastUpdated":"2020-10-21T14:13:39.36491Z","maxTempSinceLastReboot":{"$lastUpdated":"2020-10-21T14:13:39.36491Z"},"__t":{"$lastUpdated":"2020-10-21T14:13:39.36491Z"}}},"$version":3}}}`,
			change: `[{"op":"add","path":"/thermostat1","value":{"$metadata":{"maxTempSinceLastReboot":{"lastUpdateTime":"2020-10-21T14:13:39.36491Z"}},"maxTempSinceLastReboot":98.34}}]`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, twinhub.TwinChange, twinhub.DigitalTwinChange)
			r.create(device, `null`, `null`)
			for _, patch := range tt.earlier {
				r.reported(device, patch)
			}
			before := uint64(len(r.events(device, 0)))
			r.clock.set(t, tt.now)
			r.reported(device, tt.patch)
			events := r.events(device, before)
			if len(events) != 2 {
				t.Fatalf("%d events, want 2", len(events))
			}
			properties := func(schema string) string {
				return "hubName=my-pnp-hub\ndeviceId=my-pnp-device\noperationTimestamp=" + tt.stamp + "\niothub-message-schema=" + schema + "\nopType=updateTwin\n"
			}
			checkEvent(t, events[0], "twinChangeEvents", "application/json", tt.twin, tt.enqueued, properties("twinChangeNotification"))
			checkEvent(t, events[1], "digitalTwinChangeEvents", "application/json-patch+json", tt.change, tt.enqueued, properties("digitalTwinChangeNotification"))
			correlated(t, events[0], events[1])
		})
	}
}

func TestReplaceTwinEvent(t *testing.T) {
	r := newRig(t, twinhub.TwinChange, twinhub.DigitalTwinChange)
	r.create(device, `{"site":"a"}`, `{"p":1}`)
	r.clock.set(t, "2020-10-21T14:13:39.3649109Z")
	_, _, err := r.twins.Update(context.Background(), device, []byte(`{"tags":{"floor":1},"properties":{"desired":{"q":2}}}`), "", true)
	if err != nil {
		t.Fatal(err)
	}
	events := r.events(device, 0)
	if len(events) != 2 {
		t.Fatalf("%d events, want 2", len(events))
	}
	const stamp = `"$lastUpdated":"2020-10-21T14:13:39.3649109Z","$lastUpdatedVersion":2`
	properties := func(schema, op string) string {
		return "hubName=my-pnp-hub\ndeviceId=my-pnp-device\noperationTimestamp=2020-10-21T14:13:39.3649109+00:00\niothub-message-schema=" + schema + "\nopType=" + op + "\n"
	}
	checkEvent(t, events[0], "twinChangeEvents", "application/json",
		`{"deviceId":"my-pnp-device","etag":"AAAAAAAAAAI=","version":3,"tags":{"floor":1},"properties":{"desired":{"q":2,"$metadata":{`+stamp+`,"q":{`+stamp+`}},"$version":2},`+
			`"reported":{"$metadata":{"$lastUpdated":"2020-10-21T14:10:00Z"},"$version":1}}}`,
		1603289619365, properties("twinChangeNotification", "replaceTwin"))
	checkEvent(t, events[1], "digitalTwinChangeEvents", "application/json-patch+json",
		`[{"op":"remove","path":"/$metadata/p"},{"op":"add","path":"/$metadata/q","value":{"desiredValue":2,"desiredVersion":2}}]`,
		1603289619365, properties("digitalTwinChangeNotification", "updateTwin"))
	correlated(t, events[0], events[1])
}

func TestWhichEventsAreMade(t *testing.T) {
	module := twinhub.ID{Device: device.Device, Module: "m"}
	tests := []struct {
		name    string
		sources []twinhub.Source
		change  func(*rig)
		want    []string
	}{
		{"none routed", nil, func(r *rig) { r.reported(device, `{"a":1}`) }, nil},
		{"twin changes routed", []twinhub.Source{twinhub.TwinChange}, func(r *rig) { r.reported(device, `{"a":1}`) }, []string{"twinChangeEvents"}},
		{"digital twin changes routed", []twinhub.Source{twinhub.DigitalTwinChange}, func(r *rig) { r.reported(device, `{"a":1}`) }, []string{"digitalTwinChangeEvents"}},
		{"tags do not show in the digital twin", []twinhub.Source{twinhub.TwinChange, twinhub.DigitalTwinChange},
			func(r *rig) { r.update(device, `{"tags":{"a":1}}`, "") }, []string{"twinChangeEvents"}},
		{"modules have no digital twin", []twinhub.Source{twinhub.TwinChange, twinhub.DigitalTwinChange},
			func(r *rig) { r.reported(module, `{"a":1}`) }, []string{"twinChangeEvents"}},
		{"a request that changes nothing", []twinhub.Source{twinhub.TwinChange, twinhub.DigitalTwinChange},
			func(r *rig) { r.update(device, `{"etag":"x"}`, "") }, nil},
		{"a model shows in the digital twin alone", []twinhub.Source{twinhub.TwinChange, twinhub.DigitalTwinChange},
			func(r *rig) {
				for range 2 { // the second time it is known
					if err := r.twins.SetModel(context.Background(), device, "dtmi:com:example:Thermostat;1"); err != nil {
						r.t.Fatal(err)
					}
				}
			}, []string{"digitalTwinChangeEvents"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, tt.sources...)
			r.create(device, `null`, `null`)
			r.create(module, `null`, `null`)
			tt.change(r)
			var got []string
			for _, m := range r.events(device, 0) {
				source, _ := m.MessageAnnotations.Get("iothub-message-source")
				got = append(got, source.(string))
			}
			if strings.Join(got, " ") != strings.Join(tt.want, " ") {
				t.Errorf("events %v, want %v", got, tt.want)
			}
		})
	}
}

func TestModuleEventNamesTheModule(t *testing.T) {
	module := twinhub.ID{Device: "d", Module: "m"}
	r := newRig(t, twinhub.TwinChange)
	r.create(module, `null`, `null`)
	r.reported(module, `{"a":1}`)
	events := r.events(module, 0)
	if len(events) != 1 {
		t.Fatalf("%d events, want 1", len(events))
	}
	if got, _ := events[0].MessageAnnotations.Get("iothub-connection-module-id"); got != "m" {
		t.Errorf("module annotation %v, want m", got)
	}
	want := "hubName=my-pnp-hub\ndeviceId=d\nmoduleId=m\noperationTimestamp=2020-10-21T14:10:00.0000000+00:00\niothub-message-schema=twinChangeNotification\nopType=updateTwin\n"
	if got := text(events[0].ApplicationProperties); got != want {
		t.Errorf("application properties\n got %s\nwant %s", got, want)
	}
}

func TestModelEvent(t *testing.T) {
	r := newRig(t, twinhub.DigitalTwinChange)
	r.create(device, `null`, `null`)
	_, etag := r.get(device)
	if err := r.twins.SetModel(context.Background(), device, "dtmi:com:example:Thermostat;1"); err != nil {
		t.Fatal(err)
	}
	events := r.events(device, 0)
	if len(events) != 1 {
		t.Fatalf("%d events, want 1", len(events))
	}
	want := `[{"op":"replace","path":"/$metadata/$model","value":"dtmi:com:example:Thermostat;1"}]`
	if got := string(events[0].Body.Bytes()); got != want {
		t.Errorf("body\n got %s\nwant %s", got, want)
	}
	doc, after := r.get(device)
	if after != etag || !strings.Contains(doc, `"modelId":"dtmi:com:example:Thermostat;1","version":2,`) {
		t.Errorf("etag %s after %s, twin %s", after, etag, doc)
	}
}
