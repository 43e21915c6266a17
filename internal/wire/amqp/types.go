package amqp

// The Go type of a value is its AMQP type, so that a value can be sent back exactly as it came:
//
//	null nil            boolean bool        ubyte..ulong uint8..uint64   byte..long int8..int64
//	float float32       double float64      char Char                    timestamp Timestamp
//	uuid UUID           binary []byte       string string                symbol Symbol
//	list List           map Map             array of symbol []Symbol     array of string []string
//	other arrays Array  described Described decimal32/64/128 Decimal32, Decimal64, Decimal128

// Symbol is a symbolic value: an identifier in ASCII. AMQP 1.6.21.
type Symbol string

// Char is one Unicode code point. AMQP 1.6.16.
type Char rune

// Timestamp is a point in time: milliseconds since 1970-01-01T00:00:00Z, negative before it. AMQP 1.6.17.
type Timestamp int64

// UUID is a universally unique id, its bytes in network order (RFC 4122). AMQP 1.6.18.
type UUID [16]byte

// Decimal32 holds the bits of an IEEE 754-2008 decimal32, kept but not interpreted. AMQP 1.6.13.
type Decimal32 [4]byte

// Decimal64 holds the bits of an IEEE 754-2008 decimal64, kept but not interpreted. AMQP 1.6.14.
type Decimal64 [8]byte

// Decimal128 holds the bits of an IEEE 754-2008 decimal128, kept but not interpreted. AMQP 1.6.15.
type Decimal128 [16]byte

// Described is a value with a descriptor, normally a Symbol or uint64, that says what it stands for. AMQP 1.3.2.
type Described struct {
	Descriptor any
	Value      any
}

// List is a sequence of values of any types. AMQP 1.6.22.
type List []any

// Entry is one key and its value.
type Entry struct {
	Key   any
	Value any
}

// Map is a sequence of keys and values in their order on the wire; it does not look for equal keys.
// A nil Map in a struct means that the field or section is absent. AMQP 1.6.23.
type Map []Entry

// Get returns the value of the first entry whose key is the symbol or the string name.
func (m Map) Get(name string) (value any, ok bool) {
	for i := range m {
		switch key := m[i].Key.(type) {
		case Symbol:
			if string(key) == name {
				return m[i].Value, true
			}
		case string:
			if key == name {
				return m[i].Value, true
			}
		}
	}
	return nil, false
}

// Array is a sequence of values of one type, other than symbols and strings, which are []Symbol and
// []string. Code is the constructor of every element, the widest of its type (0x81 for long), so that
// an empty array keeps its type; Descriptor is nil unless the elements are described. AMQP 1.6.24.
type Array struct {
	Code       byte
	Descriptor any
	Items      []any
}

// Optional is a value that may be absent. The zero Optional is absent.
type Optional[T any] struct {
	Value T
	Set   bool
}

// Some returns an Optional that is present.
func Some[T any](v T) Optional[T] { return Optional[T]{Value: v, Set: true} }

// Or returns the value, or def when it is absent.
func (o Optional[T]) Or(def T) T {
	if o.Set {
		return o.Value
	}
	return def
}

// Format codes, AMQP 1.6. A name without a width is the form that holds every value of its type.
const (
	codeDescribed  = 0x00
	codeNull       = 0x40
	codeTrue       = 0x41
	codeFalse      = 0x42
	codeUint0      = 0x43
	codeUlong0     = 0x44
	codeList0      = 0x45
	codeUbyte      = 0x50
	codeByte       = 0x51
	codeSmallUint  = 0x52
	codeSmallUlong = 0x53
	codeSmallInt   = 0x54
	codeSmallLong  = 0x55
	codeBool       = 0x56
	codeUshort     = 0x60
	codeShort      = 0x61
	codeUint       = 0x70
	codeInt        = 0x71
	codeFloat      = 0x72
	codeChar       = 0x73
	codeDecimal32  = 0x74
	codeUlong      = 0x80
	codeLong       = 0x81
	codeDouble     = 0x82
	codeTimestamp  = 0x83
	codeDecimal64  = 0x84
	codeDecimal128 = 0x94
	codeUUID       = 0x98
	codeBinary8    = 0xa0
	codeString8    = 0xa1
	codeSymbol8    = 0xa3
	codeBinary     = 0xb0
	codeString     = 0xb1
	codeSymbol     = 0xb3
	codeList8      = 0xc0
	codeMap8       = 0xc1
	codeList       = 0xd0
	codeMap        = 0xd1
	codeArray8     = 0xe0
	codeArray      = 0xf0
)
