package httpfront

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/core/auth"
)

func TestBodyBounds(t *testing.T) {
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	tests := []struct {
		name, method, path, body string
		status                   int
		code                     string
	}{
		{"device at the bound", http.MethodPut, "/devices/d1", `{"deviceId":"d1"}` + strings.Repeat(" ", maxDeviceBody-17), 409, "DeviceAlreadyExists"},
		{"device over it", http.MethodPut, "/devices/d1", `{"deviceId":"d1"}` + strings.Repeat(" ", maxDeviceBody-16), 413, "MessageTooLarge"},
		{"twin over it", http.MethodPatch, "/twins/d1", `{}` + strings.Repeat(" ", maxTwinBody), 413, "MessageTooLarge"},
		{"digital twin over it", http.MethodPatch, "/digitaltwins/d1", `[]` + strings.Repeat(" ", maxDigitalTwinBody), 413, "MessageTooLarge"},
		{"method over it", http.MethodPost, "/twins/d1/methods", `{}` + strings.Repeat(" ", maxMethodBody), 413, "MessageTooLarge"},
		{"command over it", http.MethodPost, "/digitaltwins/d1/commands/c", `{}` + strings.Repeat(" ", maxMethodBody), 413, "MessageTooLarge"},
		{"query over it", http.MethodPost, "/devices/query", `{}` + strings.Repeat(" ", maxQueryBody), 413, "MessageTooLarge"},
		{"long query", http.MethodPost, "/devices/query", `{"query":"` + strings.Repeat(" ", 8193) + `"}`, 400, "ArgumentInvalid"},
		{"deep unknown member", http.MethodPut, "/devices/d1", `{"deviceId":"d1","x":` + deep(20000) + `}`, 400, "ArgumentInvalid"},
		{"deep twin", http.MethodPatch, "/twins/d1", `{"tags":{"a":` + deep(100000) + `}}`, 400, "ArgumentInvalid"},
		{"deep digital twin patch", http.MethodPatch, "/digitaltwins/d1", deep(100000), 400, "InvalidDigitalTwinJsonPatch"},
		{"deep payload", http.MethodPost, "/twins/d1/methods", `{"methodName":"m","payload":` + deep(50000) + `}`, 400, "ArgumentInvalid"},
		{"deep command", http.MethodPost, "/digitaltwins/d1/commands/c", deep(50000), 400, "ArgumentInvalid"},
		{"not UTF-8", http.MethodPut, "/devices/d1", "{\"deviceId\":\"d\xff\"}", 400, "ArgumentInvalid"},
		{"two documents", http.MethodPut, "/devices/d1", `{"deviceId":"d1"}{}`, 400, "ArgumentInvalid"},
		{"byte order mark", http.MethodPut, "/devices/d1", "\uFEFF" + `{"deviceId":"d1"}`, 400, "ArgumentInvalid"},
		{"number for an object", http.MethodPost, "/devices/query", `7`, 400, "ArgumentInvalid"},
		{"null for an object", http.MethodPut, "/devices/d1", `null`, 400, "ArgumentInvalid"},
	}
	h := newHub(t)
	h.create(t, "d1")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := h.send(t, tt.method, tt.path+version, tt.body)
			if got := a.header.Get("iothub-errorcode"); a.status != tt.status || got != tt.code {
				t.Errorf("got %d %s, want %d %s; body %.300s", a.status, got, tt.status, tt.code, a.body)
			}
		})
	}
}

// TestSlowBody sends a request whose body does not come, over a connection in a bubble.
func TestSlowBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t)
		client, done := serve(t, h)
		client.SetDeadline(time.Now().Add(2 * bodyTimeout)) // rather than hang
		fmt.Fprintf(client, "PUT /devices/d1%s HTTP/1.1\r\nHost: %s\r\nAuthorization: %s\r\nContent-Length: 100\r\n\r\n{", version, hubHost, h.token(t, auth.OwnerPolicy, ""))
		start := time.Now()
		response, err := http.ReadResponse(bufio.NewReader(client), nil)
		if err != nil {
			t.Fatalf("read answer: %v", err)
		}
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatalf("read body: %v", err)
		}
		if got := time.Since(start); response.StatusCode != 400 || got != bodyTimeout || !response.Close {
			t.Errorf("got %d after %v, close %v: %s; want 400 after %v and the connection closed", response.StatusCode, got, response.Close, body, bodyTimeout)
		}
		done()
	})
}

// TestSlowBodyOfAStranger sends requests that are refused before their body is asked for, and no body.
func TestSlowBodyOfAStranger(t *testing.T) {
	for name, test := range map[string]struct {
		line   string
		status int
	}{
		"without a token": {"PUT /devices/d1", 401},
		"unknown path":    {"POST /nothing", 404},
		"unknown method":  {"POST /devices/d1", 405},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, done := serve(t, newHub(t))
				defer done()
				client.SetDeadline(time.Now().Add(2 * bodyTimeout)) // rather than hang
				fmt.Fprintf(client, "%s%s HTTP/1.1\r\nHost: %s\r\nContent-Length: 100\r\n\r\n", test.line, version, hubHost)
				start := time.Now()
				response, err := http.ReadResponse(bufio.NewReader(client), nil)
				if err != nil {
					t.Fatalf("read answer: %v", err)
				}
				if _, err := io.Copy(io.Discard, response.Body); err != nil {
					t.Fatalf("read body: %v", err)
				}
				if got := time.Since(start); response.StatusCode != test.status || got > bodyTimeout {
					t.Errorf("got %d after %v, want %d within %v", response.StatusCode, got, test.status, bodyTimeout)
				}
				if n, err := client.Read(make([]byte, 1)); err != io.EOF {
					t.Errorf("after the answer: got %d bytes, %v; want the connection closed", n, err)
				}
			})
		})
	}
}

