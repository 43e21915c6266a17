package amqp

import "fmt"

// Roles of a link's end, AMQP 2.8.1. On the wire true is the receiver.
const (
	roleSender   = false
	roleReceiver = true
)

// SenderSettleMode says whether a sender settles before sending. AMQP 2.8.2.
type SenderSettleMode uint8

const (
	SenderUnsettled SenderSettleMode = 0
	SenderSettled   SenderSettleMode = 1
	SenderMixed     SenderSettleMode = 2 // the default
)

// ReceiverSettleMode says whether a receiver settles at once, or after its sender has. AMQP 2.8.3.
type ReceiverSettleMode uint8

const (
	ReceiverFirst  ReceiverSettleMode = 0 // the default
	ReceiverSecond ReceiverSettleMode = 1
)

// Each performative below lists its fields in the order of AMQP 2.7, in its struct, in append and in
// read. A field that is absent is an unset Optional, nil, "" or the default named here, and is written
// as null: lists always have all the specification's fields (see closeFull).

// openFrame negotiates a connection. AMQP 2.7.1.
type openFrame struct {
	ContainerID         string // mandatory
	Hostname            string
	MaxFrameSize        uint32 // absent means 2^32-1
	ChannelMax          uint16 // absent means 65535
	IdleTimeout         Optional[uint32]
	OutgoingLocales     []Symbol
	IncomingLocales     []Symbol
	OfferedCapabilities []Symbol
	DesiredCapabilities []Symbol
	Properties          Map
}

func (f *openFrame) append(dst []byte) ([]byte, error) {
	w := openComposite(dst, descOpen)
	w.text(f.ContainerID)
	w.string(f.Hostname)
	w.uint(f.MaxFrameSize)
	w.ushort(f.ChannelMax)
	w.optUint(f.IdleTimeout)
	w.symbols(f.OutgoingLocales)
	w.symbols(f.IncomingLocales)
	w.symbols(f.OfferedCapabilities)
	w.symbols(f.DesiredCapabilities)
	err := w.mapping(f.Properties)
	return w.closeFull(), err
}

func (f *openFrame) read(r *fieldReader) {
	f.ContainerID = r.string("container-id")
	f.Hostname = r.string("hostname")
	f.MaxFrameSize = r.uint("max-frame-size").Or(1<<32 - 1)
	f.ChannelMax = r.ushort("channel-max").Or(1<<16 - 1)
	f.IdleTimeout = r.uint("idle-time-out")
	f.OutgoingLocales = r.symbols("outgoing-locales")
	f.IncomingLocales = r.symbols("incoming-locales")
	f.OfferedCapabilities = r.symbols("offered-capabilities")
	f.DesiredCapabilities = r.symbols("desired-capabilities")
	f.Properties = r.mapping("properties")
}

// beginFrame begins a session. AMQP 2.7.2.
type beginFrame struct {
	RemoteChannel       Optional[uint16] // set in an answer
	NextOutgoingID      uint32           // mandatory
	IncomingWindow      uint32           // mandatory
	OutgoingWindow      uint32           // mandatory
	HandleMax           uint32           // absent means 2^32-1
	OfferedCapabilities []Symbol
	DesiredCapabilities []Symbol
	Properties          Map
}

func (f *beginFrame) append(dst []byte) ([]byte, error) {
	w := openComposite(dst, descBegin)
	w.optUshort(f.RemoteChannel)
	w.uint(f.NextOutgoingID)
	w.uint(f.IncomingWindow)
	w.uint(f.OutgoingWindow)
	w.uint(f.HandleMax)
	w.symbols(f.OfferedCapabilities)
	w.symbols(f.DesiredCapabilities)
	err := w.mapping(f.Properties)
	return w.closeFull(), err
}

