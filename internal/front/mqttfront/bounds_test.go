package mqttfront

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/core/session"
	"github.com/twinhub/twinhub/internal/engine"
	"github.com/twinhub/twinhub/internal/wire/mqtt"
)

func TestByteByByteClient(t *testing.T) {
	h := newHub(t, hubOptions{})
	h.create(t, "d1")
	c := h.dial(t)
	var b []byte
	for _, p := range []mqtt.Packet{
		connectFor(t, twinhub.ID{Device: "d1"}),
		&mqtt.Subscribe{ID: 1, Subscriptions: []mqtt.Subscription{{Filter: twinResponseFilter, QoS: mqtt.QoS1}}},
		publish1(2, "devices/d1/messages/events/a=b", "body"),
		publish1(3, getTopic+"?$rid=1", ""),
		&mqtt.Pingreq{}, &mqtt.Disconnect{},
	} {
		b = p.AppendTo(b)
	}
	go func() {
		for i := range b {
			if _, err := c.nc.Write(b[i : i+1]); err != nil {
				return
			}
		}
	}()
	c.want(fresh, "SUBACK 1 [1]", "PUBACK 2", "PUBACK 3",
		`PUBLISH qos=1 retain=false $iothub/twin/res/200/?$rid=1 {"desired":{"$version":1},"reported":{"$version":1}}`, "PINGRESP")
	c.wantClosed()
}

func TestOversizeConnectIsRefusedFromItsHeader(t *testing.T) {
	h := newHub(t, hubOptions{})
	c := h.dial(t)
	c.write([]byte{0x10, 0xff, 0xff, 0x01}) // 32 KiB, of which nothing follows
	c.wantClosed()
	eventually(t, "a line that explains", func() bool { return strings.Contains(h.log.String(), "CONNECT too large") })
}

func TestOversizePacketIsRefusedFromItsHeader(t *testing.T) {
	h := newHub(t, hubOptions{})
	h.create(t, "d1")
	c := h.connect(t, "d1")
	c.write([]byte{0x30, 0x81, 0x80, 0x14}) // one byte more than maxPacket
	c.wantClosed()
}

// A device that subscribes and never reads: its pushes stay within bounds, nobody waits, and it is closed after
// writeTime.
func TestClientThatNeverReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, hubOptions{})
		h.create(t, "d1")
		c := h.connect(t, "d1")
		c.subscribe(mqtt.QoS1, desiredFilter)
		begin := time.Now()
		for n := range 100 {
			body := fmt.Sprintf(`{"properties":{"desired":{"a":"%04000d"}}}`, n)
			if _, _, err := h.twins.Update(t.Context(), twinhub.ID{Device: "d1"}, []byte(body), "", false); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(begin); took != 0 {
			t.Errorf("writers waited %v for a device that does not read", took)
		}
		time.Sleep(writeTime - time.Nanosecond)
		synctest.Wait()
		if h.Sessions.Connected() != 1 {
			t.Errorf("closed before %v", writeTime)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if h.Sessions.Connected() != 0 || h.Connections() != 0 {
			t.Errorf("still open after %v", writeTime)
		}
		if log := h.log.String(); !strings.Contains(log, "does not read what it is sent") || !strings.Contains(log, "remedy=") {
			t.Errorf("log says %q", log)
		}
		h.stop()
	})
}

// A device that sends requests and reads no answers is not read from any more.
func TestClientThatFloodsAndNeverReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, hubOptions{})
		h.create(t, "d1")
		body := `{"properties":{"desired":{"a":"` + strings.Repeat("x", 4000) + `"}}}`
		if _, _, err := h.twins.Update(t.Context(), twinhub.ID{Device: "d1"}, []byte(body), "", false); err != nil {
			t.Fatal(err)
		}
		c := h.connect(t, "d1")
		c.subscribe(mqtt.QoS0, twinResponseFilter)
		request := raw(&mqtt.Publish{Topic: getTopic + "?$rid=1"})
		sent := 0
		for c.nc.SetWriteDeadline(time.Now().Add(time.Minute)); ; sent++ {
			if _, err := c.nc.Write(request); err != nil {
				break
			}
		}
		// Each answer takes 4 KB: no more are taken than the outbox has room for, and what was read ahead.
		if most := (2*outboxSoft + 2*writeChunk) / 4000 * 2; sent > most {
			t.Errorf("%d requests were taken, want at most %d", sent, most)
		}
		synctest.Wait()
		if h.Connections() != 0 {
			t.Error("the connection is still open")
		}
		h.stop()
	})
}

