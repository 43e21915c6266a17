package amqp

// Descriptors of performatives, AMQP 2.7.
const (
	descOpen        = 0x10
	descBegin       = 0x11
	descAttach      = 0x12
	descFlow        = 0x13
	descTransfer    = 0x14
	descDisposition = 0x15
	descDetach      = 0x16
	descEnd         = 0x17
	descClose       = 0x18
	descError       = 0x1d
)

// Descriptors of delivery states and termini, AMQP 3.4, 3.5 and 4.5.
const (
	descReceived    = 0x23
	descAccepted    = 0x24
	descRejected    = 0x25
	descReleased    = 0x26
	descModified    = 0x27
	descSource      = 0x28
	descTarget      = 0x29
	descCoordinator = 0x30
)

// Descriptors of SASL frames, AMQP 5.3.3.
const (
	descSASLMechanisms = 0x40
	descSASLInit       = 0x41
	descSASLOutcome    = 0x44
)

// Descriptors of the sections of a message in their order, AMQP 3.2. Use them with AppendDescriptor.
const (
	SectionHeader                = 0x70
	SectionDeliveryAnnotations   = 0x71
	SectionMessageAnnotations    = 0x72
	SectionProperties            = 0x73
	SectionApplicationProperties = 0x74
	SectionData                  = 0x75
	SectionSequence              = 0x76
	SectionValue                 = 0x77
	SectionFooter                = 0x78
)

// namedDescriptor returns the number of a descriptor given by its symbolic name, which the
// specification allows everywhere, or 0.
func namedDescriptor(name string) uint64 {
	switch name {
	case "amqp:open:list":
		return descOpen
	case "amqp:begin:list":
		return descBegin
	case "amqp:attach:list":
		return descAttach
	case "amqp:flow:list":
		return descFlow
	case "amqp:transfer:list":
		return descTransfer
	case "amqp:disposition:list":
		return descDisposition
	case "amqp:detach:list":
		return descDetach
	case "amqp:end:list":
		return descEnd
	case "amqp:close:list":
		return descClose
	case "amqp:error:list":
		return descError
	case "amqp:received:list":
		return descReceived
	case "amqp:accepted:list":
		return descAccepted
	case "amqp:rejected:list":
		return descRejected
	case "amqp:released:list":
		return descReleased
	case "amqp:modified:list":
		return descModified
	case "amqp:source:list":
		return descSource
	case "amqp:target:list":
		return descTarget
	case "amqp:coordinator:list":
		return descCoordinator
	case "amqp:sasl-mechanisms:list":
		return descSASLMechanisms
	case "amqp:sasl-init:list":
		return descSASLInit
	case "amqp:sasl-outcome:list":
		return descSASLOutcome
	case "amqp:header:list":
		return SectionHeader
	case "amqp:delivery-annotations:map":
		return SectionDeliveryAnnotations
	case "amqp:message-annotations:map":
		return SectionMessageAnnotations
	case "amqp:properties:list":
		return SectionProperties
	case "amqp:application-properties:map":
		return SectionApplicationProperties
	case "amqp:data:binary":
		return SectionData
	case "amqp:amqp-sequence:list":
		return SectionSequence
	case "amqp:amqp-value:*":
		return SectionValue
	case "amqp:footer:map":
		return SectionFooter
	}
	return 0
}
