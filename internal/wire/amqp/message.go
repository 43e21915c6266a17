package amqp

import "fmt"

// Message is a bare message with its annotations: the sections of AMQP 3.2. Nil pointers, maps and a
// zero Body are sections that are absent.
type Message struct {
	Header                *Header
	DeliveryAnnotations   Map // symbol keys
	MessageAnnotations    Map // symbol keys
	Properties            *Properties
	ApplicationProperties Map // string keys, simple values
	Body                  Body
	Footer                Map // symbol keys
}

// Header holds the delivery details of a message. AMQP 3.2.1.
type Header struct {
	Durable       bool
	Priority      Optional[uint8]  // absent means 4
	TTL           Optional[uint32] // milliseconds
	FirstAcquirer bool
	DeliveryCount uint32 // unsuccessful attempts before this one
}

// Properties are the standard properties of a message. Empty and nil fields are absent on the wire. AMQP 3.2.4.
type Properties struct {
	MessageID          any // uint64, UUID, []byte or string: echo it as it is
	UserID             []byte
	To                 string
	Subject            string
	ReplyTo            string
	CorrelationID      any // as MessageID
	ContentType        Symbol
	ContentEncoding    Symbol
	AbsoluteExpiryTime Optional[Timestamp]
	CreationTime       Optional[Timestamp]
	GroupID            string
	GroupSequence      Optional[uint32]
	ReplyToGroupID     string
}

// BodyKind says of which sections a body consists.
type BodyKind uint8

const (
	BodyNone     BodyKind = iota
	BodyData              // one or more data sections
	BodyValue             // one amqp-value section
	BodySequence          // one or more amqp-sequence sections
)

// Body is the body of a message; Kind says which of the other fields counts.
type Body struct {
	Kind     BodyKind
	Data     [][]byte
	Value    any
	Sequence []List
}

// DataBody returns a body of one data section.
func DataBody(data []byte) Body { return Body{Kind: BodyData, Data: [][]byte{data}} }

// ValueBody returns a body of one amqp-value section; v may be nil, which is sent as null.
func ValueBody(v any) Body { return Body{Kind: BodyValue, Value: v} }

// Bytes returns the data sections joined, or nil when the body is not data. It aliases the body when
// there is one section.
func (b *Body) Bytes() []byte {
	switch {
	case b.Kind != BodyData:
		return nil
	case len(b.Data) == 1:
		return b.Data[0]
	}
	var all []byte
	for _, p := range b.Data {
		all = append(all, p...)
	}
	return all
}

// AppendMessage appends the sections that m has, in their order. It fails as AppendValue does, and for
// a message-id or correlation-id of a type the specification does not allow.
func AppendMessage(dst []byte, m *Message) ([]byte, error) {
	var err error
	if m.Header != nil {
		dst = appendHeader(dst, m.Header)
	}
	if dst, err = appendMapSection(dst, SectionDeliveryAnnotations, m.DeliveryAnnotations); err != nil {
		return dst, fmt.Errorf("delivery-annotations: %w", err)
	}
	if dst, err = appendMapSection(dst, SectionMessageAnnotations, m.MessageAnnotations); err != nil {
		return dst, fmt.Errorf("message-annotations: %w", err)
	}
	if m.Properties != nil {
		if dst, err = AppendProperties(dst, m.Properties); err != nil {
			return dst, err
		}
	}
	if dst, err = appendMapSection(dst, SectionApplicationProperties, m.ApplicationProperties); err != nil {
		return dst, fmt.Errorf("application-properties: %w", err)
	}
	if dst, err = appendBody(dst, &m.Body); err != nil {
		return dst, fmt.Errorf("body: %w", err)
	}
	if dst, err = appendMapSection(dst, SectionFooter, m.Footer); err != nil {
		return dst, fmt.Errorf("footer: %w", err)
	}
	return dst, nil
}

func appendMapSection(dst []byte, section uint64, m Map) ([]byte, error) {
	if m == nil {
		return dst, nil
	}
	return AppendMap(AppendDescriptor(dst, section), m)
}

func appendHeader(dst []byte, h *Header) []byte {
	w := openComposite(dst, SectionHeader)
	w.flag(h.Durable)
	w.optUbyte(h.Priority)
	w.optUint(h.TTL)
	w.flag(h.FirstAcquirer)
	w.optUint(Optional[uint32]{Value: h.DeliveryCount, Set: h.DeliveryCount != 0})
	return w.close()
}

// AppendProperties appends the properties section. It fails when MessageID or CorrelationID is
// neither nil nor of one of their four types.
func AppendProperties(dst []byte, p *Properties) ([]byte, error) {
	for _, id := range [2]any{p.MessageID, p.CorrelationID} {
		switch id.(type) {
		case nil, uint64, UUID, []byte, string:
		default:
			return dst, fmt.Errorf("properties: a %T is no message id", id)
		}
	}
	w := openComposite(dst, SectionProperties)
	_ = w.value(p.MessageID) // of an encodable type, see above
	w.binary(p.UserID)
	w.string(p.To)
	w.string(p.Subject)
	w.string(p.ReplyTo)
	_ = w.value(p.CorrelationID)
	w.symbol(p.ContentType)
	w.symbol(p.ContentEncoding)
	w.optTimestamp(p.AbsoluteExpiryTime)
	w.optTimestamp(p.CreationTime)
	w.string(p.GroupID)
	w.optUint(p.GroupSequence)
	w.string(p.ReplyToGroupID)
	return w.close(), nil
}

// AppendData appends a data section.
func AppendData(dst, data []byte) []byte {
	return AppendBinary(AppendDescriptor(dst, SectionData), data)
}

func appendBody(dst []byte, b *Body) ([]byte, error) {
	var err error
	switch b.Kind {
	case BodyData:
		for _, data := range b.Data {
			dst = AppendData(dst, data)
		}
	case BodyValue:
		return AppendValue(AppendDescriptor(dst, SectionValue), b.Value)
	case BodySequence:
		for _, list := range b.Sequence {
			if dst, err = AppendValue(AppendDescriptor(dst, SectionSequence), list); err != nil {
				return dst, err
			}
		}
	}
	return dst, nil
}
