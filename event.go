package twinhub

import "time"

// A Source says which kind of event the hub made; the words are those of the iothub-message-source annotation.
type Source string

// The sources that routes can name. Reference: IoT Hub, "Message routing", data sources.
const (
	Telemetry         Source = "Telemetry"
	TwinChange        Source = "twinChangeEvents"
	DigitalTwinChange Source = "digitalTwinChangeEvents"
	DeviceLifecycle   Source = "deviceLifecycleEvents"
	ConnectionState   Source = "deviceConnectionStateEvents"
	JobLifecycle      Source = "deviceJobLifecycleEvents"
)

// A Property is one application property of a message. Properties keep their order.
type Property struct{ Name, Value string }

// An Event is a message on its way to readers. An empty string, zero time or nil slice means that the event does not
// carry the field.
type Event struct {
	// ID is who the event came from or is about.
	ID     ID
	Source Source

	// MessageID to CreationTime are the AMQP properties of the message.
	MessageID       string
	UserID          []byte
	To              string
	CorrelationID   string
	ContentType     string
	ContentEncoding string
	ExpiryTime      time.Time
	CreationTime    time.Time

	// AuthMethod and GenerationID tell how the sender of telemetry was authenticated, and which life of its identity.
	AuthMethod   string
	GenerationID string
	// EnqueuedTime is when the hub took the message in, in whole milliseconds.
	EnqueuedTime time.Time
	// Subject is the component that sent telemetry, DataSchema the model id the device announced, InterfaceID the
	// value of the iothub-interface-id code.
	Subject     string
	DataSchema  string
	InterfaceID string

	Properties []Property
	Body       []byte
}

// CeilMilli rounds t up to a whole millisecond. Times that travel as AMQP timestamps are rounded so, because an
// instant noted later with more digits must not seem to lie before one noted earlier.
func CeilMilli(t time.Time) time.Time {
	if r := t.Truncate(time.Millisecond); !r.Equal(t) {
		return r.Add(time.Millisecond)
	}
	return t
}

// FormatTime writes t as documents show it: UTC, up to seven decimals (ticks of 100 ns) with zeros cut, then Z.
// The zero time is 0001-01-01T00:00:00Z.
func FormatTime(t time.Time) string {
	return t.UTC().Truncate(Tick).Format("2006-01-02T15:04:05.9999999Z07:00")
}

// FormatOperationTime writes t as operationTimestamp shows it: UTC, exactly seven decimals, +00:00.
func FormatOperationTime(t time.Time) string {
	return t.UTC().Format("2006-01-02T15:04:05.0000000") + "+00:00"
}

// Tick is the resolution of times in documents.
const Tick = 100 * time.Nanosecond
