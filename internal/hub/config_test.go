package hub

import (
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/core/auth"
	"github.com/twinhub/twinhub/internal/core/routing"
	"github.com/twinhub/twinhub/internal/engine"
)

func TestParsePort(t *testing.T) {
	for text, want := range map[string]Port{"0": PortAny, "1": 1, "443": 443, "65535": 65535, "off": PortOff} {
		if got, err := ParsePort(text); err != nil || got != want {
			t.Errorf("ParsePort(%q): got %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "-1", "+1", "65536", "0443", "1.5", "https", "OFF", " 443", "443 ", "99999999999999999999"} {
		if got, err := ParsePort(text); err == nil || !strings.Contains(err.Error(), "use a number from 0 to 65535, or off") {
			t.Errorf("ParsePort(%q): got %d, %v; want an error that tells the form", text, got, err)
		}
	}
}

func TestDefaults(t *testing.T) {
	c, err := Config{Ephemeral: true}.complete()
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"localhost"}; !reflect.DeepEqual(c.Hostnames, want) {
		t.Errorf("host names: got %q, want %q", c.Hostnames, want)
	}
	if c.Name != "twinhub" || c.Clock == nil || c.Logger == nil {
		t.Errorf("got %+v", c)
	}
	if want := (engine.Retention{Age: 24 * time.Hour, Bytes: 10 << 30}); c.Retention != want {
		t.Errorf("retention: got %+v, want %+v", c.Retention, want)
	}
}

func TestHostFromAddresses(t *testing.T) {
	for bind, want := range map[string]string{
		"":                                 "localhost",
		"127.0.0.1":                        "localhost",
		"0.0.0.0":                          "localhost",
		"192.0.2.10":                       "192.0.2.10",
		"2001:db8::1 192.0.2.10 192.0.2.9": "192.0.2.10",
		"192.0.2.10 ::1":                   "localhost",
		"2001:db8::1":                      "localhost",
	} {
		c := Config{Ephemeral: true}
		for _, text := range strings.Fields(bind) {
			c.Bind = append(c.Bind, netip.MustParseAddr(text))
		}
		c, err := c.complete()
		if err != nil || len(c.Hostnames) != 1 || c.Hostnames[0] != want {
			t.Errorf("--bind %s: got %q, %v, want %s", bind, c.Hostnames, err, want)
		}
	}
}

func TestNameFromHosts(t *testing.T) {
	for hosts, want := range map[string]string{
		"localhost":                            "twinhub",
		"192.0.2.10":                           "twinhub",
		"::1":                                  "twinhub",
		"my-hub.azure-devices.net":             "my-hub",
		"localhost 192.0.2.1 first.a second.b": "first",
		".example":                             "twinhub",
		"*.example.net":                        "twinhub",
		"*.example.net my-hub.example.net":     "my-hub",
	} {
		if got := nameFrom(strings.Fields(hosts)); got != want {
			t.Errorf("%s: got %q, want %q", hosts, got, want)
		}
	}
}

func TestBadConfig(t *testing.T) {
	for name, test := range map[string]struct {
		config Config
		want   string
	}{
		"no folder":                  {Config{}, "no data folder"},
		"partitions":                 {Config{Ephemeral: true, Partitions: 129}, "partitions 129: use 1 to 128"},
		"negative partitions":        {Config{Ephemeral: true, Partitions: -1}, "partitions -1"},
		"name that splits strings":   {Config{Ephemeral: true, Name: "a;b"}, `hub name "a;b"`},
		"name that splits addresses": {Config{Ephemeral: true, Name: "a/b"}, `hub name "a/b"`},
		"name of 64 characters":      {Config{Ephemeral: true, Name: strings.Repeat("a", 64)}, "hub name"},
		"consumer group":             {Config{Ephemeral: true, ConsumerGroups: []string{"a/b"}}, `consumer group "a/b"`},
		"policy that splits strings": {Config{Ephemeral: true, Policies: []auth.Policy{{Name: "a;b"}}}, `policy "a;b"`},
		"empty consumer group":       {Config{Ephemeral: true, ConsumerGroups: []string{""}}, `consumer group ""`},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := test.config.complete(); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
	for _, name := range []string{"a", "my-pnp-hub", "hub_1.x", strings.Repeat("a", 63)} {
		if _, err := (Config{Ephemeral: true, Name: name, ConsumerGroups: []string{"$Default", "group-1"}, Policies: []auth.Policy{{Name: "device-reader_2.x"}}}).complete(); err != nil {
			t.Errorf("name %q: %v", name, err)
		}
	}
}

// write makes a file and returns its path.
func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestReadFile reads a file with every key.
func TestReadFile(t *testing.T) {
	path := write(t, "twinhub.yaml", `
hubName: my-pnp-hub
hostnames: [hub.example.net, 192.0.2.10]
partitions: 8
retention:
  age: 36h
  bytes: 1000000
policies:
  - name: reader
    rights: ServiceConnect, registryread
    primaryKey: MDEyMzQ1Njc4OWFiY2RlZg==
    secondaryKey: ZmVkY2JhOTg3NjU0MzIxMA==
  - {name: device, rights: DeviceConnect}
consumerGroups: [second, third]
routes:
  - {name: twins, source: twinChangeEvents, endpoint: events}
  - {name: all, source: DeviceMessages}
  - {name: off, source: deviceLifecycleEvents, enabled: false}
fallback: false
`)
	c := Config{Name: "before", ConsumerGroups: []string{"first"}, OwnerKey: "kept"}
	if err := c.ReadFile(path); err != nil {
		t.Fatal(err)
	}
	want := Config{
		Name: "my-pnp-hub", Hostnames: []string{"hub.example.net", "192.0.2.10"}, Partitions: 8, OwnerKey: "kept",
		Retention: engine.Retention{Age: 36 * time.Hour, Bytes: 1_000_000},
		Policies: []auth.Policy{
			{Name: "reader", Rights: auth.ServiceConnect | auth.RegistryRead, PrimaryKey: "MDEyMzQ1Njc4OWFiY2RlZg==", SecondaryKey: "ZmVkY2JhOTg3NjU0MzIxMA=="},
			{Name: "device", Rights: auth.DeviceConnect},
		},
		ConsumerGroups: []string{"first", "second", "third"},
		Routing: routing.Config{FallbackOff: true, Routes: []routing.Route{
			{Name: "twins", Source: twinhub.TwinChange, Endpoint: routing.BuiltIn},
			{Name: "all", Source: twinhub.Telemetry, Endpoint: routing.BuiltIn},
			{Name: "off", Source: twinhub.DeviceLifecycle, Endpoint: routing.BuiltIn, Disabled: true},
		}},
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got\n%+v\nwant\n%+v", c, want)
	}
}

// TestReadEmptyFile checks that nothing changes.
// TestFileErrorsShowNoKeys makes mistakes beside keys, where an extract of the file would show them.
func TestFileErrorsShowNoKeys(t *testing.T) {
	const key = "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0"
	for name, test := range map[string]struct{ text, place string }{
		"unknown key below":   {"policies:\n- name: p\n  primaryKey: " + key + "\n  secondarykey: " + key + "\n", "[4:3]"},
		"key of a wrong type": {"policies:\n- name: p\n  primaryKey: [" + key + "]\n", "[3:15]"},
		"key without an end":  {"policies:\n- name: p\n  primaryKey: \"" + key + "\n", "[3:15]"},
		"key for a policy":    {"policies:\n- " + key + "\n", "[2:3]"},
		"key for policies":    {"policies: " + key + "\n", "[1:11]"},
		"key that is no key":  {"policies:\n- {name: p, rights: Everything, primaryKey: " + key + "}\n", `policy "p"`},
	} {
		t.Run(name, func(t *testing.T) {
			err := new(Config).ReadFile(write(t, "c.yaml", test.text))
			if err == nil || strings.Contains(err.Error(), key) || !strings.Contains(err.Error(), test.place) {
				t.Errorf("got %v, want an error at %s without the key", err, test.place)
			}
		})
	}
}

func TestReadEmptyFile(t *testing.T) {
	for name, text := range map[string]string{"empty": "", "comment": "# nothing yet\n", "fallback on": "fallback: true\n"} {
		c := Config{Name: "n", Partitions: 2}
		if err := c.ReadFile(write(t, "c.yaml", text)); err != nil || !reflect.DeepEqual(c, Config{Name: "n", Partitions: 2}) {
			t.Errorf("%s: got %+v, %v", name, c, err)
		}
	}
}

func TestBadFile(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"unknown key":        {"hubname: x\n", "hubname"},
		"unknown inner key":  {"retention: {days: 1}\n", "days"},
		"unknown route key":  {"routes: [{source: DeviceMessages, condition: 'true'}]\n", "condition"},
		"wrong type":         {"partitions: many\n", "[1:13] cannot unmarshal string"},
		"no YAML":            {"hubName: [\n", "configuration"},
		"retention":          {"retention: {age: a day}\n", "use a positive duration such as 24h"},
		"negative retention": {"retention: {age: -1h}\n", "use a positive duration such as 24h"},
		"right":              {"policies: [{name: p, rights: Everything}]\n", `unknown right "Everything"`},
		"no rights":          {"policies: [{name: p}]\n", "unknown right"},
		"policy":             {"policies: [{rights: RegistryRead}]\n", "a policy has no name"},
		"source":             {"routes: [{name: r, source: everything}]\n", `route "r": unknown route source "everything"`},
		"key twice":          {"hubName: a\nhubName: b\n", "hubName"},
	} {
		t.Run(name, func(t *testing.T) {
			path := write(t, "c.yaml", test.text)
			err := new(Config).ReadFile(path)
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("got %v, want the file's path and %q", err, test.want)
			}
		})
	}
	if err := new(Config).ReadFile(filepath.Join(t.TempDir(), "none")); err == nil || !strings.Contains(err.Error(), "none") {
		t.Errorf("a file that is not there: got %v", err)
	}
}