func TestOutboxBound(t *testing.T) {
	client, server := net.Pipe()
	defer client.Close()
	var writers sync.WaitGroup
	o := newOutbox(server, &writers)
	p := &mqtt.Publish{Topic: "t", Payload: make([]byte, 128<<10)}
	n := 0
	for o.add(p) == nil {
		n++
	}
	if most := outboxHard / len(p.Payload); n != most-1 {
		t.Errorf("%d packets were taken, want %d", n, most-1)
	}
	if err := o.failure(); !errors.Is(err, errSlow) {
		t.Errorf("failed with %v, want errSlow", err)
	}
	if _, err := client.Read(make([]byte, 1)); err == nil {
		t.Error("the connection is still open")
	}
	o.release()
	writers.Wait()
}

func TestOutboxRefusesWhatIsNoPacket(t *testing.T) {
	var writers sync.WaitGroup
	o := newOutbox(nil, &writers)
	if err := o.add(&mqtt.Publish{Topic: "a/#"}); err == nil {
		t.Error("a packet that cannot be written was taken without an error")
	}
}

// A slow peer that takes something now and then is served to the end, however long the queue.
func TestSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		var writers sync.WaitGroup
		o := newOutbox(server, &writers)
		o.release()
		for range 10 {
			if err := o.add(&mqtt.Publish{Topic: "t", Payload: make([]byte, writeChunk)}); err != nil {
				t.Fatal(err)
			}
		}
		total := 0
		b := make([]byte, writeChunk)
		for total < 10*writeChunk {
			time.Sleep(writeTime / 2)
			n, err := client.Read(b)
			if err != nil {
				t.Fatalf("after %d bytes: %v", total, err)
			}
			total += n
		}
		o.flush()
		o.close(net.ErrClosed)
		writers.Wait()
		client.Close()
	})
}

// TLS says goodbye to a peer, for up to 5 s when it does not read. Whoever closes a link must not wait for that.
func TestClosingALinkNeverBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, hubOptions{})
		h.create(t, "d1")
		c := h.connect(t, "d1", clean)
		c.wantNothing()
		synctest.Wait()
		link, ok := h.Sessions.Lookup(twinhub.ID{Device: "d1"})
		if !ok {
			t.Fatal("not connected")
		}
		begin := time.Now()
		link.Close(session.Removed)
		synctest.Wait()
		if took := time.Since(begin); took != 0 || h.Connections() != 0 {
			t.Errorf("closing took %v, %d connections are left", took, h.Connections())
		}
		h.stop()
	})
}

// The committer finds out that a message cannot be taken, or that an outbox is full, and must not wait for the peer.
func TestRefusalOnTheCommitterNeverBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, hubOptions{})
		h.create(t, "d1")
		c := h.connect(t, "d1")
		c.subscribe(mqtt.QoS1, desiredFilter)
		synctest.Wait()
		begin := time.Now()
		link, _ := h.Sessions.Lookup(twinhub.ID{Device: "d1"})
		for n := range 40 { // past outboxHard
			link.Desired(int64(n), make([]byte, 128<<10))
		}
		if took := time.Since(begin); took != 0 {
			t.Errorf("Desired blocked for %v", took)
		}
		synctest.Wait()
		if took := time.Since(begin); took != 0 || h.Connections() != 0 {
			t.Errorf("the connection took %v to end, %d are left", took, h.Connections())
		}
		h.stop()
	})
}

