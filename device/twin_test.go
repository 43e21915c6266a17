package device

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinhub/twinhub/internal/wire/mqtt"
)

// rid returns the request id of a topic.
func rid(topic string) string {
	_, id, _ := strings.Cut(topic, "$rid=")
	return id
}

// answering is a hub's take that answers twin requests with what body gives for the n-th connection.
func answering(body func(n int, topic string) (status int, version, text string)) func(int, mqtt.Packet, func(mqtt.Packet)) bool {
	return func(n int, p mqtt.Packet, send func(mqtt.Packet)) bool {
		if p, ok := p.(*mqtt.Publish); ok && strings.HasPrefix(p.Topic, "$iothub/twin/") {
			send(&mqtt.Puback{ID: p.ID})
			if status, version, text := body(n, p.Topic); status != 0 {
				send(&mqtt.Publish{Topic: fmt.Sprintf("$iothub/twin/res/%d/?$rid=%s%s", status, rid(p.Topic), version), Payload: []byte(text)})
			}
			return false
		}
		return true
	}
}

func TestTwin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newFakeHub(t)
		h.take = answering(func(_ int, topic string) (int, string, string) {
			if strings.Contains(topic, "/GET/") {
				return 200, "", `{"desired":{"a":1.0,"$version":7},"reported":{"$version":9}}`
			}
			return 204, "&$version=10", ""
		})
		c := h.connect(h.options())
		defer h.stop(c)
		twin, err := c.Twin(t.Context())
		if err != nil || string(twin.Desired) != `{"a":1.0,"$version":7}` || twin.DesiredVersion != 7 || twin.ReportedVersion != 9 {
			t.Errorf("twin: got %+v, %v", twin, err)
		}
		if version, err := c.UpdateReported(t.Context(), map[string]any{"x": "<&>"}); err != nil || version != 10 {
			t.Errorf("update: got version %d, %v; want 10", version, err)
		}
		bodies := map[string]bool{}
		for _, e := range h.packets {
			bodies[e.body] = true
		}
		if !bodies[`{"x":"<&>"}`] {
			t.Errorf("bodies: got %v, want the patch without escaping for HTML", bodies)
		}
	})
}

func TestTwinErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newFakeHub(t)
		h.take = answering(func(_ int, topic string) (int, string, string) {
			if strings.Contains(topic, "/GET/") {
				return 429, "", "no JSON"
			}
			return 400, "", `{"errorCode":400004,"message":"bad name","trackingId":"t1","timestampUtc":"now"}`
		})
		c := h.connect(h.options())
		defer h.stop(c)
		var refusal *Error
		if _, err := c.Twin(t.Context()); !errors.As(err, &refusal) || refusal.Status != 429 || refusal.Code != 0 {
			t.Errorf("get: got %v, want status 429", err)
		}
		_, err := c.UpdateReported(t.Context(), json.RawMessage(`{"a.b":1}`))
		if !errors.As(err, &refusal) || *refusal != (Error{400, 400004, "bad name", "t1"}) {
			t.Errorf("update: got %v, want the hub's error", err)
		}
		for name, patch := range map[string]any{"array": []int{1}, "nil": nil, "text": "x", "broken": json.RawMessage(`{`), "channel": make(chan int)} {
			if _, err := c.UpdateReported(t.Context(), patch); err == nil {
				t.Errorf("%s: no error", name)
			}
		}
		if _, err := c.UpdateReported(t.Context(), map[string]string{"a": strings.Repeat("x", maxPatchBytes)}); !errors.Is(err, ErrTooLarge) {
			t.Errorf("large: got %v, want ErrTooLarge", err)
		}
	})
}

// A request whose answer the connection took with it is made again on the next one.
func TestTwinAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newFakeHub(t)
		h.take = answering(func(n int, _ string) (int, string, string) {
			if n == 1 {
				time.AfterFunc(time.Second, func() { h.cut(1) })
				return 0, "", ""
			}
			return 200, "", `{"desired":{"$version":1},"reported":{"$version":1}}`
		})
		c := h.connect(h.options())
		defer h.stop(c)
		if _, err := c.Twin(t.Context()); err != nil {
			t.Error(err)
		}
		a, b := said[*mqtt.Publish](h, 1), said[*mqtt.Publish](h, 2)
		if len(a) != 1 || len(b) != 1 || a[0].Topic != b[0].Topic || b[0].Dup {
			t.Errorf("requests: got %+v and %+v, want the same twice, acknowledged each time", *a[0], *b[0])
		}
	})
}

