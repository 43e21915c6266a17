package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/twinhub/twinhub/device"
	"github.com/twinhub/twinhub/service"
)

// errNoHub is what remains when nothing says where the hub is.
var errNoHub = errors.New("no hub is known")

// The variables that say where a hub is.
const (
	hubVariable       = "IOTHUB_CONNECTION_STRING"
	hubIPVariable     = "IOTHUB_CONNECTION_STRING_IP"
	eventsVariable    = "EVENTHUB_CONNECTION_STRING"
	endpointsVariable = "TWINHUB_ENDPOINTS"
	caVariable        = "TWINHUB_CA_FILE"
)

// hubFlags say which hub a command talks to.
type hubFlags struct {
	login, data string
}

func addHubFlags(cmd *cobra.Command) *hubFlags {
	f := &hubFlags{}
	cmd.Flags().StringVarP(&f.login, "login", "l", "", "`connection string` of the hub, with a policy's key")
	cmd.Flags().StringVar(&f.data, "data", "", "data `folder` of a hub on this machine, with its connection.env (default "+defaultData+")")
	if err := cmd.MarkFlagDirname("data"); err != nil {
		panic(err) // no such flag: an error of this program
	}
	return f
}

// A target is a hub and the way there.
type target struct {
	hub       string            // connection string of the hub
	events    string            // connection string of its built-in endpoint, if known
	endpoints map[string]string // door -> host:port, where they differ from what the host name says
	caFile    string            // certificate authority to trust besides the system's
	source    string            // where hub was found, for people
}

// A source is a set of variables that may describe a hub.
type source struct {
	name string
	get  func(string) string
}

// sources are where a hub may be described: the environment, then the data folder; only the latter if a flag names it.
func (f *hubFlags) sources() ([]source, error) {
	environment := source{"the environment", os.Getenv}
	folder := f.data
	if folder == "" {
		folder = defaultData
	}
	list, err := dataEnv(folder)
	if err != nil && (f.data != "" || !errors.Is(err, errNoHub)) {
		return nil, err
	}
	file := source{folder + "/" + connectionFile, lookup(list)}
	if f.data != "" {
		return []source{file}, nil
	}
	return []source{environment, file}, nil
}

// find returns the hub of the flags, the environment or the data folder, in this order.
func (f *hubFlags) find() (*target, error) {
	known, err := f.sources()
	if err != nil {
		return nil, err
	}
	if f.login != "" {
		return newTarget(f.login, "", "--login", known)
	}
	for _, s := range known {
		if hub := s.get(hubVariable); hub != "" {
			return newTarget(hub, s.get(eventsVariable), s.name, known)
		}
	}
	return nil, errNoHub
}

// newTarget completes the description of a hub by what the sources say of the same host: the first that says anything
// counts. Endpoints and authority of a source that speaks of another hub would lead elsewhere.
func newTarget(hub, events, from string, known []source) (*target, error) {
	t := &target{hub: hub, events: events, source: from}
	host, err := hostOf(hub)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", from, err)
	}
	for _, s := range known {
		if !s.speaksOf(host) {
			continue
		}
		endpoints, ca := s.get(endpointsVariable), s.get(caVariable)
		if t.events == "" {
			t.events = s.get(eventsVariable)
		}
		if endpoints == "" && ca == "" {
			continue
		}
		if t.endpoints, err = parseEndpoints(endpoints, host); err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		t.caFile = ca
		break
	}
	return t, nil
}

// speaksOf reports whether the source describes the hub of that host, or no hub at all.
func (s source) speaksOf(host string) bool {
	described := false
	for _, name := range []string{hubVariable, hubIPVariable} {
		text := s.get(name)
		if text == "" {
			continue
		}
		described = true
		if h, err := hostOf(text); err == nil && strings.EqualFold(h, host) {
			return true
		}
	}
	return !described
}

// hostOf returns the HostName of a connection string of a policy or of a device.
func hostOf(text string) (string, error) {
	if id, err := device.ParseConnectionString(text); err == nil {
		return id.HostName, nil
	}
	c, err := service.NewClient(text, nil)
	if err != nil {
		return "", err
	}
	return c.HostName(), nil
}

// parseEndpoints reads "https=127.0.0.1:8443 mqtts=...". An address that means every one of the hub's machine becomes
// the hub's host.
func parseEndpoints(text, host string) (map[string]string, error) {
	doors := map[string]string{}
	for _, pair := range strings.Fields(text) {
		door, address, ok := strings.Cut(pair, "=")
		h, port, err := net.SplitHostPort(address)
		if !ok || err != nil {
			return nil, fmt.Errorf("%s: %q is not DOOR=HOST:PORT", endpointsVariable, pair)
		}
		if ip, err := netip.ParseAddr(h); err == nil && ip.IsUnspecified() {
			address = net.JoinHostPort(host, port)
		}
		doors[door] = address
	}
	return doors, nil
}

// tls returns what to trust: the system's authorities and the hub's own. Nil means the system's alone.
func (t *target) tls() (*tls.Config, error) {
	if t.caFile == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(t.caFile)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", caVariable, err)
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: %s holds no certificate", caVariable, t.caFile)
	}
	return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, nil
}

// service returns a client of the hub's service API.
func (t *target) service() (*service.Client, error) {
	config, err := t.tls()
	if err != nil {
		return nil, err
	}
	return service.NewClient(t.hub, &service.Options{Address: t.endpoints["https"], TLS: config, UserAgent: "twinhub"})
}

// connect connects as a device.
func (t *target) connect(ctx context.Context, connectionString string, o device.Options) (*device.Client, error) {
	config, err := t.tls()
	if err != nil {
		return nil, err
	}
	o.Address, o.TLS = t.endpoints["mqtts"], config
	return device.Dial(ctx, connectionString, &o)
}

// read opens the built-in endpoint. Where that is the hub knows, if nothing else says it.
func (t *target) read(ctx context.Context, o service.EventsOptions) (*service.Events, error) {
	config, err := t.tls()
	if err != nil {
		return nil, err
	}
	o.TLS = config
	if t.events == "" {
		if _, err := device.ParseConnectionString(t.hub); err == nil {
			return nil, errNoEvents
		}
		if t.events, err = service.FindEvents(ctx, t.hub, &service.EventsOptions{Address: t.endpoints["amqps"], TLS: config}); err != nil {
			return nil, err
		}
	}
	if t.ownEvents() {
		o.Address = t.endpoints["amqps"]
	}
	return service.OpenEvents(ctx, t.events, &o)
}

// ownEvents reports whether the endpoint is one of the hub's own doors, reached over TLS; Azure's has another host.
func (t *target) ownEvents() bool {
	host, err := hostOf(t.hub)
	if err != nil || strings.Contains(t.events, "UseDevelopmentEmulator=true") {
		return false
	}
	for part := range strings.SplitSeq(t.events, ";") {
		if endpoint, ok := strings.CutPrefix(part, "Endpoint="); ok {
			u, err := url.Parse(endpoint)
			return err == nil && strings.EqualFold(u.Hostname(), host)
		}
	}
	return false
}

// errNoEvents is what remains when nothing says where the built-in endpoint is, and only a device's connection string is
// known, which the hub tells nothing about it.
var errNoEvents = errors.New("the connection string of the built-in endpoint is not known")
