package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"runtime"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/twinhub/twinhub/internal/core/routing"
	"github.com/twinhub/twinhub/internal/hub"
)

// serveFlags are the flags of serve as they were typed.
type serveFlags struct {
	data                           string
	ephemeral                      bool
	bind, opsBind, amqpBind        []string
	hostnames                      []string
	name                           string
	https, mqtts, amqps, amqp, ops string
	routes                         []string
	config                         string
	cert, key                      string
	logLevel                       string
}

func serveCommand() *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the hub",
		Long: `Run the hub until it is interrupted.

Once ready it writes connection.env into the data folder: connection strings, the certificate authority to trust and
the addresses of the doors, in a form that a shell can source. Official SDKs cannot be told a port, so keep the default
ports for them; ports below 1024 need permission on most systems.

Environment: TWINHUB_OWNER_KEY fixes the primary key of the policy iothubowner.`,
		Example: `  twinhub serve
  twinhub serve --ephemeral --route twinChangeEvents --route digitalTwinChangeEvents
  twinhub serve --data /var/lib/twinhub --bind 192.0.2.10 --hostname hub.example.com`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return serve(cmd, f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.data, "data", "./twinhub-data", "data `folder`, made if absent")
	flags.BoolVar(&f.ephemeral, "ephemeral", false, "keep everything in memory")
	flags.StringArrayVar(&f.bind, "bind", nil, "`address` to listen on, repeatable (default 127.0.0.1 and ::1)")
	flags.StringArrayVar(&f.opsBind, "ops-bind", nil, "`address` of the ops door, repeatable (default 127.0.0.1 and ::1)")
	flags.StringArrayVar(&f.amqpBind, "amqp-bind", nil, "`address` of the plain AMQP door, repeatable (default 127.0.0.1 and ::1)")
	flags.StringArrayVar(&f.hostnames, "hostname", nil, "`name` or address that clients use, repeatable (default localhost, or the first IPv4 address of --bind if the hub is not on loopback)")
	flags.StringVar(&f.name, "hub-name", "", "the hub's `name` (default the first label of the first dotted host name, else twinhub)")
	flags.StringVar(&f.https, "https-port", "443", "`port` of HTTPS; 0 picks one, off closes the door")
	flags.StringVar(&f.mqtts, "mqtts-port", "8883", "`port` of MQTT over TLS")
	flags.StringVar(&f.amqps, "amqps-port", "5671", "`port` of AMQP over TLS")
	flags.StringVar(&f.amqp, "amqp-port", "5672", "`port` of plain AMQP, for Event Hubs clients in emulator mode")
	flags.StringVar(&f.ops, "ops-port", "9600", "`port` of health, readiness, metrics and profiles")
	flags.StringArrayVar(&f.routes, "route", nil, "`source` to send to the built-in endpoint besides telemetry, repeatable: twinChangeEvents, digitalTwinChangeEvents, deviceLifecycleEvents, deviceConnectionStateEvents")
	flags.StringVar(&f.config, "config", "", "YAML `file`; flags win over it")
	flags.StringVar(&f.cert, "cert", "", "PEM `file` with a server certificate chain, instead of the hub's own")
	flags.StringVar(&f.key, "key", "", "PEM `file` with the key of --cert")
	flags.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	return cmd
}

// minThreads is how many threads may run Go code at once, also on a machine of one core: while one waits in fsync for the
// log, another must gather what the next fsync will serve. With one thread each message gets an fsync of its own, which
// costs twenty times the throughput.
const minThreads = 2

// tune sets up the runtime where the user's environment does not.
func tune() {
	if runtime.GOMAXPROCS(0) < minThreads && os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(minThreads)
	}
	if os.Getenv("GOGC") == "" {
		keepHeadroom()
	}
}

func serve(cmd *cobra.Command, f serveFlags) error {
	tune()
	config, err := f.build()
	if err != nil {
		return usageError{err}
	}
	if config.Logger, err = newLogger(f.logLevel); err != nil {
		return usageError{err}
	}
	h, err := hub.Open(cmd.Context(), config)
	if err != nil {
		return err
	}
	greet(cmd.OutOrStdout(), h)
	return h.Run(cmd.Context())
}

