package eventlog

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/engine"
	"github.com/twinhub/twinhub/internal/wire/amqp"
)

// enqueued is when the events of these tests came in; committed is when their records were written.
var (
	enqueued  = time.UnixMilli(1603288810715).UTC()
	committed = time.UnixMilli(1603288810824).UTC()
)

const authMethod = `{"scope":"device","type":"sas","issuer":"iothub","acceptingIpFilterRule":null}`

// samples are events whose records are kept in testdata, by the name of their files.
var samples = map[string]*twinhub.Event{
	"telemetry": {
		ID: twinhub.ID{Device: "my-pnp-device"}, Source: twinhub.Telemetry,
		ContentType: "application/json", ContentEncoding: "utf-8",
		AuthMethod: authMethod, GenerationID: "637388855582764406", EnqueuedTime: enqueued,
		Subject: "thermostat1", DataSchema: "dtmi:com:example:TemperatureController;1",
		Body: []byte(`{"temperature": 45}`),
	},
	"twin": {
		ID: twinhub.ID{Device: "my-pnp-device"}, Source: twinhub.TwinChange,
		UserID: []byte("my-pnp-hub"), CorrelationID: "6d0c5b6b8e0a", ContentType: "application/json", ContentEncoding: "utf-8",
		EnqueuedTime: enqueued,
		Properties: []twinhub.Property{
			{Name: "hubName", Value: "my-pnp-hub"}, {Name: "deviceId", Value: "my-pnp-device"},
			{Name: "operationTimestamp", Value: "2020-10-21T14:10:42.4171263+00:00"},
			{Name: "iothub-message-schema", Value: "twinChangeNotification"}, {Name: "opType", Value: "updateTwin"},
		},
		Body: []byte(`{"version":3,"properties":{"reported":{"maxTempSinceLastReboot":38.7,"$version":2}}}`),
	},
	"module": {
		ID: twinhub.ID{Device: "d", Module: "m"}, Source: twinhub.Telemetry,
		MessageID: "m-1", To: "/devices/d/modules/m/messages/events", ExpiryTime: time.UnixMilli(1).UTC(), CreationTime: time.UnixMilli(-1).UTC(),
		InterfaceID: "urn:azureiot:Security:SecurityAgent:1", EnqueuedTime: enqueued,
		Properties: []twinhub.Property{{Name: "naïve", Value: "☃"}, {Name: "empty"}},
	},
	"smallest": {ID: twinhub.ID{Device: "d"}, Source: twinhub.Telemetry, EnqueuedTime: enqueued},
}

// stored returns the bytes of a testdata file, which is hex with comments.
func stored(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "v1", name+".hex"))
	if err != nil {
		t.Fatal(err)
	}
	var digits strings.Builder
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(line, "#")
		digits.WriteString(strings.Join(strings.Fields(line), ""))
	}
	b, err := hex.DecodeString(digits.String())
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return b
}

// at puts a value into a log.
func at(value []byte) engine.Record {
	return engine.Record{Number: 13280, Offset: 12890070640 - FirstOffset, Time: committed, Value: value}
}

// read returns the message of a record, decoded.
func read(t testing.TB, r engine.Record) *amqp.Message {
	t.Helper()
	b, err := AppendMessage(nil, r)
	if err != nil {
		t.Fatalf("AppendMessage: %v", err)
	}
	m, err := amqp.DecodeMessage(b)
	if err != nil {
		t.Fatalf("a message that cannot be decoded: %v\n% x", err, b)
	}
	return m
}

// TestGolden compares records with those that version 1 has always written. The files stay for ever: there are logs
// that hold such records.
func TestGolden(t *testing.T) {
	for name, ev := range samples {
		t.Run(name, func(t *testing.T) {
			record := stored(t, name)
			if got := Encode(ev); !bytes.Equal(got, record) {
				t.Errorf("record: got\n%swant\n%s", hex.Dump(got), hex.Dump(record))
			}
			got, err := AppendMessage([]byte("before"), at(record))
			if err != nil {
				t.Fatalf("AppendMessage: %v", err)
			}
			if want := append([]byte("before"), stored(t, name+".message")...); !bytes.Equal(got, want) {
				t.Errorf("message: got\n%swant\n%s", hex.Dump(got), hex.Dump(want))
			}
		})
	}
}

