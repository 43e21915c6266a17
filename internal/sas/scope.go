package sas

import (
	"net/url"
	"strings"
)

// schemes are the URI schemes that may stand before the host of sr.
var schemes = [...]string{"sb://", "amqps://", "amqp://", "https://", "http://", "mqtts://", "wss://"}

// DeviceResource returns the resource that a token of a device, or of its module when moduleID is
// not "", speaks of: "{host}/devices/{deviceID}[/modules/{moduleID}]", for Sign. The ids are
// percent-encoded, so that together with Sign's own encoding they stand encoded twice in sr, as
// the .NET SDK writes them; ids of letters, digits, '-', '.', '_' look the same either way.
func DeviceResource(host, deviceID, moduleID string) string {
	resource := host + "/devices/" + escape(deviceID)
	if moduleID != "" {
		resource += "/modules/" + escape(moduleID)
	}
	return resource
}

// Covers reports whether the token speaks of path on host: its URI, without scheme, must be host
// alone or host and the first whole segments of path, so "h/devices/a" covers "/devices/a" and
// "/devices/a/files" but not "/devices/ab". Path is decoded, with or without slash at either end.
//
// The host compares without regard to case and port, segments exactly. A segment of the token also
// matches when it is percent-encoded once more, as some SDKs write ids. A slash at the end and a
// last segment "api-version=..." or "?api-version=..." of the token, which old tools add, do not
// count. An empty URI covers nothing.
func (t Token) Covers(host, path string) bool { return t.covers(host, path, false) }

// CoversFold is Covers without regard to the case of segments, for the names of Event Hubs
// entities: they compare so, and the Go SDK lower-cases them in its tokens.
func (t Token) CoversFold(host, path string) bool { return t.covers(host, path, true) }

// ForHost reports whether the token is for something on the host, compared as Covers does.
func (t Token) ForHost(host string) bool {
	granted, _, _ := strings.Cut(withoutScheme(t.URI), "/")
	granted = withoutPort(granted)
	return granted != "" && equalFold(granted, withoutPort(host))
}

func (t Token) covers(host, path string, fold bool) bool {
	granted := strings.Split(strings.TrimRight(withoutScheme(t.URI), "/"), "/")
	if last := len(granted) - 1; last > 0 && isVersionSegment(granted[last]) {
		granted = granted[:last]
	}
	grantedHost := withoutPort(granted[0])
	if grantedHost == "" || !equalFold(grantedHost, withoutPort(host)) {
		return false
	}
	granted = granted[1:]
	var asked []string
	if path = strings.Trim(path, "/"); path != "" {
		asked = strings.Split(path, "/")
	}
	if len(granted) > len(asked) {
		return false
	}
	for i, segment := range granted {
		if !sameSegment(segment, asked[i], fold) {
			return false
		}
	}
	return true
}

// sameSegment reports whether a segment of a token's URI, as it is or decoded once more, is asked.
func sameSegment(granted, asked string, fold bool) bool {
	same := func(a, b string) bool { return a == b }
	if fold {
		same = equalFold
	}
	if same(granted, asked) {
		return true
	}
	if !strings.Contains(granted, "%") {
		return false
	}
	decoded, err := url.PathUnescape(granted)
	return err == nil && same(decoded, asked)
}

func withoutScheme(uri string) string {
	for _, scheme := range schemes {
		if len(uri) >= len(scheme) && equalFold(uri[:len(scheme)], scheme) {
			return uri[len(scheme):]
		}
	}
	return uri
}

// isVersionSegment reports whether segment is a query that was pasted on as a path.
func isVersionSegment(segment string) bool {
	const name = "api-version="
	segment = strings.TrimPrefix(segment, "?")
	return len(segment) >= len(name) && equalFold(segment[:len(name)], name)
}

// withoutPort returns host without ":port". A bracketed IPv6 address loses its brackets too, and a
// bare one, which has more than one colon, is left alone.
func withoutPort(host string) string {
	if rest, ok := strings.CutPrefix(host, "["); ok {
		if address, _, ok := strings.Cut(rest, "]"); ok {
			return address
		}
		return host
	}
	name, port, found := strings.Cut(host, ":")
	if !found || strings.Contains(port, ":") {
		return host
	}
	return name
}
