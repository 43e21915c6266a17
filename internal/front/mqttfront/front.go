// Package mqttfront serves devices over MQTT 3.1.1: bytes to a call of the core, its answer to bytes. It holds no
// business rules. One file stands for each operation: connect, telemetry, twin, method, subscribe.
//
// A connection has no goroutine while it has nothing to do: a poll.Loop waits for its packets, serves those that need not
// wait for anything, and sends what there is to send. Where there is no Loop, a connection has a reader, and a writer only
// while there is output. Acknowledgements leave in the order in which the packets came, because some clients match them
// by order alone.
//
// Reference: IoT Hub, "Communicate with IoT Hub using the MQTT protocol".
package mqttfront

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/clock"
	"github.com/twinhub/twinhub/internal/core/auth"
	"github.com/twinhub/twinhub/internal/core/session"
	"github.com/twinhub/twinhub/internal/core/telemetry"
	"github.com/twinhub/twinhub/internal/wire/mqtt"
	"github.com/twinhub/twinhub/internal/wire/poll"
)

// protocol names this front end in logs.
const protocol = "mqtt"

// Bounds of a connection.
const (
	// signInTime bounds TLS handshake and CONNECT together: a stranger gets no more time.
	signInTime = 30 * time.Second
	// maxKeepAlive caps one and a half times the client's keep alive, and stands for none.
	// Reference: IoT Hub, "Default keep-alive time-out".
	maxKeepAlive = 1767 * time.Second
	// maxPacket bounds a packet of a device that has signed in: the largest message and the longest topic.
	maxPacket = telemetry.MaxMessage + 1<<16
)

// twins is what devices may do with their twin.
type twins interface {
	ForDevice(ctx context.Context, id twinhub.ID) ([]byte, error)
	Reported(ctx context.Context, id twinhub.ID, patch []byte, expect *int64) (version int64, err error)
	SetModel(ctx context.Context, id twinhub.ID, model string) error
}

// Options are what a Front needs; all fields are required.
type Options struct {
	TLS       *tls.Config
	Hosts     []string // the hub's host names, which user names begin with
	Auth      *auth.Authenticator
	Refusals  *auth.Refusals
	Sessions  *session.Directory
	Telemetry *telemetry.Service
	Twins     twins
	Clock     clock.Clock
	Logger    *slog.Logger
}

// Front serves MQTT connections.
type Front struct {
	Options
	signInTime time.Duration
	open       atomic.Int64
}

// New makes a Front.
func New(o Options) *Front { return &Front{Options: o, signInTime: signInTime} }

// Connections returns how many connections are open, signed in or not.
func (f *Front) Connections() int64 { return f.open.Load() }

// Serve accepts connections until ctx ends, then closes them and returns after the last one. It returns nil, or why
// the listener failed.
func (f *Front) Serve(ctx context.Context, l net.Listener) error {
	loops, endLoops, err := startLoops(l.Addr().Network())
	if err != nil {
		return err
	}
	defer endLoops()
	ctx, cancel := context.WithCancel(ctx)
	var connections sync.WaitGroup
	defer connections.Wait()
	defer cancel()
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	for next := 0; ; next++ {
		nc, err := l.Accept()
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return nil
		case isTemporary(err):
			f.Logger.Warn("accept", "protocol", protocol, "error", err)
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
			}
			continue
		default:
			return fmt.Errorf("accept: %w", err)
		}
		var loop *poll.Loop
		if len(loops) > 0 {
			loop = loops[next%len(loops)]
		}
		f.open.Add(1)
		connections.Add(1)
		go func() {
			ended := func() {
				f.open.Add(-1)
				connections.Done()
			}
			c := f.welcome(ctx, nc)
			if c == nil {
				ended()
				return
			}
			// The handshake has grown this goroutine's stack, so it ends here.
			c.start(ctx, loop, ended)
		}()
	}
}