// TestMessageTypes looks at what readers depend on: sections, order and exact AMQP types.
func TestMessageTypes(t *testing.T) {
	m := read(t, at(Encode(samples["telemetry"])))
	annotations := amqp.Map{
		{Key: amqp.Symbol("iothub-connection-device-id"), Value: "my-pnp-device"},
		{Key: amqp.Symbol("iothub-connection-auth-method"), Value: authMethod},
		{Key: amqp.Symbol("iothub-connection-auth-generation-id"), Value: "637388855582764406"},
		{Key: amqp.Symbol("iothub-enqueuedtime"), Value: amqp.Timestamp(1603288810715)},
		{Key: amqp.Symbol("iothub-message-source"), Value: "Telemetry"},
		{Key: amqp.Symbol("dt-subject"), Value: "thermostat1"},
		{Key: amqp.Symbol("dt-dataschema"), Value: "dtmi:com:example:TemperatureController;1"},
		{Key: amqp.Symbol("x-opt-sequence-number"), Value: int64(13280)},
		{Key: amqp.Symbol("x-opt-offset"), Value: "12890070640"},
		{Key: amqp.Symbol("x-opt-enqueued-time"), Value: amqp.Timestamp(1603288810824)},
	}
	compareMaps(t, "annotations", m.MessageAnnotations, annotations)
	switch {
	case m.Properties == nil:
		t.Fatal("no properties section")
	case m.Properties.ContentType != "application/json" || m.Properties.ContentEncoding != "utf-8":
		t.Errorf("properties: got %+v", *m.Properties)
	case m.Properties.MessageID != nil || m.Properties.To != "" || m.Properties.UserID != nil || m.Properties.CorrelationID != nil:
		t.Errorf("properties that the device did not set: got %+v", *m.Properties)
	}
	if m.ApplicationProperties != nil || m.DeliveryAnnotations != nil || m.Header != nil || m.Footer != nil {
		t.Errorf("sections that do not belong: got %+v", m)
	}
	if len(m.Body.Data) != 1 || string(m.Body.Data[0]) != `{"temperature": 45}` {
		t.Errorf("body: got %q", m.Body.Data)
	}

	m = read(t, at(Encode(samples["twin"])))
	if p := m.Properties; p == nil || string(p.UserID) != "my-pnp-hub" || p.CorrelationID != "6d0c5b6b8e0a" {
		t.Errorf("properties of a twin change: got %+v", p)
	}
	compareMaps(t, "application properties", m.ApplicationProperties, amqp.Map{
		{Key: "hubName", Value: "my-pnp-hub"}, {Key: "deviceId", Value: "my-pnp-device"},
		{Key: "operationTimestamp", Value: "2020-10-21T14:10:42.4171263+00:00"},
		{Key: "iothub-message-schema", Value: "twinChangeNotification"}, {Key: "opType", Value: "updateTwin"},
	})

	m = read(t, at(Encode(samples["smallest"])))
	if m.Properties != nil || m.ApplicationProperties != nil {
		t.Errorf("sections of an event that has nothing for them: got %+v and %+v", m.Properties, m.ApplicationProperties)
	}
	if len(m.Body.Data) != 1 || len(m.Body.Data[0]) != 0 {
		t.Errorf("an empty body is one empty data section; got %q", m.Body.Data)
	}

	m = read(t, at(Encode(samples["module"])))
	if v, _ := m.MessageAnnotations.Get("iothub-connection-module-id"); v != "m" {
		t.Errorf("module id: got %v", v)
	}
	if v, _ := m.MessageAnnotations.Get("iothub-interface-id"); v != "urn:azureiot:Security:SecurityAgent:1" {
		t.Errorf("interface id: got %v", v)
	}
	if p := m.Properties; p.MessageID != "m-1" || p.To == "" || p.AbsoluteExpiryTime != amqp.Some(amqp.Timestamp(1)) || p.CreationTime != amqp.Some(amqp.Timestamp(-1)) {
		t.Errorf("properties: got %+v", p)
	}
}

func compareMaps(t *testing.T, what string, got, want amqp.Map) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: got %d entries %v, want %d", what, len(got), got, len(want))
		return
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%s, entry %d: got %T %v = %T %v, want %T %v = %T %v", what, i,
				got[i].Key, got[i].Key, got[i].Value, got[i].Value, want[i].Key, want[i].Key, want[i].Value, want[i].Value)
		}
	}
}

