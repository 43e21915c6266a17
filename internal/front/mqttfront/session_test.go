package mqttfront

import (
	"context"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/core/registry"
	"github.com/twinhub/twinhub/internal/core/session"
	"github.com/twinhub/twinhub/internal/engine"
	"github.com/twinhub/twinhub/internal/wire/mqtt"
)

const present, fresh = "CONNACK 0 present=true", "CONNACK 0 present=false"

func TestSubscribe(t *testing.T) {
	h := newHub(t, hubOptions{})
	h.create(t, "d1")
	h.createModule(t, twinhub.ID{Device: "d1", Module: "m1"})
	tests := []struct {
		device, filter string
		codes          string // for QoS 0, 1 and 2
	}{
		{"d1", "$iothub/twin/res/#", "[0 1 1]"},
		{"d1", "$iothub/twin/PATCH/properties/desired/#", "[0 1 1]"},
		{"d1", "$iothub/methods/POST/#", "[0 1 1]"},
		{"d1", "devices/d1/messages/devicebound/#", "[0 1 1]"},
		{"d1/m1", "$iothub/methods/POST/#", "[0 1 1]"},
		{"d1/m1", "devices/d1/modules/m1/messages/devicebound/#", "[0 1 1]"},
		{"d1/m1", "devices/d1/modules/m1/inputs/#", "[0 1 1]"},
		{"d1/m1", "devices/d1/modules/m1/#", "[0 1 1]"},
		{"d1", "devices/d2/messages/devicebound/#", "[128 128 128]"},
		{"d1", "devices/d1/modules/m1/#", "[128 128 128]"},
		{"d1/m1", "devices/d1/messages/devicebound/#", "[128 128 128]"},
		{"d1", "devices/+/messages/devicebound/#", "[128 128 128]"},
		{"d1", "#", "[128 128 128]"},
		{"d1", "$iothub/twin/res/200/#", "[128 128 128]"},
	}
	clients := map[string]*client{"d1": h.connect(t, "d1", clean), "d1/m1": h.connect(t, "d1/m1", clean)}
	for _, tt := range tests {
		t.Run(tt.device+" "+tt.filter, func(t *testing.T) {
			c := clients[tt.device]
			p := &mqtt.Subscribe{ID: 77}
			for qos := range mqtt.QoS(3) {
				p.Subscriptions = append(p.Subscriptions, mqtt.Subscription{Filter: tt.filter, QoS: qos})
			}
			c.send(p, &mqtt.Unsubscribe{ID: 78, Filters: []string{tt.filter}})
			c.want("SUBACK 77 "+tt.codes, "UNSUBACK 78")
			refused := strings.Contains(tt.codes, "128")
			if explained := strings.Contains(h.log.String(), `SUBSCRIBE to filter \"`+tt.filter+`\"`); explained != refused {
				t.Errorf("explained in the log: %t, want %t\n%s", explained, refused, h.log)
			}
		})
	}
}

