package amqp

import "fmt"

// maxBodySections bounds the data or sequence sections of one message: an empty one takes 5 bytes on
// the wire and 24 in memory. Batches of telemetry use one section a message.
const maxBodySections = 1 << 14

// DecodeMessage decodes the sections of a message. Binary values and data alias b; all else is copied.
// It fails with ErrMalformed when b is not a message: unknown sections, sections twice or out of
// order, mixed kinds of body, values of the wrong type, or the bounds of DecodeValue.
func DecodeMessage(b []byte) (*Message, error) {
	m := &Message{}
	d := newDecoder(b)
	last := uint64(0)
	for d.remaining() > 0 {
		section, err := d.descriptor()
		if err != nil {
			return nil, fmt.Errorf("message section: %w", err)
		}
		repeats := section == last && (section == SectionData || section == SectionSequence)
		isBody := section >= SectionData && section <= SectionValue
		switch {
		case section < SectionHeader || section > SectionFooter:
			return nil, d.malformed("unknown message section 0x%x", section)
		case section <= last && !repeats:
			return nil, d.malformed("message section 0x%x after 0x%x", section, last)
		case isBody && last >= SectionData && !repeats:
			return nil, d.malformed("a second kind of body, 0x%x after 0x%x", section, last)
		}
		last = section
		if err := m.decodeSection(&d, section); err != nil {
			return nil, fmt.Errorf("message section 0x%x: %w", section, err)
		}
	}
	return m, nil
}

func (m *Message) decodeSection(d *decoder, section uint64) (err error) {
	switch section {
	case SectionHeader:
		m.Header = &Header{}
		return m.Header.read(d)
	case SectionDeliveryAnnotations:
		m.DeliveryAnnotations, err = d.optionalMap()
	case SectionMessageAnnotations:
		m.MessageAnnotations, err = d.optionalMap()
	case SectionProperties:
		m.Properties = &Properties{}
		return m.Properties.read(d)
	case SectionApplicationProperties:
		m.ApplicationProperties, err = d.optionalMap()
	case SectionFooter:
		m.Footer, err = d.optionalMap()
	default:
		return m.Body.read(d, section)
	}
	return err
}

func (h *Header) read(d *decoder) error {
	r := d.openFields()
	h.Durable = r.bool("durable", false)
	h.Priority = r.ubyte("priority")
	h.TTL = r.uint("ttl")
	h.FirstAcquirer = r.bool("first-acquirer", false)
	h.DeliveryCount = r.uint("delivery-count").Or(0)
	return r.close()
}

func (p *Properties) read(d *decoder) error {
	r := d.openFields()
	p.MessageID = r.messageID("message-id")
	p.UserID = r.binary("user-id")
	p.To = r.string("to")
	p.Subject = r.string("subject")
	p.ReplyTo = r.string("reply-to")
	p.CorrelationID = r.messageID("correlation-id")
	p.ContentType = r.symbol("content-type")
	p.ContentEncoding = r.symbol("content-encoding")
	p.AbsoluteExpiryTime = r.timestamp("absolute-expiry-time")
	p.CreationTime = r.timestamp("creation-time")
	p.GroupID = r.string("group-id")
	p.GroupSequence = r.uint("group-sequence")
	p.ReplyToGroupID = r.string("reply-to-group-id")
	return r.close()
}

// messageID reads an id of one of the four types of AMQP 3.2.11 to 3.2.14, or nil.
func (r *fieldReader) messageID(field string) any {
	v := r.value()
	switch v.(type) {
	case nil, uint64, UUID, []byte, string:
		return v
	}
	if r.err == nil {
		r.err = r.d.malformed("field %s is a %T", field, v)
	}
	return nil
}

func (b *Body) read(d *decoder, section uint64) error {
	code, err := d.take1()
	if err != nil {
		return err
	}
	switch section {
	case SectionData:
		if code != codeBinary8 && code != codeBinary {
			return d.malformed("data of code 0x%02x", code)
		}
		data, err := d.octets(code == codeBinary8)
		if err != nil {
			return err
		}
		if len(b.Data) == maxBodySections {
			return d.malformed("more than %d data sections", maxBodySections)
		}
		b.Kind, b.Data = BodyData, append(b.Data, data)
	case SectionSequence:
		if code != codeList0 && code != codeList8 && code != codeList {
			return d.malformed("sequence of code 0x%02x", code)
		}
		v, err := d.body(code, 0)
		if err != nil {
			return err
		}
		if len(b.Sequence) == maxBodySections {
			return d.malformed("more than %d sequence sections", maxBodySections)
		}
		list, _ := v.(List)
		b.Kind, b.Sequence = BodySequence, append(b.Sequence, list)
	case SectionValue:
		d.off--
		b.Kind = BodyValue
		b.Value, err = d.value(0)
		return err
	}
	return nil
}
