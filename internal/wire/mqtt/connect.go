package mqtt

import (
	"encoding/binary"
	"time"
)

// The one protocol spoken here (sections 3.1.2.1 and 3.1.2.2).
const (
	protocolName  = "MQTT"
	protocolLevel = 4
)

// The bits of CONNECT's flags (section 3.1.2.3).
const (
	flagReserved = 1 << iota
	flagCleanSession
	flagWill
	flagWillQoS
	_
	flagWillRetain
	flagPassword
	flagUsername

	willQoSBits = 3 * flagWillQoS
)

// Connect asks the server for a session (section 3.1). Protocol name and level are not fields: they are
// always "MQTT" and 4, since any other CONNECT is a *ProtocolVersionError.
//
// A decoded Connect shares no memory with its Reader and may be kept.
type Connect struct {
	CleanSession bool
	KeepAlive    time.Duration // whole seconds from 0, which turns it off, to 65,535 s
	ClientID     string        // may be empty only with CleanSession, else ErrClientID
	Will         *Will         // nil: none

	HasUsername bool // false: absent, which is not the same as empty; Username is then ignored
	Username    string
	HasPassword bool   // true only with HasUsername; false: Password is ignored
	Password    []byte // at most 65,535 bytes
}

// Will is the message the server publishes when the client is gone without a DISCONNECT.
type Will struct {
	Topic   string
	Payload []byte // at most 65,535 bytes
	QoS     QoS    // 2 is allowed by this package; a server that cannot serve it refuses the Connect
	Retain  bool
}

// Type returns TypeConnect.
func (p *Connect) Type() Type { return TypeConnect }

// Validate implements Packet.
func (p *Connect) Validate() error {
	bad := func(clause, reason string) error {
		return &MalformedError{Type: TypeConnect, Clause: clause, Reason: reason}
	}
	if p.KeepAlive < 0 || p.KeepAlive > maxKeepAlive || p.KeepAlive%time.Second != 0 {
		return bad("section 3.1.2.10", "keep alive is not whole seconds from 0 to 65,535")
	}
	if clause, reason := checkString(p.ClientID); reason != "" {
		return bad(clause, reason+" (client id)") // [MQTT-3.1.3-4]
	}
	if w := p.Will; w != nil {
		if w.QoS > QoS2 {
			return bad("MQTT-3.1.2-14", "will QoS is 3")
		}
		if clause, reason := checkTopic(w.Topic); reason != "" {
			return bad(clause, reason+" (will)") // [MQTT-3.1.3-10]
		}
		if len(w.Payload) > maxString {
			return bad("section 3.1.3.3", "will message longer than 65,535 bytes")
		}
	}
	if p.HasUsername {
		if clause, reason := checkString(p.Username); reason != "" {
			return bad(clause, reason+" (username)") // [MQTT-3.1.3-11]
		}
	}
	if p.HasPassword {
		if !p.HasUsername {
			return bad("MQTT-3.1.2-22", "password without a username")
		}
		if len(p.Password) > maxString {
			return bad("section 3.1.3.5", "password longer than 65,535 bytes")
		}
	}
	if p.ClientID == "" && !p.CleanSession { // [MQTT-3.1.3-7] [MQTT-3.1.3-8]
		return ErrClientID
	}
	return nil
}

const maxKeepAlive = (1<<16 - 1) * time.Second

// AppendTo implements Packet.
func (p *Connect) AppendTo(b []byte) []byte {
	if p.Validate() != nil {
		return b
	}
	var flags byte
	length := 2 + len(protocolName) + 1 + 1 + 2 + 2 + len(p.ClientID)
	if p.CleanSession {
		flags |= flagCleanSession
	}
	if w := p.Will; w != nil { // [MQTT-3.1.2-9]
		flags |= flagWill | byte(w.QoS)*flagWillQoS
		if w.Retain {
			flags |= flagWillRetain
		}
		length += 2 + len(w.Topic) + 2 + len(w.Payload)
	}
	if p.HasUsername { // [MQTT-3.1.2-18] [MQTT-3.1.2-19]
		flags |= flagUsername
		length += 2 + len(p.Username)
	}
	if p.HasPassword { // [MQTT-3.1.2-20] [MQTT-3.1.2-21]
		flags |= flagPassword
		length += 2 + len(p.Password)
	}
	b = appendHeader(b, TypeConnect, 0, length)
	b = appendString(b, protocolName)
	b = append(b, protocolLevel, flags)
	b = binary.BigEndian.AppendUint16(b, uint16(p.KeepAlive/time.Second))
	b = appendString(b, p.ClientID) // the order of the payload [MQTT-3.1.3-1] [MQTT-3.1.3-3]
	if w := p.Will; w != nil {
		b = appendString(b, w.Topic)
		b = appendString(b, w.Payload)
	}
	if p.HasUsername {
		b = appendString(b, p.Username)
	}
	if p.HasPassword {
		b = appendString(b, p.Password)
	}
	return b
}