func TestStoredSubscriptions(t *testing.T) {
	h := newHub(t, hubOptions{})
	h.create(t, "d1")
	update := func(h *testHub, body string) {
		t.Helper()
		if _, _, err := h.twins.Update(t.Context(), twinhub.ID{Device: "d1"}, []byte(body), "", false); err != nil {
			t.Fatal(err)
		}
	}
	leave := func(c *client) {
		t.Helper()
		c.send(&mqtt.Disconnect{})
		c.wantClosed()
	}
	enter := func(h *testHub, want string, edit ...func(*mqtt.Connect)) *client {
		t.Helper()
		c, ack := h.tryConnect(t, "d1", edit...)
		if show(ack) != want {
			t.Fatalf("got %s, want %s", show(ack), want)
		}
		return c
	}
	c := enter(h, fresh)
	leave(c)
	c = enter(h, fresh) // without a subscription there is no session
	c.subscribe(mqtt.QoS1, desiredFilter, methodsFilter)
	c.subscribe(mqtt.QoS0, twinResponseFilter)
	c.send(&mqtt.Unsubscribe{ID: 1, Filters: []string{methodsFilter, "unknown"}})
	c.want("UNSUBACK 1")
	leave(c)

	c = enter(h, present)
	update(h, `{"properties":{"desired":{"a":1}}}`)
	c.want(`PUBLISH qos=1 retain=false $iothub/twin/PATCH/properties/desired/?$version=2 {"a":1,"$version":2}`)
	c.nc.Close()

	// A restart of the hub.
	h.stop()
	h = newHub(t, hubOptions{disk: h.disk})
	c = enter(h, present)
	c.send(publish1(2, getTopic+"?$rid=1", ""))
	c.want("PUBACK 2", `PUBLISH qos=0 retain=false $iothub/twin/res/200/?$rid=1 {"desired":{"a":1,"$version":2},"reported":{"$version":1}}`)
	leave(c)

	// A clean session drops them, and leaves none.
	c = enter(h, fresh, clean)
	c.subscribe(mqtt.QoS1, desiredFilter)
	update(h, `{"properties":{"desired":{"a":2}}}`)
	c.want(`PUBLISH qos=1 retain=false $iothub/twin/PATCH/properties/desired/?$version=3 {"a":2,"$version":3}`)
	leave(c)
	c = enter(h, fresh)
	update(h, `{"properties":{"desired":{"a":3}}}`)
	c.wantNothing()

	// Deletion takes them along.
	c.subscribe(mqtt.QoS1, desiredFilter)
	if err := h.registry.Delete(t.Context(), "d1", "*"); err != nil {
		t.Fatal(err)
	}
	c.wantClosed()
	h.create(t, "d1")
	enter(h, fresh)
}

func TestMethodsReachAReturningDeviceAtOnce(t *testing.T) {
	h := newHub(t, hubOptions{})
	h.create(t, "d1")
	h.connect(t, "d1").subscribe(mqtt.QoS1, methodsFilter)
	for range 20 {
		c := h.connect(t, "d1")
		o := h.call("m", "", 0, 10*time.Second) // no time to connect: CONNACK means reachable
		c.want("PUBLISH qos=1 retain=false $iothub/methods/POST/m/?$rid=1 ")
		c.send(&mqtt.Publish{Topic: "$iothub/methods/res/200/?$rid=1"})
		if a := <-o; a.err != nil {
			t.Fatal(a.err)
		}
	}
}

func TestTakeover(t *testing.T) {
	h := newHub(t, hubOptions{})
	h.create(t, "d1")
	id := twinhub.ID{Device: "d1"}
	first := h.connect(t, "d1")
	first.subscribe(mqtt.QoS1, desiredFilter)
	second, ack := h.tryConnect(t, "d1")
	if show(ack) != present {
		t.Errorf("got %s, want %s", show(ack), present)
	}
	first.wantClosed() // without a packet
	if s, _ := h.Sessions.State(id); !s.Connected || h.Sessions.Connected() != 1 {
		t.Errorf("after the takeover the state is %+v with %d sessions", s, h.Sessions.Connected())
	}
	eventually(t, "the old connection is gone", func() bool { return h.Connections() == 1 })
	if s, _ := h.Sessions.State(id); !s.Connected {
		t.Errorf("the end of the old connection made the state %+v", s)
	}
	if _, _, err := h.twins.Update(t.Context(), id, []byte(`{"properties":{"desired":{"a":1}}}`), "", false); err != nil {
		t.Fatal(err)
	}
	second.want(`PUBLISH qos=1 retain=false $iothub/twin/PATCH/properties/desired/?$version=2 {"a":1,"$version":2}`)
	if log := h.log.String(); strings.Contains(log, "msg=refused") {
		t.Errorf("a takeover is no refusal:\n%s", log)
	}
}

// A half-open connection is one whose device is gone without a word: nothing reads, nothing answers.
func TestTakeoverOfHalfOpenConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, hubOptions{})
		h.create(t, "d1")
		h.connect(t, "d1").subscribe(mqtt.QoS1, desiredFilter)
		for n := range 3 { // output that is never read
			body := `{"properties":{"desired":{"a":` + strings.Repeat("1", n+1) + `}}}`
			if _, _, err := h.twins.Update(t.Context(), twinhub.ID{Device: "d1"}, []byte(body), "", false); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		begin := time.Now()
		h.connect(t, "d1").wantNothing()
		synctest.Wait()
		if took := time.Since(begin); took != 0 {
			t.Errorf("the takeover took %v", took)
		}
		if n := h.Connections(); n != 1 {
			t.Errorf("%d connections are left, want 1", n)
		}
		h.stop()
	})
}

