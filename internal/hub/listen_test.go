package hub

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
)

var localAddr = netip.MustParseAddr("127.0.0.1")

// TestPickedPort checks that one port is picked for all addresses.
func TestPickedPort(t *testing.T) {
	for range 20 {
		d, err := openDoor(t.Context(), "https", []netip.Addr{localAddr, netip.MustParseAddr("127.0.0.2")}, PortAny)
		if err != nil {
			t.Fatal(err)
		}
		defer d.close()
		if len(d.Addresses) != 2 || d.Addresses[0].Port() == 0 || d.Addresses[0].Port() != d.Addresses[1].Port() {
			t.Errorf("got %v, want one port on both addresses", d.Addresses)
		}
		for _, at := range d.Addresses {
			nc, err := net.Dial("tcp", at.String())
			if err != nil {
				t.Errorf("dial: %v", err)
				continue
			}
			nc.Close()
		}
	}
}

// TestLoopback checks that a door is on loopback by default, with or without ::1 on this machine.
func TestLoopback(t *testing.T) {
	d, err := openDoor(t.Context(), "ops", nil, PortAny)
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	if len(d.Addresses) == 0 || d.Addresses[0].Addr() != localAddr {
		t.Errorf("got %v, want 127.0.0.1 first", d.Addresses)
	}
	for _, at := range d.Addresses {
		if !at.Addr().IsLoopback() {
			t.Errorf("%v is no loopback address", at)
		}
	}
	for err, want := range map[error]bool{syscall.EADDRNOTAVAIL: true, syscall.EAFNOSUPPORT: true, syscall.EADDRINUSE: false, syscall.EACCES: false} {
		wrapped := &net.OpError{Op: "listen", Err: os.NewSyscallError("bind", err)}
		if got := isAbsent(wrapped); got != want {
			t.Errorf("isAbsent(%v): got %v, want %v", err, got, want)
		}
	}
}

func TestClosedDoor(t *testing.T) {
	d, err := openDoor(t.Context(), "amqp", nil, PortOff)
	if err != nil || len(d.Addresses) != 0 || len(d.listeners) != 0 {
		t.Errorf("got %v, %v; want nothing", d, err)
	}
	if d.String() != "" || d.port() != 5672 {
		t.Errorf("got %q and port %d, want nothing and the usual port", d, d.port())
	}
}

// TestPortInUse checks that the error names who has the port, what to do, and that nothing stays bound.
func TestPortInUse(t *testing.T) {
	other, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	port := other.Addr().(*net.TCPAddr).Port
	_, err = openDoor(t.Context(), "amqp", []netip.Addr{localAddr, netip.MustParseAddr("127.0.0.2")}, Port(port))
	if err == nil {
		t.Fatal("the port was bound twice")
	}
	for _, want := range []string{fmt.Sprintf("amqp port 127.0.0.2:%d is in use by PID %d", port, os.Getpid()), "--amqp-port", "--amqp-bind"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %q, want %q in it", err, want)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("more than one line: %q", err)
	}
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Errorf("the first address is still bound: %v", err)
	} else {
		l.Close()
	}
}

func TestForeignAddress(t *testing.T) {
	for name, bind := range map[string]string{"https": "--bind", "ops": "--ops-bind", "amqp": "--amqp-bind"} {
		_, err := openDoor(t.Context(), name, []netip.Addr{netip.MustParseAddr("192.0.2.1")}, PortAny)
		if err == nil || !strings.Contains(err.Error(), "this machine does not have the address; give one of its own with "+bind) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestExplainListen(t *testing.T) {
	wrap := func(err error) error { return &net.OpError{Op: "listen", Err: os.NewSyscallError("bind", err)} }
	for name, test := range map[string]struct {
		door string
		port Port
		err  error
		want []string
		not  string
	}{
		"permission": {"https", 443, wrap(syscall.EACCES), []string{"https port 127.0.0.1:443 needs permission", portRemedy(), "--https-port", "official SDKs cannot be told another port"}, ""},
		"unusual":    {"mqtts", 80, wrap(syscall.EACCES), []string{"--mqtts-port"}, "official SDKs"},
		"in use":     {"amqps", 5671, wrap(syscall.EADDRINUSE), []string{"is in use by another process", "--amqps-port", "--bind", "official SDKs cannot be told another port"}, "PID"},
		"other":      {"ops", 9600, wrap(syscall.EMFILE), []string{"ops port 127.0.0.1:9600", "too many open files"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "in use" && portOwner(uint16(test.port)) != "another process" {
				test.want[0], test.not = "is in use by PID", ""
			}
			err := explainListen(test.door, localAddr, test.port, test.err)
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %q, want %q in it", err, want)
				}
			}
			if test.not != "" && strings.Contains(err.Error(), test.not) {
				t.Errorf("got %q, want no %q in it", err, test.not)
			}
		})
	}
	if err := explainListen("ops", localAddr, 1, wrap(syscall.EMFILE)); !errors.Is(err, syscall.EMFILE) {
		t.Errorf("the cause %v is lost", err)
	}
}
