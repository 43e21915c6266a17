package device_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/device"
	"github.com/twinhub/twinhub/hubtest"
	"github.com/twinhub/twinhub/service"
)

// within is the patience of these tests with a busy machine.
const within = 30 * time.Second

// backEnd returns a client of the service API.
func backEnd(t *testing.T, h *hubtest.Hub) *service.Client {
	t.Helper()
	c, err := service.NewClient(h.ConnectionString, &service.Options{Address: h.HTTPS, TLS: h.ClientTLS()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// register makes a device and returns its connection string.
func register(t *testing.T, c *service.Client, id string) string {
	t.Helper()
	d, err := c.CreateDevice(t.Context(), &service.Device{DeviceID: id})
	if err != nil {
		t.Fatal(err)
	}
	return c.ConnectionString(d)
}

// dial connects a device until the test ends.
func dial(t *testing.T, connectionString string, o *device.Options) *device.Client {
	t.Helper()
	c, err := device.Dial(t.Context(), connectionString, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeClient(t, c) })
	return c
}

func closeClient(t *testing.T, c *device.Client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), within)
	defer cancel()
	if err := c.Close(ctx); err != nil {
		t.Error(err)
	}
}

// telemetry returns the bodies of a device's telemetry, until enough has been seen.
func telemetry(t *testing.T, h *hubtest.Hub, id string, enough func(seen map[string]int) bool) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	events, err := service.OpenEvents(ctx, h.EventHubConnectionString, &service.EventsOptions{Earliest: true, TLS: h.ClientTLS(), Address: h.AMQPS})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := events.Close(ctx); err != nil {
			t.Error(err)
		}
	}()
	var bodies []string
	seen := map[string]int{}
	for event, err := range events.All(ctx) {
		if err != nil {
			t.Fatalf("after %d events: %v", len(bodies), err)
		}
		if event.DeviceID != id || event.Source != twinhub.Telemetry {
			continue
		}
		bodies = append(bodies, string(event.Body))
		if seen[string(event.Body)]++; enough(seen) {
			break
		}
	}
	return bodies
}

// statuses tells of a client's connections.
type statuses struct {
	connections atomic.Int32
	lost        chan error
}

func (s *statuses) note(v device.Status) {
	if v.Connected {
		s.connections.Add(1)
	} else if s.lost != nil {
		select {
		case s.lost <- v.Err:
		default:
		}
	}
}

// door stays at one address while the hub behind it changes.
type door struct {
	listener net.Listener
	hub      atomic.Pointer[string]
	wg       sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool
}

func openDoor(t *testing.T) *door {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &door{listener: l, conns: map[net.Conn]bool{}}
	d.wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			d.wg.Go(func() { d.carry(conn) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		d.cut()
		d.wg.Wait()
	})
	return d
}

// cut ends every connection.
func (d *door) cut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for conn := range d.conns {
		conn.Close()
	}
}

func (d *door) carry(client net.Conn) {
	defer client.Close()
	address := d.hub.Load()
	if address == nil {
		return
	}
	hub, err := net.Dial("tcp", *address)
	if err != nil {
		return
	}
	defer hub.Close()
	d.mu.Lock()
	d.conns[client], d.conns[hub] = true, true
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.conns, client)
		delete(d.conns, hub)
	}()
	d.wg.Go(func() {
		_, _ = io.Copy(client, hub)
		client.Close()
	})
	_, _ = io.Copy(hub, client)
}

