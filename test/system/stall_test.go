//go:build linux

package system

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/go-amqp"

	"github.com/twinhub/twinhub/internal/wire/mqtt"
)

// Bounds of what a client gets that stops reading.
const (
	// stuckTime is how long a write may wait for a peer. Design: a writer stuck for 10 s closes the connection.
	stuckTime = 10 * time.Second
	// stuckMemory is what the hub may hold for each such client.
	stuckMemory = 4 << 20
	// kernelMemory is what the system may hold for one, twice what Linux's tcp_wmem allows.
	kernelMemory = 8 << 20
	// stuckResident is by how much resident memory may grow, garbage and the engine's caches included.
	stuckResident = 256 << 20
)

// narrow connects to a door with as little room for unread bytes as the system allows.
func (h *hub) narrow(door string) (net.Conn, error) {
	nc, err := h.openPort(door)
	if err != nil {
		return nil, err
	}
	return nc, nc.(*net.TCPConn).SetReadBuffer(4 << 10)
}

// writeUntilClosed writes the same bytes again and again until the hub closes the connection, and returns how long
// it was stuck by then.
func writeUntilClosed(c net.Conn, what []byte, within time.Duration) (stuck time.Duration, err error) {
	if err := c.SetWriteDeadline(time.Now().Add(within)); err != nil {
		return 0, err
	}
	last := time.Now()
	for {
		n, err := c.Write(what)
		if n == len(what) {
			last = time.Now()
		}
		if err != nil {
			return time.Since(last), err
		}
	}
}

// Much to answer and to read.
var (
	manyQuestions = bytes.Repeat((&mqtt.Publish{QoS: mqtt.QoS1, ID: 1, Topic: "$iothub/twin/GET/?$rid=1"}).AppendTo(nil), 100)
	largeMessage  = bytes.Repeat([]byte("z"), 200<<10)
)

// manyRequests asks for something again and again on one connection.
func (h *hub) manyRequests(path string) []byte {
	return []byte(strings.Repeat("GET "+path+"?api-version=2021-04-12 HTTP/1.1\r\nHost: localhost\r\nAuthorization: "+h.token+"\r\n\r\n", 10))
}

// largeTwin is a patch that makes a twin nearly as large as it may be.
func largeTwin() string {
	large := `{"tags":{"a":"` + strings.Repeat("x", 4000) + `"},"properties":{"desired":{`
	for i := range 7 {
		large += fmt.Sprintf(`"k%d":%q,`, i, strings.Repeat("y", 4000))
	}
	return strings.TrimSuffix(large, ",") + "}}}"
}

// deaf connects a new device that subscribes and then reads nothing.
func (h *hub) deaf(t testing.TB, id, filter string) *mqttClient {
	t.Helper()
	key := h.register(t, id)
	c, err := h.openMQTT(t.Context(), func() (net.Conn, error) { return h.narrow("mqtts") })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if code, err := c.signIn(h.connectPacket(id, key)); err != nil || code != mqtt.Accepted {
		t.Fatalf("got return code %d (%v)", code, err)
	}
	c.mustSend(t, &mqtt.Subscribe{ID: 1, Subscriptions: []mqtt.Subscription{{Filter: filter}}})
	return c
}