// A request waits for its answer no longer than its context lets it, and a late answer does no harm.
func TestTwinDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newFakeHub(t)
		h.take = answering(func(int, string) (int, string, string) { return 0, "", "" })
		c := h.connect(h.options())
		defer h.stop(c)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Twin(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the deadline", err)
		}
	})
}

// What a faulty hub may publish does no harm; what is for somebody else is not acknowledged.
func TestDispatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newFakeHub(t)
		h.take = func(_ int, p mqtt.Packet, send func(mqtt.Packet)) bool {
			if p.Type() == mqtt.TypeSubscribe {
				for i, topic := range []string{
					"$iothub/twin/res/200/?$rid=nobody", "$iothub/twin/res/x/?$rid=1", "$iothub/twin/res/200", "$iothub/methods/POST/m",
					"$iothub/methods/POST/?$rid=1", "$iothub/twin/PATCH/properties/desired/", "devices/d1/messages/devicebound/", "$iothub/other",
				} {
					send(&mqtt.Publish{QoS: mqtt.QoS1, ID: uint16(i + 1), Topic: topic, Payload: []byte("{")})
				}
			}
			return true
		}
		c := h.connect(h.options())
		defer h.stop(c)
		if err := c.HandleDesired(t.Context(), func(_ context.Context, d Desired) { t.Errorf("got %+v", d) }); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		var ids []uint16
		for _, p := range said[*mqtt.Puback](h, 1) {
			ids = append(ids, p.ID)
		}
		if fmt.Sprint(ids) != "[1 2 3 4 5 6]" {
			t.Errorf("acknowledged: got %v, want 1 to 6", ids)
		}
	})
}

// Patches come in order; after a lost connection the whole section comes instead, unless nothing has changed.
func TestDesired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newFakeHub(t)
		section := `{"a":3,"$version":4}`
		h.take = answering(func(int, string) (int, string, string) {
			return 200, "", `{"desired":` + section + `,"reported":{"$version":1}}`
		})
		c := h.connect(h.options())
		defer h.stop(c)
		var got []string
		if err := c.HandleDesired(t.Context(), func(_ context.Context, d Desired) {
			got = append(got, fmt.Sprintf("%d %s %v", d.Version, d.Properties, d.Whole))
		}); err != nil {
			t.Fatal(err)
		}
		patch := func(body string) {
			c.dispatch(&mqtt.Publish{Topic: "$iothub/twin/PATCH/properties/desired/?$version=0", Payload: []byte(body)})
			synctest.Wait()
		}
		check := func(what string, want ...string) {
			t.Helper()
			synctest.Wait()
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s: got %v, want %v", what, got, want)
			}
			got = nil
		}
		patch(`{"a":1,"$version":2}`)
		patch(`{"a":null,"$version":3}`)
		check("patches", `2 {"a":1,"$version":2} false`, `3 {"a":null,"$version":3} false`)
		h.cut(1)
		time.Sleep(2 * time.Second)
		check("after a loss", `4 {"a":3,"$version":4} true`)
		patch(`{"a":3,"$version":4}`)
		check("a patch that the section had")
		h.cut(2)
		time.Sleep(5 * time.Second)
		check("after a loss without a change")
		section = `{"$version":1}`
		h.cut(3)
		time.Sleep(10 * time.Second)
		check("after the device was made anew", `1 {"$version":1} true`)
	})
}

// A handler that is slow loses no change: when too many wait it gets the whole section.
func TestDesiredSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newFakeHub(t)
		h.take = answering(func(int, string) (int, string, string) {
			return 200, "", `{"desired":{"$version":1000},"reported":{"$version":1}}`
		})
		c := h.connect(h.options())
		defer h.stop(c)
		var last atomic.Int64
		var calls atomic.Int64
		if err := c.HandleDesired(t.Context(), func(_ context.Context, d Desired) {
			calls.Add(1)
			last.Store(d.Version)
			time.Sleep(time.Minute)
		}); err != nil {
			t.Fatal(err)
		}
		for version := 2; version <= 1000; version++ {
			c.dispatch(&mqtt.Publish{Topic: "$iothub/twin/PATCH/properties/desired/", Payload: fmt.Appendf(nil, `{"$version":%d}`, version)})
			if version == 2 {
				synctest.Wait() // the handler has begun
			}
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if last.Load() != 1000 || calls.Load() != 2 {
			t.Errorf("got version %d after %d calls, want 1000 after 2", last.Load(), calls.Load())
		}
	})
}
