package mqttfront

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/twinhub/twinhub"
)

// Property bags: name=value pairs joined with &, percent-encoded, at the end of a telemetry topic.
//
//   - A + is a plus. Names are decoded before they are looked at: clients write $.mid and %24.mid.
//   - A name without = is null and one without a value is empty; both become the empty string (docs/compat.md#mqtt).
//   - The last of equal names wins.
//
// Reference: IoT Hub, "Send device-to-cloud messages over MQTT"; RFC 3986.

// systemProperties says where the value of each $. code goes; an application property if it is not here.
var systemProperties = map[string]func(*twinhub.Event, string) error{
	"$.mid":  text(func(ev *twinhub.Event) *string { return &ev.MessageID }),
	"$.cid":  text(func(ev *twinhub.Event) *string { return &ev.CorrelationID }),
	"$.to":   text(func(ev *twinhub.Event) *string { return &ev.To }),
	"$.sub":  text(func(ev *twinhub.Event) *string { return &ev.Subject }),
	"$.ifid": text(func(ev *twinhub.Event) *string { return &ev.InterfaceID }),
	"$.ct":   symbol(func(ev *twinhub.Event) *string { return &ev.ContentType }),
	"$.ce":   symbol(func(ev *twinhub.Event) *string { return &ev.ContentEncoding }),
	"$.uid": func(ev *twinhub.Event, v string) error {
		ev.UserID = []byte(v)
		return nil
	},
	"$.exp": func(ev *twinhub.Event, v string) error {
		if t, err := time.Parse(time.RFC3339, v); err == nil {
			ev.ExpiryTime = t
		}
		return nil
	},
	// Who sends is known, whatever a client writes: the one for Java writes it into each message.
	"$.cdid": ignored,
	"$.cmid": ignored,
}

func ignored(*twinhub.Event, string) error { return nil }

// text sets a field that events carry as a string.
func text(field func(*twinhub.Event) *string) func(*twinhub.Event, string) error {
	return func(ev *twinhub.Event, v string) error {
		*field(ev) = v
		return nil
	}
}

var errSymbol = errors.New("not ASCII")

// symbol sets a field that events carry as an AMQP symbol, which is ASCII. AMQP 1.6.21
func symbol(field func(*twinhub.Event) *string) func(*twinhub.Event, string) error {
	return func(ev *twinhub.Event, v string) error {
		for i := range len(v) {
			if v[i] >= utf8.RuneSelf {
				return errSymbol
			}
		}
		*field(ev) = v
		return nil
	}
}

// renamed are codes that become application properties under another name.
var renamed = map[string]string{
	"$.on":      "iothub-outputname",
	"$.ctime":   "iothub-creation-time-utc",
	"$.schema":  "iothub-message-schema",
	"$.diagid":  "Diagnostic-Id",
	"$.diagctx": "Correlation-Context",
}

// parseBag reads the bag of a topic into ev.
func parseBag(bag string, ev *twinhub.Event) error {
	bag = strings.TrimPrefix(strings.TrimSuffix(bag, "/"), "?")
	var index map[string]int // of ev.Properties by name, once there are many
	for bag != "" {
		var pair string
		pair, bag, _ = strings.Cut(bag, "&")
		if pair == "" {
			continue
		}
		rawName, rawValue, _ := strings.Cut(pair, "=")
		name, err := decodeText(rawName)
		if err != nil {
			return fmt.Errorf("property name: %w", err)
		}
		value, err := decodeText(rawValue)
		if err != nil {
			return fmt.Errorf("value of property %q: %w", clip(name), err)
		}
		if set, ok := systemProperties[name]; ok {
			if err := set(ev, value); err != nil {
				return fmt.Errorf("value of property %q: %w", name, err)
			}
			continue
		}
		if other, ok := renamed[name]; ok {
			name = other
		}
		if index == nil && len(ev.Properties) < manyProperties {
			setProperty(ev, name, value)
			continue
		}
		if index == nil {
			index = make(map[string]int, 2*manyProperties)
			for i, p := range ev.Properties {
				index[p.Name] = i
			}
		}
		if i, ok := index[name]; ok {
			ev.Properties[i].Value = value
			continue
		}
		index[name] = len(ev.Properties)
		ev.Properties = append(ev.Properties, twinhub.Property{Name: name, Value: value})
	}
	return nil
}

// manyProperties is where looking for a name one by one would begin to cost: a topic has room for tens of thousands.
const manyProperties = 32

var errText = errors.New("not percent-encoded UTF-8")

// decodeText decodes a name or value. Events carry them as AMQP strings, which readers refuse unless they are UTF-8.
func decodeText(s string) (string, error) {
	decoded, err := url.PathUnescape(s)
	if err != nil || !utf8.ValidString(decoded) {
		return "", errText
	}
	return decoded, nil
}

// setProperty adds an application property, or replaces the value of the one that has the name.
func setProperty(ev *twinhub.Event, name, value string) {
	for i := range ev.Properties {
		if ev.Properties[i].Name == name {
			ev.Properties[i].Value = value
			return
		}
	}
	ev.Properties = append(ev.Properties, twinhub.Property{Name: name, Value: value})
}
