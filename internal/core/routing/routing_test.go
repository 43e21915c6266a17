package routing

import (
	"reflect"
	"strings"
	"testing"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/eventlog"
)

func TestParseSource(t *testing.T) {
	tests := map[string]twinhub.Source{
		"DeviceMessages": twinhub.Telemetry, "telemetry": twinhub.Telemetry, "twinChangeEvents": twinhub.TwinChange,
		"TWINCHANGEEVENTS": twinhub.TwinChange, "digitalTwinChangeEvents": twinhub.DigitalTwinChange,
		"deviceLifecycleEvents": twinhub.DeviceLifecycle, "DeviceConnectionStateEvents": twinhub.ConnectionState,
		"deviceJobLifecycleEvents": twinhub.JobLifecycle,
	}
	for name, want := range tests {
		if got, err := ParseSource(name); err != nil || got != want {
			t.Errorf("ParseSource(%q) = %q, %v, want %q", name, got, err, want)
		}
	}
	for _, name := range []string{"", "twinChange", " telemetry"} {
		if got, err := ParseSource(name); err == nil || !strings.Contains(err.Error(), "twinChangeEvents") {
			t.Errorf("ParseSource(%q) = %q, %v, want an error that names the sources", name, got, err)
		}
	}
}

func TestRouter(t *testing.T) {
	route := func(s twinhub.Source) Route { return Route{Name: string(s), Source: s, Endpoint: BuiltIn} }
	disabled := route(twinhub.TwinChange)
	disabled.Disabled = true
	tests := []struct {
		name   string
		config Config
		want   string // sources that go somewhere
	}{
		{"nothing configured", Config{}, "Telemetry"},
		{"fallback off without routes", Config{FallbackOff: true}, "Telemetry"},
		{"a route beside telemetry", Config{Routes: []Route{route(twinhub.TwinChange)}}, "Telemetry twinChangeEvents"},
		{"fallback off", Config{FallbackOff: true, Routes: []Route{route(twinhub.TwinChange)}}, "twinChangeEvents"},
		{"fallback off, telemetry routed", Config{FallbackOff: true, Routes: []Route{route(twinhub.Telemetry)}}, "Telemetry"},
		{"disabled route", Config{Routes: []Route{disabled}}, "Telemetry"},
		{"disabled route, fallback off", Config{FallbackOff: true, Routes: []Route{disabled}}, ""},
		{"twice", Config{Routes: []Route{route(twinhub.TwinChange), route(twinhub.TwinChange)}}, "Telemetry twinChangeEvents"},
	}
	all := []twinhub.Source{twinhub.Telemetry, twinhub.TwinChange, twinhub.DigitalTwinChange, twinhub.DeviceLifecycle, twinhub.ConnectionState, twinhub.JobLifecycle}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := New(tt.config)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, s := range all {
				appends := r.Appends(&twinhub.Event{Source: s})
				if r.Wants(s) != (len(appends) > 0) {
					t.Errorf("Wants(%s) = %t, but %d appends", s, r.Wants(s), len(appends))
				}
				if r.Wants(s) {
					got = append(got, string(s))
				}
			}
			if strings.Join(got, " ") != tt.want {
				t.Errorf("got %v, want %s", got, tt.want)
			}
		})
	}
}

func TestUnknownEndpoint(t *testing.T) {
	if _, err := New(Config{Routes: []Route{{Name: "r", Source: twinhub.Telemetry, Endpoint: "elsewhere"}}}); err == nil || !strings.Contains(err.Error(), `"r"`) {
		t.Errorf("got %v, want an error that names the route", err)
	}
}

func TestAppendsKeepOrder(t *testing.T) {
	r, err := New(Config{Routes: []Route{{Source: twinhub.TwinChange, Endpoint: BuiltIn}}})
	if err != nil {
		t.Fatal(err)
	}
	first := &twinhub.Event{Source: twinhub.TwinChange, Body: []byte("first")}
	second := &twinhub.Event{Source: twinhub.Telemetry, Body: []byte("second")}
	appends := r.Appends(first, &twinhub.Event{Source: twinhub.DeviceLifecycle}, second)
	if len(appends) != 1 || appends[0].Log != eventlog.Name || len(appends[0].Records) != 2 {
		t.Fatalf("got %+v", appends)
	}
	for n, ev := range []*twinhub.Event{first, second} {
		if string(appends[0].Records[n]) != string(eventlog.Encode(ev)) {
			t.Errorf("record %d is not the encoded event", n)
		}
	}
	if got := r.Appends(); got != nil {
		t.Errorf("no events make %v", got)
	}
}

func TestAppendsInAgrees(t *testing.T) {
	r, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	var s Scratch
	for _, size := range []int{1, 2 * maxScratch, 3} {
		ev := &twinhub.Event{Source: twinhub.Telemetry, ID: twinhub.ID{Device: "d1"}, Body: make([]byte, size)}
		if got, want := r.AppendsIn(&s, ev), r.Appends(ev); !reflect.DeepEqual(got, want) {
			t.Errorf("a body of %d bytes: got %v, want %v", size, got, want)
		}
	}
	if got := r.AppendsIn(&s, &twinhub.Event{Source: twinhub.TwinChange}); got != nil {
		t.Errorf("an event that goes nowhere makes %v", got)
	}
}
