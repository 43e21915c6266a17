package sdks

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// event is one event as the page's reader prints it.
type event struct {
	lines      []string // as printed
	partition  string
	body       string
	properties []field // nil where it prints None or {}
	system     []field
}

// field is one entry of a Python dictionary, in its place.
type field struct {
	key   string
	value string // a bytes value's bytes, an integer's digits
	bytes bool
}

func (e event) String() string { return strings.Join(e.lines, "\n") }

// get returns the system field of that name, or an empty one.
func (e event) get(key string) string { return find(e.system, key) }

func find(fields []field, key string) string {
	for _, f := range fields {
		if f.key == key {
			return f.value
		}
	}
	return ""
}

// number returns the system field of that name as a number; -1 if it is none.
func (e event) number(key string) int64 {
	n, err := strconv.ParseInt(e.get(key), 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// version returns the member of that name at the root of the body.
func (e event) version() int {
	var body struct{ Version int }
	if json.Unmarshal([]byte(e.body), &body) != nil {
		return 0
	}
	return body.Version
}

// The four lines of an event.
const (
	linePartition  = "Received event from partition: "
	lineBody       = "Telemetry received:  "
	lineProperties = "Properties (set by device):  "
	lineSystem     = "System properties (set by IoT Hub):  "
)

// parseEvents reads events as the page's reader prints them, each in four lines and an empty one.
func parseEvents(lines []string) ([]event, error) {
	var events []event
	for len(lines) > 0 {
		if lines[0] == "" {
			lines = lines[1:]
			continue
		}
		if len(lines) < 4 {
			return events, fmt.Errorf("half an event: %q", lines)
		}
		e := event{lines: lines[:4]}
		var err error
		for i, prefix := range []string{linePartition, lineBody, lineProperties, lineSystem} {
			text, ok := strings.CutPrefix(lines[i], prefix)
			if !ok {
				return events, fmt.Errorf("line %q does not begin with %q", lines[i], prefix)
			}
			switch prefix {
			case linePartition:
				e.partition, ok = strings.CutSuffix(text, ".")
				if !ok {
					return events, fmt.Errorf("line %q does not end with a full stop", lines[i])
				}
			case lineBody:
				e.body = text
			case lineProperties:
				if text != "None" {
					e.properties, err = parseDict(text)
				}
			case lineSystem:
				e.system, err = parseDict(text)
			}
			if err != nil {
				return events, fmt.Errorf("line %q: %w", lines[i], err)
			}
		}
		events = append(events, e)
		lines = lines[4:]
	}
	return events, nil
}

// parseDict reads a printed dictionary from bytes to bytes or integers.
func parseDict(s string) ([]field, error) {
	s, ok := strings.CutPrefix(s, "{")
	var fields []field
	for ok && !strings.HasPrefix(s, "}") {
		var f field
		var err error
		if f.key, s, err = parseBytes(s); err != nil {
			return nil, err
		}
		if s, ok = strings.CutPrefix(s, ": "); !ok {
			return nil, fmt.Errorf("no colon at %q", s)
		}
		if strings.HasPrefix(s, "b") {
			f.bytes = true
			f.value, s, err = parseBytes(s)
		} else {
			n := strings.IndexAny(s, ",}")
			if n < 0 {
				return nil, fmt.Errorf("no end at %q", s)
			}
			f.value, s = s[:n], s[n:]
			_, err = strconv.ParseInt(f.value, 10, 64)
		}
		if err != nil {
			return nil, err
		}
		fields = append(fields, f)
		s = strings.TrimPrefix(s, ", ")
	}
	if s != "}" {
		return nil, fmt.Errorf("no dictionary ends at %q", s)
	}
	return fields, nil
}

// parseBytes reads a printed bytes object from the start of s and returns the rest.
func parseBytes(s string) (value, rest string, err error) {
	if len(s) < 3 || s[0] != 'b' || s[1] != '\'' && s[1] != '"' {
		return "", "", fmt.Errorf("no bytes at %q", s)
	}
	var b strings.Builder
	for quote, rest := s[1], s[2:]; rest != ""; {
		if rest[0] == quote {
			return b.String(), rest[1:], nil
		}
		c, _, tail, err := strconv.UnquoteChar(rest, quote)
		if err != nil {
			return "", "", fmt.Errorf("bytes at %q: %w", s, err)
		}
		b.WriteByte(byte(c)) // printed bytes are below 0x80, or \x escapes
		rest = tail
	}
	return "", "", fmt.Errorf("no end of bytes at %q", s)
}
