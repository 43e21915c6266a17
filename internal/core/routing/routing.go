// Package routing decides which logs an event goes to. Today there is one endpoint, the built-in one, and routes
// choose by source alone; conditions, enrichments and further endpoints will be decided here too.
package routing

import (
	"fmt"
	"strings"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/engine"
	"github.com/twinhub/twinhub/internal/eventlog"
)

// A Route sends the events of a source to an endpoint.
type Route struct {
	Name     string
	Source   twinhub.Source
	Endpoint string
	Disabled bool
}

// BuiltIn is the name of the built-in endpoint, which Event Hubs clients read.
const BuiltIn = "events"

// Config says what flows where. With its zero value telemetry goes to the built-in endpoint and nothing else is made.
type Config struct {
	Routes []Route
	// FallbackOff drops telemetry that no route takes once any route is defined; otherwise it goes to the built-in
	// endpoint.
	FallbackOff bool
}

// sources maps the spellings that configurations use, in lower case, to the source.
var sources = map[string]twinhub.Source{
	"devicemessages":              twinhub.Telemetry,
	"telemetry":                   twinhub.Telemetry,
	"twinchangeevents":            twinhub.TwinChange,
	"digitaltwinchangeevents":     twinhub.DigitalTwinChange,
	"devicelifecycleevents":       twinhub.DeviceLifecycle,
	"deviceconnectionstateevents": twinhub.ConnectionState,
	"devicejoblifecycleevents":    twinhub.JobLifecycle,
}

// ParseSource returns the source of that name, in any case; DeviceMessages is telemetry.
func ParseSource(name string) (twinhub.Source, error) {
	if s, ok := sources[strings.ToLower(name)]; ok {
		return s, nil
	}
	return "", fmt.Errorf("unknown route source %q: use DeviceMessages, twinChangeEvents, digitalTwinChangeEvents, deviceLifecycleEvents, deviceConnectionStateEvents or deviceJobLifecycleEvents", name)
}

// A Router is a compiled Config. It is immutable and safe for concurrent use.
type Router struct {
	builtIn map[twinhub.Source]bool
}

// New compiles a configuration.
func New(c Config) (*Router, error) {
	r := &Router{builtIn: map[twinhub.Source]bool{}}
	for _, route := range c.Routes {
		if route.Endpoint != BuiltIn {
			return nil, fmt.Errorf("route %q: unknown endpoint %q: the only endpoint is %q", route.Name, route.Endpoint, BuiltIn)
		}
		if !route.Disabled {
			r.builtIn[route.Source] = true
		}
	}
	if len(c.Routes) == 0 || !c.FallbackOff {
		r.builtIn[twinhub.Telemetry] = true
	}
	return r, nil
}

// Wants reports whether an event of the source would go anywhere, so that others need not be made.
func (r *Router) Wants(s twinhub.Source) bool { return r.builtIn[s] }

// Appends encodes the events for each log they go to, in order. All belong to one partition; the result is meant for
// the commit that makes them true. It is empty when nothing takes them.
func (r *Router) Appends(events ...*twinhub.Event) []engine.Append {
	var records [][]byte
	for _, ev := range events {
		if r.builtIn[ev.Source] {
			records = append(records, eventlog.Encode(ev))
		}
	}
	if records == nil {
		return nil
	}
	return []engine.Append{{Log: eventlog.Name, Records: records}}
}

// A Scratch is memory for the Appends of one event at a time. The zero value is ready.
type Scratch struct {
	record  []byte
	records [1][]byte
	appends [1]engine.Append
}

// maxScratch is the largest record, in bytes, whose memory a Scratch keeps.
const maxScratch = 8 << 10

// AppendsIn is Appends of one event. The result lives in s, which must not be used again before its commit is done.
func (r *Router) AppendsIn(s *Scratch, ev *twinhub.Event) []engine.Append {
	if !r.builtIn[ev.Source] {
		return nil
	}
	if cap(s.record) > maxScratch {
		s.record = nil
	}
	s.record = eventlog.AppendRecord(s.record[:0], ev)
	s.records[0] = s.record
	s.appends[0] = engine.Append{Log: eventlog.Name, Records: s.records[:]}
	return s.appends[:]
}
