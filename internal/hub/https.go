package hub

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/twinhub/twinhub/internal/core/auth"
)

// Bounds of the HTTPS door against clients that are slow or say nothing; package httpfront bounds request bodies.
const (
	headerTime  = 10 * time.Second
	idleTime    = 120 * time.Second
	answerTime  = 330 * time.Second // a method call may wait 300 s
	headerBytes = 32 << 10
	// finishTime is how long requests that are under way at shutdown may take to be answered.
	finishTime = 2 * time.Second
)

// serveHTTPS serves the service API until ctx ends; requests that are under way then are answered within finishTime or
// cut off. It returns after the last connection.
func (h *Hub) serveHTTPS(ctx context.Context, l net.Listener) error {
	config := h.trust.ServerConfig()
	// HTTP/1.1 alone: WebSocket upgrades will share this door, and no official client asks for more.
	config.NextProtos = []string{"http/1.1"}
	var connections sync.WaitGroup
	server := &http.Server{
		Handler: h.https, TLSConfig: config,
		ReadHeaderTimeout: headerTime, IdleTimeout: idleTime, WriteTimeout: answerTime, MaxHeaderBytes: headerBytes,
		BaseContext: func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
		ErrorLog:    slog.NewLogLogger(handshakeLog{h.config.Logger.Handler(), h.refusals}, slog.LevelInfo),
		ConnState: func(_ net.Conn, s http.ConnState) {
			switch s {
			case http.StateNew: // before Serve returns
				connections.Add(1)
				h.httpsOpen.Add(1)
			case http.StateClosed, http.StateHijacked: // after the connection's last handler
				h.httpsOpen.Add(-1)
				connections.Done()
			}
		},
	}
	finished := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(finished)
		deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTime)
		defer cancel()
		if server.Shutdown(deadline) != nil {
			server.Close()
		}
	})
	err := server.Serve(tls.NewListener(l, config))
	if !stop() {
		<-finished
	}
	server.Close() // all connections, if the listener failed
	connections.Wait()
	if !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve https: %w", err)
	}
	return nil
}

// handshakeLog is the log of a http.Server: it explains failed handshakes as the other doors do, and passes the rest on.
type handshakeLog struct {
	slog.Handler
	refusals *auth.Refusals
}

// Handle implements slog.Handler.
func (h handshakeLog) Handle(ctx context.Context, r slog.Record) error {
	_, failure, ok := strings.Cut(r.Message, "TLS handshake error from ")
	if !ok {
		return h.Handler.Handle(ctx, r)
	}
	remote, text, _ := strings.Cut(failure, ": ")
	if reason, remedy := auth.ExplainHandshake(errors.New(text)); reason != "" {
		h.refusals.Log("https", reason, remedy, "remote", remote)
	}
	return nil
}
