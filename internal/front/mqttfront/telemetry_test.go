package mqttfront

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/core/telemetry"
	"github.com/twinhub/twinhub/internal/engine"
	"github.com/twinhub/twinhub/internal/wire/amqp"
	"github.com/twinhub/twinhub/internal/wire/mqtt"
)

func TestTelemetryTopics(t *testing.T) {
	h := newHub(t, hubOptions{})
	h.create(t, "d1")
	h.createModule(t, twinhub.ID{Device: "d1", Module: "m1"})
	device, module := h.connect(t, "d1"), h.connect(t, "d1/m1")
	tests := []struct {
		name  string
		c     *client
		topic string
		want  string // application properties
	}{
		{"no slash, no bag", device, "devices/d1/messages/events", ""},
		{"slash, no bag", device, "devices/d1/messages/events/", ""},
		{"bag", device, "devices/d1/messages/events/a=b&c=d", "a=b c=d"},
		{"bag and slash", device, "devices/d1/messages/events/a=b&c=d/", "a=b c=d"},
		{"bag after a question mark", device, "devices/d1/messages/events/?a=b", "a=b"},
		{"module", module, "devices/d1/modules/m1/messages/events/a=b/", "a=b"},
		{"module without bag", module, "devices/d1/modules/m1/messages/events", ""},
	}
	for n, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.c.send(publish1(uint16(n+1), tt.topic, "body"))
			tt.c.want(fmt.Sprintf("PUBACK %d", n+1))
			m := h.events(t, "d1")[n] // what is acknowledged can be read
			if got := pairs(m.ApplicationProperties); got != tt.want {
				t.Errorf("got properties %q, want %q", got, tt.want)
			}
			if got := string(m.Body.Bytes()); got != "body" {
				t.Errorf("got body %q", got)
			}
			moduleID, _ := m.MessageAnnotations.Get("iothub-connection-module-id")
			if isModule := tt.c == module; isModule != (moduleID == "m1") {
				t.Errorf("iothub-connection-module-id is %v", moduleID)
			}
			scope := `{"scope":"device"`
			if tt.c == module {
				scope = `{"scope":"module"`
			}
			if auth, _ := m.MessageAnnotations.Get("iothub-connection-auth-method"); !strings.HasPrefix(fmt.Sprint(auth), scope) {
				t.Errorf("iothub-connection-auth-method is %v, want %s...", auth, scope)
			}
		})
	}
}

// pairs writes a map as name=value, separated by spaces.
func pairs(m amqp.Map) string {
	var list []string
	for _, e := range m {
		list = append(list, fmt.Sprintf("%v=%v", e.Key, e.Value))
	}
	return strings.Join(list, " ")
}

func TestTelemetryFlags(t *testing.T) {
	h := newHub(t, hubOptions{})
	h.create(t, "d1")
	c := h.connect(t, "d1")
	const topic = "devices/d1/messages/events/x=1"
	c.send(&mqtt.Publish{Topic: topic, Retain: true},
		&mqtt.Publish{Topic: topic, QoS: mqtt.QoS1, ID: 7, Dup: true},
		&mqtt.Publish{Topic: topic + "&mqtt-retain=no", QoS: mqtt.QoS1, ID: 8, Retain: true})
	c.want("PUBACK 7", "PUBACK 8")
	for n, want := range []string{"x=1 mqtt-retain=true", "x=1 mqtt-dup=true", "x=1 mqtt-retain=true"} {
		if got := pairs(h.events(t, "d1")[n].ApplicationProperties); got != want {
			t.Errorf("event %d: got %q, want %q", n, got, want)
		}
	}
}

