package hub

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/twinhub/twinhub/internal/clock"
	"github.com/twinhub/twinhub/internal/core/auth"
	"github.com/twinhub/twinhub/internal/core/routing"
	"github.com/twinhub/twinhub/internal/engine"
)

// A Port is a TCP port, or one of the two words for a door.
type Port int

// PortAny lets the system pick; PortOff closes the door.
const (
	PortAny Port = 0
	PortOff Port = -1
)

// ParsePort reads a number from 0 to 65535, or "off".
func ParsePort(s string) (Port, error) {
	if s == "off" {
		return PortOff, nil
	}
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || strconv.FormatUint(n, 10) != s {
		return 0, fmt.Errorf("port %q: use a number from 0 to 65535, or off", s)
	}
	return Port(n), nil
}

// Config says what hub to run. Its zero value, with an Ephemeral or a DataDir, is a hub on picked loopback ports.
type Config struct {
	// DataDir keeps everything the hub stores; made if absent. Ephemeral keeps it in memory instead and ignores
	// DataDir: only the files that clients are given then lie in a temporary folder, until Close.
	DataDir   string
	Ephemeral bool

	// Bind are the addresses of the doors, OpsBind and AMQPBind those of the ops and the plain AMQP door. All default
	// to 127.0.0.1 and, where the machine has it, ::1.
	Bind, OpsBind, AMQPBind []netip.Addr
	// HTTPS, MQTTS, AMQPS, AMQP and Ops are the ports of the doors.
	HTTPS, MQTTS, AMQPS, AMQP, Ops Port

	// Hostnames are the names clients use, the first of them in connection strings; default localhost, or the first
	// IPv4 address of Bind if localhost is not among them.
	Hostnames []string
	// Name is the hub's name; default the first label of the first dotted host name that is no address, else twinhub.
	Name string
	// CertFile and KeyFile are a configured server certificate; without them the hub makes its own.
	CertFile, KeyFile string

	// Partitions is the number of partitions of new data, 1 to 128; default 4, or what existing data have:
	// asking for another number than theirs is an error.
	Partitions int
	// Retention of the built-in endpoint; default 24 h and 10 GiB.
	Retention engine.Retention
	// Policies adds shared access policies to the built-in ones. Keys that are empty are made once and stored.
	Policies []auth.Policy
	// OwnerKey fixes the primary key of iothubowner.
	OwnerKey string
	// ConsumerGroups adds to $Default.
	ConsumerGroups []string
	Routing        routing.Config

	Clock  clock.Clock
	Logger *slog.Logger

	fs vfs.FS // where the data are, for tests; nil is the disk, or memory when ephemeral
}

// DefaultConsumerGroup exists on every hub.
const DefaultConsumerGroup = "$Default"

// Defaults of a Config.
const (
	defaultPartitions = 4
	maxPartitions     = 128
	defaultAge        = 24 * time.Hour
	defaultBytes      = 10 << 30
)

// The hub's name is part of connection strings, link addresses and user names, a consumer group's of link addresses, a
// policy's of connection strings and tokens: they keep to characters that mean nothing there.
var (
	namePattern   = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$`)
	groupPattern  = regexp.MustCompile(`^\$?[A-Za-z0-9._-]{1,50}$`)
	policyPattern = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)
)

// complete checks c and fills in what is missing.
func (c Config) complete() (Config, error) {
	if !c.Ephemeral && c.DataDir == "" {
		return c, errors.New("no data folder: give one, or run ephemeral")
	}
	if c.Clock == nil {
		c.Clock = clock.System{}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if len(c.Hostnames) == 0 {
		c.Hostnames = []string{hostFrom(c.Bind)}
	}
	if c.Name == "" {
		c.Name = nameFrom(c.Hostnames)
	}
	if !namePattern.MatchString(c.Name) {
		return c, fmt.Errorf("hub name %q: use 1 to 63 letters, digits and - . _, a letter or digit first and last", c.Name)
	}
	for _, group := range c.ConsumerGroups {
		if !groupPattern.MatchString(group) {
			return c, fmt.Errorf("consumer group %q: use 1 to 50 letters, digits and - . _, after an optional $", group)
		}
	}
	for _, p := range c.Policies {
		if !policyPattern.MatchString(p.Name) {
			return c, fmt.Errorf("policy %q: use 1 to 64 letters, digits and - . _ for its name", p.Name)
		}
	}
	if c.Partitions < 0 || c.Partitions > maxPartitions {
		return c, fmt.Errorf("partitions %d: use 1 to %d", c.Partitions, maxPartitions)
	}
	if c.Retention.Age == 0 {
		c.Retention.Age = defaultAge
	}
	if c.Retention.Bytes == 0 {
		c.Retention.Bytes = defaultBytes
	}
	return c, nil
}

// hostFrom returns the host name of a hub that was given none: localhost, unless it listens elsewhere only.
func hostFrom(bind []netip.Addr) string {
	host := "localhost"
	for _, addr := range bind {
		switch {
		case addr.IsLoopback() || addr.IsUnspecified():
			return "localhost"
		case addr.Is4() && host == "localhost": // an IPv6 address is none that every client takes for a host name
			host = addr.String()
		}
	}
	return host
}

// nameFrom derives the hub's name from its host names. What is no host name is left to those who say why.
func nameFrom(hosts []string) string {
	for _, h := range hosts {
		label, _, dotted := strings.Cut(h, ".")
		if _, err := netip.ParseAddr(h); err != nil && dotted && namePattern.MatchString(label) {
			return label
		}
	}
	return "twinhub"
}