func decodeConnect(body []byte) (*Connect, error) {
	c := cursor{body: body, of: TypeConnect}
	name, level := c.bytes("protocol name"), c.uint8("protocol level")
	if c.err != nil {
		return nil, c.err
	}
	if string(name) != protocolName || level != protocolLevel { // [MQTT-3.1.2-1] [MQTT-3.1.2-2]
		return nil, &ProtocolVersionError{Name: string(name[:min(len(name), 16)]), Level: level}
	}
	flags := c.uint8("flags")
	switch {
	case flags&flagReserved != 0:
		c.malformed("MQTT-3.1.2-3", "reserved flag is set")
	case flags&flagWill == 0 && flags&willQoSBits != 0: // [MQTT-3.1.2-11]
		c.malformed("MQTT-3.1.2-13", "will QoS without a will")
	case flags&flagWill == 0 && flags&flagWillRetain != 0: // [MQTT-3.1.2-11]
		c.malformed("MQTT-3.1.2-15", "will retain without a will")
	}
	p := &Connect{
		CleanSession: flags&flagCleanSession != 0,
		KeepAlive:    time.Duration(c.uint16("keep alive")) * time.Second,
		ClientID:     c.string("client id"), // [MQTT-3.1.3-3]
		HasUsername:  flags&flagUsername != 0,
		HasPassword:  flags&flagPassword != 0,
	}
	if flags&flagWill != 0 { // [MQTT-3.1.2-9]
		p.Will = &Will{
			Topic:   c.string("will topic"),
			Payload: append([]byte{}, c.bytes("will message")...),
			QoS:     QoS(flags & willQoSBits / flagWillQoS),
			Retain:  flags&flagWillRetain != 0,
		}
	}
	if p.HasUsername { // [MQTT-3.1.2-19]
		p.Username = c.string("username")
	}
	if p.HasPassword { // [MQTT-3.1.2-21]
		p.Password = append([]byte{}, c.bytes("password")...)
	}
	if err := c.finish(); err != nil { // [MQTT-3.1.2-18] [MQTT-3.1.2-20]
		return nil, err
	}
	return p, p.Validate()
}

// ConnectCode is the verdict in a CONNACK (table 3.1).
type ConnectCode byte

const (
	Accepted             ConnectCode = 0
	RefusedVersion       ConnectCode = 1 // protocol version; see ProtocolVersionError.AppendConnack
	RefusedIdentifier    ConnectCode = 2 // client id
	RefusedUnavailable   ConnectCode = 3 // the server cannot serve now
	RefusedCredentials   ConnectCode = 4 // username or password malformed
	RefusedNotAuthorized ConnectCode = 5
)

// String returns the standard's wording.
func (c ConnectCode) String() string {
	switch c {
	case Accepted:
		return "accepted"
	case RefusedVersion:
		return "unacceptable protocol version"
	case RefusedIdentifier:
		return "identifier rejected"
	case RefusedUnavailable:
		return "server unavailable"
	case RefusedCredentials:
		return "bad user name or password"
	case RefusedNotAuthorized:
		return "not authorized"
	}
	return "reserved code"
}

// Connack answers a Connect (section 3.2). After any code but Accepted the server closes the connection
// [MQTT-3.2.2-5].
type Connack struct {
	SessionPresent bool // only with Accepted
	Code           ConnectCode
}

// Type returns TypeConnack.
func (p *Connack) Type() Type { return TypeConnack }

// Validate implements Packet.
func (p *Connack) Validate() error {
	if p.Code > RefusedNotAuthorized {
		return &MalformedError{Type: TypeConnack, Clause: "section 3.2.2.3", Reason: "reserved return code"}
	}
	if p.SessionPresent && p.Code != Accepted {
		return &MalformedError{Type: TypeConnack, Clause: "MQTT-3.2.2-4", Reason: "session present in a refusal"}
	}
	return nil
}

// AppendTo implements Packet.
func (p *Connack) AppendTo(b []byte) []byte {
	if p.Validate() != nil {
		return b
	}
	var flags byte
	if p.SessionPresent {
		flags = 1
	}
	return append(appendHeader(b, TypeConnack, 0, 2), flags, byte(p.Code))
}

func decodeConnack(body []byte) (*Connack, error) {
	c := cursor{body: body, of: TypeConnack}
	flags, code := c.uint8("flags"), c.uint8("return code")
	if flags&^1 != 0 {
		c.malformed("section 3.2.2.1", "reserved flag is set")
	}
	if err := c.finish(); err != nil {
		return nil, err
	}
	p := &Connack{SessionPresent: flags == 1, Code: ConnectCode(code)}
	return p, p.Validate()
}
