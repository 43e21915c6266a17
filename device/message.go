package device

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	// maxMessageBytes bounds a message: body, values of system properties, names and values of application properties.
	// Reference: IoT Hub, "Quotas and throttling", device-to-cloud messages.
	maxMessageBytes = 256 << 10
	// maxPayloadBytes bounds a method's answer. Reference: IoT Hub, "Direct methods".
	maxPayloadBytes = 128 << 10
	// maxTopicBytes is MQTT's limit of a string.
	maxTopicBytes = 65535
)

// Message is one piece of telemetry. What is empty is not sent.
type Message struct {
	Body []byte
	// ContentType and ContentEncoding describe the body. Routes can look into it only with application/json and utf-8.
	ContentType     string
	ContentEncoding string
	MessageID       string
	CorrelationID   string
	UserID          string
	// Component is the DTDL component that sends; empty means the default component.
	Component string
	// CreationTime is when the message was made.
	CreationTime time.Time
	// Properties are the application properties. Names that begin with "$." are the hub's and are refused.
	Properties map[string]string
}

// JSONMessage returns a message with v as JSON: content type application/json, encoding utf-8. A json.RawMessage goes in
// as it is.
func JSONMessage(v any) (Message, error) {
	body, err := encode(v)
	if err != nil {
		return Message{}, fmt.Errorf("device: %w", err)
	}
	return Message{Body: body, ContentType: "application/json", ContentEncoding: "utf-8"}, nil
}

// topic returns the topic that carries the message's properties. Fields are in a fixed order, application properties in
// the order of their names.
func (m *Message) topic(prefix string) (string, error) {
	var b strings.Builder
	b.WriteString(prefix)
	b.WriteString("/messages/events/")
	size, first := len(m.Body), true
	add := func(key, value string) {
		if !first {
			b.WriteByte('&')
		}
		first = false
		b.WriteString(escape(key))
		b.WriteByte('=')
		b.WriteString(escape(value))
		size += len(value)
	}
	created := ""
	if !m.CreationTime.IsZero() {
		created = m.CreationTime.UTC().Format("2006-01-02T15:04:05.0000000Z")
	}
	for _, p := range [...]struct{ key, value string }{
		{"$.mid", m.MessageID}, {"$.cid", m.CorrelationID}, {"$.uid", m.UserID}, {"$.ct", m.ContentType},
		{"$.ce", m.ContentEncoding}, {"$.sub", m.Component}, {"$.ctime", created},
	} {
		if p.value != "" {
			add(p.key, p.value)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(m.Properties)) {
		switch {
		case key == "":
			return "", errors.New("an application property has no name")
		case strings.HasPrefix(key, "$."):
			return "", fmt.Errorf("application property %q: names that begin with $. are the hub's", key)
		}
		size += len(key)
		add(key, m.Properties[key])
	}
	switch {
	case !utf8.ValidString(prefix):
		return "", errors.New("an id is not UTF-8")
	case size > maxMessageBytes:
		return "", fmt.Errorf("%w: body and properties have %d bytes, the limit is %d", ErrTooLarge, size, maxMessageBytes)
	case b.Len() > maxTopicBytes:
		return "", fmt.Errorf("%w: encoded properties have %d bytes, the limit is %d", ErrTooLarge, b.Len(), maxTopicBytes)
	}
	return b.String(), nil
}

// escape percent-encodes every byte but the unreserved ones of RFC 3986.
func escape(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		switch ch := s[i]; {
		case 'a' <= ch && ch <= 'z', 'A' <= ch && ch <= 'Z', '0' <= ch && ch <= '9', ch == '-', ch == '.', ch == '_', ch == '~':
			b.WriteByte(ch)
		default:
			b.WriteByte('%')
			b.WriteByte(hex[ch>>4])
			b.WriteByte(hex[ch&15])
		}
	}
	return b.String()
}

// encode returns v as JSON: a json.RawMessage unchanged, if it is valid, anything else by encoding/json without its
// escaping for HTML.
func encode(v any) ([]byte, error) {
	if raw, ok := v.(json.RawMessage); ok && raw != nil {
		if !json.Valid(raw) {
			return nil, errors.New("encode JSON: the json.RawMessage is not valid")
		}
		return raw, nil
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("encode JSON: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
