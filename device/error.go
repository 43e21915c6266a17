package device

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/wire/mqtt"
)

// ErrClosed is returned by every call after Close.
var ErrClosed = errors.New("device: the client is closed")

// ErrTooLarge is returned for a message, patch or answer that no hub takes. It is not sent: a hub ends the connection
// that brings it.
var ErrTooLarge = errors.New("device: too large")

// RefusedError is the hub's refusal of a connection.
type RefusedError struct {
	// Code is that of MQTT's CONNACK: 1 protocol version, 2 client id, 3 the hub is not available now, 4 malformed user
	// name or password, 5 not authorised: unknown or disabled device, wrong key, expired token.
	Code byte
}

// Error says why, in MQTT's words.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("the hub refuses the connection: %v (CONNACK %d)", mqtt.ConnectCode(e.Code), e.Code)
}

// Temporary reports whether the same connection may be accepted later.
func (e *RefusedError) Temporary() bool { return mqtt.ConnectCode(e.Code) == mqtt.RefusedUnavailable }

// Error is the hub's refusal of a twin request. Get at it with errors.As.
type Error struct {
	// Status is like one of HTTP: 400 for a patch the hub does not take, 429 when it throttles the device.
	Status int
	// Code is the hub's number, such as 400004; 0 if it gave none.
	Code twinhub.Code
	// Message is for people; TrackingID is for the hub's operators.
	Message    string
	TrackingID string
}

// Error returns numbers and text.
func (e *Error) Error() string {
	text := fmt.Sprintf("the hub answers %d", e.Status)
	if e.Code != 0 {
		text += fmt.Sprintf(" (%d)", int(e.Code))
	}
	if e.Message != "" {
		text += ": " + e.Message
	}
	return text
}

// parseError reads the answer to a twin request whose status is not one of success. A body in another form than
// expected leaves fields empty.
func parseError(status int, body []byte) *Error {
	var form struct {
		Code       int    `json:"errorCode"`
		Message    string `json:"message"`
		TrackingID string `json:"trackingId"`
	}
	e := &Error{Status: status}
	if json.Unmarshal(body, &form) == nil {
		e.Code, e.Message, e.TrackingID = twinhub.Code(form.Code), form.Message, form.TrackingID
	}
	return e
}