func TestBodiesPassUnchanged(t *testing.T) {
	h := newHub(t, hubOptions{})
	h.create(t, "d1")
	c := h.connect(t, "d1")
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	bodies := [][]byte{{}, []byte(`{"temperature": 12}`), all}
	for n, body := range bodies {
		c.send(&mqtt.Publish{Topic: "devices/d1/messages/events/", QoS: mqtt.QoS1, ID: uint16(n + 1), Payload: body})
		c.want(fmt.Sprintf("PUBACK %d", n+1))
		if got := h.events(t, "d1")[n].Body.Bytes(); !bytes.Equal(got, body) {
			t.Errorf("got body %q, want %q", got, body)
		}
	}
}

func TestRefusedPublishes(t *testing.T) {
	h := newHub(t, hubOptions{})
	h.create(t, "d1")
	h.createModule(t, twinhub.ID{Device: "d1", Module: "m1"})
	big := strings.Repeat("x", telemetry.MaxMessage)
	tests := []struct {
		name, device string
		packet       []byte
		log          string
	}{
		{"topic of another device", "d1", raw(publish1(1, "devices/d2/messages/events/", "")), "devices/d2"},
		{"topic of a module", "d1", raw(publish1(1, "devices/d1/modules/m1/messages/events/", "")), "PUBLISH to topic"},
		{"topic of the module's device", "d1/m1", raw(publish1(1, "devices/d1/messages/events/", "")), "PUBLISH to topic"},
		{"longer id", "d1", raw(publish1(1, "devices/d1x/messages/events/", "")), "PUBLISH to topic"},
		{"longer name", "d1", raw(publish1(1, "devices/d1/messages/eventsx", "")), "PUBLISH to topic"},
		{"other case", "d1", raw(publish1(1, "devices/D1/messages/events/", "")), "PUBLISH to topic"},
		{"unknown topic", "d1", raw(publish1(1, "a/b", "")), "PUBLISH to topic"},
		{"unknown hub topic", "d1", raw(publish1(1, "$iothub/x", "")), "PUBLISH to topic"},
		{"c2d topic", "d1", raw(publish1(1, "devices/d1/messages/devicebound/", "")), "PUBLISH to topic"},
		{"bad escape in a name", "d1", raw(publish1(1, "devices/d1/messages/events/%zz=1", "")), "property bag"},
		{"bad escape in a value", "d1", raw(publish1(1, "devices/d1/messages/events/a=%4", "")), "property bag"},
		{"name not UTF-8", "d1", raw(publish1(1, "devices/d1/messages/events/%ff=1", "")), "property bag"},
		{"value not UTF-8", "d1", raw(publish1(1, "devices/d1/messages/events/a=%c3", "")), "property bag"},
		{"content type not ASCII", "d1", raw(publish1(1, "devices/d1/messages/events/$.ct=%C3%A9", "")), "property bag"},
		{"wildcard", "d1", []byte("\x32\x0a\x00\x05a/+/b\x00\x01x"), "wildcard"},
		{"empty topic", "d1", []byte("\x32\x05\x00\x00\x00\x01x"), "empty topic"},
		{"topic not UTF-8", "d1", []byte("\x32\x06\x00\x02\xff\xfe\x00\x01"), "UTF-8"},
		{"packet id 0", "d1", []byte("\x32\x05\x00\x01a\x00\x00"), "packet id is 0"},
		{"QoS 2", "d1", []byte("\x34\x05\x00\x01a\x00\x01"), "QoS 2"},
		{"QoS 3", "d1", []byte("\x36\x05\x00\x01a\x00\x01"), "QoS is 3"},
		{"PUBREL", "d1", []byte("\x62\x02\x00\x01"), "QoS 2"},
		{"CONNACK from a client", "d1", []byte("\x20\x02\x00\x00"), "wrong side"},
		{"reserved type", "d1", []byte("\xf0\x00"), "reserved packet type"},
		{"message too large", "d1", raw(publish1(1, "devices/d1/messages/events/", big+"x")), "at most 262144 are allowed"},
		{"message too large by a property", "d1", raw(publish1(1, "devices/d1/messages/events/$.mid=m", big)), "at most 262144 are allowed"},
		{"packet too large, refused from the header", "d1", []byte("\x32\xff\xff\xff\x7f"), "too large"},
		{"SUBSCRIBE without filters", "d1", []byte("\x82\x02\x00\x01"), "no topic filter"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			eventually(t, "earlier connections ended", func() bool { return h.Connections() == 0 })
			h.forgetRefusals()
			before := len(h.log.String())
			c := h.connect(t, tt.device)
			c.nc.Write(tt.packet) // may fail: the hub need not read all of it
			c.wantClosed()
			eventually(t, "a line that explains", func() bool { return strings.Contains(h.log.String()[before:], "remedy=") })
			if line := h.log.String()[before:]; strings.Count(line, "msg=refused") != 1 || strings.Count(line, "\n") != 1 ||
				!strings.Contains(line, tt.log) || !strings.Contains(line, "device="+tt.device) {
				t.Errorf("log says %q, want one refusal with %q and the device", line, tt.log)
			}
		})
	}
	if n := len(h.events(t, "d1")); n != 0 {
		t.Errorf("%d of the refused messages were stored", n)
	}
}

