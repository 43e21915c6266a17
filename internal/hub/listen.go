package hub

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// A Door is where one protocol listens.
type Door struct {
	Name      string // https, mqtts, amqps, amqp or ops
	Addresses []netip.AddrPort
	listeners []net.Listener
}

// String returns the first address, as host:port.
func (d *Door) String() string {
	if len(d.Addresses) == 0 {
		return ""
	}
	return d.Addresses[0].String()
}

// loopback is where doors are by default; the second address only where the machine has it.
var loopback = []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()}

// pickTries is how often a port is picked that is free on the first address and may be taken on another.
const pickTries = 20

// openDoor listens on every address at one port. Without addresses it takes the loopback ones.
func openDoor(ctx context.Context, name string, addrs []netip.Addr, port Port) (*Door, error) {
	if port == PortOff {
		return &Door{Name: name}, nil
	}
	for try := 1; ; try++ {
		d, err := bindDoor(ctx, name, addrs, port)
		if err == nil {
			return d, nil
		}
		var failed *listenError
		if !errors.As(err, &failed) {
			return nil, err
		}
		if port == PortAny && try < pickTries && failed.port != PortAny && errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		return nil, explainListen(name, failed.addr, failed.port, failed.err)
	}
}

// A listenError is why an address could not be had.
type listenError struct {
	addr netip.Addr
	port Port
	err  error
}

func (e *listenError) Error() string { return e.err.Error() }
func (e *listenError) Unwrap() error { return e.err }

// bindDoor is one try of openDoor; it fails with a *listenError.
func bindDoor(ctx context.Context, name string, addrs []netip.Addr, port Port) (*Door, error) {
	d := &Door{Name: name}
	optional := netip.Addr{}
	if len(addrs) == 0 {
		addrs, optional = loopback, loopback[1]
	}
	for _, addr := range addrs {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", netip.AddrPortFrom(addr, uint16(port)).String())
		if err != nil && addr == optional && isAbsent(err) {
			continue
		}
		if err != nil {
			d.close()
			return nil, &listenError{addr, port, err}
		}
		at := l.Addr().(*net.TCPAddr).AddrPort()
		port = Port(at.Port()) // the one picked for the first address serves all
		d.listeners = append(d.listeners, l)
		d.Addresses = append(d.Addresses, netip.AddrPortFrom(addr, at.Port()))
	}
	return d, nil
}

// isAbsent reports whether listening failed because the machine lacks the address, or its whole family.
func isAbsent(err error) bool {
	return errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT)
}

// port returns the door's port, or its usual one when it is closed.
func (d *Door) port() int {
	if len(d.Addresses) == 0 {
		return usualPorts[d.Name]
	}
	return int(d.Addresses[0].Port())
}

// usualPorts are those that clients take unless told otherwise.
var usualPorts = map[string]int{"https": 443, "mqtts": 8883, "amqps": 5671, "amqp": 5672, "ops": 9600}

func (d *Door) close() {
	for _, l := range d.listeners {
		l.Close()
	}
}

// explainListen says in one line why a port cannot be had and what to do.
func explainListen(name string, addr netip.Addr, port Port, err error) error {
	at := netip.AddrPortFrom(addr, uint16(port))
	note := ""
	if port == 443 || port == 8883 || port == 5671 {
		note = "; official SDKs cannot be told another port"
	}
	flag, bind := "--"+name+"-port", "--bind"
	if name == "amqp" || name == "ops" {
		bind = "--" + name + "-bind"
	}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%s port %s is in use by %s: end it, or choose another port with %s or address with %s%s", name, at, portOwner(uint16(port)), flag, bind, note)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%s port %s needs permission: %s, or choose another port with %s%s", name, at, portRemedy(), flag, note)
	case isAbsent(err):
		return fmt.Errorf("%s port %s: this machine does not have the address; give one of its own with %s", name, at, bind)
	}
	return fmt.Errorf("%s port %s: %w%s", name, at, err, note)
}

// portRemedy is how this operating system lets an ordinary user have a low port.
func portRemedy() string {
	switch runtime.GOOS {
	case "linux":
		program, err := os.Executable()
		if err != nil {
			program = "twinhub"
		}
		return "run 'sudo setcap cap_net_bind_service=+ep " + program + "' or 'sudo sysctl net.ipv4.ip_unprivileged_port_start=443'"
	case "windows":
		return "look at 'netsh interface ipv4 show excludedportrange protocol=tcp' and run as administrator"
	}
	return "run it with sudo"
}

// portOwner names the process that listens on a port, as far as this process may see.
func portOwner(port uint16) string {
	inodes := map[string]bool{}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, err := os.ReadFile(table)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			// local address as hex, state 0A = listening, inode in the tenth column
			if len(f) > 9 && f[3] == "0A" && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", port)) {
				inodes["socket:["+f[9]+"]"] = true
			}
		}
	}
	links, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil || len(inodes) == 0 {
		return "another process"
	}
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && inodes[target] {
			pid := strings.Split(link, "/")[2]
			if _, err := strconv.Atoi(pid); err == nil {
				return "PID " + pid
			}
		}
	}
	return "another process"
}