func TestOldConnectionSendsNothingAfterTakeover(t *testing.T) {
	h := newHub(t, hubOptions{})
	h.create(t, "d1")
	old := h.connect(t, "d1")
	// The first message is being stored when the new connection comes: the rest was read ahead.
	h.engine.hold(func(c engine.Commit) bool { return len(c.Writes) == 1 && strings.HasPrefix(c.Writes[0].Key, "s/") })
	old.send(&mqtt.Subscribe{ID: 1, Subscriptions: []mqtt.Subscription{{Filter: desiredFilter}}}, publish1(2, "devices/d1/messages/events/", "old"))
	<-h.engine.arrived
	c := h.connect(t, "d1")
	c.send(publish1(1, "devices/d1/messages/events/", "new"))
	c.want("PUBACK 1")
	h.engine.release()
	old.wantClosed()
	eventually(t, "the old connection is gone", func() bool { return h.Connections() == 1 })
	for _, m := range h.events(t, "d1") {
		if body := string(m.Body.Bytes()); body != "new" {
			t.Errorf("event %q came from the old connection", body)
		}
	}
}

func TestConnectionEndsWithIdentity(t *testing.T) {
	disabled := "disabled"
	tests := []struct {
		name   string
		change func(h *testHub) error
	}{
		{"deleted", func(h *testHub) error { return h.registry.Delete(context.Background(), "d1", "*") }},
		{"disabled", func(h *testHub) error {
			_, err := h.registry.Put(context.Background(), &registry.Spec{DeviceID: "d1", Status: &disabled}, "*")
			return err
		}},
		{"new keys", func(h *testHub) error {
			_, err := h.registry.Put(context.Background(), &registry.Spec{DeviceID: "d1"}, "*")
			return err
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHub(t, hubOptions{})
			h.create(t, "d1")
			c := h.connect(t, "d1")
			if err := tt.change(h); err != nil {
				t.Fatal(err)
			}
			if s, _ := h.Sessions.State(twinhub.ID{Device: "d1"}); s.Connected {
				t.Errorf("right after the change the state is %+v", s)
			}
			c.wantClosed()
			eventually(t, "a line that explains", func() bool {
				return strings.Contains(h.log.String(), string(session.Removed)) || strings.Contains(h.log.String(), string(session.Deleted))
			})
		})
	}
}

func TestKeepAlive(t *testing.T) {
	tests := []struct {
		name      string
		keepAlive time.Duration
		want      time.Duration
	}{
		{"one and a half times", 60 * time.Second, 90 * time.Second},
		{"largest useful", 1177 * time.Second, 1765500 * time.Millisecond},
		{"capped", 1178 * time.Second, 1767 * time.Second},
		{"largest possible", 65535 * time.Second, 1767 * time.Second},
		{"none means the cap", 0, 1767 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHub(t, hubOptions{})
				h.create(t, "d1")
				c := h.connect(t, "d1", func(p *mqtt.Connect) { p.KeepAlive = tt.keepAlive })
				c.subscribe(mqtt.QoS1, desiredFilter)
				time.Sleep(tt.want - time.Second)
				c.wantNothing() // a PINGREQ
				begin := time.Now()

				// What the hub sends does not count, and neither does half a packet.
				time.Sleep(tt.want / 2)
				if _, _, err := h.twins.Update(t.Context(), twinhub.ID{Device: "d1"}, []byte(`{"properties":{"desired":{"a":1}}}`), "", false); err != nil {
					t.Fatal(err)
				}
				c.receive()
				c.write([]byte{0xc0})
				c.nc.SetReadDeadline(time.Time{})
				if p, err := c.r.ReadPacket(); err == nil {
					t.Fatalf("got %s", show(p))
				}
				if took := time.Since(begin); took != tt.want {
					t.Errorf("closed after %v, want %v", took, tt.want)
				}
				synctest.Wait()
				if log := h.log.String(); !strings.Contains(log, "nothing was heard for "+tt.want.String()) || !strings.Contains(log, "remedy=") {
					t.Errorf("log says %q", log)
				}
				h.stop()
			})
		})
	}
}

func TestTokenExpiryCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, hubOptions{})
		h.create(t, "d1")
		begin := time.Now()
		c := h.connect(t, "d1", func(p *mqtt.Connect) {
			p.Password = []byte(sign(t, "localhost/devices/d1", "d1", "", 10*time.Minute))
		})
		for time.Since(begin) < 9*time.Minute {
			time.Sleep(30 * time.Second)
			c.wantNothing()
		}
		c.nc.SetReadDeadline(time.Time{})
		if p, err := c.r.ReadPacket(); err == nil {
			t.Fatalf("got %s", show(p))
		}
		if took := time.Since(begin); took != 10*time.Minute {
			t.Errorf("closed after %v, want 10m", took)
		}
		synctest.Wait()
		if log := h.log.String(); !strings.Contains(log, "the access token expired") || !strings.Contains(log, "renew the token") {
			t.Errorf("log says %q", log)
		}
		h.stop()
	})
}

func TestStopClosesEverything(t *testing.T) {
	h := newHub(t, hubOptions{})
	h.create(t, "d1")
	c := h.connect(t, "d1")
	stranger := h.dial(t)
	silent := h.listener.dial(t) // not even TLS
	h.stop()
	c.wantClosed()
	stranger.wantClosed()
	silent.SetReadDeadline(time.Now().Add(patience))
	if _, err := silent.Read(make([]byte, 1)); err == nil {
		t.Error("a connection without TLS is still open")
	}
	if n := h.Connections(); n != 0 {
		t.Errorf("%d connections are left", n)
	}
}

func TestServeReportsAListenerThatFails(t *testing.T) {
	h := newHub(t, hubOptions{})
	l := newPipeListener()
	l.Close()
	if err := h.Serve(t.Context(), l); err == nil || !strings.Contains(err.Error(), "accept") {
		t.Errorf("got %v", err)
	}
}

// temporary is the error of a process that has no file left.
type temporary struct{}

func (temporary) Error() string   { return "too many open files" }
func (temporary) Temporary() bool { return true }

// busyListener fails temporarily before it accepts.
type busyListener struct {
	*pipeListener
	failures int
}

func (l *busyListener) Accept() (net.Conn, error) {
	if l.failures--; l.failures >= 0 {
		return nil, temporary{}
	}
	return l.pipeListener.Accept()
}

func TestServeOutlastsTemporaryErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, hubOptions{})
		h.create(t, "d1")
		ctx, cancel := context.WithCancel(context.Background())
		l := &busyListener{newPipeListener(), 3}
		served := make(chan error, 1)
		go func() { served <- h.Serve(ctx, l) }()
		c := h.dialOver(t, l.dial(t))
		c.send(connectFor(t, twinhub.ID{Device: "d1"}))
		c.want(fresh)
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
		h.stop()
	})
}

// A device that is deleted and made again at once shows nothing of its former life, however late its connection ends.
func TestRecreatedDeviceIsNew(t *testing.T) {
	h := newHub(t, hubOptions{})
	for n := range 20 {
		h.create(t, "d1")
		c := h.connect(t, "d1")
		c.subscribe(mqtt.QoS1, desiredFilter)
		if err := h.registry.Delete(t.Context(), "d1", "*"); err != nil {
			t.Fatal(err)
		}
		h.create(t, "d1")
		check := func(when string) {
			t.Helper()
			d, err := h.registry.Get(t.Context(), "d1")
			if err != nil {
				t.Fatal(err)
			}
			const never = "0001-01-01T00:00:00Z"
			if d.ConnectionState != "Disconnected" || d.ConnectionStateUpdatedTime != never || d.LastActivityTime != never {
				t.Fatalf("round %d, %s: got %s since %s, active %s", n, when, d.ConnectionState, d.ConnectionStateUpdatedTime, d.LastActivityTime)
			}
		}
		check("at once")
		c.wantClosed()
		eventually(t, "the old connection is gone", func() bool { return h.Connections() == 0 })
		check("after the old connection's end")
		if filters, err := h.Sessions.Subscriptions(twinhub.ID{Device: "d1"}); err != nil || filters != nil {
			t.Fatalf("subscriptions %v, %v", filters, err)
		}
		if err := h.registry.Delete(t.Context(), "d1", "*"); err != nil {
			t.Fatal(err)
		}
	}
}