func raw(p mqtt.Packet) []byte { return p.AppendTo(nil) }

func TestLargestMessagePasses(t *testing.T) {
	h := newHub(t, hubOptions{})
	h.create(t, "d1")
	c := h.connect(t, "d1")
	c.send(publish1(1, "devices/d1/messages/events/", strings.Repeat("x", telemetry.MaxMessage)),
		publish1(2, "devices/d1/messages/events/$.mid=12345&name=value", strings.Repeat("y", telemetry.MaxMessage-5-9)))
	c.want("PUBACK 1", "PUBACK 2")
	if n := len(h.events(t, "d1")[0].Body.Bytes()); n != telemetry.MaxMessage {
		t.Errorf("stored %d bytes", n)
	}
}

func TestPubackOnlyAfterCommit(t *testing.T) {
	h := newHub(t, hubOptions{})
	h.create(t, "d1")
	c := h.connect(t, "d1")
	h.engine.hold(telemetryCommits)
	c.send(publish1(1, "devices/d1/messages/events/", "a"), &mqtt.Publish{Topic: "devices/d1/messages/events/"}, publish1(2, "devices/d1/messages/events/", "b"))
	for range 3 {
		<-h.engine.arrived
	}
	c.wantNothing() // the reader still answers, but with no PUBACK
	h.engine.release()
	c.want("PUBACK 1", "PUBACK 2")
}

func TestPubackOrderWithTwinRequests(t *testing.T) {
	h := newHub(t, hubOptions{})
	h.create(t, "d1")
	c := h.connect(t, "d1")
	c.subscribe(mqtt.QoS1, twinResponseFilter)
	h.engine.hold(telemetryCommits)
	c.send(publish1(5, "devices/d1/messages/events/", "a"),
		publish1(4, getTopic+"?$rid=g", ""),
		publish1(3, patchTopic+"?$rid=p", `{"a":1}`),
		publish1(2, "devices/d1/messages/events/", "b"),
		publish1(1, "$iothub/methods/res/200/?$rid=99", ""))
	<-h.engine.arrived
	c.nc.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if p, err := c.r.ReadPacket(); err == nil {
		t.Fatalf("got %s before the first message was stored", show(p))
	}
	c.r = mqtt.NewReader(c.nc, mqtt.Options{From: mqtt.Server, Limit: mqtt.MaxRemainingLength})
	h.engine.release()
	c.want("PUBACK 5", "PUBACK 4", `PUBLISH qos=1 retain=false $iothub/twin/res/200/?$rid=g {"desired":{"$version":1},"reported":{"$version":1}}`,
		"PUBACK 3", "PUBLISH qos=1 retain=false $iothub/twin/res/204/?$rid=p&$version=2 ", "PUBACK 2", "PUBACK 1")
}

