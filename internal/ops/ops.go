// Package ops is the operator's door: health, readiness, metrics, profiles and who reads events, over plain HTTP. It
// takes no credentials, so it stays on loopback unless told otherwise.
package ops

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// A Receiver is somebody who reads events.
type Receiver struct {
	// Address is {event hub}/ConsumerGroups/{group}/Partitions/{partition}.
	Address       string    `json:"address"`
	ConsumerGroup string    `json:"consumerGroup"`
	Partition     string    `json:"partition"`
	Remote        string    `json:"remote"`
	Since         time.Time `json:"since"` // when it was attached: it gets what is sent from then on
}

// Options are what a Server needs.
type Options struct {
	// Failed reports why the hub cannot serve, nil while it can.
	Failed func() error
	// Receivers lists the attached receivers of the built-in endpoint.
	Receivers func() []Receiver
	Metrics   *prometheus.Registry
	Logger    *slog.Logger
}

// Server answers the operator:
//
//	GET /healthz         200 while the process works
//	GET /readyz          200 once every door is open, until shutdown or failure; else 503 with the reason
//	GET /metrics         Prometheus text
//	GET /receivers       JSON array of attached event receivers
//	GET /debug/pprof/    profiles
type Server struct {
	o     Options
	ready atomic.Bool
	mux   *http.ServeMux
}

// New makes a Server that is not ready.
func New(o Options) *Server {
	s := &Server{o: o, mux: http.NewServeMux()}
	s.mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	s.mux.HandleFunc("GET /readyz", s.readyz)
	s.mux.HandleFunc("GET /receivers", s.receivers)
	s.mux.Handle("GET /metrics", promhttp.HandlerFor(o.Metrics, promhttp.HandlerOpts{}))
	s.mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	s.mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	s.mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	s.mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	s.mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return s
}

// SetReady says whether the hub takes clients.
func (s *Server) SetReady(ready bool) { s.ready.Store(ready) }

func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	if err := s.o.Failed(); err != nil {
		http.Error(w, "failed: "+err.Error(), http.StatusServiceUnavailable)
		return
	}
	if !s.ready.Load() {
		http.Error(w, "not ready", http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ready")
}

func (s *Server) receivers(w http.ResponseWriter, _ *http.Request) {
	list := s.o.Receivers()
	if list == nil {
		list = []Receiver{}
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.MarshalWrite(w, list); err != nil {
		s.o.Logger.Debug("receivers", "error", err)
	}
}

// Serve answers until ctx ends, and returns after the last connection.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	var connections sync.WaitGroup
	server := &http.Server{
		Handler: s.mux, ReadHeaderTimeout: headerTime, ReadTimeout: requestTime, IdleTimeout: idleTime,
		BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog:    slog.NewLogLogger(s.o.Logger.Handler(), slog.LevelDebug),
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew: // before Serve returns
				connections.Add(1)
			case http.StateClosed, http.StateHijacked: // after the connection's last handler
				connections.Done()
			}
		},
	}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	err := server.Serve(l)
	server.Close() // all connections, if the listener failed
	connections.Wait()
	if !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve ops: %w", err)
	}
	return nil
}

// Bounds of connections that say nothing.
const (
	headerTime  = 10 * time.Second
	requestTime = 20 * time.Second // no request has a body, but net/http waits for one that was announced
	idleTime    = 2 * time.Minute
)
