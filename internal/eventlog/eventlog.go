// Package eventlog is the built-in endpoint's storage: it turns events into the AMQP messages that Event Hubs clients
// read, keeps them in the logs of the engine's partitions, and finds where a reader starts. It does not know who
// reads. docs/format/event.md draws the bytes of a record.
package eventlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/engine"
	"github.com/twinhub/twinhub/internal/wire/amqp"
)

// Name is the log of the built-in endpoint.
const Name = "events"

// version begins every record.
const version = 1

// Encode returns the record of an event. The caller owns it.
func Encode(ev *twinhub.Event) []byte {
	return AppendRecord(make([]byte, 0, 800+len(ev.Body)+64*len(ev.Properties)), ev)
}

// AppendRecord appends the record of an event to record.
//
// What readers' decoders would fail on never gets into a log, where it would stop every reader that comes by: bytes
// that are no UTF-8 become U+FFFD, and characters of content type and encoding that are no ASCII become question marks.
func AppendRecord(record []byte, ev *twinhub.Event) []byte {
	annotations := make([]byte, 0, 512)
	count := 0
	text := func(name amqp.Symbol, value string) {
		if value != "" {
			annotations = amqp.AppendString(amqp.AppendSymbol(annotations, name), validText(value))
			count++
		}
	}
	text("iothub-connection-device-id", ev.ID.Device)
	text("iothub-connection-module-id", ev.ID.Module)
	text("iothub-connection-auth-method", ev.AuthMethod)
	text("iothub-connection-auth-generation-id", ev.GenerationID)
	annotations = amqp.AppendSymbol(annotations, "iothub-enqueuedtime")
	annotations = amqp.AppendTimestamp(annotations, amqp.Timestamp(ev.EnqueuedTime.UnixMilli()))
	count++
	text("iothub-message-source", string(ev.Source))
	text("iothub-interface-id", ev.InterfaceID)
	text("dt-subject", ev.Subject)
	text("dt-dataschema", ev.DataSchema)

	record = append(record, version)
	record = binary.AppendUvarint(record, uint64(count))
	record = binary.AppendUvarint(record, uint64(len(annotations)))
	record = append(record, annotations...)
	record = appendProperties(record, ev)
	record = appendApplicationProperties(record, ev.Properties)
	return amqp.AppendData(record, ev.Body)
}

// appendProperties appends the properties section, or nothing when no field is present.
func appendProperties(b []byte, ev *twinhub.Event) []byte {
	p := amqp.Properties{
		To:          validText(ev.To),
		ContentType: validSymbol(ev.ContentType), ContentEncoding: validSymbol(ev.ContentEncoding),
		AbsoluteExpiryTime: timestamp(ev.ExpiryTime), CreationTime: timestamp(ev.CreationTime),
	}
	if len(ev.UserID) > 0 {
		p.UserID = ev.UserID
	}
	present := p.UserID != nil || ev.To != "" || ev.ContentType != "" || ev.ContentEncoding != "" ||
		p.AbsoluteExpiryTime.Set || p.CreationTime.Set
	if ev.MessageID != "" {
		p.MessageID, present = validText(ev.MessageID), true
	}
	if ev.CorrelationID != "" {
		p.CorrelationID, present = validText(ev.CorrelationID), true
	}
	if !present {
		return b
	}
	b, _ = amqp.AppendProperties(b, &p) // fails only for ids that are no strings
	return b
}

// validText returns s with what is no UTF-8 replaced.
func validText(s string) string {
	if utf8.ValidString(s) { // many times faster than ToValidUTF8
		return s
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// validSymbol returns s as a symbol, with what is no ASCII replaced. AMQP 1.6.21.
func validSymbol(s string) amqp.Symbol {
	for i := range len(s) {
		if s[i] > unicode.MaxASCII {
			return amqp.Symbol(strings.Map(func(r rune) rune {
				if r > unicode.MaxASCII {
					return '?'
				}
				return r
			}, s))
		}
	}
	return amqp.Symbol(s)
}

func timestamp(t time.Time) amqp.Optional[amqp.Timestamp] {
	return amqp.Optional[amqp.Timestamp]{Value: amqp.Timestamp(t.UnixMilli()), Set: !t.IsZero()}
}

// appendApplicationProperties appends the section, or nothing when there are no properties. AMQP 3.2.5.
func appendApplicationProperties(b []byte, properties []twinhub.Property) []byte {
	if len(properties) == 0 {
		return b
	}
	b = amqp.AppendDescriptor(b, amqp.SectionApplicationProperties)
	b, mark := amqp.OpenMap(b)
	for _, p := range properties {
		b = amqp.AppendString(amqp.AppendString(b, validText(p.Name)), validText(p.Value))
	}
	return amqp.CloseMap(b, mark, len(properties))
}

var errRecord = errors.New("event record of an unknown form")

// AppendMessage appends to b the AMQP message that a reader of the record gets. It fails on a record that Encode of
// this version did not write.
func AppendMessage(b []byte, r engine.Record) ([]byte, error) {
	v := r.Value
	if len(v) == 0 || v[0] != version {
		return b, fmt.Errorf("record %d: %w", r.Number, errRecord)
	}
	v = v[1:]
	count, n := binary.Uvarint(v)
	if n <= 0 || count > maxAnnotations {
		return b, fmt.Errorf("record %d: annotation count: %w", r.Number, errRecord)
	}
	v = v[n:]
	size, n := binary.Uvarint(v)
	if n <= 0 || size > uint64(len(v)-n) {
		return b, fmt.Errorf("record %d: annotation size: %w", r.Number, errRecord)
	}
	annotations, rest := v[n:n+int(size)], v[n+int(size):]

	b = amqp.AppendDescriptor(b, amqp.SectionMessageAnnotations)
	b, mark := amqp.OpenMap(b)
	b = append(b, annotations...)
	b = amqp.AppendLong(amqp.AppendSymbol(b, "x-opt-sequence-number"), int64(r.Number))
	b = amqp.AppendString(amqp.AppendSymbol(b, "x-opt-offset"), FormatOffset(r.Offset))
	b = amqp.AppendTimestamp(amqp.AppendSymbol(b, "x-opt-enqueued-time"), amqp.Timestamp(r.Time.UnixMilli()))
	b = amqp.CloseMap(b, mark, int(count)+3)
	return append(b, rest...), nil
}

// maxAnnotations is how many annotations Encode can write.
const maxAnnotations = 9

// FirstOffset is the offset that readers see of the first event of a log. It is not zero so that no offset ever equals
// its event's sequence number: a client that takes one for the other fails with its first event, not with its second.
const FirstOffset = 1024

// FormatOffset writes the offset of a record as readers see it.
func FormatOffset(offset uint64) string { return strconv.FormatUint(FirstOffset+offset, 10) }
