package system

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/twinhub/twinhub/internal/wire/mqtt"
)

// report sends a reported patch and returns the status and body of the answer.
func report(t testing.TB, c *mqttClient, topic, patch string) (status int64, body string) {
	t.Helper()
	c.mustSend(t, &mqtt.Publish{QoS: mqtt.QoS1, ID: 7, Topic: topic, Payload: []byte(patch)})
	if ack := mustReceive[*mqtt.Puback](t, c); ack.ID != 7 {
		t.Fatalf("PUBACK of %d, want 7", ack.ID)
	}
	p := mustReceive[*mqtt.Publish](t, c)
	status, _, _, err := twinAnswer(p.Topic)
	if err != nil {
		t.Fatal(err)
	}
	return status, string(p.Payload)
}

// TestBadReports sends reported properties that have to be refused; the connection stays.
func TestBadReports(t *testing.T) {
	h := sharedHub(t)
	watch(t, h)
	const id = "bad-reports"
	c := h.mustConnect(t, id, h.register(t, id))
	c.mustSend(t, &mqtt.Subscribe{ID: 1, Subscriptions: []mqtt.Subscription{{Filter: "$iothub/twin/res/#", QoS: mqtt.QoS0}}})
	mustReceive[*mqtt.Suback](t, c)
	if status, body := report(t, c, reportedTopic(1), `{"a":`+nested(9)+`}`); status != 204 {
		t.Fatalf("at the limit of depth: got %d %s, want 204", status, body)
	}
	unchangedReports(t, h, id)
	tests := []struct{ name, patch string }{
		{"cut", `{"a":`}, {"empty", ``}, {"array", `[1]`}, {"null", `null`}, {"not UTF-8", "{\"a\":\"\xff\"}"}, {"same name twice", `{"a":1,"a":2}`},
		{"$ key", `{"$version":3}`}, {"deep $ key", `{"a":{"$b":3}}`}, {"dot", `{"a.b":3}`}, {"space", `{"a b":3}`}, {"long key", `{"` + strings.Repeat("k", 1025) + `":1}`},
		{"null in array", `{"a":[null]}`}, {"deep", `{"a":` + nested(11) + `}`}, {"very deep", `{"a":` + nested(50_000)}, {"integer", `{"a":4503599627370496}`},
		{"long string", `{"a":"` + strings.Repeat("x", 4097) + `"}`}, {"over 32 KiB", `{"a":["` + strings.Repeat(`x","`, 33<<10) + `"]}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			status, body := report(t, c, reportedTopic(2), tt.patch)
			if e := decode[struct {
				ErrorCode int
				Message   string
			}](t, body); status != 400 || e.ErrorCode != 400004 || e.Message == "" {
				t.Errorf("got %d %s, want 400 with error code 400004", status, body)
			}
		})
	}
	t.Run("stale $version", func(t *testing.T) {
		if status, body := report(t, c, reportedTopic(3)+"&$version=1", `{"b":1}`); status != 412 || !strings.Contains(body, `"errorCode":412001`) {
			t.Errorf("got %d %s, want 412", status, body)
		}
	})
}

// unchangedReports expects the reported properties of a device to stay as they are until the test ends.
func unchangedReports(t testing.TB, h *hub, id string) {
	t.Helper()
	before := decode[twin](t, h.must(t, http.MethodGet, "/twins/"+id, "").body)
	t.Cleanup(func() {
		a, err := h.do(background, http.MethodGet, "/twins/"+id, "")
		if after := decode[twin](t, a.body); err != nil || after.Version != before.Version || after.Properties != before.Properties {
			t.Errorf("what was refused changed something (%v): got %+v, want %+v", err, after, before)
		}
	})
}

// TestViolations sends, on a connection that is signed in, what ends it.
func TestViolations(t *testing.T) {
	h := sharedHub(t)
	watch(t, h)
	h.register(t, "victim")
	ends, err := heads(t.Context(), h.mustConsume(t))
	if err != nil {
		t.Fatal(err)
	}
	publish := func(topic string) []byte {
		return (&mqtt.Publish{QoS: mqtt.QoS1, ID: 1, Topic: topic, Payload: []byte("forged")}).AppendTo(nil)
	}
	// forge puts bytes into a topic that no honest encoder writes.
	forge := func(with byte) []byte {
		return bytes.Replace(publish("devices/violator/messages/events/FORGED"), []byte("FORGED"), []byte{'F', 'O', 'R', with, 'E', 'D'}, 1)
	}
	qos2 := publish("devices/violator/messages/events/")
	qos2[0] = 0x34
	tests := map[string]struct {
		bytes []byte
		log   string
	}{
		"telemetry of another device":  {publish(telemetryTopic("victim")), "victim"},
		"telemetry of its module":      {publish("devices/violator/modules/m/messages/events/"), "modules/m"},
		"own id as prefix":             {publish("devices/violator2/messages/events/"), "violator2"},
		"own prefix, longer":           {publish("devices/violator/messages/eventsandmore"), "eventsandmore"},
		"unknown topic":                {publish("some/where"), "some/where"},
		"unknown hub topic":            {publish("$iothub/twin/DELETE/?$rid=1"), "DELETE"},
		"cloud-to-device topic":        {publish("devices/victim/messages/devicebound/"), "devicebound"},
		"twin request without $rid":    {publish("$iothub/twin/GET/"), "rid"},
		"twin version that is none":    {publish("$iothub/twin/PATCH/properties/reported/?$rid=1&$version=x"), "version"},
		"method answer without status": {publish("$iothub/methods/res/?$rid=1"), "status"},
		"property bag not encoded":     {publish("devices/violator/messages/events/a=%zz"), "property bag"},
		"QoS 2":                        {qos2, "QoS 2"},
		"QoS 3":                        {append([]byte{0x36}, qos2[1:]...), "QoS"},
		"wildcard in topic":            {forge('#'), "wildcard"},
		"second CONNECT":               {h.connectPacket("violator", h.newKey()).AppendTo(nil), "second CONNECT"},
		"PUBREL":                       {[]byte{0x62, 2, 0, 1}, "PUBREL"},
		"packet of a server":           {[]byte{0xd0, 0}, "PINGRESP"},
		"reserved type":                {[]byte{0xf0, 0}, "type"},
		"length of five bytes":         {[]byte{0x30, 0xff, 0xff, 0xff, 0xff, 0x01}, "length"},
		"packet of 256 MiB":            {[]byte{0x32, 0xff, 0xff, 0xff, 0x7f}, "bytes"},
		"message over 256 KiB":         {(&mqtt.Publish{QoS: mqtt.QoS1, ID: 1, Topic: telemetryTopic("violator"), Payload: bytes.Repeat([]byte("x"), 256<<10+1)}).AppendTo(nil), "262145 bytes"},
		"packet over the largest":      {(&mqtt.Publish{QoS: mqtt.QoS1, ID: 1, Topic: telemetryTopic("violator"), Payload: bytes.Repeat([]byte("x"), 1<<20)}).AppendTo(nil), "bytes"},
		"SUBSCRIBE without filters":    {[]byte{0x82, 2, 0, 1}, "SUBSCRIBE"},
		"topic that is not UTF-8":      {forge(0xff), "UTF-8"},
		"TLS inside TLS":               {[]byte{0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3}, "CONNECT"},
	}
	key := h.register(t, "violator")
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := h.mustConnect(t, "violator", key)
			if _, err := c.Write(tt.bytes); err != nil {
				t.Logf("the hub closed while it was sent: %v", err)
			}
			c.mustEnd(t, noticeable)
			h.explained(t, "mqtt", tt.log)
		})
	}
	t.Run("nothing was stored", func(t *testing.T) {
		err := h.readAll(t.Context(), h.mustConsume(t), ends, func(e event) error {
			if e.device == "victim" || strings.HasPrefix(e.device, "violator") && e.source == "Telemetry" {
				return fmt.Errorf("%s of %s is stored: %.50s", e.source, e.device, e.body)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	t.Run("message of 256 KiB", func(t *testing.T) {
		c := h.mustConnect(t, "violator", key)
		c.mustSend(t, &mqtt.Publish{QoS: mqtt.QoS1, ID: 9, Topic: telemetryTopic("violator"), Payload: bytes.Repeat([]byte("x"), 256<<10)})
		if ack := mustReceive[*mqtt.Puback](t, c); ack.ID != 9 {
			t.Errorf("PUBACK of %d, want 9", ack.ID)
		}
	})
}

// TestUnknownFilters subscribes to what does not exist: SUBACK says which, and the connection stays.
func TestUnknownFilters(t *testing.T) {
	h := sharedHub(t)
	watch(t, h)
	const id = "filters"
	c := h.mustConnect(t, id, h.register(t, id))
	c.mustSend(t, &mqtt.Subscribe{ID: 3, Subscriptions: []mqtt.Subscription{
		{Filter: "#"}, {Filter: "$iothub/twin/res/#", QoS: mqtt.QoS2}, {Filter: "devices/victim/messages/devicebound/#"}, {Filter: "$iothub/methods/POST/+"},
		{Filter: "devices/filters/messages/devicebound/#", QoS: mqtt.QoS1},
	}})
	if got, want := mustReceive[*mqtt.Suback](t, c), []byte{0x80, 1, 0x80, 0x80, 1}; got.ID != 3 || !bytes.Equal(got.Codes, want) {
		t.Errorf("SUBACK: got %d %x, want 3 %x", got.ID, got.Codes, want)
	}
	h.explained(t, "mqtt", "devices/victim/messages/devicebound/#")
	c.mustSend(t, &mqtt.Publish{QoS: mqtt.QoS1, ID: 1, Topic: telemetryTopic(id)})
	mustReceive[*mqtt.Puback](t, c)
}

// TestBadConnects sends what a connection must not begin with.
func TestBadConnects(t *testing.T) {
	h := sharedHub(t)
	watch(t, h)
	const id = "bad-connects"
	key := h.register(t, id)
	good := func() []byte { return h.connectPacket(id, key).AppendTo(nil) }
	edited := func(edit func(*mqtt.Connect)) []byte {
		c := h.connectPacket(id, key)
		edit(c)
		return c.AppendTo(nil)
	}
	version := func(level byte) []byte {
		b := good()
		i := bytes.Index(b, []byte("MQTT"))
		b[i+4] = level
		return b
	}
	tests := map[string]struct {
		bytes []byte
		code  int // of CONNACK; -1: closed without one
		log   string
	}{
		"MQTT 5":                 {version(5), -2, "MQTT"},
		"MQTT 3.1":               {version(3), -2, "MQTT"},
		"PUBLISH first":          {(&mqtt.Publish{Topic: telemetryTopic(id)}).AppendTo(nil), -1, "first packet"},
		"no user name":           {edited(func(c *mqtt.Connect) { c.HasUsername, c.Username, c.HasPassword, c.Password = false, "", false, nil }), 4, "no user name"},
		"user name of two words": {edited(func(c *mqtt.Connect) { c.Username = "a/b" }), 4, "user name"},
		"another host":           {edited(func(c *mqtt.Connect) { c.Username = "other.example.net/" + id + "/" }), 4, "other.example.net"},
		"another client id":      {edited(func(c *mqtt.Connect) { c.ClientID = "other" }), 2, "client id"},
		"empty client id":        {edited(func(c *mqtt.Connect) { c.ClientID = "" }), 2, "client id"},
		"will of another device": {edited(func(c *mqtt.Connect) { c.Will = &mqtt.Will{Topic: telemetryTopic("victim")} }), 4, "will"},
		"unknown module":         {edited(func(c *mqtt.Connect) { c.ClientID, c.Username = id+"/m", host+"/"+id+"/m/" }), 5, "no identity"},
		"CONNECT of 64 KiB":      {edited(func(c *mqtt.Connect) { c.Username = username(id) + "&x=" + strings.Repeat("x", 60_000) }), -1, "bytes"},
		"HTTP":                   {[]byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"), -1, "malformed PUBACK"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c, err := h.openMQTT(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			c.id = name
			if _, err := c.Write(tt.bytes); err != nil {
				t.Logf("the hub closed while it was sent: %v", err)
			}
			switch tt.code {
			case -1:
			case -2: // in the form of its own version
				answer := make([]byte, 16)
				if err := c.SetReadDeadline(time.Now().Add(noticeable)); err != nil {
					t.Fatal(err)
				}
				n, err := c.Read(answer)
				if err != nil || answer[0] != 0x20 || n < 4 || answer[3] == 0 {
					t.Fatalf("got %x (%v), want a CONNACK that refuses", answer[:n], err)
				}
			default:
				if ack := mustReceive[*mqtt.Connack](t, c); int(ack.Code) != tt.code {
					t.Errorf("got return code %d, want %d", ack.Code, tt.code)
				}
			}
			c.mustEnd(t, noticeable)
			h.explained(t, "mqtt", tt.log)
		})
	}
}
