package mqtt

import "encoding/binary"

// MaxFilters is the most topic filters a SUBSCRIBE or an UNSUBSCRIBE may hold. A filter takes three or four
// bytes on the wire and ten times that once decoded, so a packet's length alone would not bound the memory.
const MaxFilters = 1024

// Subscribe asks for the topics that match filters (section 3.8). A decoded one may be kept.
type Subscribe struct {
	ID            uint16         // 1 to 65,535
	Subscriptions []Subscription // 1 to MaxFilters, in the order in which Suback.Codes answers
}

// Subscription is one filter with the largest QoS its messages may have.
type Subscription struct {
	Filter string // see ValidFilter
	QoS    QoS    // 0 to 2
}

// Type returns TypeSubscribe.
func (p *Subscribe) Type() Type { return TypeSubscribe }

// Validate implements Packet.
func (p *Subscribe) Validate() error {
	if err := checkID(TypeSubscribe, p.ID); err != nil {
		return err
	}
	if err := checkCount(TypeSubscribe, "MQTT-3.8.3-3", len(p.Subscriptions)); err != nil {
		return err
	}
	for _, s := range p.Subscriptions {
		if s.QoS > QoS2 {
			return &MalformedError{Type: TypeSubscribe, Clause: "MQTT-3.8.3-4", Reason: "QoS is not 0, 1 or 2"}
		}
		if clause, reason := checkFilter(s.Filter); reason != "" { // [MQTT-3.8.3-1]
			return &MalformedError{Type: TypeSubscribe, Clause: clause, Reason: reason}
		}
	}
	return nil // MaxFilters strings cannot pass MaxRemainingLength
}

// AppendTo implements Packet.
func (p *Subscribe) AppendTo(b []byte) []byte {
	if p.Validate() != nil {
		return b
	}
	length := 2
	for _, s := range p.Subscriptions {
		length += 2 + len(s.Filter) + 1
	}
	b = appendHeader(b, TypeSubscribe, kinds[TypeSubscribe].flags, length) // [MQTT-3.8.1-1]
	b = binary.BigEndian.AppendUint16(b, p.ID)
	for _, s := range p.Subscriptions {
		b = append(appendString(b, s.Filter), byte(s.QoS))
	}
	return b
}

func decodeSubscribe(body []byte) (*Subscribe, error) {
	c := cursor{body: body, of: TypeSubscribe}
	p := &Subscribe{ID: c.uint16("packet id")}
	for c.err == nil && len(c.body) > 0 {
		if len(p.Subscriptions) == MaxFilters {
			return nil, checkCount(TypeSubscribe, "", MaxFilters+1)
		}
		filter, qos := c.string("topic filter"), c.uint8("requested QoS")
		p.Subscriptions = append(p.Subscriptions, Subscription{filter, QoS(qos)})
	}
	if err := c.finish(); err != nil {
		return nil, err
	}
	return p, p.Validate()
}

// checkCount refuses an empty list of filters, by the clause given, and one longer than MaxFilters.
func checkCount(t Type, clause string, n int) error {
	switch {
	case n == 0:
		return &MalformedError{Type: t, Clause: clause, Reason: "no topic filter"}
	case n > MaxFilters:
		return &TooLargeError{Type: t, Unit: "filters", Size: n, Limit: MaxFilters}
	}
	return nil
}

// SubackFailure in Suback.Codes refuses a filter. The other codes are the granted QoS: 0, 1 or 2.
const SubackFailure = 0x80

// Suback answers a Subscribe (section 3.9).
type Suback struct {
	ID    uint16 // of the Subscribe [MQTT-2.3.1-7]
	Codes []byte // one for each filter, in its order [MQTT-3.9.3-1]; a decoded one may be kept
}

// Type returns TypeSuback.
func (p *Suback) Type() Type { return TypeSuback }

// Validate implements Packet.
func (p *Suback) Validate() error {
	if err := checkID(TypeSuback, p.ID); err != nil {
		return err
	}
	if err := checkCount(TypeSuback, "MQTT-3.8.4-5", len(p.Codes)); err != nil {
		return err
	}
	for _, code := range p.Codes {
		if code > byte(QoS2) && code != SubackFailure {
			return &MalformedError{Type: TypeSuback, Clause: "MQTT-3.9.3-2", Reason: "reserved return code"}
		}
	}
	return nil
}

// AppendTo implements Packet.
func (p *Suback) AppendTo(b []byte) []byte {
	if p.Validate() != nil {
		return b
	}
	b = appendHeader(b, TypeSuback, 0, 2+len(p.Codes))
	b = binary.BigEndian.AppendUint16(b, p.ID)
	return append(b, p.Codes...)
}

func decodeSuback(body []byte) (*Suback, error) {
	c := cursor{body: body, of: TypeSuback}
	p := &Suback{ID: c.uint16("packet id")}
	if c.err != nil {
		return nil, c.err
	}
	p.Codes = append(p.Codes, c.body...)
	return p, p.Validate()
}