// A hub that ends and starts again on its data loses nothing that was acknowledged, and devices go on by themselves:
// their sends return, desired properties and methods arrive.
func TestHubRestart(t *testing.T) {
	data, d := t.TempDir(), openDoor(t)
	var c *device.Client
	var s statuses
	desired := make(chan device.Desired, 16)
	stop := make(chan struct{})
	var senders sync.WaitGroup
	var sent atomic.Int64
	t.Run("first life", func(t *testing.T) {
		h := hubtest.Start(t, hubtest.Options{DataDir: data})
		d.hub.Store(&h.MQTTS)
		connectionString := register(t, backEnd(t, h), "d1")
		var err error
		c, err = device.Dial(context.Background(), connectionString, &device.Options{
			Address: d.listener.Addr().String(), TLS: h.ClientTLS(), OnStatus: s.note, MinBackoff: 50 * time.Millisecond, MaxBackoff: 500 * time.Millisecond,
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.HandleDesired(t.Context(), func(_ context.Context, d device.Desired) { desired <- d }); err != nil {
			t.Fatal(err)
		}
		if err := c.HandleMethod(t.Context(), "echo", func(_ context.Context, call device.MethodCall) (int, any) { return 200, call.Payload }); err != nil {
			t.Fatal(err)
		}
		for range 8 {
			senders.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					n := sent.Add(1)
					if err := c.Send(context.Background(), device.Message{Body: []byte(strconv.FormatInt(n, 10))}); err != nil {
						t.Errorf("send %d: %v", n, err)
						return
					}
				}
			})
		}
		for sent.Load() < 200 {
			time.Sleep(time.Millisecond)
		}
	}) // the hub ends here, in the middle of sending
	defer closeClient(t, c)
	t.Run("second life", func(t *testing.T) {
		h := hubtest.Start(t, hubtest.Options{DataDir: data})
		back := backEnd(t, h)
		if _, err := back.UpdateTwin(t.Context(), "d1", service.TwinPatch{Desired: map[string]any{"a": 1}}, ""); err != nil {
			t.Fatal(err)
		}
		before := sent.Load()
		d.hub.Store(&h.MQTTS)
		if got := <-desired; !got.Whole || got.Version != 2 || !strings.Contains(string(got.Properties), `"a":1`) {
			t.Errorf("desired: got %+v, want the section with what changed meanwhile", got)
		}
		for sent.Load() < before+200 {
			time.Sleep(time.Millisecond)
		}
		d.cut() // and once more, with the hub staying
		for s.connections.Load() < 3 {
			time.Sleep(time.Millisecond)
		}
		result, err := back.InvokeMethod(t.Context(), "d1", "echo", "x", &service.CallOptions{ConnectTimeout: 5 * time.Second, ResponseTimeout: 10 * time.Second})
		if err != nil || string(result.Payload) != `"x"` {
			t.Errorf("method: got %+v, %v", result, err)
		}
		close(stop)
		senders.Wait()
		total := sent.Load()
		bodies := telemetry(t, h, "d1", func(seen map[string]int) bool { return int64(len(seen)) == total })
		if extra := int64(len(bodies)) - total; extra > 16 {
			t.Errorf("%d messages came twice, want at most the 8 in flight for each of two losses", extra)
		}
	})
}

// Of two clients with one identity the later one is connected. The other waits, and is back when that one has left.
func TestTakeover(t *testing.T) {
	h := hubtest.Start(t)
	connectionString := register(t, backEnd(t, h), "d1")
	s := statuses{lost: make(chan error, 16)}
	o := device.Options{Address: h.MQTTS, TLS: h.ClientTLS(), MinBackoff: 2 * time.Second, MaxBackoff: 4 * time.Second, OnStatus: s.note}
	first := dial(t, connectionString, &o)
	second, err := device.Dial(t.Context(), connectionString, &device.Options{Address: h.MQTTS, TLS: h.ClientTLS()})
	if err != nil {
		t.Fatal(err)
	}
	if err := <-s.lost; err == nil {
		t.Error("the first client was not told why it lost its connection")
	}
	if err := second.Send(t.Context(), device.Message{Body: []byte("second")}); err != nil {
		t.Error(err)
	}
	closeClient(t, second)
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	if err := first.Send(ctx, device.Message{Body: []byte("first")}); err != nil {
		t.Error(err)
	}
	if n := s.connections.Load(); n != 2 {
		t.Errorf("connections of the first client: got %d, want 2", n)
	}
}

// A client outlives its tokens without a failed call, and the hub never has to hang up on it.
func TestTokenRenewal(t *testing.T) {
	h := hubtest.Start(t)
	back := backEnd(t, h)
	s := statuses{}
	var failures atomic.Int32
	c := dial(t, register(t, back, "d1"), &device.Options{
		Address: h.MQTTS, TLS: h.ClientTLS(), TokenLifetime: 2 * time.Second,
		OnStatus: func(v device.Status) {
			s.note(v)
			if v.Err != nil {
				t.Logf("lost: %v", v.Err)
				failures.Add(1)
			}
		},
	})
	n := 0
	for s.connections.Load() < 4 {
		if err := c.Send(t.Context(), device.Message{Body: []byte(strconv.Itoa(n))}); err != nil {
			t.Fatal(err)
		}
		n++
	}
	if failures.Load() != 0 {
		t.Errorf("connections lost: got %d, want none", failures.Load())
	}
	if bodies := telemetry(t, h, "d1", func(seen map[string]int) bool { return len(seen) == n }); len(bodies) != n {
		t.Errorf("messages: got %d for %d sent", len(bodies), n)
	}
}

