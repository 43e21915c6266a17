// Package amqpfront serves the built-in endpoint over AMQP 1.0: Event Hubs clients put a token, ask what partitions
// there are, and read events. It holds no business rules. One file stands for each operation: cbs, management, events.
//
// A connection has the goroutines of package amqp and one pump for each attached receiver.
//
// Reference: Event Hubs, "AMQP 1.0 in Azure Service Bus and Event Hubs protocol guide".
package amqpfront

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twinhub/twinhub/internal/clock"
	"github.com/twinhub/twinhub/internal/core/auth"
	"github.com/twinhub/twinhub/internal/engine"
	"github.com/twinhub/twinhub/internal/wire/amqp"
)

// protocol names this front end in logs.
const protocol = "amqp"

// signInTime bounds what a stranger gets: TLS handshake and OPEN together, and again the time to the first claim.
const signInTime = 30 * time.Second

// Options are what a Front needs; all fields are required.
type Options struct {
	TLS            *tls.Config
	Hosts          []string // redirects name the one that the client used, or else the first
	EventHub       string   // name of the built-in endpoint
	ConsumerGroups []string
	Created        time.Time // of the hub
	AMQPSPort      int       // named in redirects
	Engine         engine.Engine
	Auth           *auth.Authenticator
	Refusals       *auth.Refusals
	Clock          clock.Clock
	Logger         *slog.Logger
}

// Front serves AMQP connections.
type Front struct {
	Options
	config  amqp.Config
	readers readers
	open    atomic.Int64
	sent    atomic.Uint64
}

// New makes a Front.
func New(o Options) *Front {
	return &Front{
		Options: o,
		config: amqp.Config{
			ContainerID: "twinhub", HandshakeTimeout: signInTime, MaxMessageSize: maxRequest, Buffers: new(amqp.Buffers),
		},
		readers: readers{byPartition: map[readerAddress][]*reader{}},
	}
}

// Connections returns how many connections are open, authorised or not.
func (f *Front) Connections() int64 { return f.open.Load() }

// Sent returns how many events have been sent to readers, each reader counted.
func (f *Front) Sent() uint64 { return f.sent.Load() }

// Serve accepts connections, over TLS or plain, until ctx ends, then closes them and returns after the last one. It
// returns nil, or why the listener failed.
func (f *Front) Serve(ctx context.Context, l net.Listener, plain bool) error {
	ctx, cancel := context.WithCancel(ctx)
	var connections sync.WaitGroup
	defer connections.Wait()
	defer cancel()
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	for {
		nc, err := l.Accept()
		if ctx.Err() != nil {
			if err == nil {
				nc.Close()
			}
			return nil
		}
		if err != nil {
			var ne interface{ Temporary() bool }
			if !errors.As(err, &ne) || !ne.Temporary() {
				return fmt.Errorf("accept: %w", err)
			}
			f.Logger.Warn("accept", "protocol", protocol, "error", err)
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
			}
			continue
		}
		f.open.Add(1)
		connections.Go(func() {
			defer f.open.Add(-1)
			f.serveConn(ctx, nc, plain)
		})
	}
}

// serveConn serves one connection to its end.
func (f *Front) serveConn(ctx context.Context, nc net.Conn, plain bool) {
	defer nc.Close()
	config := f.config
	stream := nc
	c := newConn(f, nc.RemoteAddr())
	defer c.end()
	if !plain {
		began := time.Now()
		tc := tls.Server(nc, f.TLS)
		nc.SetDeadline(began.Add(signInTime))
		stop := context.AfterFunc(ctx, func() { nc.Close() })
		err := tc.HandshakeContext(ctx)
		stop()
		if err != nil {
			if ctx.Err() == nil {
				f.explainHandshake(nc.RemoteAddr(), err)
			}
			return
		}
		nc.SetDeadline(time.Time{})
		stream = tc
		config.Mechanisms = c.mechanisms()
		config.HandshakeTimeout = max(signInTime-time.Since(began), time.Millisecond)
	}
	err := amqp.Serve(ctx, stream, config, c)
	if err == nil || ctx.Err() != nil || c.explained.Load() {
		return
	}
	f.explainEnd(nc.RemoteAddr(), err)
}

// explainEnd logs why a connection ended, unless its peer just went away.
func (f *Front) explainEnd(remote net.Addr, err error) {
	var alert *net.OpError
	var told *amqp.Error
	switch {
	case errors.As(err, &alert) && strings.HasSuffix(alert.Op, " error"): // "remote error" or "local error", by package tls
		f.explainHandshake(remote, err)
	case errors.As(err, &told):
		f.Refusals.Log(protocol, "the connection was closed: "+told.Error(), "look for a fault in the client, or in how it is configured", "remote", remote.String())
	case errors.Is(err, os.ErrDeadlineExceeded):
		f.Refusals.Log(protocol, "the peer was silent, or does not read what it is sent", "look for a client that hangs or a network that is broken", "remote", remote.String())
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
	default:
		f.Refusals.Log(protocol, "the connection broke: "+err.Error(), "look for a fault in the client, or in how it is configured", "remote", remote.String())
	}
}

// explainHandshake logs why TLS failed, for the client only sees that it did.
func (f *Front) explainHandshake(remote net.Addr, err error) {
	if reason, remedy := auth.ExplainHandshake(err); reason != "" {
		f.Refusals.Log(protocol, reason, remedy, "remote", remote.String())
	}
}

// isEventHub reports whether name is that of the built-in endpoint.
func (f *Front) isEventHub(name string) bool { return strings.EqualFold(name, f.EventHub) }