// TestBadText checks that no text of a device can make a message that readers fail to decode.
func TestBadText(t *testing.T) {
	bad := "a\xffb"
	m := read(t, at(Encode(&twinhub.Event{
		ID: twinhub.ID{Device: bad}, Source: twinhub.Telemetry, MessageID: bad, CorrelationID: bad, To: bad, ContentType: "té\xffxt", ContentEncoding: "ütf",
		Subject: bad, EnqueuedTime: enqueued, UserID: []byte{}, Properties: []twinhub.Property{{Name: bad, Value: bad}},
	})))
	const want = "a\uFFFDb"
	subject, _ := m.MessageAnnotations.Get("dt-subject")
	for what, got := range map[string]any{
		"subject": subject, "message-id": m.Properties.MessageID, "correlation-id": m.Properties.CorrelationID, "to": m.Properties.To,
		"property name": m.ApplicationProperties[0].Key, "property value": m.ApplicationProperties[0].Value,
	} {
		if got != want {
			t.Errorf("%s: got %q, want %q", what, got, want)
		}
	}
	if m.Properties.ContentType != "t??xt" || m.Properties.ContentEncoding != "?tf" {
		t.Errorf("symbols: got %q and %q, want t??xt and ?tf", m.Properties.ContentType, m.Properties.ContentEncoding)
	}
	if m.Properties.UserID != nil {
		t.Errorf("user-id: got %q, want none for an empty one", m.Properties.UserID)
	}
}

// TestAppendMessageRefuses checks that a record of another form is refused and adds nothing.
func TestAppendMessageRefuses(t *testing.T) {
	for name, value := range map[string][]byte{
		"empty":                     {},
		"version 0":                 {0, 0, 0},
		"version 2":                 {2, 0, 0},
		"no count":                  {1},
		"count cut short":           {1, 0x80},
		"count too large":           {1, maxAnnotations + 1, 0},
		"count of more than 64 bit": {1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0},
		"no size":                   {1, 0},
		"size too large":            {1, 0, 1},
		"size of almost 64 bit":     {1, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := AppendMessage([]byte("kept"), engine.Record{Number: 7, Value: value})
			if !errors.Is(err, errRecord) || string(b) != "kept" {
				t.Errorf("got %q, %v; want the bytes given and %v", b, err, errRecord)
			}
			if err != nil && !strings.Contains(err.Error(), "record 7") {
				t.Errorf("the error %q does not name the record", err)
			}
		})
	}
}

// TestRoundTrip checks over arbitrary events that a reader gets what was sent, in order.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String()
		ev := &twinhub.Event{
			ID: twinhub.ID{Device: text.Draw(t, "device"), Module: text.Draw(t, "module")}, Source: twinhub.Telemetry,
			MessageID: text.Draw(t, "message id"), CorrelationID: text.Draw(t, "correlation id"), To: text.Draw(t, "to"),
			Subject: text.Draw(t, "subject"), DataSchema: text.Draw(t, "schema"), InterfaceID: text.Draw(t, "interface"),
			AuthMethod: text.Draw(t, "method"), GenerationID: text.Draw(t, "generation"), EnqueuedTime: enqueued,
			Body: rapid.SliceOfN(rapid.Byte(), 0, 700).Draw(t, "body"),
		}
		for _, name := range rapid.SliceOfNDistinct(text, 0, 300, rapid.ID[string]).Draw(t, "names") {
			ev.Properties = append(ev.Properties, twinhub.Property{Name: name, Value: text.Draw(t, "value")})
		}
		b, err := AppendMessage(nil, at(Encode(ev)))
		if err != nil {
			t.Fatalf("AppendMessage: %v", err)
		}
		m, err := amqp.DecodeMessage(b)
		if err != nil {
			t.Fatalf("a message that cannot be decoded: %v", err)
		}
		want := map[string]string{
			"iothub-connection-device-id": ev.ID.Device, "iothub-connection-module-id": ev.ID.Module, "dt-subject": ev.Subject,
			"dt-dataschema": ev.DataSchema, "iothub-interface-id": ev.InterfaceID, "iothub-connection-auth-method": ev.AuthMethod,
			"iothub-connection-auth-generation-id": ev.GenerationID,
		}
		for name, value := range want {
			if got, ok := m.MessageAnnotations.Get(name); ok != (value != "") || ok && got != value {
				t.Errorf("%s: got %v, %v; want %q", name, got, ok, value)
			}
		}
		if len(m.ApplicationProperties) != len(ev.Properties) {
			t.Fatalf("application properties: got %d, want %d", len(m.ApplicationProperties), len(ev.Properties))
		}
		for i, p := range ev.Properties {
			if got := m.ApplicationProperties[i]; got.Key != p.Name || got.Value != p.Value {
				t.Errorf("application property %d: got %v, want %v", i, got, p)
			}
		}
		if !bytes.Equal(m.Body.Bytes(), ev.Body) {
			t.Errorf("body: got %x, want %x", m.Body.Bytes(), ev.Body)
		}
	})
}