// Method calls are refused before they cost a slow device its connection.
func TestManyLargeCallsForASlowDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, hubOptions{})
		h.create(t, "d1")
		c := h.connect(t, "d1")
		c.subscribe(mqtt.QoS1, methodsFilter)
		synctest.Wait()
		link, _ := h.Sessions.Lookup(twinhub.ID{Device: "d1"})
		ctx, cancel := context.WithTimeout(context.Background(), writeTime/2)
		defer cancel()
		var calls sync.WaitGroup
		var busy, timedOut atomic.Int32
		for range 40 {
			calls.Go(func() {
				_, err := link.Invoke(ctx, session.Call{Name: "m", Payload: make([]byte, 128<<10)})
				switch {
				case errors.Is(err, session.ErrBusy):
					busy.Add(1)
				case errors.Is(err, context.DeadlineExceeded):
					timedOut.Add(1)
				default:
					t.Errorf("a call got %v", err)
				}
			})
		}
		calls.Wait()
		if busy.Load() == 0 || timedOut.Load() < 2 || h.Connections() != 1 {
			t.Errorf("%d calls were refused and %d sent, %d connections are left", busy.Load(), timedOut.Load(), h.Connections())
		}
		h.stop()
	})
}

// An engine that fails tells so on its committer, which must not wait for a TLS farewell to a peer that does not read.
func TestEngineFailureNeverBlocksTheCommitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &lateEngine{answers: make(chan func(engine.Result, error), 1)}
		h := newHub(t, hubOptions{store: func(below engine.Engine) engine.Engine {
			e.Engine = below
			return e
		}})
		h.create(t, "d1")
		c := h.connect(t, "d1")
		c.send(publish1(1, "devices/d1/messages/events/", "lost"))
		answer := <-e.answers
		synctest.Wait()
		begin := time.Now()
		answer(engine.Result{}, engine.ErrFailed)
		if took := time.Since(begin); took != 0 {
			t.Errorf("the committer waited %v", took)
		}
		c.wantClosed()
		h.stop()
	})
}

// lateEngine leaves it to the test to answer commits.
type lateEngine struct {
	engine.Engine
	answers chan func(engine.Result, error)
}

func (e *lateEngine) Submit(_ engine.Commit, done func(engine.Result, error)) { e.answers <- done }

// Strangers connect over TCP and say nothing, or half of something, while a good device goes on.
func TestStrangers(t *testing.T) {
	if testing.Short() {
		t.Skip("makes 500 TLS connections")
	}
	const strangers = 500
	h := newHub(t, hubOptions{sign: 15 * time.Second})
	h.create(t, "d1")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- h.Serve(ctx, l) }()
	defer func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()
	dial := func() net.Conn {
		nc, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { nc.Close() })
		return nc
	}
	good := h.dialOver(t, dial())
	good.send(connectFor(t, twinhub.ID{Device: "d1"}))
	good.want(fresh)

	before := heap()
	cache := tls.NewLRUClientSessionCache(1) // resumed handshakes are cheap
	var conns []net.Conn
	for n := range strangers {
		nc := dial()
		conns = append(conns, nc)
		switch n % 4 {
		case 0: // says nothing
		case 1: // half a ClientHello
			nc.Write([]byte("\x16\x03\x01\x02\x00\x01"))
		default: // TLS, then nothing or half a CONNECT
			tc := tls.Client(nc, &tls.Config{RootCAs: h.trust.CAPool(), ServerName: hubHost, ClientSessionCache: cache})
			if err := tc.Handshake(); err != nil {
				t.Fatal(err)
			}
			if n%4 == 3 {
				tc.Write([]byte{0x10, 0xff, 0x7f, 0, 4, 'M'})
			}
		}
	}
	eventually(t, "all are connected", func() bool { return h.Connections() == strangers+1 })
	if each := (heap() - before) / strangers; each > 50<<10 { // both ends of each live in this process
		t.Errorf("a stranger takes %d bytes, want at most 50 KiB", each)
	}
	for n := range 100 {
		id := uint16(n + 1)
		good.send(publish1(id, "devices/d1/messages/events/", "still here"))
		good.want(fmt.Sprintf("PUBACK %d", id))
	}
	for _, nc := range conns {
		nc.SetReadDeadline(time.Now().Add(40 * time.Second))
		b := make([]byte, 4096)
		for err = nil; err == nil; {
			_, err = nc.Read(b)
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("a stranger is still connected after the sign-in time")
		}
	}
	eventually(t, "only the good device is left", func() bool { return h.Connections() == 1 })
	good.wantNothing()
	if n := strings.Count(h.log.String(), "\n"); n > 4 {
		t.Errorf("%d strangers made %d lines of log:\n%s", strangers, n, h.log)
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
