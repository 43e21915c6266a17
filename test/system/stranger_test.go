//go:build linux

package system

import (
	"context"
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
)

// Bounds of what strangers get.
const (
	strangersPerDoor = 500
	// strangerTime is how long a connection may stay without getting on with signing in.
	strangerTime = 30 * time.Second
	// strangerMemory is what the hub may hold for each: TLS state with its buffers, a goroutine or two.
	strangerMemory = 48 << 10
	// strangerSlack is what a machine full of strangers may add to a limit.
	strangerSlack = 8 * time.Second
)

// A stranger opens a connection to a door and never signs in.
type stranger struct {
	name   string
	door   string
	within time.Duration // when the hub has closed it
	open   func(ctx context.Context, h *hub) (io.Closer, func() error, error)
}

// silent connects and says nothing.
func silent(door string) func(context.Context, *hub) (io.Closer, func() error, error) {
	return plain(door, "")
}

// plain connects and says a few bytes without TLS.
func plain(door, say string) func(context.Context, *hub) (io.Closer, func() error, error) {
	return func(_ context.Context, h *hub) (io.Closer, func() error, error) {
		nc, err := h.openPort(door)
		if err != nil {
			return nil, nil, err
		}
		if _, err := io.WriteString(nc, say); err != nil {
			return nil, nil, errors.Join(err, nc.Close())
		}
		return nc, func() error { return ended(nc) }, nil
	}
}

// shaking finishes the TLS handshake and says a few bytes.
func shaking(door, say string) func(context.Context, *hub) (io.Closer, func() error, error) {
	return func(ctx context.Context, h *hub) (io.Closer, func() error, error) {
		nc, err := h.openPort(door)
		if err != nil {
			return nil, nil, err
		}
		tc := tls.Client(nc, h.tls())
		if err := tc.HandshakeContext(ctx); err != nil {
			return nil, nil, errors.Join(err, nc.Close())
		}
		if say != "" {
			if _, err := io.WriteString(tc, say); err != nil {
				return nil, nil, errors.Join(err, nc.Close())
			}
		}
		return nc, func() error { return ended(tc) }, nil
	}
}

// ended reads to the end of a connection.
func ended(c net.Conn) error {
	_, err := io.Copy(io.Discard, c)
	return err
}

// opened opens an AMQP connection and puts no token.
func opened(ctx context.Context, h *hub) (io.Closer, func() error, error) {
	c, err := h.openAMQP(ctx, nil)
	if err != nil {
		return nil, nil, err
	}
	return c, func() error {
		<-c.Done()
		var e *amqp.ConnError
		if !errors.As(c.Err(), &e) || e.RemoteErr == nil || e.RemoteErr.Condition != amqp.ErrCondConnectionForced {
			return fmt.Errorf("got %w, want amqp:connection:forced", c.Err())
		}
		return nil
	}, nil
}

var strangers = []stranger{
	{"mqtts, silent", "mqtts", strangerTime, silent("mqtts")},
	{"mqtts, no CONNECT", "mqtts", strangerTime, shaking("mqtts", "")},
	{"mqtts, half a CONNECT", "mqtts", strangerTime, shaking("mqtts", "\x10\x40\x00\x04MQTT")},
	{"amqps, silent", "amqps", strangerTime, silent("amqps")},
	{"amqps, no header", "amqps", strangerTime, shaking("amqps", "")},
	{"amqps, half a header", "amqps", strangerTime, shaking("amqps", "AMQP")},
	{"amqps, no SASL", "amqps", strangerTime, shaking("amqps", "AMQP\x03\x01\x00\x00")},
	{"amqps, no token", "amqps", strangerTime, opened},
	{"amqp, silent", "amqp", strangerTime, silent("amqp")},
	{"amqp, half a header", "amqp", strangerTime, plain("amqp", "AMQP")},
	{"amqp, no OPEN", "amqp", strangerTime, plain("amqp", amqpHeader)},
	{"https, silent", "https", strangerTime, silent("https")},
	{"https, no request", "https", strangerTime, shaking("https", "")},
	{"https, half a header", "https", strangerTime, shaking("https", "GET /devices HTTP/1.1\r\nHost: local")},
}