func TestOrderOfManyMessages(t *testing.T) {
	h := newHub(t, hubOptions{})
	h.create(t, "d1")
	c := h.connect(t, "d1")
	const n = 3000
	go func() {
		var b []byte
		for i := range n {
			b = publish1(uint16(i+1), "devices/d1/messages/events/", fmt.Sprint(i)).AppendTo(b)
		}
		c.nc.Write(b)
	}()
	for i := range n {
		c.want(fmt.Sprintf("PUBACK %d", i+1))
	}
	for i, m := range h.events(t, "d1") {
		if got := string(m.Body.Bytes()); got != fmt.Sprint(i) {
			t.Fatalf("event %d is %s", i, got)
		}
	}
}

func TestEngineFailureClosesWithoutPuback(t *testing.T) {
	h := newHub(t, hubOptions{store: func(e engine.Engine) engine.Engine { return &failingEngine{e} }})
	h.create(t, "d1")
	c := h.connect(t, "d1")
	c.send(publish1(1, "devices/d1/messages/events/", "lost"), publish1(2, "devices/d1/messages/events/", "too"))
	c.wantClosed()
}

// failingEngine refuses every commit.
type failingEngine struct{ engine.Engine }

func (e *failingEngine) Submit(_ engine.Commit, done func(engine.Result, error)) {
	done(engine.Result{}, engine.ErrFailed)
}

func TestWill(t *testing.T) {
	tests := []struct {
		name string
		end  func(t *testing.T, h *testHub, c *client)
		will bool
	}{
		{"socket closed", func(_ *testing.T, _ *testHub, c *client) { c.nc.Close() }, true},
		{"violation", func(_ *testing.T, _ *testHub, c *client) { c.send(publish1(1, "a", "")) }, true},
		{"takeover", func(t *testing.T, h *testHub, _ *client) { h.connect(t, "d1") }, true},
		{"DISCONNECT", func(_ *testing.T, _ *testHub, c *client) { c.send(&mqtt.Disconnect{}) }, false},
		{"identity deleted", func(t *testing.T, h *testHub, _ *client) {
			if err := h.registry.Delete(t.Context(), "d1", "*"); err != nil {
				t.Fatal(err)
			}
		}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHub(t, hubOptions{})
			h.create(t, "d1")
			c := h.connect(t, "d1", func(p *mqtt.Connect) {
				p.Will = &mqtt.Will{Topic: "devices/d1/messages/events/$.ct=text%2Fplain&a=b", Payload: []byte("gone"), Retain: true, QoS: mqtt.QoS1}
			})
			tt.end(t, h, c)
			if !tt.will {
				c.wantClosed()
				h.stop()
				if sent := h.Telemetry.Counts().Messages; sent != 0 {
					t.Errorf("%d messages were sent", sent)
				}
				return
			}
			m := h.awaitEvents(t, "d1", 1)[0]
			if got := pairs(m.ApplicationProperties); got != "a=b iothub-MessageType=Will mqtt-retain=true" {
				t.Errorf("got properties %q", got)
			}
			if got := string(m.Body.Bytes()); got != "gone" || m.Properties.ContentType != "text/plain" {
				t.Errorf("got body %q of type %q", got, m.Properties.ContentType)
			}
		})
	}
}

func TestNoWillAfterDisconnect(t *testing.T) {
	h := newHub(t, hubOptions{})
	h.create(t, "d1")
	c := h.connect(t, "d1", func(p *mqtt.Connect) {
		p.Will = &mqtt.Will{Topic: "devices/d1/messages/events/", Payload: []byte("gone")}
	})
	c.send(publish1(1, "devices/d1/messages/events/", "last"), &mqtt.Disconnect{})
	c.want("PUBACK 1") // also right before goodbye
	c.wantClosed()
	c = h.connect(t, "d1")
	c.send(publish1(1, "devices/d1/messages/events/", "next"))
	c.want("PUBACK 1")
	if n := len(h.events(t, "d1")); n != 2 {
		t.Errorf("%d events, want 2", n)
	}
}
