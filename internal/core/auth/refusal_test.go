package auth

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinhub/twinhub"
)

func newRefusals() (*Refusals, *bytes.Buffer) {
	log := new(bytes.Buffer)
	return NewRefusals(slog.New(slog.NewTextHandler(log, nil))), log
}

func TestRefusalsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, log := newRefusals()
		lines := func(want int) {
			t.Helper()
			if got := strings.Count(log.String(), "\n"); got != want {
				t.Errorf("%d lines, want %d:\n%s", got, want, log)
			}
		}
		r.Log("mqtt", "reason", "remedy", "remote", "1")
		if want := `level=WARN msg=refused protocol=mqtt reason=reason remedy=remedy remote=1`; !strings.Contains(log.String(), want) {
			t.Errorf("got %s, want %s", log, want)
		}
		for range 5 {
			r.Log("mqtt", "reason", "remedy", "remote", "2")
		}
		lines(1)
		r.Log("amqp", "reason", "remedy")
		r.Log("mqtt", "other reason", "remedy")
		lines(3)
		time.Sleep(refusalInterval)
		r.Log("mqtt", "reason", "remedy", "remote", "3")
		lines(4)
		if !strings.HasSuffix(log.String(), "remote=3 repeated=5\n") {
			t.Errorf("got %s", log)
		}
		r.Log("mqtt", "reason", "remedy")
		lines(4)
	})
}

func TestRefusalsTotal(t *testing.T) {
	r, _ := newRefusals()
	for range 3 {
		r.Log("mqtt", "reason", "remedy")
		r.Deny("amqp", &Denial{Reason: "reason", Remedy: "remedy"})
	}
	r.Log("mqtt", "other reason", "remedy")
	r.Deny("mqtt", &Denial{Reason: "reason", Remedy: "remedy"})
	for _, tt := range []struct {
		protocol string
		class    Class
		want     uint64
	}{{"mqtt", Rejected, 4}, {"mqtt", Denied, 1}, {"amqp", Rejected, 0}, {"amqp", Denied, 3}, {"https", Rejected, 0}, {"https", Denied, 0}} {
		if got := r.Total(tt.protocol, tt.class); got != tt.want {
			t.Errorf("%s %s: got %d, want %d", tt.protocol, tt.class, got, tt.want)
		}
	}
}

func TestRefusalsMaskSecrets(t *testing.T) {
	for _, reason := range []string{
		"host \"SharedAccessSignature sr=h&sig=c2VjcmV0&se=1\"", "sr=h%26SIG%3Dc2VjcmV0", "HostName=h;SharedAccessKey=c2VjcmV0;x=y",
		strings.Repeat("x", maxReason-10) + "&sig=c2VjcmV0", "sig=c2VjcmV0",
	} {
		r, log := newRefusals()
		r.Log("mqtt", reason, "remedy")
		if text := strings.ToLower(log.String()); strings.Contains(text, "c2v") || !strings.Contains(text, "...") {
			t.Errorf("%s was logged as %s", reason, log)
		}
		r, log = newRefusals()
		r.Deny("https", &Denial{Reason: "no token"}, "subject", reason, "path", "/devices/"+reason, "try", 1)
		if text := strings.ToLower(log.String()); strings.Contains(text, "c2v") || !strings.Contains(text, "/devices/") {
			t.Errorf("%s in attributes was logged as %s", reason, log)
		}
	}
}

func TestDenialsThatDifferInTimesRepeat(t *testing.T) {
	a := newAuthenticator(t)
	r, log := newRefusals()
	refuse := func(token, device string) {
		t.Helper()
		_, err := a.Device(token, twinhub.ID{Device: device})
		var d *Denial
		if !errors.As(err, &d) {
			t.Fatalf("got %v, want a denial", err)
		}
		r.Deny("mqtt", d)
	}
	for n := range 5 {
		refuse(sign(t, "localhost/devices/d1", "d1", "", -time.Duration(n)*time.Hour), "d1")
	}
	refuse(sign(t, "localhost/devices/d2", "d2", "", -time.Hour), "d2")
	refuse(sign(t, "localhost", "device", "device", -time.Hour), "d1")
	refuse(sign(t, "localhost/devices/off", "off", "", time.Hour), "off")
	refuse(sign(t, "elsewhere/devices/d1", "d1", "", time.Hour), "d1")
	refuse(sign(t, "elsewhere.too/devices/d1", "d1", "", time.Hour), "d1")
	refuse("x", "d1")
	refuse("x", "d1")
	if got := strings.Count(log.String(), "\n"); got != 7 {
		t.Errorf("%d lines, want 7:\n%s", got, log)
	}
}

func TestRefusalsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, log := newRefusals()
		long := strings.Repeat("x", 100<<10)
		for n := range 3 * refusalMemory {
			r.Log("mqtt", fmt.Sprint(n, long), "remedy")
		}
		if n := len(r.seen); n > refusalMemory+1 {
			t.Errorf("%d are remembered", n)
		}
		if n := strings.Count(log.String(), "\n"); n != refusalMemory+1 {
			t.Errorf("%d lines, want %d and one for all others", n, refusalMemory)
		}
		if n := log.Len() / (refusalMemory + 1); n > maxReason+200 {
			t.Errorf("a line has %d bytes", n)
		}
		time.Sleep(refusalInterval)
		log.Reset()
		r.Log("mqtt", "new", "remedy")
		if n := len(r.seen); n != 1 || strings.Count(log.String(), "\n") != 1 {
			t.Errorf("after the interval %d are remembered, and the log says %q", n, log)
		}
	})
}

func TestExplainHandshake(t *testing.T) {
	alert := func(text string) error {
		return &net.OpError{Op: "remote error", Err: errors.New("tls: " + text)}
	}
	timeout := &net.OpError{Op: "read", Net: "tcp", Addr: &net.TCPAddr{Port: 4711}, Err: errors.New("i/o timeout")}
	tests := []struct {
		name           string
		err            error
		reason, remedy string
	}{
		{"port probe", io.EOF, "", ""},
		{"wrapped", fmt.Errorf("read: %w", io.EOF), "", ""},
		{"closed", net.ErrClosed, "", ""},
		{"closed, as text", errors.New("read tcp 127.0.0.1:443->127.0.0.1:4711: use of closed network connection"), "", ""},
		{"the hub ends", context.Canceled, "", ""},
		{"reset", errors.New("read: connection reset by peer"), "", ""},
		{"unknown authority", alert("unknown certificate authority"), "does not trust", "bundle"},
		{"bad certificate", alert("bad certificate"), "does not trust", "bundle"},
		{"plain text", tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}, "spoke no TLS", "TLS"},
		{"plain HTTP", errors.New("client sent an HTTP request to an HTTPS server"), "spoke no TLS", "TLS"},
		{"slow", timeout, "in time", "port scan"},
		{"old version", errors.New("tls: client offered only unsupported versions: [301]"), "unsupported versions", "1.2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			reason, remedy := ExplainHandshake(tt.err)
			if (reason == "") != (tt.reason == "") || !strings.Contains(reason, tt.reason) || !strings.Contains(remedy, tt.remedy) {
				t.Errorf("got %q, %q, want %q, %q", reason, remedy, tt.reason, tt.remedy)
			}
			if strings.Contains(reason, "4711") {
				t.Errorf("the reason %q has a port, so that none repeats", reason)
			}
		})
	}
}
