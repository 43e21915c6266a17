//go:build linux

package system

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/Azure/go-amqp"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/wire/mqtt"
)

// A proxy passes bytes between a client and a door until it is cut: then it passes none, and neither side learns of
// it, as when a mobile network drops a phone.
type proxy struct {
	net.Listener
	wait  sync.WaitGroup
	mu    sync.Mutex
	cut   bool
	conns []net.Conn
}

func (h *hub) proxy(t testing.TB, door string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{Listener: l}
	p.wait.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := h.openPort(door)
			if err != nil {
				client.Close()
				continue
			}
			p.mu.Lock()
			p.conns = append(p.conns, client, server)
			p.mu.Unlock()
			p.wait.Go(func() { p.pass(client, server) })
			p.wait.Go(func() { p.pass(server, client) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		p.mu.Lock()
		for _, c := range p.conns {
			c.Close()
		}
		p.mu.Unlock()
		p.wait.Wait()
	})
	return p
}

func (p *proxy) pass(to, from net.Conn) {
	buffer := make([]byte, 16<<10)
	for {
		n, err := from.Read(buffer)
		p.mu.Lock()
		cut := p.cut
		p.mu.Unlock()
		if err != nil || cut {
			return // a cut line stays open on both sides until the test ends
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// stop cuts the line.
func (p *proxy) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = true
}

func (p *proxy) dial() (net.Conn, error) { return net.Dial("tcp", p.Addr().String()) }

// TestHalfOpen cuts the line of a client without either side being told.
func TestHalfOpen(t *testing.T) {
	t.Parallel()
	h := sharedHub(t)
	watch(t, h)
	connect := func(t *testing.T, id string, keepAlive time.Duration) (*mqttClient, *proxy, string) {
		t.Helper()
		key := h.register(t, id)
		p := h.proxy(t, "mqtts")
		c, err := h.openMQTT(t.Context(), p.dial)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		packet := h.connectPacket(id, key)
		packet.KeepAlive = keepAlive
		if code, err := c.signIn(packet); err != nil || code != mqtt.Accepted {
			t.Fatalf("got return code %d (%v)", code, err)
		}
		c.mustSend(t, &mqtt.Subscribe{ID: 1, Subscriptions: []mqtt.Subscription{{Filter: "$iothub/methods/POST/#"}, {Filter: "$iothub/twin/PATCH/properties/desired/#"}}})
		mustReceive[*mqtt.Suback](t, c)
		return c, p, key
	}
	state := func(t *testing.T, id string) string {
		return decode[twin](t, h.must(t, http.MethodGet, "/twins/"+id, "").body).ConnectionState
	}
	t.Run("keep alive", func(t *testing.T) {
		t.Parallel()
		const id, keepAlive = "half-open", 4 * time.Second
		_, p, _ := connect(t, id, keepAlive)
		// What the hub sends must not count: only packets from the device keep it connected.
		p.stop()
		cut := time.Now()
		for state(t, id) == "Connected" {
			if time.Since(cut) > keepAlive*3/2+noticeable {
				t.Fatalf("still connected %v after the line was cut", time.Since(cut))
			}
			h.must(t, http.MethodPatch, "/twins/"+id, `{"properties":{"desired":{"n":1}}}`)
			time.Sleep(50 * time.Millisecond)
		}
		if took := time.Since(cut); took < keepAlive {
			t.Errorf("disconnected %v after the line was cut, with a keep alive of %v", took, keepAlive)
		}
		h.explained(t, "mqtt", "nothing was heard")
	})
	t.Run("method", func(t *testing.T) {
		t.Parallel()
		const id = "half-open-method"
		_, p, _ := connect(t, id, time.Minute)
		p.stop()
		a, err := h.do(t.Context(), http.MethodPost, "/twins/"+id+"/methods", `{"methodName":"m","responseTimeoutInSeconds":8}`)
		if err != nil {
			t.Fatal(err)
		}
		checkRefusal(t, a, twinhub.CodeGatewayTimeout, true)
	})
	t.Run("takeover", func(t *testing.T) {
		t.Parallel()
		const id = "half-open-takeover"
		_, p, key := connect(t, id, time.Minute)
		p.stop()
		c := h.mustConnect(t, id, key)
		p.waitClosed(t, noticeable) // long before the keep alive
		c.mustSend(t, &mqtt.Publish{QoS: mqtt.QoS1, ID: 1, Topic: telemetryTopic(id)})
		mustReceive[*mqtt.Puback](t, c)
		if got := state(t, id); got != "Connected" {
			t.Errorf("the device is %s after the end of its old connection", got)
		}
	})
	t.Run("reader", func(t *testing.T) {
		t.Parallel()
		// On a hub of its own: a reader with an epoch ends those without one, such as the bystander's.
		h := startHub(t, t.TempDir(), new(secretSet))
		attach := func(dial func() (net.Conn, error), epoch int64) *amqp.Receiver {
			t.Helper()
			c, err := h.openAMQP(t.Context(), dial)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
			if code, err := putToken(t.Context(), c, h.eventsResource(), h.sign(h.eventsResource(), h.owner, "iothubowner", time.Now().Add(time.Hour))); err != nil || code != 200 {
				t.Fatalf("$cbs: got %d (%v), want 200", code, err)
			}
			s, err := c.NewSession(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			r, err := s.NewReceiver(t.Context(), partitionAddress("1"), &amqp.ReceiverOptions{
				Credit: 10, Properties: map[string]any{"com.microsoft:epoch": epoch},
			})
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
		p := h.proxy(t, "amqps")
		attach(p.dial, 1)
		p.stop()
		began := time.Now()
		attach(nil, 1)
		if took := time.Since(began); took > noticeable {
			t.Errorf("the new reader had to wait %v for the one behind the cut line", took)
		}
		if n := h.receivers(t); n != 1 {
			t.Errorf("%d receivers are attached, want 1", n)
		}
	})
	t.Run("HTTPS request", func(t *testing.T) {
		t.Parallel()
		p := h.proxy(t, "https")
		nc, err := p.dial()
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		c := tls.Client(nc, h.tls())
		if err := c.HandshakeContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, "GET /devices HTTP/1.1\r\n"); err != nil {
			t.Fatal(err)
		}
		p.stop()
		p.waitClosed(t, 10*time.Second+noticeable) // when the time for a header is over
	})
}

// waitClosed expects that the hub closes the first connection of a line that was cut.
func (p *proxy) waitClosed(t testing.TB, within time.Duration) {
	t.Helper()
	p.mu.Lock()
	server := p.conns[1]
	p.mu.Unlock()
	if err := server.SetReadDeadline(time.Now().Add(within)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, server); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection is still open after %v", within)
	}
}