// startLoops starts a Loop for each processor, none where the system has no such thing or the network is not TCP. end
// stops them; no connection may be left.
func startLoops(network string) (loops []*poll.Loop, end func(), err error) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	end = func() {
		cancel()
		running.Wait()
	}
	for n := 0; n < runtime.NumCPU() && network == "tcp"; n++ {
		l, err := poll.New()
		if errors.Is(err, errors.ErrUnsupported) {
			break
		}
		if err != nil {
			end()
			return nil, nil, err
		}
		loops = append(loops, l)
		running.Go(func() { l.Run(ctx) })
	}
	return loops, end, nil
}

// isTemporary reports whether accepting may work again soon, as when the process has no file left.
func isTemporary(err error) bool {
	var ne interface{ Temporary() bool }
	return errors.As(err, &ne) && ne.Temporary()
}

// welcome takes a new connection through TLS handshake and CONNECT. It returns nil, with the connection closed, if
// either fails.
func (f *Front) welcome(ctx context.Context, nc net.Conn) *conn {
	tc := tls.Server(&transport{Conn: nc}, f.TLS)
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	defer stop()
	nc.SetDeadline(time.Now().Add(f.signInTime))
	if err := tc.HandshakeContext(ctx); err != nil {
		f.explainHandshake(nc, err)
		tc.Close()
		return nil
	}
	c, err := f.signIn(ctx, tc)
	if err != nil {
		f.explain(nc, "", err)
		tc.Close()
		return nil
	}
	return c
}

// explainHandshake logs why TLS failed, for the client only sees that it did.
func (f *Front) explainHandshake(nc net.Conn, err error) {
	reason, remedy := auth.ExplainHandshake(err)
	if reason != "" {
		f.Refusals.Log(protocol, reason, remedy, "remote", nc.RemoteAddr().String())
	}
}

// explain logs why a connection is refused or ended; an end that needs no explanation is not logged.
func (f *Front) explain(nc net.Conn, device string, err error) {
	attrs := []any{"remote", nc.RemoteAddr().String()}
	if device != "" {
		attrs = append(attrs, "device", device)
	}
	var denial *auth.Denial
	var refused *violation
	switch {
	case errors.As(err, &denial):
		f.Refusals.Deny(protocol, denial, attrs...)
	case errors.As(err, &refused):
		f.Refusals.Log(protocol, refused.reason, refused.remedy, attrs...)
	case errors.Is(err, mqtt.ErrQoS2):
		f.Refusals.Log(protocol, "the client sent "+err.Error(), "publish with QoS 0 or 1", attrs...)
	case errors.Is(err, mqtt.ErrTooLarge):
		f.Refusals.Log(protocol, "the client sent "+err.Error(), "send smaller messages", attrs...)
	case errors.Is(err, mqtt.ErrMalformed), errors.Is(err, mqtt.ErrWrongSide):
		f.Refusals.Log(protocol, "the client sent "+err.Error(), "look whether it is an MQTT 3.1.1 client, and for a fault in it", attrs...)
	case twinhub.HasCode(err, twinhub.CodeArgumentInvalid):
		f.Refusals.Log(protocol, err.Error(), "correct the user name of the client", attrs...)
	case err == nil, errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed),
		errors.Is(err, session.ErrGone), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
	default:
		f.Logger.Info("connection ended", append(attrs, "protocol", protocol, "error", err)...)
	}
}

// A violation is something a client sent that ends its connection.
type violation struct{ reason, remedy string }

func (v *violation) Error() string { return v.reason }

func violates(remedy, reason string, args ...any) error {
	return &violation{reason: fmt.Sprintf(reason, args...), remedy: remedy}
}

// maxQuote is how much of a text from a client the log shows.
const maxQuote = 100

// clip shortens what a client sent for the log.
func clip(s string) string {
	if len(s) <= maxQuote {
		return s
	}
	return s[:maxQuote] + "..."
}