// build makes the hub's configuration: the file first, then the flags.
func (f *serveFlags) build() (hub.Config, error) {
	c := hub.Config{OwnerKey: os.Getenv("TWINHUB_OWNER_KEY")}
	if f.config != "" {
		if err := c.ReadFile(f.config); err != nil {
			return c, err
		}
	}
	c.DataDir, c.Ephemeral, c.CertFile, c.KeyFile = f.data, f.ephemeral, f.cert, f.key
	if (f.cert == "") != (f.key == "") {
		return c, errors.New("give --cert and --key together")
	}
	if len(f.hostnames) > 0 {
		c.Hostnames = f.hostnames
	}
	if f.name != "" {
		c.Name = f.name
	}
	for _, list := range []struct {
		to   *[]netip.Addr
		from []string
	}{{&c.Bind, f.bind}, {&c.OpsBind, f.opsBind}, {&c.AMQPBind, f.amqpBind}} {
		for _, text := range list.from {
			addr, err := netip.ParseAddr(text)
			if err != nil {
				return c, fmt.Errorf("address %q: use an IP address such as 0.0.0.0", text)
			}
			*list.to = append(*list.to, addr)
		}
	}
	for _, port := range []struct {
		to   *hub.Port
		from string
	}{{&c.HTTPS, f.https}, {&c.MQTTS, f.mqtts}, {&c.AMQPS, f.amqps}, {&c.AMQP, f.amqp}, {&c.Ops, f.ops}} {
		var err error
		if *port.to, err = hub.ParsePort(port.from); err != nil {
			return c, err
		}
	}
	for _, name := range f.routes {
		source, err := routing.ParseSource(name)
		if err != nil {
			return c, err
		}
		c.Routing.Routes = append(c.Routing.Routes, routing.Route{Name: name, Source: source, Endpoint: routing.BuiltIn})
	}
	return c, nil
}

// newLogger logs to standard error: text on a terminal, JSON otherwise.
func newLogger(level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("log level %q: use debug, info, warn or error", level)
	}
	o := &slog.HandlerOptions{Level: l}
	if term.IsTerminal(int(os.Stderr.Fd())) {
		return slog.New(slog.NewTextHandler(os.Stderr, o)), nil
	}
	return slog.New(slog.NewJSONHandler(os.Stderr, o)), nil
}

// greet prints where the hub is and how to go on.
func greet(w io.Writer, h *hub.Hub) {
	var b strings.Builder
	fmt.Fprintf(&b, "twinhub %q is ready\n\n", h.Name())
	for _, d := range h.Doors() {
		addrs := make([]string, len(d.Addresses))
		for i, a := range d.Addresses {
			addrs[i] = a.String()
		}
		if len(addrs) == 0 {
			addrs = []string{"off"}
		}
		fmt.Fprintf(&b, "  %-6s %s\n", d.Name, strings.Join(addrs, "  "))
	}
	if fingerprint := h.CAFingerprint(); fingerprint != "" {
		fmt.Fprintf(&b, "\n  CA     %s\n         SHA-256 %s\n", h.CAFile(), fingerprint)
	} else {
		fmt.Fprintf(&b, "\n  CA     that of the configured certificate\n")
	}
	if reason := h.ReplacedCA(); reason != "" {
		fmt.Fprintf(&b, "         It is new, for the one before could not stay: %s. Every client has to trust it anew.\n", reason)
	}
	fmt.Fprintf(&b, "  env    %s\n", h.EnvFile())
	fmt.Fprintf(&b, "\nNext, in another shell:\n  set -a; . %s; set +a\n", quote(h.EnvFile()))
	if h.CAFile() != "" {
		fmt.Fprintf(&b, "  export SSL_CERT_FILE=\"$TWINHUB_CA_BUNDLE\" REQUESTS_CA_BUNDLE=\"$TWINHUB_CA_BUNDLE\" NODE_EXTRA_CA_CERTS=\"$TWINHUB_CA_FILE\"\n")
	}
	io.WriteString(w, b.String())
}

// quote writes s as one word of a shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
