package httpfront

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/twinhub/twinhub/internal/core/auth"
)

// An operation is what a method does on a path.
type operation struct {
	right  auth.Rights
	shape  shape
	handle func(f *Front, w http.ResponseWriter, r *request) error
}

// A route is a path with what can be done there. In its pattern {device}, {command} and so on stand for any segment.
type route struct {
	pattern []string
	methods map[string]operation
}

// routes lists every path of the service API that this hub knows. Two patterns can match the same path: a device may
// be called "query".
func routes() []route {
	at := func(pattern string, methods map[string]operation) route {
		return route{pattern: strings.Split(pattern, "/"), methods: methods}
	}
	return []route{
		at("devices", map[string]operation{
			http.MethodGet: {auth.RegistryRead, shapeA, (*Front).listDevices},
		}),
		at("devices/query", map[string]operation{
			http.MethodPost: {auth.ServiceConnect, shapeA, (*Front).query},
		}),
		at("devices/{device}", map[string]operation{
			http.MethodGet:    {auth.RegistryRead, shapeA, (*Front).getDevice},
			http.MethodPut:    {auth.RegistryWrite, shapeA, (*Front).putDevice},
			http.MethodDelete: {auth.RegistryWrite, shapeA, (*Front).deleteDevice},
		}),
		at("devices/{device}/modules", map[string]operation{
			http.MethodGet: {auth.RegistryRead, shapeA, (*Front).listModules},
		}),
		at("devices/{device}/modules/{module}", map[string]operation{
			http.MethodGet:    {auth.RegistryRead, shapeA, (*Front).noModule},
			http.MethodPut:    {auth.RegistryWrite, shapeA, (*Front).noModule},
			http.MethodDelete: {auth.RegistryWrite, shapeA, (*Front).noModule},
		}),
		at("statistics/devices", map[string]operation{
			http.MethodGet: {auth.RegistryRead, shapeA, (*Front).deviceStatistics},
		}),
		at("statistics/service", map[string]operation{
			http.MethodGet: {auth.RegistryRead, shapeA, (*Front).serviceStatistics},
		}),
		at("twins/{device}", map[string]operation{
			http.MethodGet:   {auth.ServiceConnect, shapeA, (*Front).getTwin},
			http.MethodPatch: {auth.ServiceConnect, shapeA, (*Front).patchTwin},
			http.MethodPut:   {auth.ServiceConnect, shapeA, (*Front).putTwin},
		}),
		at("twins/{device}/methods", map[string]operation{
			http.MethodPost: {auth.ServiceConnect, shapeC, (*Front).invokeMethod},
		}),
		at("twins/{device}/modules/{module}", map[string]operation{
			http.MethodGet:   {auth.ServiceConnect, shapeA, (*Front).noModule},
			http.MethodPatch: {auth.ServiceConnect, shapeA, (*Front).noModule},
			http.MethodPut:   {auth.ServiceConnect, shapeA, (*Front).noModule},
		}),
		at("twins/{device}/modules/{module}/methods", map[string]operation{
			http.MethodPost: {auth.ServiceConnect, shapeC, (*Front).noModule},
		}),
		at("digitaltwins/{device}", map[string]operation{
			http.MethodGet:   {auth.ServiceConnect, shapeA, (*Front).getDigitalTwin},
			http.MethodPatch: {auth.ServiceConnect, shapeA, (*Front).patchDigitalTwin},
		}),
		at("digitaltwins/{device}/commands/{command}", map[string]operation{
			http.MethodPost: {auth.ServiceConnect, shapeC, (*Front).invokeCommand},
		}),
		at("digitaltwins/{device}/components/{component}/commands/{command}", map[string]operation{
			http.MethodPost: {auth.ServiceConnect, shapeC, (*Front).invokeCommand},
		}),
	}
}

// A match is where a path led.
type match struct {
	// path is the decoded path with the fixed segments in the spelling of the table, as tokens are checked against.
	path string
	// ids are the decoded segments that stand where the pattern has {name}, by that name.
	ids map[string]string
	operation
	// allow lists the methods of the path when it does not know the one that was asked for; operation is then zero.
	allow []string
}

// find looks up a method and the segments of a path. ok is false when no route has the path.
func find(table []route, method string, segments []string) (m match, ok bool) {
	for _, rt := range table {
		path, ids, matched := rt.match(segments)
		if !matched {
			continue
		}
		ok = true
		if op, known := rt.methods[method]; known {
			return match{path: path, ids: ids, operation: op}, true
		}
		for name := range rt.methods {
			m.allow = append(m.allow, name)
		}
	}
	return m, ok
}

// match compares segments with the pattern: the fixed ones in any case.
func (rt *route) match(segments []string) (path string, ids map[string]string, ok bool) {
	if len(segments) != len(rt.pattern) {
		return "", nil, false
	}
	for i, want := range rt.pattern {
		if want[0] != '{' && !strings.EqualFold(segments[i], want) {
			return "", nil, false
		}
	}
	ids = map[string]string{}
	var b strings.Builder
	for i, want := range rt.pattern {
		segment := want
		if want[0] == '{' {
			segment = segments[i]
			ids[strings.Trim(want, "{}")] = segment
		}
		b.WriteString("/" + segment)
	}
	return b.String(), ids, true
}

var errPath = errors.New("the path is not percent-encoded correctly")

// splitPath returns the decoded segments of a request's path. Ids hold %, +, # and the like, so each segment is decoded
// exactly once, from the path as it was sent, and + stands for itself. No id holds a slash: an encoded one separates
// segments too, since some tools encode whole paths. One slash at the end does not count.
func splitPath(r *http.Request) ([]string, error) {
	raw, _, _ := strings.Cut(r.RequestURI, "?")
	if !strings.HasPrefix(raw, "/") { // absolute form: scheme://host/path
		raw = r.URL.EscapedPath()
	}
	raw = strings.ReplaceAll(strings.ReplaceAll(raw, "%2F", "/"), "%2f", "/")
	raw = strings.TrimSuffix(strings.TrimPrefix(raw, "/"), "/")
	segments := strings.Split(raw, "/")
	for i, segment := range segments {
		decoded, err := url.PathUnescape(segment)
		if err != nil {
			return nil, errPath
		}
		segments[i] = decoded
	}
	return segments, nil
}

// parameter returns the first value of a query parameter, whose name may be in any case; empty when there is none.
func parameter(values url.Values, name string) string {
	if v, ok := values[name]; ok {
		return v[0]
	}
	for key, v := range values {
		if strings.EqualFold(key, name) {
			return v[0]
		}
	}
	return ""
}