// FuzzAppendMessage gives AppendMessage records that no Encode has written. It must not panic, keep what stands in the
// buffer, and add either nothing, with an error, or a message-annotations section that begins the message.
func FuzzAppendMessage(f *testing.F) {
	for name := range samples {
		f.Add(stored(f, name), uint64(7), uint64(700))
	}
	f.Add([]byte{1, 0, 0}, uint64(0), uint64(0))
	f.Add([]byte{1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, ^uint64(0), ^uint64(0))
	f.Fuzz(func(t *testing.T, value []byte, number, offset uint64) {
		before := []byte("before")
		given := bytes.Clone(value)
		b, err := AppendMessage(before, engine.Record{Number: number, Offset: offset, Time: committed, Value: value})
		if !bytes.HasPrefix(b, before) {
			t.Fatalf("the buffer begins with % x", b[:min(len(b), 8)])
		}
		if !bytes.Equal(value, given) {
			t.Fatal("the record was changed")
		}
		added := b[len(before):]
		switch {
		case err != nil && len(added) > 0:
			t.Fatalf("an error (%v) and %d bytes", err, len(added))
		case err == nil && !bytes.HasPrefix(added, []byte{0, 0x53, 0x72}):
			t.Fatalf("the message begins with % x", added[:min(len(added), 4)])
		case err == nil && len(added) > len(value)+128:
			t.Fatalf("%d bytes became %d", len(value), len(added))
		}
	})
}

// FuzzEncode gives Encode arbitrary text. Every reader must be able to decode the message.
func FuzzEncode(f *testing.F) {
	f.Add("d", "text/plain", "name", "value", []byte("body"))
	f.Add("\xff", "\xc3", "\xed\xa0\x80", "☃", []byte(nil))
	f.Fuzz(func(t *testing.T, device, contentType, name, value string, body []byte) {
		m := read(t, at(Encode(&twinhub.Event{
			ID: twinhub.ID{Device: device}, ContentType: contentType, UserID: body, EnqueuedTime: enqueued,
			Properties: []twinhub.Property{{Name: name, Value: value}}, Body: body,
		})))
		if !bytes.Equal(m.Body.Bytes(), body) {
			t.Errorf("body: got %x, want %x", m.Body.Bytes(), body)
		}
		if utf8.ValidString(value) && m.ApplicationProperties[0].Value != value {
			t.Errorf("property: got %q, want %q", m.ApplicationProperties[0].Value, value)
		}
	})
}

// TestAppendMessageAllocations keeps the path of every event to every reader free of garbage.
func TestAppendMessageAllocations(t *testing.T) {
	record := at(Encode(samples["telemetry"]))
	buffer := make([]byte, 0, 4096)
	n := testing.AllocsPerRun(100, func() {
		var err error
		if buffer, err = AppendMessage(buffer[:0], record); err != nil {
			t.Error(err)
		}
	})
	if n > 1 { // the text of the offset
		t.Errorf("got %v allocations for each message, want at most 1", n)
	}
}

func BenchmarkEncode(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		Encode(samples["telemetry"])
	}
}

func BenchmarkAppendMessage(b *testing.B) {
	record := at(Encode(samples["telemetry"]))
	var buffer []byte
	b.ReportAllocs()
	for b.Loop() {
		buffer, _ = AppendMessage(buffer[:0], record)
	}
}
