package sas

import "testing"

func TestCovers(t *testing.T) {
	tests := []struct {
		name, uri, host, path string
		want, fold            bool
	}{
		{"host covers all", "hub.example.net", "hub.example.net", "/devices/a", true, true},
		{"host covers itself", "hub.example.net", "hub.example.net", "", true, true},
		{"host with slash", "hub.example.net/", "hub.example.net", "/", true, true},
		{"device exactly", "h/devices/a", "h", "/devices/a", true, true},
		{"path without slash", "h/devices/a", "h", "devices/a", true, true},
		{"device covers its files", "h/devices/a", "h", "/devices/a/files", true, true},
		{"device covers its modules", "h/devices/a", "h", "/devices/a/modules/m", true, true},
		{"not a longer id", "h/devices/a", "h", "/devices/ab", false, false},
		{"not the parent", "h/devices/a", "h", "/devices", false, false},
		{"not a sibling", "h/devices/a", "h", "/devices/b", false, false},
		{"module not its device", "h/devices/a/modules/m", "h", "/devices/a", false, false},
		{"devices covers each", "h/devices", "h", "/devices/a", true, true},
		{"host in capitals", "HUB.Example.net/devices/a", "hub.example.NET", "/devices/a", true, true},
		{"id in capitals", "h/devices/A", "h", "/devices/a", false, true},
		{"another host", "h2/devices/a", "h", "/devices/a", false, false},
		{"longer host", "h.example", "h", "/devices/a", false, false},
		{"trailing slash", "h/devices/a/", "h", "/devices/a", true, true},
		{"slash in the middle", "h//devices/a", "h", "/devices/a", false, false},
		{"api-version pasted on", "h/devices/a/api-version=2016-11-14", "h", "/devices/a", true, true},
		{"api-version with mark and slash", "h/devices/a/?api-version=2016-11-14/", "h", "/devices/a", true, true},
		{"api-version only last", "h/api-version=2016-11-14/devices/a", "h", "/devices/a", false, false},
		{"api-version is not the host", "api-version=1", "h", "/devices/a", false, false},
		{"sb", "sb://h/events", "h", "/events/ConsumerGroups/$Default/Partitions/0", true, true},
		{"sb lower-cased by the client", "sb://h/myevents/consumergroups/$default", "h", "/MyEvents/ConsumerGroups/$Default/Partitions/0", false, true},
		{"scheme in capitals", "SB://h/events", "h", "/events", true, true},
		{"amqps", "amqps://h/events", "h", "/events", true, true},
		{"amqp", "amqp://h/events", "h", "/events", true, true},
		{"https", "https://h/devices/a", "h", "/devices/a", true, true},
		{"scheme without host", "sb://", "h", "/events", false, false},
		{"unknown scheme is a host", "ftp://h/events", "h", "/events", false, false},
		{"port in the token", "sb://h:5671/events", "h", "/events", true, true},
		{"port asked", "h/devices/a", "h:8883", "/devices/a", true, true},
		{"IPv6 with port", "[::1]:443/devices/a", "::1", "/devices/a", true, true},
		{"IPv6 asked in brackets", "::1/devices/a", "[::1]", "/devices/a", true, true},
		{"IPv6 bracket not closed", "[::1/devices/a", "::1", "/devices/a", false, false},
		{"id encoded once more", "h/devices/a%23b%2B1", "h", "/devices/a#b+1", true, true},
		{"id with a percent sign", "h/devices/100%25", "h", "/devices/100%25", true, true},
		{"id with a lone percent sign", "h/devices/100%", "h", "/devices/100%", true, true},
		{"plus is no space", "h/devices/a+b", "h", "/devices/a b", false, false},
		{"encoded slash makes no segments", "h/devices/a%2Fb", "h", "/devices/a/b", false, false},
		{"Kelvin sign is not k", "\u212a/devices/a", "k", "/devices/a", false, false},
		{"empty", "", "h", "/devices/a", false, false},
		{"empty on an empty host", "", "", "/devices/a", false, false},
		{"slash only", "/", "h", "", false, false},
		{"slash first", "/devices/a", "h", "/devices/a", false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			token := Token{URI: tt.uri}
			if got := token.Covers(tt.host, tt.path); got != tt.want {
				t.Errorf("Token{%q}.Covers(%q, %q): got %v, want %v", tt.uri, tt.host, tt.path, got, tt.want)
			}
			if got := token.CoversFold(tt.host, tt.path); got != tt.fold {
				t.Errorf("Token{%q}.CoversFold(%q, %q): got %v, want %v", tt.uri, tt.host, tt.path, got, tt.fold)
			}
		})
	}
}

func TestForHost(t *testing.T) {
	for _, test := range []struct {
		uri, host string
		want      bool
	}{
		{"hub.example", "hub.example", true},
		{"HUB.example/devices/d1", "hub.example", true},
		{"sb://hub.example:5671/events", "hub.example", true},
		{"other.example/devices/d1", "hub.example", false},
		{"", "", false},
	} {
		if got := (Token{URI: test.uri}).ForHost(test.host); got != test.want {
			t.Errorf("%q for host %q: got %v, want %v", test.uri, test.host, got, test.want)
		}
	}
}
