package mqttfront

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/core/method"
	"github.com/twinhub/twinhub/internal/core/session"
	"github.com/twinhub/twinhub/internal/wire/mqtt"
)

// An answer is what became of a call.
type answer struct {
	session.Reply
	err error
}

// call calls a method of d1 and gives its outcome later.
func (h *testHub) call(name, payload string, connect, response time.Duration) <-chan answer {
	outcome := make(chan answer, 1)
	go func() {
		r, err := h.methods.Invoke(context.Background(), twinhub.ID{Device: "d1"}, method.Request{
			Name: name, Payload: []byte(payload), ConnectTimeout: connect, ResponseTimeout: response,
		})
		outcome <- answer{r, err}
	}()
	return outcome
}

func wantCode(t *testing.T, got answer, want twinhub.Code) {
	t.Helper()
	if !twinhub.HasCode(got.err, want) {
		t.Errorf("got %+v, want %v", got, want)
	}
}

func TestMethods(t *testing.T) {
	h := newHub(t, hubOptions{})
	h.create(t, "d1")
	c := h.connect(t, "d1")
	c.subscribe(mqtt.QoS0, methodsFilter)
	tests := []struct {
		name, method, payload string
		topic, body           string // of the answer, after $iothub/methods/res/
		status                int
	}{
		{"plain", "reboot", `{"in":3}`, "200/?$rid=%s", `{"ok":true}`, 200},
		{"component command", "thermostat1*getMaxMinReport", `"2020-01-01T00:00:00Z"`, "200/?$rid=%s", `null`, 200},
		{"nothing either way", "m", "", "204/?$rid=%s", "", 204},
		{"null", "m", "null", "200/?$rid=%s", "null", 200},
		{"negative status", "m", "1", "-42/?$rid=%s", "1", -42},
		{"four digits", "m", "1", "1404/?$rid=%s", "1", 1404},
		{"odd but legal name", "get max?$rid=7&x", "1", "200/?$rid=%s", "1", 200},
		{"UTF-8 name", "größe", "1", "200/?$rid=%s", "1", 200},
	}
	for n, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			outcome := h.call(tt.method, tt.payload, 0, 10*time.Second)
			rid := fmt.Sprintf("%x", n+1)
			c.want("PUBLISH qos=0 retain=false $iothub/methods/POST/" + tt.method + "/?$rid=" + rid + " " + tt.payload)
			c.send(publish1(9, fmt.Sprintf("$iothub/methods/res/"+tt.topic, rid), tt.body))
			c.want("PUBACK 9")
			got := <-outcome
			if got.err != nil || got.Status != tt.status || string(got.Payload) != tt.body {
				t.Errorf("got %d %s %v, want %d %s", got.Status, got.Payload, got.err, tt.status, tt.body)
			}
		})
	}
}

func TestMethodRequestIDs(t *testing.T) {
	h := newHub(t, hubOptions{})
	h.create(t, "d1")
	c := h.connect(t, "d1")
	c.subscribe(mqtt.QoS1, methodsFilter)
	var outcomes []<-chan answer
	for n := range 40 { // past one hexadecimal digit
		outcomes = append(outcomes, h.call("m", fmt.Sprint(n), 0, 10*time.Second))
		c.want(fmt.Sprintf("PUBLISH qos=1 retain=false $iothub/methods/POST/m/?$rid=%x %d", n+1, n))
	}
	c.send(publish1(1, "$iothub/methods/res/200/?$rid=ffff", "")) // unknown: ignored
	c.want("PUBACK 1")
	for n := 39; n >= 0; n-- { // answers in another order find their callers
		p := &mqtt.Publish{Topic: fmt.Sprintf("$iothub/methods/res/%d/?$rid=%x", n, n+1)}
		c.send(p, p) // the second is ignored
	}
	for n, o := range outcomes {
		if got := <-o; got.err != nil || got.Status != n {
			t.Errorf("call %d got %+v", n, got)
		}
	}
	c.wantNothing()
}

func TestMethodNamesThatNoDeviceCouldGet(t *testing.T) {
	h := newHub(t, hubOptions{})
	h.create(t, "d1")
	c := h.connect(t, "d1")
	c.subscribe(mqtt.QoS1, methodsFilter)
	for _, name := range []string{"", "#", "a#b", "+", "a+b", "a/b", "a\x00b", "a\nb", "a\u0080b", "\xff", strings.Repeat("x", 70000)} {
		wantCode(t, <-h.call(name, "", 0, 10*time.Second), twinhub.CodeArgumentInvalid)
	}
	c.wantNothing()
	// Were such a name to pass the core, its call would still fail at once.
	link, _ := h.Sessions.Lookup(twinhub.ID{Device: "d1"})
	_, err := link.Invoke(t.Context(), session.Call{Name: "a#b"})
	wantCode(t, answer{err: err}, twinhub.CodeArgumentInvalid)
	wantCode(t, <-h.call(strings.Repeat("x", method.MaxName+1), "", 0, 10*time.Second), twinhub.CodeArgumentInvalid)
	o := h.call(strings.Repeat("x", method.MaxName), "", 0, 10*time.Second)
	if p, ok := c.receive().(*mqtt.Publish); !ok || !strings.HasSuffix(p.Topic, "/?$rid=2") {
		t.Errorf("the longest name did not arrive: %s", show(p))
	}
	c.send(&mqtt.Publish{Topic: "$iothub/methods/res/200/?$rid=2"})
	<-o
}

func TestMethodTimeouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, hubOptions{})
		h.create(t, "d1")
		begin := time.Now()
		after := func(o <-chan answer, want time.Duration) answer {
			t.Helper()
			a := <-o
			if took := time.Since(begin); took != want {
				t.Errorf("answered after %v, want %v", took, want)
			}
			begin = time.Now()
			return a
		}
		// Offline.
		offline := after(h.call("m", "", 3*time.Second, 7*time.Second), 3*time.Second)
		wantCode(t, offline, twinhub.CodeDeviceNotOnline)
		if e := twinhub.AsError(offline.err); e.Timeout != "00:00:03" {
			t.Errorf("the error's time-out is %q", e.Timeout)
		}
		wantCode(t, after(h.call("m", "", 0, 5*time.Second), 0), twinhub.CodeDeviceNotOnline)
		wantCode(t, after(h.call("m", "", 5*time.Second, 5*time.Second), 5*time.Second), twinhub.CodeDeviceNotOnline)

		// Connected, but not listening until 2 s later.
		o := h.call("m", "1", 3*time.Second, 7*time.Second)
		time.Sleep(1500 * time.Millisecond)
		c := h.connect(t, "d1", clean)
		time.Sleep(500 * time.Millisecond)
		synctest.Wait()
		select {
		case a := <-o:
			t.Fatalf("answered before the device listened: %+v", a)
		default:
		}
		c.subscribe(mqtt.QoS1, methodsFilter) // which takes SUBACK before the call
		c.want("PUBLISH qos=1 retain=false $iothub/methods/POST/m/?$rid=1 1")
		time.Sleep(3 * time.Second)
		c.send(&mqtt.Publish{Topic: "$iothub/methods/res/200/?$rid=1", Payload: []byte("2")})
		if a := after(o, 5*time.Second); a.err != nil || string(a.Payload) != "2" {
			t.Errorf("got %+v", a)
		}

		// No answer; the late one is dropped.
		o = h.call("m", "", 3*time.Second, 7*time.Second)
		c.want("PUBLISH qos=1 retain=false $iothub/methods/POST/m/?$rid=2 ")
		wantCode(t, after(o, 7*time.Second), twinhub.CodeGatewayTimeout)
		c.send(&mqtt.Publish{Topic: "$iothub/methods/res/200/?$rid=2"})
		c.wantNothing()

		// The connection ends before the answer.
		o = h.call("m", "", 0, 7*time.Second)
		c.want("PUBLISH qos=1 retain=false $iothub/methods/POST/m/?$rid=3 ")
		c.nc.Close()
		wantCode(t, after(o, 0), twinhub.CodeDeviceConnectionClosedRemotely)
		h.stop()
	})
}

func TestTooManyMethods(t *testing.T) {
	h := newHub(t, hubOptions{})
	h.create(t, "d1")
	c := h.connect(t, "d1")
	c.subscribe(mqtt.QoS1, methodsFilter)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, maxCalls)
	for range maxCalls {
		go func() {
			_, err := h.methods.Invoke(ctx, twinhub.ID{Device: "d1"}, method.Request{Name: "m", ResponseTimeout: time.Minute})
			ended <- err
		}()
	}
	for range maxCalls {
		c.receive()
	}
	wantCode(t, <-h.call("m", "", 0, 10*time.Second), twinhub.CodeDeviceMaximumInflightMethodExceeded)
	cancel()
	for range maxCalls {
		if err := <-ended; err == nil {
			t.Error("a call without an answer succeeded")
		}
	}
	o := h.call("m", "", 0, 10*time.Second)
	c.want(fmt.Sprintf("PUBLISH qos=1 retain=false $iothub/methods/POST/m/?$rid=%x ", maxCalls+1))
	c.send(&mqtt.Publish{Topic: fmt.Sprintf("$iothub/methods/res/200/?$rid=%x", maxCalls+1)})
	if a := <-o; a.err != nil {
		t.Error(a.err)
	}
}

func TestMethodAfterUnsubscribe(t *testing.T) {
	h := newHub(t, hubOptions{})
	h.create(t, "d1")
	c := h.connect(t, "d1")
	c.subscribe(mqtt.QoS1, methodsFilter)
	link, _ := h.Sessions.Lookup(twinhub.ID{Device: "d1"})
	c.send(&mqtt.Unsubscribe{ID: 1, Filters: []string{methodsFilter}})
	c.want("UNSUBACK 1")
	if _, err := link.Invoke(t.Context(), session.Call{Name: "m"}); !errors.Is(err, session.ErrNotListening) {
		t.Errorf("got %v, want ErrNotListening", err)
	}
	wantCode(t, <-h.call("m", "", 0, 10*time.Second), twinhub.CodeDeviceNotOnline)
}

// Who has read SUBACK can be called.
func TestReachableOnceSubscribed(t *testing.T) {
	h := newHub(t, hubOptions{})
	h.create(t, "d1")
	c := h.connect(t, "d1", clean)
	now, cancel := context.WithCancel(context.Background())
	cancel()
	for n := range 500 {
		c.subscribe(mqtt.QoS0, methodsFilter)
		if _, err := h.Sessions.AwaitMethods(now, twinhub.ID{Device: "d1"}); err != nil {
			t.Fatalf("round %d: %v", n, err)
		}
		c.send(&mqtt.Unsubscribe{ID: 7, Filters: []string{methodsFilter}})
		c.want("UNSUBACK 7")
		if _, err := h.Sessions.AwaitMethods(now, twinhub.ID{Device: "d1"}); err == nil {
			t.Fatalf("round %d: reachable without a subscription", n)
		}
	}
}