func (f *beginFrame) read(r *fieldReader) {
	f.RemoteChannel = r.ushort("remote-channel")
	f.NextOutgoingID = r.mandatoryUint("next-outgoing-id")
	f.IncomingWindow = r.mandatoryUint("incoming-window")
	f.OutgoingWindow = r.mandatoryUint("outgoing-window")
	f.HandleMax = r.uint("handle-max").Or(1<<32 - 1)
	f.OfferedCapabilities = r.symbols("offered-capabilities")
	f.DesiredCapabilities = r.symbols("desired-capabilities")
	f.Properties = r.mapping("properties")
}

// attachFrame attaches a link to a session. AMQP 2.7.3.
type attachFrame struct {
	Name                 string // mandatory
	Handle               uint32 // mandatory
	Role                 bool   // mandatory
	SndSettleMode        Optional[uint8]
	RcvSettleMode        Optional[uint8]
	Source               *Source
	Target               *Target
	Coordinator          bool // the target is one, and Target is nil
	Unsettled            Map  // read past, since no delivery outlives its link here
	IncompleteUnsettled  bool
	InitialDeliveryCount Optional[uint32] // mandatory from a sender
	MaxMessageSize       uint64           // 0 means no limit
	OfferedCapabilities  []Symbol
	DesiredCapabilities  []Symbol
	Properties           Map
}

func (f *attachFrame) append(dst []byte) ([]byte, error) {
	w := openComposite(dst, descAttach)
	w.text(f.Name)
	w.uint(f.Handle)
	w.bool(f.Role)
	w.optUbyte(f.SndSettleMode)
	w.optUbyte(f.RcvSettleMode)
	err := w.source(f.Source)
	if e := w.target(f.Target); err == nil {
		err = e
	}
	w.null() // unsettled
	w.flag(f.IncompleteUnsettled)
	w.optUint(f.InitialDeliveryCount)
	if f.MaxMessageSize == 0 {
		w.null()
	} else {
		w.ulong(f.MaxMessageSize)
	}
	w.symbols(f.OfferedCapabilities)
	w.symbols(f.DesiredCapabilities)
	if e := w.mapping(f.Properties); err == nil {
		err = e
	}
	return w.closeFull(), err
}

func (f *attachFrame) read(r *fieldReader) {
	f.Name = r.string("name")
	f.Handle = r.mandatoryUint("handle")
	f.Role = r.bool("role", false)
	f.SndSettleMode = r.ubyte("snd-settle-mode")
	f.RcvSettleMode = r.ubyte("rcv-settle-mode")
	f.Source = r.source("source")
	f.Target, f.Coordinator = r.target("target")
	f.Unsettled = r.mapping("unsettled")
	f.IncompleteUnsettled = r.bool("incomplete-unsettled", false)
	f.InitialDeliveryCount = r.uint("initial-delivery-count")
	f.MaxMessageSize = r.ulong("max-message-size").Or(0)
	f.OfferedCapabilities = r.symbols("offered-capabilities")
	f.DesiredCapabilities = r.symbols("desired-capabilities")
	f.Properties = r.mapping("properties")
	if r.err == nil && (f.SndSettleMode.Or(0) > 2 || f.RcvSettleMode.Or(0) > 1) {
		r.err = r.d.malformed("unknown settle mode")
	}
}

// flowFrame updates the windows of a session and the credit of a link. AMQP 2.7.4.
type flowFrame struct {
	NextIncomingID Optional[uint32] // absent before the peer's begin is known
	IncomingWindow uint32           // mandatory
	NextOutgoingID uint32           // mandatory
	OutgoingWindow uint32           // mandatory
	Handle         Optional[uint32] // absent: the session only
	DeliveryCount  Optional[uint32]
	LinkCredit     Optional[uint32]
	Available      Optional[uint32]
	Drain          bool
	Echo           bool
	Properties     Map // read past
}

func (f *flowFrame) append(dst []byte) []byte {
	w := openComposite(dst, descFlow)
	w.optUint(f.NextIncomingID)
	w.uint(f.IncomingWindow)
	w.uint(f.NextOutgoingID)
	w.uint(f.OutgoingWindow)
	w.optUint(f.Handle)
	w.optUint(f.DeliveryCount)
	w.optUint(f.LinkCredit)
	w.optUint(f.Available)
	w.flag(f.Drain)
	w.flag(f.Echo)
	w.null() // properties
	return w.closeFull()
}

