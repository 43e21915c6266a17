package hub

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/twinhub/twinhub/internal/core/auth"
)

// envFile is the file in the data folder that tells clients how to connect.
const envFile = "connection.env"

// A Variable is one line of connection.env.
type Variable struct{ Name, Value string }

// variables returns what connection.env holds.
func (h *Hub) variables() []Variable {
	owner, service := h.policy(auth.OwnerPolicy), h.policy(auth.ServicePolicy)
	hub := func(host string) string {
		return fmt.Sprintf("HostName=%s;SharedAccessKeyName=%s;SharedAccessKey=%s", host, owner.Name, owner.PrimaryKey)
	}
	host := h.config.Hostnames[0]
	events := func(door string) string {
		d := h.door(door)
		host := host
		if door == "amqp" && len(d.Addresses) > 0 && d.Addresses[0].Addr().IsLoopback() {
			host = "localhost" // the plain door stays on loopback, where the host name need not lead
		}
		at := host
		if strings.Contains(at, ":") {
			at = "[" + at + "]"
		}
		if d.port() != usualPorts[door] {
			at = net.JoinHostPort(host, strconv.Itoa(d.port())) // some SDKs take a port, some do not
		}
		return fmt.Sprintf("Endpoint=sb://%s/;SharedAccessKeyName=%s;SharedAccessKey=%s;EntityPath=%s", at, service.Name, service.PrimaryKey, h.config.Name)
	}
	doors := make([]string, 0, len(h.doors))
	for _, d := range h.doors {
		if len(d.Addresses) > 0 {
			doors = append(doors, d.Name+"="+nearby(d.Addresses[0]).String())
		}
	}
	ip := "127.0.0.1"
	if d := h.door("https"); len(d.Addresses) > 0 {
		ip = nearby(d.Addresses[0]).Addr().String()
	}
	return []Variable{
		{"IOTHUB_CONNECTION_STRING", hub(host)},
		{"IOTHUB_CONNECTION_STRING_IP", hub(ip)},
		{"EVENTHUB_CONNECTION_STRING", events("amqps")},
		{"EVENTHUB_EMULATOR_CONNECTION_STRING", strings.Replace(events("amqp"), "/;", ";", 1) + ";UseDevelopmentEmulator=true"},
		{"TWINHUB_CA_FILE", h.trust.CAFile()},
		{"TWINHUB_CA_BUNDLE", h.trust.BundleFile()},
		{"TWINHUB_ENDPOINTS", strings.Join(doors, " ")},
		{"TWINHUB_DATA", h.folder.path},
	}
}

// nearby returns an address at which this machine reaches a door that listens at the address a: all addresses are no
// address to connect to.
func nearby(a netip.AddrPort) netip.AddrPort {
	switch a.Addr() {
	case netip.IPv4Unspecified():
		return netip.AddrPortFrom(loopback[0], a.Port())
	case netip.IPv6Unspecified():
		return netip.AddrPortFrom(loopback[1], a.Port())
	}
	return a
}

// writeEnv writes connection.env, which a shell can source.
func (h *Hub) writeEnv() error {
	var b strings.Builder
	for _, v := range h.variables() {
		fmt.Fprintf(&b, "%s='%s'\n", v.Name, strings.ReplaceAll(v.Value, "'", `'\''`))
	}
	path := h.folder.join(envFile)
	if err := os.WriteFile(path+".new", []byte(b.String()), 0o600); err != nil {
		return fmt.Errorf("write %s: %w", envFile, err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("write %s: %w", envFile, err)
	}
	return nil
}
