package mqtt

import "fmt"

// Packet is one MQTT control packet: *Connect, *Connack, *Publish, *Puback, *Subscribe, *Suback,
// *Unsubscribe, *Unsuback, *Pingreq, *Pingresp or *Disconnect. There are no others.
type Packet interface {
	// Type returns which packet this is.
	Type() Type

	// Validate returns nil if the standard allows the packet as it stands, else a *MalformedError that
	// names the broken clause, a *TooLargeError, ErrQoS2 or ErrClientID.
	Validate() error

	// AppendTo appends the packet's bytes to b and returns the longer slice. A packet that Validate
	// refuses is not written at all: b comes back unchanged, so a stream never holds half a packet.
	// Call Validate first where the fields come from elsewhere. Nothing is allocated but b's growth,
	// and the packet is neither changed nor kept.
	AppendTo(b []byte) []byte
}

// Type is the kind of a control packet, as in the upper half of its first byte (section 2.2.1).
type Type byte

const (
	TypeConnect     Type = 1
	TypeConnack     Type = 2
	TypePublish     Type = 3
	TypePuback      Type = 4
	TypePubrec      Type = 5 // QoS 2: always ErrQoS2
	TypePubrel      Type = 6 // QoS 2: always ErrQoS2
	TypePubcomp     Type = 7 // QoS 2: always ErrQoS2
	TypeSubscribe   Type = 8
	TypeSuback      Type = 9
	TypeUnsubscribe Type = 10
	TypeUnsuback    Type = 11
	TypePingreq     Type = 12
	TypePingresp    Type = 13
	TypeDisconnect  Type = 14
)

// String returns the standard's name, as in "PUBLISH"; for the two reserved values "type 0" and "type 15".
func (t Type) String() string {
	if int(t) < len(kinds) && kinds[t].name != "" {
		return kinds[t].name
	}
	return fmt.Sprintf("type %d", byte(t))
}

// QoS is a quality of service: 0 at most once, 1 at least once, 2 exactly once.
type QoS byte

const (
	QoS0 QoS = 0
	QoS1 QoS = 1
	QoS2 QoS = 2 // may be asked for in a SUBSCRIBE or a will; a PUBLISH with it is refused with ErrQoS2
)

// Side is one end of a connection.
type Side byte

const (
	Client Side = 0
	Server Side = 1
)

// String returns "client" or "server".
func (s Side) String() string {
	if s == Client {
		return "client"
	}
	return "server"
}

// MaxRemainingLength is the largest body of a packet that the header can express (section 2.2.3).
const MaxRemainingLength = 1<<28 - 1

const (
	maxHeader = 5           // bytes: the type and four of length
	maxString = 1<<16 - 1   // bytes, after a two-byte length (section 1.5.3) [MQTT-4.7.3-3]
	anyLength = -1          // a kind whose body varies
	byClient  = 1 << Client // who may send a kind (table 2.1)
	byServer  = 1 << Server
	byBoth    = byClient | byServer
	byNobody  = 0
)

// kind is what the first byte of a packet says about the rest.
type kind struct {
	name   string
	sentBy byte
	flags  byte // the only value of the lower half, PUBLISH apart (table 2.2)
	length int  // the only remaining length, or anyLength
	qos2   bool // part of the QoS 2 exchange, which is not spoken here
}

// kinds is tables 2.1 and 2.2 of the standard. The reserved types 0 and 15 have no name and no sender.
var kinds = [16]kind{
	TypeConnect:     {name: "CONNECT", sentBy: byClient, length: anyLength},
	TypeConnack:     {name: "CONNACK", sentBy: byServer, length: 2},
	TypePublish:     {name: "PUBLISH", sentBy: byBoth, length: anyLength},
	TypePuback:      {name: "PUBACK", sentBy: byBoth, length: 2},
	TypePubrec:      {name: "PUBREC", sentBy: byBoth, length: 2, qos2: true},
	TypePubrel:      {name: "PUBREL", sentBy: byBoth, length: 2, qos2: true, flags: 0b0010}, // [MQTT-3.6.1-1]
	TypePubcomp:     {name: "PUBCOMP", sentBy: byBoth, length: 2, qos2: true},
	TypeSubscribe:   {name: "SUBSCRIBE", sentBy: byClient, flags: 0b0010, length: anyLength}, // [MQTT-3.8.1-1]
	TypeSuback:      {name: "SUBACK", sentBy: byServer, length: anyLength},
	TypeUnsubscribe: {name: "UNSUBSCRIBE", sentBy: byClient, flags: 0b0010, length: anyLength}, // [MQTT-3.10.1-1]
	TypeUnsuback:    {name: "UNSUBACK", sentBy: byServer, length: 2},
	TypePingreq:     {name: "PINGREQ", sentBy: byClient},
	TypePingresp:    {name: "PINGRESP", sentBy: byServer},
	TypeDisconnect:  {name: "DISCONNECT", sentBy: byClient}, // [MQTT-3.14.1-1]
}

// flagsClause names the clause that fixes the reserved flags of a kind.
func flagsClause(t Type) string {
	switch t {
	case TypeSubscribe:
		return "MQTT-3.8.1-1"
	case TypeUnsubscribe:
		return "MQTT-3.10.1-1"
	case TypeDisconnect:
		return "MQTT-3.14.1-1"
	}
	return "MQTT-2.2.2-2"
}