// A device that the hub does not know, or not by that key, is told so.
func TestRefusedByHub(t *testing.T) {
	h := hubtest.Start(t)
	connectionString := register(t, backEnd(t, h), "d1")
	o := &device.Options{Address: h.MQTTS, TLS: h.ClientTLS()}
	for name, text := range map[string]string{
		"unknown device": strings.Replace(connectionString, "DeviceId=d1", "DeviceId=d2", 1),
		"wrong key":      "HostName=localhost;DeviceId=d1;SharedAccessKey=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
	} {
		var refused *device.RefusedError
		if _, err := device.Dial(t.Context(), text, o); !errors.As(err, &refused) || refused.Code != 5 {
			t.Errorf("%s: got %v, want a refusal with code 5", name, err)
		}
	}
	if _, err := device.Dial(t.Context(), connectionString, &device.Options{Address: h.MQTTS}); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("without trust: got %v, want an error about the certificate", err)
	}
}

// Many goroutines send at a time; each one's messages keep their order, and large and empty ones pass.
func TestManyInFlight(t *testing.T) {
	h := hubtest.Start(t)
	c := dial(t, register(t, backEnd(t, h), "d1"), &device.Options{Address: h.MQTTS, TLS: h.ClientTLS()})
	const senders, each = 200, 10
	var wg sync.WaitGroup
	for i := range senders {
		wg.Go(func() {
			for j := range each {
				if err := c.Send(t.Context(), device.Message{Body: fmt.Appendf(nil, "%d %d", i, j)}); err != nil {
					t.Errorf("send: %v", err)
				}
			}
		})
	}
	large := strings.Repeat("x", 250<<10)
	if err := c.Send(t.Context(), device.Message{Body: []byte(large)}); err != nil {
		t.Errorf("send 250 KiB: %v", err)
	}
	if err := c.Send(t.Context(), device.Message{}); err != nil {
		t.Errorf("send nothing: %v", err)
	}
	if err := c.Send(t.Context(), device.Message{Body: make([]byte, 257<<10)}); !errors.Is(err, device.ErrTooLarge) {
		t.Errorf("send 257 KiB: got %v, want ErrTooLarge", err)
	}
	wg.Wait()
	next := map[string]int{}
	for _, body := range telemetry(t, h, "d1", func(seen map[string]int) bool { return len(seen) == senders*each+2 }) {
		sender, number, ok := strings.Cut(body, " ")
		if !ok {
			continue
		}
		if n, err := strconv.Atoi(number); err != nil || n != next[sender] {
			t.Fatalf("sender %s: got message %s, want %d", sender, number, next[sender])
		}
		next[sender]++
	}
}

// Methods are answered beside each other, each caller getting its own answer.
func TestMethodsOnHub(t *testing.T) {
	h := hubtest.Start(t)
	back := backEnd(t, h)
	c := dial(t, register(t, back, "d1"), &device.Options{Address: h.MQTTS, TLS: h.ClientTLS()})
	const callers = 10
	together := make(chan struct{})
	var arrived atomic.Int32
	if err := c.HandleCommand(t.Context(), "thermostat1", "meet", func(ctx context.Context, call device.MethodCall) (int, any) {
		if arrived.Add(1) == callers {
			close(together)
		}
		select {
		case <-together:
		case <-ctx.Done():
		}
		return 201, call.Payload
	}); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			result, err := back.InvokeComponentCommand(t.Context(), "d1", "thermostat1", "meet", i, nil)
			if err != nil || result.Status != 201 || string(result.Payload) != strconv.Itoa(i) {
				t.Errorf("call %d: got %+v, %v", i, result, err)
			}
		})
	}
	wg.Wait()
}

// Ids may hold characters that mean something in topics, user names and tokens.
func TestIDs(t *testing.T) {
	h := hubtest.Start(t)
	back := backEnd(t, h)
	for _, id := range []string{"a.b-c_d", "%2F", "a:b@c=d;e", "(x)'!,*"} {
		t.Run(id, func(t *testing.T) {
			d, err := back.CreateDevice(t.Context(), &service.Device{DeviceID: id})
			if err != nil {
				t.Fatal(err)
			}
			c, err := device.Connect(t.Context(), device.Identity{HostName: "localhost", DeviceID: id, SharedAccessKey: d.Authentication.SymmetricKey.PrimaryKey},
				&device.Options{Address: h.MQTTS, TLS: h.ClientTLS(), ModelID: "dtmi:x;1"})
			if err != nil {
				t.Fatal(err)
			}
			defer closeClient(t, c)
			if err := c.Send(t.Context(), device.Message{Body: []byte("x")}); err != nil {
				t.Error(err)
			}
			if _, err := c.UpdateReported(t.Context(), map[string]any{"a": 1}); err != nil {
				t.Error(err)
			}
			if twin, err := back.GetTwin(t.Context(), id); err != nil || twin.ModelID != "dtmi:x;1" || twin.DeviceID != id {
				t.Errorf("twin: got %+v, %v", twin, err)
			}
		})
	}
}
