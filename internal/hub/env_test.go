package hub

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twinhub/twinhub/internal/core/auth"
)

// variable returns a value of connection.env.
func (h *Hub) variable(name string) string {
	for _, v := range h.variables() {
		if v.Name == name {
			return v.Value
		}
	}
	return ""
}

// opened opens a hub that is closed with the test.
func opened(t *testing.T, c Config) *Hub {
	t.Helper()
	h, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// TestEnvFile sources connection.env with a shell, from a folder whose name a shell would take apart.
func TestEnvFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), `it's a "data" $folder`)
	h := opened(t, Config{DataDir: dir, Bind: []netip.Addr{localAddr}, OpsBind: []netip.Addr{localAddr}, AMQPBind: []netip.Addr{localAddr}, Name: "my-pnp-hub"})
	if want := filepath.Join(dir, "connection.env"); h.EnvFile() != want {
		t.Errorf("EnvFile: got %s, want %s", h.EnvFile(), want)
	}
	if info, err := os.Stat(h.EnvFile()); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode of connection.env: got %v, %v; want 0600", info.Mode(), err)
	}
	cmd := exec.Command("/bin/sh", "-c", `set -eu; set -a; . "$1"; set +a; env -0`, "sh", h.EnvFile())
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("source connection.env: %v", err)
	}
	got := map[string]string{}
	for _, line := range strings.Split(string(out), "\x00") {
		name, value, _ := strings.Cut(line, "=")
		got[name] = value
	}
	owner, service := h.policy(auth.OwnerPolicy).PrimaryKey, h.policy(auth.ServicePolicy).PrimaryKey
	port := func(door string) int { return h.door(door).port() }
	for name, want := range map[string]string{
		"IOTHUB_CONNECTION_STRING":            "HostName=localhost;SharedAccessKeyName=iothubowner;SharedAccessKey=" + owner,
		"IOTHUB_CONNECTION_STRING_IP":         "HostName=127.0.0.1;SharedAccessKeyName=iothubowner;SharedAccessKey=" + owner,
		"EVENTHUB_CONNECTION_STRING":          fmt.Sprintf("Endpoint=sb://localhost:%d/;SharedAccessKeyName=service;SharedAccessKey=%s;EntityPath=my-pnp-hub", port("amqps"), service),
		"EVENTHUB_EMULATOR_CONNECTION_STRING": fmt.Sprintf("Endpoint=sb://localhost:%d;SharedAccessKeyName=service;SharedAccessKey=%s;EntityPath=my-pnp-hub;UseDevelopmentEmulator=true", port("amqp"), service),
		"TWINHUB_CA_FILE":                     filepath.Join(dir, "tls", "ca.pem"),
		"TWINHUB_CA_BUNDLE":                   filepath.Join(dir, "tls", "bundle.pem"),
		"TWINHUB_DATA":                        dir,
		"TWINHUB_ENDPOINTS": fmt.Sprintf("https=127.0.0.1:%d mqtts=127.0.0.1:%d amqps=127.0.0.1:%d amqp=127.0.0.1:%d ops=127.0.0.1:%d",
			port("https"), port("mqtts"), port("amqps"), port("amqp"), port("ops")),
	} {
		if got[name] != want {
			t.Errorf("%s: got %q, want %q", name, got[name], want)
		}
	}
	for _, name := range []string{"TWINHUB_CA_FILE", "TWINHUB_CA_BUNDLE"} {
		if _, err := os.Stat(got[name]); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := os.Stat(h.EnvFile() + ".new"); err == nil {
		t.Error("connection.env.new is left")
	}
}

// TestUsualPorts checks that strings for doors at their usual ports, open or closed, name none.
func TestUsualPorts(t *testing.T) {
	h := opened(t, Config{Ephemeral: true, Hostnames: []string{"2001:db8::1"}, HTTPS: PortOff, AMQPS: PortOff, AMQP: PortOff})
	if got := h.variable("EVENTHUB_CONNECTION_STRING"); !strings.HasPrefix(got, "Endpoint=sb://[2001:db8::1]/;") {
		t.Errorf("got %s", got)
	}
	if got := h.variable("EVENTHUB_EMULATOR_CONNECTION_STRING"); !strings.HasPrefix(got, "Endpoint=sb://[2001:db8::1];") {
		t.Errorf("got %s", got)
	}
	if got := h.variable("TWINHUB_ENDPOINTS"); strings.Contains(got, "https") || !strings.Contains(got, "mqtts=") {
		t.Errorf("endpoints: got %s, want the open doors", got)
	}
	if got := h.variable("IOTHUB_CONNECTION_STRING_IP"); !strings.HasPrefix(got, "HostName=127.0.0.1;") {
		t.Errorf("got %s", got)
	}
}

// TestEverywhere binds to all addresses: clients on this machine are told a loopback address.
func TestEverywhere(t *testing.T) {
	h := opened(t, Config{Ephemeral: true, Bind: []netip.Addr{netip.IPv4Unspecified()}})
	if got := h.variable("IOTHUB_CONNECTION_STRING_IP"); !strings.HasPrefix(got, "HostName=127.0.0.1;") {
		t.Errorf("got %s", got)
	}
	if got := h.variable("TWINHUB_ENDPOINTS"); !strings.HasPrefix(got, fmt.Sprintf("https=127.0.0.1:%d mqtts=127.0.0.1:", h.door("https").port())) {
		t.Errorf("endpoints: got %s", got)
	}
}

// TestPlainDoorOfANamedHub checks that the string for the plain AMQP door leads to where it listens.
func TestPlainDoorOfANamedHub(t *testing.T) {
	for name, test := range map[string]struct {
		bind []netip.Addr
		host string
	}{
		"on loopback": {nil, "localhost"},
		"everywhere":  {[]netip.Addr{netip.IPv4Unspecified()}, "hub.example.com"},
	} {
		t.Run(name, func(t *testing.T) {
			h := opened(t, Config{Ephemeral: true, Hostnames: []string{"hub.example.com"}, AMQPBind: test.bind})
			want := fmt.Sprintf("Endpoint=sb://%s:%d;", test.host, h.door("amqp").port())
			if got := h.variable("EVENTHUB_EMULATOR_CONNECTION_STRING"); !strings.HasPrefix(got, want) {
				t.Errorf("got %s, want it to begin with %s", got, want)
			}
			if got := h.variable("EVENTHUB_CONNECTION_STRING"); !strings.HasPrefix(got, "Endpoint=sb://hub.example.com:") {
				t.Errorf("got %s, want the host name", got)
			}
		})
	}
}
