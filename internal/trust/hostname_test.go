package trust

import (
	"slices"
	"strings"
	"testing"
)

func TestParseNames(t *testing.T) {
	long := strings.Repeat(strings.Repeat("a", 60)+".", 4) + "example"
	for _, test := range []struct {
		name  string
		given []string
		want  []string // without the loopback names
		first string
	}{
		{"none", nil, nil, "localhost"},
		{"case and final dot", []string{"Hub.Example."}, []string{"hub.example"}, "hub.example"},
		{"duplicates", []string{"a", "A", "a."}, []string{"a"}, "a"},
		{"addresses", []string{"192.0.2.1", "[2001:DB8:0::1]", "2001:db8::1"}, []string{"192.0.2.1", "2001:db8::1"}, "192.0.2.1"},
		{"IPv4 in IPv6", []string{"::ffff:192.0.2.1"}, []string{"192.0.2.1"}, "192.0.2.1"},
		{"punycode, underscore", []string{"xn--bcher-kva.example", "my_hub"}, []string{"xn--bcher-kva.example", "my_hub"}, "xn--bcher-kva.example"},
		{"digits but not last", []string{"3.example"}, []string{"3.example"}, "3.example"},
		{"too long for a common name", []string{long}, []string{long}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			n, err := parseNames(test.given)
			if err != nil {
				t.Fatalf("parseNames(%q): %v", test.given, err)
			}
			if got, want := n.list(), append(test.want, loopback[:]...); !slices.Equal(got, want) {
				t.Errorf("names: got %q, want %q", got, want)
			}
			if got := n.commonName(); got != test.first {
				t.Errorf("common name: got %q, want %q", got, test.first)
			}
			if got, want := len(n.dns)+len(n.ips), len(test.want)+len(loopback); got != want {
				t.Errorf("%d names for the leaf, want %d", got, want)
			}
		})
	}
	n, err := parseNames([]string{"::1", "LOCALHOST"})
	if got, want := n.list(), []string{"::1", "localhost", "127.0.0.1"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("loopback names given: got %q, %v; want %q", got, err, want)
	}
}

func TestParseNamesRefuses(t *testing.T) {
	for _, test := range []struct{ given, want string }{
		{"", "empty"},
		{".", "empty"},
		{"a..b", "1 to 63"},
		{strings.Repeat("a", 64), "1 to 63"},
		{strings.Repeat("a.", 127) + "aa", "253"},
		{"*.example", "wildcard"},
		{"https://hub", "port"},
		{"hub:443", "port"},
		{"127.0.0.1:443", "port"},
		{"[::1]:443", "port"},
		{"fe80::1%eth0", "zone"},
		{"0.0.0.0", "no client"},
		{"::", "no client"},
		{"bücher.example", "xn--"},
		{"-a.example", "'-'"},
		{"a-.example", "'-'"},
		{"a b", "' '"},
		{"[hub]", "'['"},
		{"256.0.0.1", "neither"},
		{"10.0.0", "neither"},
	} {
		t.Run(test.given, func(t *testing.T) {
			if n, err := parseNames([]string{"ok.example", test.given}); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %q, %v; want an error with %q", n.list(), err, test.want)
			}
		})
	}
}
