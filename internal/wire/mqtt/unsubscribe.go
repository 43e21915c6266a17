package mqtt

import "encoding/binary"

// Unsubscribe ends subscriptions, each named by exactly the filter that made it (section 3.10). A decoded
// one may be kept.
type Unsubscribe struct {
	ID      uint16   // 1 to 65,535
	Filters []string // 1 to MaxFilters
}

// Type returns TypeUnsubscribe.
func (p *Unsubscribe) Type() Type { return TypeUnsubscribe }

// Validate implements Packet.
func (p *Unsubscribe) Validate() error {
	if err := checkID(TypeUnsubscribe, p.ID); err != nil {
		return err
	}
	if err := checkCount(TypeUnsubscribe, "MQTT-3.10.3-2", len(p.Filters)); err != nil {
		return err
	}
	for _, f := range p.Filters {
		if clause, reason := checkFilter(f); reason != "" { // [MQTT-3.10.3-1]
			return &MalformedError{Type: TypeUnsubscribe, Clause: clause, Reason: reason}
		}
	}
	return nil
}

// AppendTo implements Packet.
func (p *Unsubscribe) AppendTo(b []byte) []byte {
	if p.Validate() != nil {
		return b
	}
	length := 2
	for _, f := range p.Filters {
		length += 2 + len(f)
	}
	b = appendHeader(b, TypeUnsubscribe, kinds[TypeUnsubscribe].flags, length) // [MQTT-3.10.1-1]
	b = binary.BigEndian.AppendUint16(b, p.ID)
	for _, f := range p.Filters {
		b = appendString(b, f)
	}
	return b
}

func decodeUnsubscribe(body []byte) (*Unsubscribe, error) {
	c := cursor{body: body, of: TypeUnsubscribe}
	p := &Unsubscribe{ID: c.uint16("packet id")}
	for c.err == nil && len(c.body) > 0 {
		if len(p.Filters) == MaxFilters {
			return nil, checkCount(TypeUnsubscribe, "", MaxFilters+1)
		}
		p.Filters = append(p.Filters, c.string("topic filter"))
	}
	if err := c.finish(); err != nil {
		return nil, err
	}
	return p, p.Validate()
}

// Unsuback answers an Unsubscribe, whether or not the subscriptions existed (section 3.11).
type Unsuback struct {
	ID uint16 // of the Unsubscribe [MQTT-2.3.1-7]
}

// Type returns TypeUnsuback.
func (p *Unsuback) Type() Type { return TypeUnsuback }

// Validate implements Packet.
func (p *Unsuback) Validate() error { return checkID(TypeUnsuback, p.ID) }

// AppendTo implements Packet.
func (p *Unsuback) AppendTo(b []byte) []byte {
	if p.Validate() != nil {
		return b
	}
	return appendID(b, TypeUnsuback, p.ID)
}

func decodeUnsuback(body []byte) (*Unsuback, error) {
	c := cursor{body: body, of: TypeUnsuback}
	p := &Unsuback{ID: c.uint16("packet id")}
	if err := c.finish(); err != nil {
		return nil, err
	}
	return p, p.Validate()
}
