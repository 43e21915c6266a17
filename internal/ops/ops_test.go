package ops

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A door is a Server that answers until the test ends.
type door struct {
	*Server
	t       *testing.T
	url     string
	failure atomic.Pointer[error]
	list    atomic.Pointer[[]Receiver]
	stop    context.CancelFunc
	served  chan error
}

func open(t *testing.T) *door {
	t.Helper()
	d := &door{t: t, served: make(chan error, 1)}
	metrics := prometheus.NewRegistry()
	counter := prometheus.NewCounter(prometheus.CounterOpts{Name: "twinhub_test_things_total", Help: "Things."})
	counter.Add(7)
	metrics.MustRegister(counter)
	d.Server = New(Options{
		Failed: func() error {
			if err := d.failure.Load(); err != nil {
				return *err
			}
			return nil
		},
		Receivers: func() []Receiver {
			if list := d.list.Load(); list != nil {
				return *list
			}
			return nil
		},
		Metrics: metrics, Logger: slog.New(slog.DiscardHandler),
	})
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d.url = "http://" + l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	d.stop = cancel
	go func() { d.served <- d.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-d.served; err != nil {
			t.Errorf("Serve: %v", err)
		}
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	return d
}

// do makes a request and returns status, content type and body.
func (d *door) do(method, path string) (status int, kind, body string) {
	d.t.Helper()
	r, err := http.NewRequestWithContext(d.t.Context(), method, d.url+path, nil)
	if err != nil {
		d.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header.Get("Content-Type"), string(b)
}

func TestHealthAndReadiness(t *testing.T) {
	d := open(t)
	expect := func(path string, status int, body string) {
		t.Helper()
		if got, _, text := d.do("GET", path); got != status || text != body {
			t.Errorf("GET %s: got %d %q, want %d %q", path, got, text, status, body)
		}
	}
	expect("/healthz", 200, "ok\n")
	expect("/readyz", 503, "not ready\n")
	d.SetReady(true)
	expect("/readyz", 200, "ready\n")
	failure := errors.New("write data: no space left on device")
	d.failure.Store(&failure)
	expect("/readyz", 503, "failed: write data: no space left on device\n")
	expect("/healthz", 200, "ok\n")
	d.failure.Store(nil)
	d.SetReady(false)
	expect("/readyz", 503, "not ready\n")
}

func TestReceivers(t *testing.T) {
	d := open(t)
	if status, kind, body := d.do("GET", "/receivers"); status != 200 || kind != "application/json" || body != "[]" {
		t.Errorf("nobody: got %d %s %q, want 200 application/json []", status, kind, body)
	}
	d.list.Store(&[]Receiver{{
		Address: "hub/ConsumerGroups/$Default/Partitions/0", ConsumerGroup: "$Default", Partition: "0", Remote: "127.0.0.1:4711",
		Since: time.Date(2026, 3, 4, 5, 6, 7, 891000000, time.UTC),
	}})
	const want = `[{"address":"hub/ConsumerGroups/$Default/Partitions/0","consumerGroup":"$Default","partition":"0","remote":"127.0.0.1:4711","since":"2026-03-04T05:06:07.891Z"}]`
	if status, _, body := d.do("GET", "/receivers"); status != 200 || body != want {
		t.Errorf("got %d %s, want 200 %s", status, body, want)
	}
}

func TestMetrics(t *testing.T) {
	status, kind, body := open(t).do("GET", "/metrics")
	if status != 200 || !strings.HasPrefix(kind, "text/plain") || !strings.Contains(body, "\ntwinhub_test_things_total 7\n") {
		t.Errorf("got %d %s\n%s", status, kind, body)
	}
}

func TestProfiles(t *testing.T) {
	d := open(t)
	for path, word := range map[string]string{
		"/debug/pprof/":                          "goroutine",
		"/debug/pprof/goroutine?debug=1":         "goroutine profile",
		"/debug/pprof/heap?debug=1":              "heap profile",
		"/debug/pprof/cmdline":                   "ops.test",
		"/debug/pprof/symbol":                    "num_symbols",
		"/debug/pprof/trace?seconds=0.001":       "go 1.",
		"/debug/pprof/profile?seconds=1&debug=1": "",
	} {
		if status, _, body := d.do("GET", path); status != 200 || !strings.Contains(body, word) {
			t.Errorf("GET %s: got %d and %d bytes without %q", path, status, len(body), word)
		}
	}
}

func TestElsewhere(t *testing.T) {
	d := open(t)
	for _, r := range []struct {
		method, path string
		status       int
	}{{"GET", "/", 404}, {"GET", "/healthz/x", 404}, {"GET", "/config", 404}, {"POST", "/readyz", 405}, {"DELETE", "/receivers", 405}} {
		if status, _, _ := d.do(r.method, r.path); status != r.status {
			t.Errorf("%s %s: got %d, want %d", r.method, r.path, status, r.status)
		}
	}
}

// TestStop checks that Serve returns only after its last handler, and cuts short one that would take long.
func TestStop(t *testing.T) {
	d := open(t)
	began := make(chan struct{})
	var running atomic.Bool
	d.mux.HandleFunc("GET /slow", func(_ http.ResponseWriter, r *http.Request) {
		running.Store(true)
		close(began)
		<-r.Context().Done()
		running.Store(false)
	})
	go func() { // its error is the end of the connection
		if resp, err := http.Get(d.url + "/slow"); err == nil {
			resp.Body.Close()
		}
	}()
	<-began
	d.stop()
	err := <-d.served
	d.served <- err
	if err != nil || running.Load() {
		t.Errorf("Serve returned %v while a handler runs: %v", err, running.Load())
	}
}

// TestBodyThatDoesNotCome announces a body, which no request needs.
func TestBodyThatDoesNotCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		l := &oneConn{conn: make(chan net.Conn, 1), closed: make(chan struct{})}
		l.conn <- server
		s := New(Options{Metrics: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler)})
		ctx, cancel := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() { served <- s.Serve(ctx, l) }()
		start := time.Now()
		client.SetDeadline(start.Add(10 * requestTime)) // rather than hang
		fmt.Fprint(client, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n")
		answer, err := io.ReadAll(client)
		if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 200") || time.Since(start) > requestTime {
			t.Errorf("got %q, %v after %v; want 200 and the end within %v", answer, err, time.Since(start), requestTime)
		}
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
}

// oneConn is a listener of one connection.
type oneConn struct {
	conn   chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *oneConn) Accept() (net.Conn, error) {
	select {
	case c := <-l.conn:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *oneConn) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *oneConn) Addr() net.Addr { return &net.TCPAddr{} }

func TestListenerFails(t *testing.T) {
	d := open(t)
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := d.Serve(t.Context(), l); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v, want %v", err, net.ErrClosed)
	}
}
