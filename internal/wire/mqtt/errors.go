package mqtt

import (
	"errors"
	"fmt"
)

// Each of these ends the connection. After ErrProtocolVersion and ErrClientID the standard wants a CONNACK
// first; after the others it wants none [MQTT-3.1.4-1] [MQTT-4.8.0-1].
var (
	// ErrMalformed is what every *MalformedError is: the bytes are no packet of MQTT 3.1.1.
	ErrMalformed = errors.New("mqtt: malformed packet")

	// ErrTooLarge is what every *TooLargeError is: the packet may be right, but a limit was passed.
	ErrTooLarge = errors.New("mqtt: packet too large")

	// ErrProtocolVersion is what every *ProtocolVersionError is.
	ErrProtocolVersion = errors.New("mqtt: protocol version not supported")

	// ErrClientID: a CONNECT with an empty client id and CleanSession 0. The answer is CONNACK with
	// RefusedIdentifier, then close [MQTT-3.1.3-7] [MQTT-3.1.3-8].
	ErrClientID = errors.New("mqtt: an empty client id needs a clean session [MQTT-3.1.3-8]")

	// ErrQoS2: a PUBLISH with QoS 2, or a PUBREC, PUBREL or PUBCOMP. The standard has no negative answer,
	// so the connection is closed; a Reader refuses such a packet at its first byte.
	ErrQoS2 = errors.New("mqtt: QoS 2 is not supported")

	// ErrWrongSide: a packet that only the other side may send, such as a CONNACK from a client
	// (table 2.1).
	ErrWrongSide = errors.New("mqtt: packet from the wrong side")
)

// MalformedError says which rule a packet breaks. errors.Is(err, ErrMalformed) holds.
type MalformedError struct {
	Type   Type
	Clause string // as in "MQTT-2.2.2-2", or "section 2.2.3" where the standard has no number
	Reason string // the rule that was broken, without any of the packet's content
}

// Error returns the packet's name, the reason and the clause; never a byte of what was sent, which may be a
// password.
func (e *MalformedError) Error() string {
	return fmt.Sprintf("mqtt: malformed %v: %s [%s]", e.Type, e.Reason, e.Clause)
}

// Unwrap returns ErrMalformed.
func (e *MalformedError) Unwrap() error { return ErrMalformed }

// TooLargeError says which limit a packet passes. errors.Is(err, ErrTooLarge) holds.
type TooLargeError struct {
	Type  Type
	Unit  string // what was counted: "bytes" of remaining length, or "filters"
	Size  int    // a Reader stops counting filters at the first that is too many
	Limit int    // the largest Size allowed
}

// Error returns the packet's name, its size and the limit.
func (e *TooLargeError) Error() string {
	return fmt.Sprintf("mqtt: %v too large: %d %s, limit %d", e.Type, e.Size, e.Unit, e.Limit)
}

// Unwrap returns ErrTooLarge.
func (e *TooLargeError) Unwrap() error { return ErrTooLarge }

// ProtocolVersionError is a CONNECT of another protocol version: MQTT 5 ("MQTT", 5), MQTT 3.1 ("MQIsdp", 3)
// or anything else that is not ("MQTT", 4). Nothing after the level has been looked at.
// errors.Is(err, ErrProtocolVersion) holds. AppendConnack writes the answer.
type ProtocolVersionError struct {
	Name  string // cut after 16 bytes
	Level byte
}

// Error returns the name and the level the client sent.
func (e *ProtocolVersionError) Error() string {
	return fmt.Sprintf("mqtt: protocol %q level %d not supported, want \"MQTT\" level 4", e.Name, e.Level)
}

// Unwrap returns ErrProtocolVersion.
func (e *ProtocolVersionError) Unwrap() error { return ErrProtocolVersion }

// AppendConnack appends the CONNACK that tells this client why it is refused, to be sent before the
// connection is closed [MQTT-3.1.2-1] [MQTT-3.1.2-2].
//
// A client of level 5 gets the CONNACK of MQTT 5 (sections 3.1.2.2 and 3.2 there): reason code 0x84,
// Unsupported Protocol Version, and an empty property list. MQTT 5 gives its CONNACK a property length that
// the two-byte body of 3.1.1 lacks, so a strict client of level 5 reads the old form as a malformed packet
// and reports that instead of the version. Everyone else gets return code 1 in the form that MQTT 3.1
// and 3.1.1 share.
func (e *ProtocolVersionError) AppendConnack(b []byte) []byte {
	if e.Name == protocolName && e.Level == 5 {
		return append(b, byte(TypeConnack)<<4, 3, 0, 0x84, 0)
	}
	return append(b, byte(TypeConnack)<<4, 2, 0, byte(RefusedVersion))
}