// stalledReader attaches receivers to all partitions, on one connection that reads until the gate is shut.
func (h *hub) stalledReader(t testing.TB) (gate *stall) {
	t.Helper()
	gate = new(stall)
	c, err := h.openAMQP(t.Context(), func() (net.Conn, error) {
		nc, err := h.narrow("amqps")
		gate.Conn = nc
		gate.open()
		return gate, err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		gate.Conn.Close()
		c.Close()
	})
	if code, err := putToken(t.Context(), c, h.eventsResource(), h.sign(h.eventsResource(), h.owner, "iothubowner", time.Now().Add(time.Hour))); err != nil || code != 200 {
		t.Fatalf("$cbs: got %d (%v), want 200", code, err)
	}
	s, err := c.NewSession(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for p := range 4 {
		if _, err := s.NewReceiver(t.Context(), partitionAddress(fmt.Sprint(p)), &amqp.ReceiverOptions{Credit: 1 << 20}); err != nil {
			t.Fatal(err)
		}
	}
	return gate
}

// TestNeverReads connects clients that ask for much and read nothing.
func TestNeverReads(t *testing.T) {
	t.Parallel()
	h := startHub(t, t.TempDir(), new(secretSet))
	watch(t, h)
	large := largeTwin()
	memory, live := h.memory(t), h.mustLive(t)
	peak := h.peakLive(t)
	t.Run("clients", func(t *testing.T) {
		t.Run("MQTT, twin answers", func(t *testing.T) {
			t.Parallel()
			c := h.deaf(t, "deaf", "$iothub/twin/res/#")
			h.must(t, http.MethodPatch, "/twins/deaf", large)
			stuck, err := writeUntilClosed(c, manyQuestions, time.Minute)
			if stuck > stuckTime+noticeable || os.IsTimeout(err) {
				t.Errorf("closed after %v (%v), want at most %v", stuck.Round(time.Millisecond), err, stuckTime)
			}
			h.explained(t, "mqtt", "read")
		})
		t.Run("MQTT, desired properties", func(t *testing.T) {
			t.Parallel()
			h.deaf(t, "deaf-too", "$iothub/twin/PATCH/properties/desired/#")
			// The back end must not notice that the device is deaf: every patch is answered at once.
			began := time.Now()
			for patches := 1; time.Since(began) < 3*stuckTime; patches++ {
				asked := time.Now()
				h.must(t, http.MethodPatch, "/twins/deaf-too", large)
				if took := time.Since(asked); took > noticeable {
					t.Errorf("a patch took %v", took)
				}
				now := decode[struct{ ConnectionState string }](t, h.must(t, http.MethodGet, "/twins/deaf-too", "").body)
				if now.ConnectionState == "Disconnected" {
					if queued := patches * len(large); queued > stuckMemory+kernelMemory {
						t.Errorf("%d MiB of patches were queued, want at most %d", queued>>20, (stuckMemory+kernelMemory)>>20)
					}
					return
				}
			}
			t.Error("the device that reads nothing is still connected")
		})
		t.Run("AMQP", func(t *testing.T) {
			t.Parallel()
			key := h.register(t, "loud")
			d := h.mustConnect(t, "loud", key)
			gate := h.stalledReader(t)
			const attached = 8 // these four, and the bystander's, which may come later
			h.awaitReceivers(t, attached)
			gate.shut()
			began := time.Now()
			for n := uint16(1); h.receivers(t) > attached-4; n++ {
				d.mustSend(t, &mqtt.Publish{QoS: mqtt.QoS1, ID: n, Topic: telemetryTopic("loud"), Payload: largeMessage})
				mustReceive[*mqtt.Puback](t, d)
				if n > 100 {
					time.Sleep(50 * time.Millisecond) // enough for any buffer; now it is only waited for
				}
				if time.Since(began) > 3*stuckTime {
					t.Fatalf("receivers that read nothing are still attached after %v", time.Since(began))
				}
			}
			h.explained(t, "amqp", "read")
		})
		t.Run("HTTPS", func(t *testing.T) {
			t.Parallel()
			h.register(t, "quiet")
			h.must(t, http.MethodPatch, "/twins/quiet", large)
			nc, err := h.narrow("https")
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			c := tls.Client(nc, h.tls())
			const limit = 3 * stuckTime // an answer may be large, and a line slow
			stuck, err := writeUntilClosed(c, h.manyRequests("/twins/quiet"), limit+2*noticeable)
			if stuck > limit+noticeable || os.IsTimeout(err) {
				t.Errorf("closed after %v (%v), want at most %v", stuck.Round(time.Millisecond), err, limit)
			}
		})
	})
	const clients = 4
	grown, resident := peak()-live, h.memory(t)-memory
	t.Logf("for %d clients that read nothing the hub held at most %.1f MiB more; its resident memory grew by %.1f MiB", clients, float64(grown)/(1<<20), float64(resident)/(1<<20))
	if grown > clients*stuckMemory {
		t.Errorf("the hub held %d MiB more for %d clients that read nothing, want at most %d", grown>>20, clients, clients*stuckMemory>>20)
	}
	if resident > stuckResident {
		t.Errorf("the hub's resident memory has grown by %d MiB for %d clients that read nothing, want at most %d", resident>>20, clients, stuckResident>>20)
	}
}

// TestTerminateWhileStuck ends the hub with SIGTERM while clients of every door read nothing, or never signed in.
func TestTerminateWhileStuck(t *testing.T) {
	t.Parallel()
	h := startHub(t, t.TempDir(), new(secretSet))
	for _, s := range strangers {
		c, _, err := s.open(t.Context(), h)
		if err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		defer c.Close()
	}
	device := h.deaf(t, "deaf", "$iothub/twin/res/#")
	h.must(t, http.MethodPatch, "/twins/deaf", largeTwin())
	nc, err := h.narrow("https")
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	gate := h.stalledReader(t)
	loud := h.mustConnect(t, "loud", h.register(t, "loud"))
	h.awaitReceivers(t, 4)
	gate.shut()
	var wait sync.WaitGroup
	for name, flood := range map[string]func() error{
		"mqtts": func() error { return writeUntilStuck(device, manyQuestions) },
		"https": func() error { return writeUntilStuck(tls.Client(nc, h.tls()), h.manyRequests("/twins/deaf")) },
		"amqps": func() error { // enough for any buffer
			for n := uint16(1); n <= 100; n++ {
				if err := loud.send(&mqtt.Publish{QoS: mqtt.QoS1, ID: n, Topic: telemetryTopic("loud"), Payload: largeMessage}); err != nil {
					return err
				}
				if _, err := loud.receive(noticeable); err != nil {
					return err
				}
			}
			return nil
		},
	} {
		wait.Go(func() {
			if err := flood(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	wait.Wait()
	began := time.Now()
	if err := h.terminate(); err != nil {
		t.Fatal(err)
	}
	t.Logf("exit status 0 after %v", time.Since(began).Round(time.Millisecond))
	for _, r := range h.log.since(0) {
		if r.Time.After(began) && r.Msg == "refused" && strings.Contains(r.Reason, "TLS handshake failed") {
			t.Errorf("the end of the hub is logged as a refusal: %+v", r)
		}
	}
}

// writeUntilStuck writes the same bytes again and again until the hub has taken none for a second.
func writeUntilStuck(c net.Conn, what []byte) error {
	for {
		if err := c.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
			return err
		}
		if _, err := c.Write(what); errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// receivers returns how many receivers of events are attached.
func (h *hub) receivers(t testing.TB) int {
	t.Helper()
	res, err := http.Get("http://" + h.doors["ops"] + "/receivers")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return len(decode[[]struct{ Address string }](t, string(text)))
}

// awaitReceivers returns when n receivers of events are attached.
func (h *hub) awaitReceivers(t testing.TB, n int) {
	t.Helper()
	for deadline := time.Now().Add(startWithin); h.receivers(t) != n; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d receivers are attached, want %d", h.receivers(t), n)
		}
	}
}

// A stall is a connection whose reads can be shut off.
type stall struct {
	net.Conn
	mu     sync.Mutex
	room   sync.Cond
	closed bool
}

func (s *stall) open() { s.room.L = &s.mu }

func (s *stall) shut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
}

// Read implements net.Conn. A read that waits for bytes when the stall is shut still returns them, and is the last.
func (s *stall) Read(b []byte) (int, error) {
	s.mu.Lock()
	for s.closed {
		s.room.Wait()
	}
	s.mu.Unlock()
	return s.Conn.Read(b)
}

// Close implements net.Conn.
func (s *stall) Close() error {
	s.mu.Lock()
	s.closed = false
	s.room.Broadcast()
	s.mu.Unlock()
	return s.Conn.Close()
}
