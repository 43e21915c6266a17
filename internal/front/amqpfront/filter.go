package amqpfront

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/twinhub/twinhub/internal/eventlog"
	"github.com/twinhub/twinhub/internal/wire/amqp"
)

// Start positions: the filter apache.org:selector-filter:string of a source, whatever its descriptor, holds
//
//	amqp.annotation.NAME > 'VALUE'     or >=, and the value with or without quotes
//
// where NAME is x-opt-offset (VALUE a decimal, -1 for the oldest event, @latest for what comes after the attach),
// x-opt-sequence-number, x-opt-enqueued-time or x-opt-enqueuedtimeutc (Unix milliseconds).
//
//   - No filter means the oldest event. A start older than what is kept means the oldest event kept; one past the end
//     means the end.
//   - Offsets compare as numbers.

// selectorFilter is the key of the filter in the source's filter set.
const selectorFilter = "apache.org:selector-filter:string"

// selectorCode is its registered descriptor.
const selectorCode = 0x0000468C00000004

// parseStart reads the start position from the filters of a source.
func parseStart(filters amqp.Map) (eventlog.Start, error) {
	value, ok := findSelector(filters)
	if !ok {
		return eventlog.Start{}, nil
	}
	text, ok := value.(string)
	if !ok {
		return eventlog.Start{}, fmt.Errorf("the filter is a %T, not a string", value)
	}
	return parseSelector(text)
}

// findSelector returns the value of the selector filter: by its key, which official clients give it, or else by its
// descriptor, since AMQP leaves the key to the client. AMQP 3.5.8.
func findSelector(filters amqp.Map) (value any, ok bool) {
	if value, ok = filters.Get(selectorFilter); ok {
		if d, described := value.(amqp.Described); described {
			value = d.Value
		}
		return value, true
	}
	for _, f := range filters {
		d, described := f.Value.(amqp.Described)
		if described && (d.Descriptor == amqp.Symbol(selectorFilter) || d.Descriptor == uint64(selectorCode)) {
			return d.Value, true
		}
	}
	return nil, false
}

func parseSelector(text string) (eventlog.Start, error) {
	fail := func() (eventlog.Start, error) {
		return eventlog.Start{}, fmt.Errorf("the filter %q is not of the form amqp.annotation.NAME > 'VALUE'", text)
	}
	fields := strings.Fields(text)
	if len(fields) != 3 || fields[1] != ">" && fields[1] != ">=" {
		return fail()
	}
	name, ok := strings.CutPrefix(fields[0], "amqp.annotation.")
	if !ok {
		return fail()
	}
	value := fields[2]
	if len(value) >= 2 && value[0] == '\'' && value[len(value)-1] == '\'' {
		value = value[1 : len(value)-1]
	}
	start := eventlog.Start{Inclusive: fields[1] == ">="}
	if name == "x-opt-offset" {
		switch value {
		case "-1":
			return eventlog.Start{}, nil
		case "@latest":
			start.From = eventlog.Latest
			return start, nil
		}
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return fail()
	}
	switch name {
	case "x-opt-offset":
		if n < eventlog.FirstOffset {
			return eventlog.Start{}, nil // before the first
		}
		start.From, start.Offset = eventlog.AtOffset, uint64(n-eventlog.FirstOffset)
	case "x-opt-sequence-number":
		start.From, start.Number = eventlog.AtNumber, uint64(n)
	case "x-opt-enqueued-time", "x-opt-enqueuedtimeutc":
		start.From, start.Time = eventlog.AtTime, time.UnixMilli(min(max(n, -maxMilli), maxMilli))
		return start, nil
	default:
		return fail()
	}
	if n < 0 {
		return eventlog.Start{}, nil // before the first
	}
	return start, nil
}

// maxMilli keeps times within what time.Time can add to.
const maxMilli = math.MaxInt64 / int64(2*time.Millisecond)
