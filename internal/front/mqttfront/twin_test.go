package mqttfront

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/wire/mqtt"
)

func TestTwinRequests(t *testing.T) {
	h := newHub(t, hubOptions{})
	h.create(t, "d1")
	if _, _, err := h.twins.Update(t.Context(), twinhub.ID{Device: "d1"}, []byte(`{"tags":{"t":1},"properties":{"desired":{"a":{"b":[1,2]}}}}`), "", false); err != nil {
		t.Fatal(err)
	}
	c := h.connect(t, "d1")
	c.subscribe(mqtt.QoS2, twinResponseFilter) // granted as 1
	tests := []struct {
		name, topic, body string
		want              string // topic after $iothub/twin/res/ and body
		code              float64
	}{
		{name: "GET", topic: getTopic + "?$rid=1", want: `200/?$rid=1 {"desired":{"a":{"b":[1,2]},"$version":2},"reported":{"$version":1}}`},
		{name: "GET with a space", topic: getTopic + "?$rid=2", body: " ", want: `200/?$rid=2 {"desired":{"a":{"b":[1,2]},"$version":2},"reported":{"$version":1}}`},
		{name: "request id as it stands", topic: getTopic + "?$rid=A%2fb-.~*é", want: `200/?$rid=A%2fb-.~*é {"desired":{"a":{"b":[1,2]},"$version":2},"reported":{"$version":1}}`},
		{name: "PATCH", topic: patchTopic + "?$rid=3", body: `{"x":1,"y":{"z":"s"}}`, want: "204/?$rid=3&$version=2 "},
		{name: "PATCH with the version", topic: patchTopic + "?$rid=4&$version=2", body: `{"x":null}`, want: "204/?$rid=4&$version=3 "},
		{name: "PATCH with version first", topic: patchTopic + "?$version=3&$rid=5", body: `{}`, want: "204/?$rid=5&$version=4 "},
		{name: "PATCH with an old version", topic: patchTopic + "?$rid=6&$version=2", body: `{"x":2}`, want: "412/?$rid=6 ", code: 412001},
		{name: "PATCH that is no JSON", topic: patchTopic + "?$rid=7", body: `{`, want: "400/?$rid=7 ", code: 0},
		{name: "PATCH of null", topic: patchTopic + "?$rid=8", body: `null`, want: "400/?$rid=8 ", code: 0},
		{name: "PATCH with an illegal name", topic: patchTopic + "?$rid=9", body: `{"a.b":1}`, want: "400/?$rid=9 ", code: 0},
		{name: "PATCH that is too large", topic: patchTopic + "?$rid=10", body: `{"l":"` + strings.Repeat("x", 4000) + `"` + largeProperties() + `}`, want: "400/?$rid=10 ", code: 0},
		{name: "nothing changed by errors", topic: getTopic + "?$rid=11", want: `200/?$rid=11 {"desired":{"a":{"b":[1,2]},"$version":2},"reported":{"y":{"z":"s"},"$version":4}}`},
	}
	for n, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			id := uint16(n + 1)
			c.send(publish1(id, tt.topic, tt.body))
			c.want(fmt.Sprintf("PUBACK %d", id))
			got := show(c.receive())
			want := "PUBLISH qos=1 retain=false $iothub/twin/res/" + tt.want
			if strings.HasPrefix(tt.want, "2") {
				if got != want {
					t.Errorf("got %s\nwant %s", got, want)
				}
				return
			}
			body, ok := strings.CutPrefix(got, want)
			var e map[string]any
			if !ok || json.Unmarshal([]byte(body), &e) != nil {
				t.Fatalf("got %s\nwant %s and JSON", got, want)
			}
			if code, _ := e["errorCode"].(float64); tt.code != 0 && code != tt.code || int(code)/1000 < 400 || e["message"] == "" || e["trackingId"] == "" || e["timestampUtc"] == "" {
				t.Errorf("got error %v", e)
			}
		})
	}
}

// largeProperties returns members that pass a section's limit together, though none does alone.
func largeProperties() string {
	var b strings.Builder
	for i := range 12 {
		fmt.Fprintf(&b, `,"l%d":"%s"`, i, strings.Repeat("x", 4000))
	}
	return b.String()
}

func TestTwinAnswersByQoS(t *testing.T) {
	h := newHub(t, hubOptions{})
	h.create(t, "d1")
	c := h.connect(t, "d1")
	c.send(publish1(1, getTopic+"?$rid=1", "")) // nobody listens
	c.want("PUBACK 1")
	c.subscribe(mqtt.QoS0, twinResponseFilter)
	c.send(&mqtt.Publish{Topic: getTopic + "?$rid=2"})
	c.want(`PUBLISH qos=0 retain=false $iothub/twin/res/200/?$rid=2 {"desired":{"$version":1},"reported":{"$version":1}}`)
	c.send(&mqtt.Unsubscribe{ID: 3, Filters: []string{twinResponseFilter}})
	c.want("UNSUBACK 3")
	c.send(publish1(4, getTopic+"?$rid=3", ""))
	c.want("PUBACK 4")
	c.wantNothing()
}