func (f *flowFrame) read(r *fieldReader) {
	f.NextIncomingID = r.uint("next-incoming-id")
	f.IncomingWindow = r.mandatoryUint("incoming-window")
	f.NextOutgoingID = r.mandatoryUint("next-outgoing-id")
	f.OutgoingWindow = r.mandatoryUint("outgoing-window")
	f.Handle = r.uint("handle")
	f.DeliveryCount = r.uint("delivery-count")
	f.LinkCredit = r.uint("link-credit")
	f.Available = r.uint("available")
	f.Drain = r.bool("drain", false)
	f.Echo = r.bool("echo", false)
	f.Properties = r.mapping("properties")
}

// transferFrame carries a message or a part of one; the bytes of the message follow it in the frame. AMQP 2.7.5.
type transferFrame struct {
	Handle        uint32           // mandatory
	DeliveryID    Optional[uint32] // mandatory in the first frame of a delivery
	DeliveryTag   []byte           // mandatory in the first frame of a delivery
	MessageFormat Optional[uint32] // mandatory in the first frame of a delivery
	Settled       Optional[bool]
	More          bool
	RcvSettleMode Optional[uint8]
	State         State
	Resume        bool
	Aborted       bool
	Batchable     bool
}

func (f *transferFrame) append(dst []byte) []byte {
	w := openComposite(dst, descTransfer)
	w.uint(f.Handle)
	w.optUint(f.DeliveryID)
	w.binary(f.DeliveryTag)
	w.optUint(f.MessageFormat)
	if f.Settled.Set {
		w.bool(f.Settled.Value)
	} else {
		w.null()
	}
	w.flag(f.More)
	w.optUbyte(f.RcvSettleMode)
	w.state(f.State)
	w.flag(f.Resume)
	w.flag(f.Aborted)
	w.flag(f.Batchable)
	return w.closeFull()
}

func (f *transferFrame) read(r *fieldReader) {
	f.Handle = r.mandatoryUint("handle")
	f.DeliveryID = r.uint("delivery-id")
	f.DeliveryTag = r.binary("delivery-tag")
	f.MessageFormat = r.uint("message-format")
	f.Settled = r.optBool("settled")
	f.More = r.bool("more", false)
	f.RcvSettleMode = r.ubyte("rcv-settle-mode")
	f.State = r.state("state")
	f.Resume = r.bool("resume", false)
	f.Aborted = r.bool("aborted", false)
	f.Batchable = r.bool("batchable", false)
	if r.err == nil && len(f.DeliveryTag) > maxTag {
		r.err = r.d.malformed("delivery-tag of %d bytes", len(f.DeliveryTag))
	}
}

// maxTag is the longest delivery tag. AMQP 2.8.7.
const maxTag = 32

// dispositionFrame tells the state of a range of deliveries. AMQP 2.7.6.
type dispositionFrame struct {
	Role      bool   // mandatory: of the end that sends this frame
	First     uint32 // mandatory
	Last      uint32 // absent means First
	Settled   bool
	State     State
	Batchable bool
}

func (f *dispositionFrame) append(dst []byte) []byte {
	w := openComposite(dst, descDisposition)
	w.bool(f.Role)
	w.uint(f.First)
	if f.Last == f.First {
		w.null()
	} else {
		w.uint(f.Last)
	}
	w.flag(f.Settled)
	w.state(f.State)
	w.flag(f.Batchable)
	return w.closeFull()
}

func (f *dispositionFrame) read(r *fieldReader) {
	f.Role = r.bool("role", false)
	f.First = r.mandatoryUint("first")
	f.Last = r.uint("last").Or(f.First)
	f.Settled = r.bool("settled", false)
	f.State = r.state("state")
	f.Batchable = r.bool("batchable", false)
}