// TestStrangers opens hundreds of connections to each door that never sign in, of every kind. The hub closes all of
// them in time, keeps little for them, and serves everybody else meanwhile.
func TestStrangers(t *testing.T) {
	t.Parallel()
	h := startHub(t, t.TempDir(), new(secretSet))
	watch(t, h)
	h.awaitReceivers(t, 4) // the bystander's
	live, files := h.mustLive(t), h.files(t)
	kinds := map[string]int{}
	for _, s := range strangers {
		kinds[s.door]++
	}
	type guest struct {
		stranger
		connection io.Closer
		began      time.Time
		wait       func() error
	}
	var guests []*guest
	for _, s := range strangers {
		for range (strangersPerDoor + kinds[s.door] - 1) / kinds[s.door] {
			g := &guest{stranger: s, began: time.Now()}
			var err error
			if g.connection, g.wait, err = s.open(t.Context(), h); err != nil {
				t.Fatalf("%s: %v", s.name, err)
			}
			defer g.connection.Close()
			guests = append(guests, g)
		}
	}
	grown := h.mustLive(t) - live
	t.Logf("%d strangers: %d KiB each, %d files", len(guests), grown/int64(len(guests))>>10, h.files(t)-files)
	if limit := int64(len(guests)) * strangerMemory; grown > limit {
		t.Errorf("the hub holds %d KiB more for %d strangers, want at most %d KiB", grown>>10, len(guests), limit>>10)
	}
	var wait sync.WaitGroup
	var mu sync.Mutex
	slowest := map[string]time.Duration{}
	for _, g := range guests {
		wait.Go(func() {
			timer := time.AfterFunc(time.Until(g.began.Add(g.within+strangerSlack)), func() {
				g.connection.Close()
			})
			err := g.wait()
			took := time.Since(g.began)
			mu.Lock()
			defer mu.Unlock()
			slowest[g.name] = max(slowest[g.name], took)
			var condition *amqp.Error
			if !timer.Stop() {
				t.Errorf("%s: still open after %v", g.name, took.Round(time.Second))
			} else if errors.As(err, &condition) {
				t.Errorf("%s: %v", g.name, err)
			}
		})
	}
	wait.Wait()
	for name, d := range slowest {
		t.Logf("%s: closed after at most %v", name, d.Round(100*time.Millisecond))
	}
	for deadline := time.Now().Add(strangerSlack); ; time.Sleep(50 * time.Millisecond) {
		// The pool of the REST client and the engine's files come and go.
		if now := h.files(t); now <= files+10 {
			break
		} else if time.Now().After(deadline) {
			t.Errorf("%d files are open, %d were before the strangers", now, files)
			break
		}
	}
	h.explained(t, "mqtt", "did not finish the TLS handshake in time")
	h.explained(t, "mqtt", "CONNECT")
	h.explained(t, "amqp", "did not finish the TLS handshake in time")
	h.explained(t, "amqp", "token")
	h.explained(t, "amqp", "the peer was silent")
	h.explained(t, "https", "did not finish the TLS handshake in time")
	lines := h.log.since(0)
	if len(lines) > 100 {
		t.Errorf("%d strangers made %d lines of log; the last: %+v", len(guests), len(lines), lines[len(lines)-1])
	}
}

// drip writes text byte by byte, a second apart, until the hub closes; it returns how long that took and what came
// back.
func drip(c net.Conn, text string) (took time.Duration, answer string) {
	began := time.Now()
	got := make(chan string, 1)
	go func() {
		all, _ := io.ReadAll(c) // the error is the end that is waited for
		got <- string(all)
	}()
	for i := 0; ; i++ {
		select {
		case answer := <-got:
			return time.Since(began), answer
		case <-time.After(time.Second):
		}
		if _, err := c.Write([]byte{text[min(i, len(text)-1)]}); err != nil {
			return time.Since(began), <-got
		}
	}
}

// TestSlowLoris sends what is needed to sign in byte by byte: slow is no better than silent.
func TestSlowLoris(t *testing.T) {
	t.Parallel()
	h := sharedHub(t)
	watch(t, h)
	key := h.register(t, "loris")
	connect := string(h.connectPacket("loris", key).AppendTo(nil))
	header := "PATCH /twins/loris?api-version=2021-04-12 HTTP/1.1\r\nHost: localhost\r\nAuthorization: " + h.token + "\r\nContent-Type: application/json\r\nContent-Length: 4096\r\n\r\n"
	unchanged(t, h, "loris")
	tests := map[string]struct {
		door, first, slow string
		within            time.Duration
		answer            string
	}{
		"HTTPS header":                 {"https", "", header, 10 * time.Second, ""},
		"HTTPS header that never ends": {"https", "GET / HTTP/1.1\r\n", "X: y", 10 * time.Second, ""},
		"HTTPS body":                   {"https", header, "{", 30 * time.Second, "HTTP/1.1 400"},
		"MQTT CONNECT":                 {"mqtts", "", connect, strangerTime, ""},
		"AMQP header":                  {"amqps", "", "AMQP\x03\x01\x00\x00\x00\x00\x00", strangerTime, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nc, err := h.openPort(tt.door)
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			c := tls.Client(nc, h.tls())
			if _, err := io.WriteString(c, tt.first); err != nil {
				t.Fatal(err)
			}
			took, answer := drip(c, tt.slow)
			if took > tt.within+noticeable || !strings.HasPrefix(answer, tt.answer) {
				t.Errorf("closed after %v with %.100q, want after %v with %q", took.Round(time.Millisecond), answer, tt.within, tt.answer)
			}
		})
	}
}

// TestLargeHeaders sends headers above what the hub takes.
func TestLargeHeaders(t *testing.T) {
	h := sharedHub(t)
	watch(t, h)
	a, err := h.do(t.Context(), http.MethodGet, "/devices/x", "", "X-Large", strings.Repeat("x", 64<<10))
	if err != nil || a.status != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("header of 64 KiB: got %d (%v), want 431", a.status, err)
	}
	nc, err := h.openPort("https")
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	c := tls.Client(nc, h.tls())
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\n"); err != nil {
		t.Fatal(err)
	}
	if err := c.SetDeadline(time.Now().Add(startWithin)); err != nil {
		t.Fatal(err)
	}
	sent := 0
	for err == nil && sent < 64<<20 {
		var n int
		n, err = io.WriteString(c, "X-Large: "+strings.Repeat("x", 16<<10)+"\r\n")
		sent += n
	}
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) || sent > 16<<20 {
		t.Errorf("the hub took %d bytes of header (%v), want the connection closed", sent, err)
	}
}