func TestTwinRequestsThatClose(t *testing.T) {
	h := newHub(t, hubOptions{})
	h.create(t, "d1")
	for _, topic := range []string{
		"$iothub/twin/GET/", "$iothub/twin/GET/?", "$iothub/twin/GET/?$rid=", "$iothub/twin/GET/?rid=1", "$iothub/twin/GET?$rid=1",
		"$iothub/twin/PUT/?$rid=1", "$iothub/twin/PATCH/properties/desired/?$rid=1", "$iothub/twin/res/200/?$rid=1",
		patchTopic, patchTopic + "?$version=1", patchTopic + "?$rid=1&$version=x", patchTopic + "?$rid=1&$version=",
		getTopic + "?$rid=" + strings.Repeat("r", maxRequestID+1),
		"$iothub/methods/res/200/", "$iothub/methods/res/?$rid=1", "$iothub/methods/res/ok/?$rid=1",
	} {
		t.Run(topic[:min(len(topic), 60)], func(t *testing.T) {
			c := h.connect(t, "d1")
			c.subscribe(mqtt.QoS1, twinResponseFilter)
			c.send(publish1(1, topic, "{}"))
			c.wantClosed()
		})
	}
}

func TestTwinOfDeletedIdentity(t *testing.T) {
	h := newHub(t, hubOptions{})
	h.createModule(t, twinhub.ID{Device: "d1", Module: "m1"})
	_, ack := h.tryConnect(t, "d1/m1") // a module without its device cannot sign in
	if ack.Code != mqtt.RefusedNotAuthorized {
		t.Errorf("got %v, want not authorized", ack.Code)
	}
}

func TestDesiredChanges(t *testing.T) {
	h := newHub(t, hubOptions{})
	h.create(t, "d1")
	id := twinhub.ID{Device: "d1"}
	update := func(body string) {
		t.Helper()
		if _, _, err := h.twins.Update(t.Context(), id, []byte(body), "", false); err != nil {
			t.Fatal(err)
		}
	}
	c := h.connect(t, "d1")
	update(`{"properties":{"desired":{"early":1}}}`)
	c.wantNothing() // not subscribed
	c.subscribe(mqtt.QoS1, desiredFilter)
	update(`{"tags":{"t":1}}`)
	c.wantNothing()
	update(`{"properties":{"desired":{"a":1,"early":null}}}`)
	c.want(`PUBLISH qos=1 retain=false $iothub/twin/PATCH/properties/desired/?$version=3 {"a":1,"early":null,"$version":3}`)
	c.subscribe(mqtt.QoS0, desiredFilter)
	update(`{"properties":{"desired":{"a":2}}}`)
	c.want(`PUBLISH qos=0 retain=false $iothub/twin/PATCH/properties/desired/?$version=4 {"a":2,"$version":4}`)
	c.send(&mqtt.Unsubscribe{ID: 1, Filters: []string{desiredFilter}})
	c.want("UNSUBACK 1")
	update(`{"properties":{"desired":{"a":3}}}`)
	c.wantNothing()
}

func TestDesiredChangesKeepCommitOrder(t *testing.T) {
	h := newHub(t, hubOptions{})
	h.create(t, "d1")
	c := h.connect(t, "d1")
	c.subscribe(mqtt.QoS1, desiredFilter)
	const writers, writes = 8, 25
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for n := range writes {
				body := fmt.Sprintf(`{"properties":{"desired":{"w%d":%d}}}`, w, n)
				if _, _, err := h.twins.Update(context.Background(), twinhub.ID{Device: "d1"}, []byte(body), "", false); err != nil {
					t.Error(err)
				}
			}
		})
	}
	last := map[string]float64{}
	for n := range writers * writes {
		p, ok := c.receive().(*mqtt.Publish)
		if !ok || p.Topic != fmt.Sprintf("$iothub/twin/PATCH/properties/desired/?$version=%d", n+2) {
			t.Fatalf("change %d: got %s", n, show(p))
		}
		var patch map[string]float64
		if err := json.Unmarshal(p.Payload, &patch); err != nil || patch["$version"] != float64(n+2) {
			t.Fatalf("change %d: got %s, %v", n, p.Payload, err)
		}
		for name, value := range patch {
			if before, ok := last[name]; ok && value != before+1 {
				t.Fatalf("%s went from %v to %v", name, before, value)
			}
			last[name] = value
		}
	}
	wg.Wait()
}