// detachFrame detaches a link, for ever when Closed. AMQP 2.7.7.
type detachFrame struct {
	Handle uint32 // mandatory
	Closed bool
	Error  *Error
}

func (f *detachFrame) append(dst []byte) []byte {
	w := openComposite(dst, descDetach)
	w.uint(f.Handle)
	w.flag(f.Closed)
	w.error(f.Error)
	return w.closeFull()
}

func (f *detachFrame) read(r *fieldReader) {
	f.Handle = r.mandatoryUint("handle")
	f.Closed = r.bool("closed", false)
	f.Error = r.error("error")
}

// endFrame ends a session. AMQP 2.7.8.
type endFrame struct{ Error *Error }

func (f *endFrame) append(dst []byte) []byte {
	w := openComposite(dst, descEnd)
	w.error(f.Error)
	return w.closeFull()
}

func (f *endFrame) read(r *fieldReader) { f.Error = r.error("error") }

// closeFrame closes a connection. AMQP 2.7.9.
type closeFrame struct{ Error *Error }

func (f *closeFrame) append(dst []byte) []byte {
	w := openComposite(dst, descClose)
	w.error(f.Error)
	return w.closeFull()
}

func (f *closeFrame) read(r *fieldReader) { f.Error = r.error("error") }

// saslMechanisms lists what the server offers. AMQP 5.3.3.1.
type saslMechanisms struct{ Mechanisms []Symbol }

func (f *saslMechanisms) append(dst []byte) []byte {
	w := openComposite(dst, descSASLMechanisms)
	w.symbols(f.Mechanisms) // an array even of one: clients test membership in a list
	return w.closeFull()
}

func (f *saslMechanisms) read(r *fieldReader) {
	f.Mechanisms = r.symbols("sasl-server-mechanisms")
}

// saslInit chooses a mechanism. AMQP 5.3.3.2.
type saslInit struct {
	Mechanism       Symbol // mandatory
	InitialResponse []byte
	Hostname        string
}

func (f *saslInit) append(dst []byte) []byte {
	w := openComposite(dst, descSASLInit)
	w.symbol(f.Mechanism)
	w.binary(f.InitialResponse)
	w.string(f.Hostname)
	return w.closeFull()
}

func (f *saslInit) read(r *fieldReader) {
	f.Mechanism = r.symbol("mechanism")
	f.InitialResponse = r.binary("initial-response")
	f.Hostname = r.string("hostname")
	r.require("mechanism", f.Mechanism != "")
}

// Codes of a SASL outcome, AMQP 5.3.3.6.
const (
	saslOK   = 0
	saslAuth = 1
)

// saslOutcome ends the SASL dialogue. AMQP 5.3.3.5.
type saslOutcome struct {
	Code           uint8 // mandatory
	AdditionalData []byte
}

func (f *saslOutcome) append(dst []byte) []byte {
	w := openComposite(dst, descSASLOutcome)
	w.ubyte(f.Code)
	w.binary(f.AdditionalData)
	return w.closeFull()
}

func (f *saslOutcome) read(r *fieldReader) {
	f.Code = r.ubyte("code").Or(0)
	f.AdditionalData = r.binary("additional-data")
}

// performative is anything that stands at the head of a frame.
type performative interface{ read(*fieldReader) }

// readPerformative decodes the list of fields that follows a descriptor, and checks that it is whole.
func readPerformative(d *decoder, p performative) error {
	r := d.openFields()
	p.read(&r)
	if err := r.close(); err != nil {
		return fmt.Errorf("%T: %w", p, err)
	}
	return nil
}

func (r *fieldReader) mandatoryUint(field string) uint32 {
	v := r.uint(field)
	r.require(field, v.Set)
	return v.Value
}

func (r *fieldReader) optBool(field string) Optional[bool] {
	if r.err == nil && r.left > 0 && r.d.remaining() > 0 && r.d.b[r.d.off] == codeNull {
		r.left--
		r.d.off++
		return Optional[bool]{}
	}
	if r.left == 0 {
		return Optional[bool]{}
	}
	return Some(r.bool(field, false))
}
