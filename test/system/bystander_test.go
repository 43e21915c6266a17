package system

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twinhub/twinhub/internal/wire/mqtt"
)

// noticeable is how long a bystander may wait for anything: far above what a busy machine adds, far below the
// time-outs of clients.
const noticeable = 2 * time.Second

// bystanders numbers them, since parallel tests share a hub.
var bystanders atomic.Int64

// A bystander is a device that sends a message every few milliseconds, a reader that gets them, and a back end that
// reads the device's twin.
type bystander struct {
	h    *hub
	id   string
	conn *mqttClient

	mu       sync.Mutex
	sent     []time.Time // by number
	seen     int         // messages that the reader got, in order
	problems []string
	slowest  map[string]time.Duration
}

// watch keeps a bystander going until the test ends, and fails the test if the bystander noticed anything.
func watch(t testing.TB, h *hub) {
	t.Helper()
	finish := startBystander(t, h)
	t.Cleanup(func() {
		for _, noticed := range finish() {
			t.Errorf("the bystander noticed: %s", noticed)
		}
	})
}

// startBystander starts a bystander. finish, which must be called, ends it and returns what it noticed.
func startBystander(t testing.TB, h *hub) (finish func() []string) {
	t.Helper()
	b := &bystander{h: h, id: fmt.Sprintf("bystander-%d", bystanders.Add(1)), slowest: map[string]time.Duration{}}
	b.conn = h.mustConnect(t, b.id, h.register(t, b.id))
	c := h.mustConsume(t)
	starts, err := heads(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stopReading := context.WithCancel(context.WithoutCancel(t.Context()))
	running, stop := context.WithCancel(ctx)
	var readers, clients sync.WaitGroup
	for p, last := range starts {
		readers.Go(func() {
			if err := follow(ctx, c, p, last, b.take); err != nil && !errors.Is(err, context.Canceled) {
				b.problem("reading partition %s: %v", p, err)
			}
		})
	}
	clients.Go(func() { b.sendAll(running) })
	clients.Go(func() { b.readTwins(running) })
	return func() []string {
		b.awaitSent(fewest)
		stop()
		clients.Wait()
		b.awaitAll()
		stopReading()
		readers.Wait()
		return b.judge(t)
	}
}

func (b *bystander) problem(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.problems = append(b.problems, fmt.Sprintf(format, args...))
}

// took notes how long something took.
func (b *bystander) took(what string, d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.slowest[what] = max(d, b.slowest[what])
}

// pace is the time between messages of a bystander.
const pace = 20 * time.Millisecond

// sendAll sends messages one after the other.
func (b *bystander) sendAll(ctx context.Context) {
	for n := 0; ctx.Err() == nil; n++ {
		began := time.Now()
		b.mu.Lock()
		b.sent = append(b.sent, began)
		b.mu.Unlock()
		id := uint16(n%65535 + 1)
		if err := b.conn.send(&mqtt.Publish{QoS: mqtt.QoS1, ID: id, Topic: telemetryTopic(b.id), Payload: []byte(strconv.Itoa(n))}); err != nil {
			b.problem("message %d: %v", n, err)
			return
		}
		p, err := b.conn.receive(10 * time.Second)
		if ack, ok := p.(*mqtt.Puback); err != nil || !ok || ack.ID != id {
			b.problem("message %d: got %v (%v), want its PUBACK", n, p, err)
			return
		}
		b.took("PUBACK", time.Since(began))
		select {
		case <-time.After(pace):
		case <-ctx.Done():
		}
	}
}

// readTwins reads the device's twin again and again.
func (b *bystander) readTwins(ctx context.Context) {
	for ctx.Err() == nil {
		began := time.Now()
		a, err := b.h.do(context.WithoutCancel(ctx), http.MethodGet, "/twins/"+b.id, "")
		var got twin
		if err != nil || a.status != http.StatusOK || unmarshal(a.body, &got) != nil || got.ConnectionState != "Connected" {
			b.problem("twin: got %d %.300s (%v), want a connected device", a.status, a.body, err)
			return
		}
		b.took("twin", time.Since(began))
		select {
		case <-time.After(5 * pace):
		case <-ctx.Done():
		}
	}
}

// take takes an event off the reader.
func (b *bystander) take(e event) error {
	if e.device != b.id || e.source != "Telemetry" {
		return nil
	}
	now := time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	if want := strconv.Itoa(b.seen); e.body != want {
		b.problems = append(b.problems, fmt.Sprintf("the reader got message %s, want %s", e.body, want))
	}
	b.slowest["event"] = max(b.slowest["event"], now.Sub(b.sent[min(b.seen, len(b.sent)-1)]))
	b.seen++
	return nil
}

// awaitAll returns when the reader has all that was sent, or takes too long.
func (b *bystander) awaitAll() {
	for deadline := time.Now().Add(2 * noticeable); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		b.mu.Lock()
		done := b.seen >= len(b.sent)
		b.mu.Unlock()
		if done {
			return
		}
	}
}

// fewest is how many messages a bystander sends at least: a case that is over at once is followed for a while.
const fewest = 20

// awaitSent returns when n messages have been sent, or the bystander has trouble.
func (b *bystander) awaitSent(n int) {
	for {
		b.mu.Lock()
		done := len(b.sent) >= n || len(b.problems) > 0
		b.mu.Unlock()
		if done {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// judge returns what was noticed.
func (b *bystander) judge(t testing.TB) []string {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	noticed := b.problems
	if b.seen != len(b.sent) {
		noticed = append(noticed, fmt.Sprintf("%d messages sent, %d read", len(b.sent), b.seen))
	}
	for what, d := range b.slowest {
		if d > noticeable {
			noticed = append(noticed, fmt.Sprintf("its slowest %s took %v, want at most %v", what, d, noticeable))
		}
	}
	t.Logf("bystander: %d messages, slowest PUBACK %v, event %v, twin %v", len(b.sent), b.slowest["PUBACK"].Round(time.Millisecond),
		b.slowest["event"].Round(time.Millisecond), b.slowest["twin"].Round(time.Millisecond))
	return noticed
}