// TestSlowReader reads a large answer as slowly as a client may.
func TestSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t)
		properties := strings.Repeat(`"%d":"`+strings.Repeat("x", 4000)+`",`, 8)
		for n := range 60 {
			id := fmt.Sprintf("d%d", n)
			h.create(t, id)
			body := fmt.Sprintf(`{"properties":{"desired":{`+strings.TrimSuffix(properties, ",")+`}}}`, 1, 2, 3, 4, 5, 6, 7, 8)
			if _, _, err := h.twins.Update(t.Context(), twinhub.ID{Device: id}, []byte(body), "", false); err != nil {
				t.Fatal(err)
			}
		}
		client, done := serve(t, h)
		defer done()
		const body = `{"query":"SELECT * FROM devices"}`
		fmt.Fprintf(client, "POST /devices/query%s HTTP/1.1\r\nHost: %s\r\nAuthorization: %s\r\nContent-Length: %d\r\n\r\n%s", version, hubHost, h.token(t, auth.OwnerPolicy, ""), len(body), body)
		response, err := http.ReadResponse(bufio.NewReader(client), nil)
		if err != nil {
			t.Fatalf("read answer: %v", err)
		}
		if response.ContentLength < 1<<20 {
			t.Errorf("the answer says it has %d bytes, -1 is unknown; want its length", response.ContentLength)
		}
		start, total := time.Now(), 0
		for err == nil {
			var n int64
			n, err = io.CopyN(io.Discard, response.Body, slowest)
			total += int(n)
			time.Sleep(time.Second)
		}
		if got := time.Since(start); err != io.EOF || total < 1<<20 || got <= answerTime {
			t.Errorf("read %d bytes in %v, then %v; want all of them", total, got, err)
		}
	})
}

// TestLongCallOnConnection shows that no time-out of body or server ends a call that takes as long as it may.
func TestLongCallOnConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t)
		client, done := serve(t, h)
		const timeouts = "&connectTimeoutInSeconds=300&responseTimeoutInSeconds=300"
		for _, call := range []struct{ path, body, want string }{
			{"/twins/d1/methods" + version, `{"methodName":"m","payload":1,"connectTimeoutInSeconds":300,"responseTimeoutInSeconds":300}`, `{"status":200,"payload":1}`},
			{"/digitaltwins/d2/commands/c" + version + timeouts, "", "null"}, // without a body there is nothing that could be slow
			{"/digitaltwins/d3/commands/c" + version + timeouts, "1", "1"},   // the connection has stayed good
		} {
			id := strings.Split(call.path, "/")[2]
			h.create(t, id)
			time.AfterFunc(4*time.Minute, func() { h.connect(t, id, &fakeDevice{answer: echo}) })
			fmt.Fprintf(client, "POST %s HTTP/1.1\r\nHost: %s\r\nAuthorization: %s\r\nContent-Length: %d\r\n\r\n%s", call.path, hubHost, h.token(t, auth.OwnerPolicy, ""), len(call.body), call.body)
			response, err := http.ReadResponse(bufio.NewReader(client), nil)
			if err != nil {
				t.Fatalf("%s: read answer: %v", call.path, err)
			}
			if text, err := io.ReadAll(response.Body); err != nil || string(text) != call.want {
				t.Errorf("%s: got %d %s (%v), want the device's answer %s", call.path, response.StatusCode, text, err, call.want)
			}
		}
		done()
	})
}

// TestAbandonedCall shows that a client that goes away ends its call.
func TestAbandonedCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t)
		h.create(t, "d1")
		client, done := serve(t, h)
		const body = `{"methodName":"m","connectTimeoutInSeconds":300,"responseTimeoutInSeconds":300}`
		fmt.Fprintf(client, "POST /twins/d1/methods%s HTTP/1.1\r\nHost: %s\r\nAuthorization: %s\r\nContent-Length: %d\r\n\r\n%s", version, hubHost, h.token(t, auth.OwnerPolicy, ""), len(body), body)
		synctest.Wait()
		start := time.Now()
		client.Close()
		synctest.Wait()
		done()
		if got := time.Since(start); got != 0 {
			t.Errorf("the call ended %v after its client", got)
		}
		if log := h.log.String(); !strings.Contains(log, "abandoned") || strings.Contains(log, "level=ERROR") {
			t.Errorf("log says %q, want no more than a note", log)
		}
	})
}

// serve runs a server with the recommended settings on one end of a pipe and returns the other. done closes both and
// returns when the server has ended.
func serve(t *testing.T, h *testHub) (client net.Conn, done func()) {
	t.Helper()
	client, server := net.Pipe()
	listener := &oneConn{conn: make(chan net.Conn, 1), closed: make(chan struct{})}
	listener.conn <- server
	s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 32 << 10, WriteTimeout: 330 * time.Second}
	stopped := make(chan error, 1)
	go func() { stopped <- s.Serve(listener) }()
	return client, func() {
		client.Close()
		s.Close()
		<-stopped
		synctest.Wait()
	}
}

// oneConn is a listener of one connection.
type oneConn struct {
	conn   chan net.Conn
	closed chan struct{}
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
	close(l.closed)
	return nil
}

func (l *oneConn) Addr() net.Addr { return &net.TCPAddr{} }
