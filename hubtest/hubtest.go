// Package hubtest runs a whole hub on loopback for anybody's Go tests, as net/http/httptest does for HTTP: real TLS,
// real protocols, picked ports, and everything kept in memory unless asked otherwise.
package hubtest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/twinhub/twinhub/internal/core/routing"
	"github.com/twinhub/twinhub/internal/hub"
)

// A Hub is a running hub. Its fields do not change.
type Hub struct {
	// ConnectionString is that of the policy iothubowner, EventHubConnectionString that of the built-in endpoint over
	// TLS, EmulatorConnectionString the same over plain TCP. Their ports are picked: a client must be able to take
	// them from Endpoints or, for Event Hubs, from the string.
	ConnectionString         string
	EventHubConnectionString string
	EmulatorConnectionString string
	// HTTPS, MQTTS, AMQPS, AMQP and Ops are host:port of the doors.
	HTTPS, MQTTS, AMQPS, AMQP, Ops string
	// CAFile and CABundle are PEM files that clients are told to trust.
	CAFile, CABundle string
	// Name is the hub's name, which is the name of its event hub too.
	Name string

	roots *x509.CertPool
}

// Options change what Start runs. The zero value is a hub named twinhub that knows itself as localhost.
type Options struct {
	// Name is the hub's name.
	Name string
	// Hostnames are what clients call the hub; default localhost.
	Hostnames []string
	// Routes are sources sent to the built-in endpoint besides telemetry, such as twinChangeEvents.
	Routes []string
	// DataDir keeps the data in a folder instead of memory, so that they outlive the hub.
	DataDir string
	// Logger gets the hub's log; default the test's.
	Logger *slog.Logger
}

// stopTime is how long a hub may take to end.
const stopTime = 10 * time.Second

// Start runs a hub until the test ends, or fails the test. It returns when the hub is ready.
func Start(tb testing.TB, o ...Options) *Hub {
	tb.Helper()
	var options Options
	if len(o) > 0 {
		options = o[0]
	}
	if options.Logger == nil {
		options.Logger = slog.New(slog.NewTextHandler(tb.Output(), nil))
	}
	h, stop, err := start(options)
	if err != nil {
		tb.Fatalf("hubtest: %v", err)
	}
	tb.Cleanup(func() {
		if err := stop(); err != nil {
			tb.Errorf("hubtest: %v", err)
		}
	})
	return h
}

// Run runs a hub while f runs, for examples and programs that have no test. The log goes nowhere if there is no Logger.
// It returns when the hub has ended, with what kept it from starting or from ending well.
func Run(o Options, f func(h *Hub)) error {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	h, stop, err := start(o)
	if err != nil {
		return fmt.Errorf("hubtest: %w", err)
	}
	defer func() { _ = stop() }() // f panics; otherwise stop has been called, and its error returned
	f(h)
	if err := stop(); err != nil {
		return fmt.Errorf("hubtest: %w", err)
	}
	return nil
}

// start runs a hub until stop is called; later calls of stop return what the first did.
func start(options Options) (h *Hub, stop func() error, err error) {
	config := hub.Config{
		Ephemeral: options.DataDir == "", DataDir: options.DataDir, Name: options.Name, Hostnames: options.Hostnames,
		Bind: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, Logger: options.Logger,
	}
	config.OpsBind, config.AMQPBind = config.Bind, config.Bind
	for _, name := range options.Routes {
		source, err := routing.ParseSource(name)
		if err != nil {
			return nil, nil, err
		}
		config.Routing.Routes = append(config.Routing.Routes, routing.Route{Name: name, Source: source, Endpoint: routing.BuiltIn})
	}
	running, err := hub.Open(context.Background(), config)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- running.Run(ctx) }()
	stop = sync.OnceValue(func() error {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				return fmt.Errorf("the hub ended with: %w", err)
			}
			return nil
		case <-time.After(stopTime):
			return fmt.Errorf("the hub did not end within %v", stopTime)
		}
	})
	if h, err = describe(running); err != nil {
		return nil, nil, errors.Join(err, stop())
	}
	return h, stop, nil
}

func describe(h *hub.Hub) (*Hub, error) {
	t := &Hub{Name: h.Name(), roots: x509.NewCertPool()}
	for _, v := range h.Environment() {
		switch v.Name {
		case "IOTHUB_CONNECTION_STRING":
			t.ConnectionString = v.Value
		case "EVENTHUB_CONNECTION_STRING":
			t.EventHubConnectionString = v.Value
		case "EVENTHUB_EMULATOR_CONNECTION_STRING":
			t.EmulatorConnectionString = v.Value
		case "TWINHUB_CA_FILE":
			t.CAFile = v.Value
		case "TWINHUB_CA_BUNDLE":
			t.CABundle = v.Value
		}
	}
	for _, d := range h.Doors() {
		switch d.Name {
		case "https":
			t.HTTPS = d.String()
		case "mqtts":
			t.MQTTS = d.String()
		case "amqps":
			t.AMQPS = d.String()
		case "amqp":
			t.AMQP = d.String()
		case "ops":
			t.Ops = d.String()
		}
	}
	pem, err := os.ReadFile(t.CAFile)
	if err != nil {
		return nil, err
	}
	t.roots.AppendCertsFromPEM(pem)
	return t, nil
}

// ClientTLS returns a new configuration that trusts the hub, for the host name that connection strings give.
func (h *Hub) ClientTLS() *tls.Config {
	return &tls.Config{RootCAs: h.roots, ServerName: "localhost", MinVersion: tls.VersionTLS12}
}
