package trust

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
)

const (
	maxName       = 253 // RFC 1035 2.3.4, as text without the final dot
	maxLabel      = 63  // RFC 1035 2.3.4
	maxCommonName = 64  // RFC 5280 appendix A.1, ub-common-name
)

// loopback are in every leaf and permitted by every CA, so that what connection.env says works on the hub's machine
// whatever else it is called.
var loopback = [...]string{"localhost", "127.0.0.1", "::1"}

// names are the subjects of a leaf: normal form, no duplicates, loopback included.
type names struct {
	first string // the common name
	given []string
	dns   []string
	ips   []netip.Addr
}

// parseNames checks and normalises hostnames and adds the loopback names.
func parseNames(hostnames []string) (names, error) {
	var n names
	for _, text := range hostnames {
		name, ip, err := parseName(text)
		if err != nil {
			return names{}, fmt.Errorf("hostname %q: %w", text, err)
		}
		n.given = append(n.given, n.add(name, ip))
	}
	for _, text := range loopback {
		name, ip, err := parseName(text)
		if err != nil {
			return names{}, fmt.Errorf("hostname %q: %w", text, err)
		}
		n.add(name, ip)
	}
	return n, nil
}

// add takes either a DNS name or, if name is empty, an address, and returns its text.
func (n *names) add(name string, ip netip.Addr) string {
	if name == "" {
		if !slices.Contains(n.ips, ip) {
			n.ips = append(n.ips, ip)
		}
		name = ip.String()
	} else if !slices.Contains(n.dns, name) {
		n.dns = append(n.dns, name)
	}
	if n.first == "" {
		n.first = name
	}
	return name
}

func (n names) list() []string {
	var all []string
	for _, name := range n.given {
		if !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	for _, name := range loopback {
		if !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	return all
}

// commonName is the first hostname, or "" if that is longer than a common name can be.
func (n names) commonName() string {
	if len(n.first) > maxCommonName {
		return ""
	}
	return n.first
}

func (n names) netIPs() []net.IP {
	ips := make([]net.IP, len(n.ips))
	for i, ip := range n.ips {
		ips[i] = ip.AsSlice()
	}
	return ips
}

// parseName returns a DNS name in lower case, or an address, as certificates hold them.
func parseName(text string) (string, netip.Addr, error) {
	var none netip.Addr
	bare := strings.TrimSuffix(strings.TrimPrefix(text, "["), "]")
	if ip, err := netip.ParseAddr(bare); err == nil {
		switch {
		case ip.Zone() != "":
			return "", none, fmt.Errorf("an address in a certificate has no zone, write %s", ip.WithZone(""))
		case ip.IsUnspecified():
			return "", none, fmt.Errorf("no client can connect to it, give the names or addresses that clients use")
		}
		return "", ip.Unmap(), nil
	}
	name := strings.ToLower(strings.TrimSuffix(text, "."))
	switch {
	case name == "":
		return "", none, fmt.Errorf("it is empty")
	case len(name) > maxName:
		return "", none, fmt.Errorf("a DNS name has at most %d characters", maxName)
	case strings.Contains(name, "*"):
		return "", none, fmt.Errorf("wildcards are not supported, give each name")
	case strings.Contains(name, ":"):
		return "", none, fmt.Errorf("give the name or address alone, without scheme or port")
	}
	labels := strings.Split(name, ".")
	for _, label := range labels {
		if err := checkLabel(label); err != nil {
			return "", none, err
		}
	}
	if strings.Trim(labels[len(labels)-1], "0123456789") == "" {
		return "", none, fmt.Errorf("it is neither an IP address nor a DNS name")
	}
	return name, none, nil
}

// checkLabel allows the underscore beside letters, digits and hyphen (RFC 1123 2.1): names of container networks have it.
func checkLabel(label string) error {
	if label == "" || len(label) > maxLabel {
		return fmt.Errorf("a part between dots has 1 to %d characters", maxLabel)
	}
	for i, r := range label {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '_':
		case r == '-' && i > 0 && i < len(label)-1:
		case r > 127:
			return fmt.Errorf("%q is not ASCII, write the name in its xn-- form", r)
		default:
			return fmt.Errorf("%q is not allowed there", r)
		}
	}
	return nil
}
