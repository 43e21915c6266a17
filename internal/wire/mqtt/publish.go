package mqtt

import "encoding/binary"

// The flags of PUBLISH (section 3.3.1).
const (
	flagRetain  = 1 << 0
	publishQoS  = 1 << 1 // two bits
	flagDup     = 1 << 3
	publishMask = 3 * publishQoS
)

// Publish carries an application message, either way (section 3.3).
//
// A decoded Publish and its Payload belong to the Reader until its next ReadPacket: copy what must live
// longer. Topic is an ordinary string and may be kept.
type Publish struct {
	Dup     bool // a second attempt; only with QoS 1
	QoS     QoS  // 0 or 1; 2 is ErrQoS2
	Retain  bool
	Topic   string // without wildcards, see ValidTopic
	ID      uint16 // 1 to 65,535 with QoS 1; with QoS 0 decoded as 0 and ignored by AppendTo
	Payload []byte // may be empty
}

// Type returns TypePublish.
func (p *Publish) Type() Type { return TypePublish }

// Validate implements Packet.
func (p *Publish) Validate() error {
	switch {
	case p.QoS == QoS2:
		return ErrQoS2
	case p.QoS > QoS2:
		return &MalformedError{Type: TypePublish, Clause: "MQTT-3.3.1-4", Reason: "QoS is 3"}
	case p.QoS == QoS0 && p.Dup:
		return &MalformedError{Type: TypePublish, Clause: "MQTT-3.3.1-2", Reason: "DUP with QoS 0"}
	case p.QoS == QoS1 && p.ID == 0:
		return checkID(TypePublish, p.ID)
	}
	if clause, reason := checkTopic(p.Topic); reason != "" {
		return &MalformedError{Type: TypePublish, Clause: clause, Reason: reason}
	}
	return checkLength(TypePublish, p.length())
}

// length returns the remaining length.
func (p *Publish) length() int {
	n := 2 + len(p.Topic) + len(p.Payload)
	if p.QoS > QoS0 {
		n += 2
	}
	return n
}

// AppendTo implements Packet.
func (p *Publish) AppendTo(b []byte) []byte {
	if p.Validate() != nil {
		return b
	}
	flags := byte(p.QoS) * publishQoS
	if p.Dup {
		flags |= flagDup
	}
	if p.Retain {
		flags |= flagRetain
	}
	b = appendHeader(b, TypePublish, flags, p.length())
	b = appendString(b, p.Topic)
	if p.QoS > QoS0 { // [MQTT-2.3.1-5]
		b = binary.BigEndian.AppendUint16(b, p.ID)
	}
	return append(b, p.Payload...)
}

// decode fills p from the flags of the header and a body, which Payload then shares.
func (p *Publish) decode(flags byte, body []byte) error {
	c := cursor{body: body, of: TypePublish}
	*p = Publish{
		Dup:    flags&flagDup != 0,
		QoS:    QoS(flags & publishMask / publishQoS),
		Retain: flags&flagRetain != 0,
		Topic:  c.string("topic"), // [MQTT-3.3.2-1]
	}
	if p.QoS > QoS0 { // [MQTT-2.3.1-5]
		p.ID = c.uint16("packet id")
	}
	if c.err != nil {
		return c.err
	}
	p.Payload = c.body[:len(c.body):len(c.body)] // the rest, and an append to it copies
	return p.Validate()
}

// Puback confirms the Publish with QoS 1 of the same ID, either way (section 3.4) [MQTT-2.3.1-6].
//
// A decoded Puback belongs to the Reader until its next ReadPacket.
type Puback struct {
	ID uint16 // 1 to 65,535
}

// Type returns TypePuback.
func (p *Puback) Type() Type { return TypePuback }

// Validate implements Packet.
func (p *Puback) Validate() error { return checkID(TypePuback, p.ID) }

// AppendTo implements Packet.
func (p *Puback) AppendTo(b []byte) []byte {
	if p.Validate() != nil {
		return b
	}
	return appendID(b, TypePuback, p.ID)
}

func (p *Puback) decode(body []byte) error {
	c := cursor{body: body, of: TypePuback}
	p.ID = c.uint16("packet id")
	if err := c.finish(); err != nil {
		return err
	}
	return p.Validate()
}
