package amqp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unicode/utf8"
)

// ErrMalformed is wrapped by every error about bytes that are not valid AMQP, or exceed a decoder's bounds.
var ErrMalformed = errors.New("malformed AMQP data")

const (
	// maxDepth bounds nested lists, maps, arrays and descriptors. Real documents (a twin has 10 levels)
	// stay far below; the decoder calls itself once a level, and a megabyte of 0x00 must not grow the stack.
	maxDepth = 32

	// maxValues bounds the values one decoding makes inside compounds. A value of one byte becomes 16 or
	// more in memory, so that without it a megabyte of nulls would take dozens of megabytes.
	maxValues = 1 << 16
)

// DecodeValue decodes the first value of b and returns what follows it. Binary values alias b; all
// others are copies. It fails with ErrMalformed for unknown codes, lengths beyond b, text that is not
// UTF-8, nesting deeper than 32, and more than 65,536 values.
func DecodeValue(b []byte) (v any, rest []byte, err error) {
	d := newDecoder(b)
	if v, err = d.value(0); err != nil {
		return nil, nil, err
	}
	return v, b[d.off:], nil
}

// decoder reads values from b one after the other. Every length is compared with what is left of b
// before it is used.
type decoder struct {
	b      []byte // narrowed to the content of the innermost compound
	off    int
	budget int // values that may still be made inside compounds
}

func newDecoder(b []byte) decoder { return decoder{b: b, budget: maxValues} }

func (d *decoder) malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s at byte %d", ErrMalformed, fmt.Sprintf(format, args...), d.off)
}

func (d *decoder) remaining() int { return len(d.b) - d.off }

func (d *decoder) spend(values int) error {
	if values > d.budget {
		return d.malformed("more than %d values", maxValues)
	}
	d.budget -= values
	return nil
}

func (d *decoder) take(n int) ([]byte, error) {
	if n > d.remaining() {
		return nil, d.malformed("%d bytes wanted, %d left", n, d.remaining())
	}
	p := d.b[d.off : d.off+n : d.off+n]
	d.off += n
	return p, nil
}

func (d *decoder) take1() (byte, error) {
	if d.remaining() < 1 {
		return 0, d.malformed("value ends early")
	}
	d.off++
	return d.b[d.off-1], nil
}

func (d *decoder) take32() (uint32, error) {
	p, err := d.take(4)
	if err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint32(p), nil
}

func (d *decoder) take64() (uint64, error) {
	p, err := d.take(8)
	if err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint64(p), nil
}

// octets reads a length of one or four bytes, and that many bytes. The result aliases the input.
func (d *decoder) octets(narrow bool) ([]byte, error) {
	if narrow {
		n, err := d.take1()
		if err != nil {
			return nil, err
		}
		return d.take(int(n))
	}
	n, err := d.take32()
	if err != nil {
		return nil, err
	}
	if !checkCount(n) {
		return nil, d.malformed("length %d", n)
	}
	return d.take(int(n))
}

// text is octets for strings and symbols. Symbols are held to UTF-8 only: clients put user text there.
func (d *decoder) text(narrow bool) ([]byte, error) {
	p, err := d.octets(narrow)
	if err == nil && !utf8.Valid(p) {
		return nil, d.malformed("text is not UTF-8")
	}
	return p, err
}

// openCompound reads size and count, and narrows the decoder to the content; closeCompound undoes it.
func (d *decoder) openCompound(code, narrow byte) (saved []byte, count int, err error) {
	var size, n uint32
	if code == narrow {
		p, err := d.take(2)
		if err != nil {
			return nil, 0, err
		}
		size, n = uint32(p[0])-1, uint32(p[1])
		if p[0] == 0 {
			return nil, 0, d.malformed("compound of size 0")
		}
	} else {
		if size, err = d.take32(); err != nil {
			return nil, 0, err
		}
		if n, err = d.take32(); err != nil {
			return nil, 0, err
		}
		if size < 4 {
			return nil, 0, d.malformed("compound of size %d", size)
		}
		size -= 4
	}
	if !checkCount(size) || !checkCount(n) || int(size) > d.remaining() {
		return nil, 0, d.malformed("compound of %d bytes, %d left", size, d.remaining())
	}
	saved = d.b
	d.b = d.b[:d.off+int(size)]
	return saved, int(n), nil
}

func (d *decoder) closeCompound(saved []byte) error {
	if d.remaining() != 0 {
		return d.malformed("%d bytes after the last item of a compound", d.remaining())
	}
	d.b = saved
	return nil
}

// value decodes one value with its constructor.
func (d *decoder) value(depth int) (any, error) {
	code, err := d.take1()
	if err != nil {
		return nil, err
	}
	if code != codeDescribed {
		return d.body(code, depth)
	}
	if depth >= maxDepth {
		return nil, d.malformed("nested deeper than %d", maxDepth)
	}
	descriptor, err := d.value(depth + 1)
	if err != nil {
		return nil, err
	}
	v, err := d.value(depth + 1)
	if err != nil {
		return nil, err
	}
	return Described{Descriptor: descriptor, Value: v}, nil
}

// body decodes what follows the constructor code.
func (d *decoder) body(code byte, depth int) (any, error) {
	switch code {
	case codeNull:
		return nil, nil
	case codeTrue:
		return true, nil
	case codeFalse:
		return false, nil
	case codeUint0:
		return uint32(0), nil
	case codeUlong0:
		return uint64(0), nil
	case codeList0:
		return List{}, nil
	case codeBinary8, codeBinary:
		return boxed(d.octets(code == codeBinary8))
	case codeString8, codeString:
		p, err := d.text(code == codeString8)
		return string(p), err
	case codeSymbol8, codeSymbol:
		p, err := d.text(code == codeSymbol8)
		return Symbol(p), err
	case codeList8, codeList, codeMap8, codeMap, codeArray8, codeArray:
		if depth >= maxDepth {
			return nil, d.malformed("nested deeper than %d", maxDepth)
		}
		switch code {
		case codeList8, codeList:
			return boxed(d.list(code, depth))
		case codeMap8, codeMap:
			return boxed(d.mapping(code, depth))
		}
		return d.array(code, depth)
	}
	if !knownCode(code) {
		return nil, d.malformed("unknown format code 0x%02x", code)
	}
	p, err := d.take(fixedWidth(code))
	if err != nil {
		return nil, err
	}
	return d.fixed(code, p)
}

func boxed[T any](v T, err error) (any, error) { return v, err }

// fixed interprets the bytes of a value of one, two, four, eight or sixteen bytes.
func (d *decoder) fixed(code byte, p []byte) (any, error) {
	switch code {
	case codeUbyte:
		return p[0], nil
	case codeByte:
		return int8(p[0]), nil
	case codeSmallUint:
		return uint32(p[0]), nil
	case codeSmallUlong:
		return uint64(p[0]), nil
	case codeSmallInt:
		return int32(int8(p[0])), nil
	case codeSmallLong:
		return int64(int8(p[0])), nil
	case codeBool:
		if p[0] > 1 {
			return nil, d.malformed("boolean 0x%02x", p[0])
		}
		return p[0] == 1, nil
	case codeUshort:
		return binary.BigEndian.Uint16(p), nil
	case codeShort:
		return int16(binary.BigEndian.Uint16(p)), nil
	case codeUint:
		return binary.BigEndian.Uint32(p), nil
	case codeInt:
		return int32(binary.BigEndian.Uint32(p)), nil
	case codeFloat:
		return math.Float32frombits(binary.BigEndian.Uint32(p)), nil
	case codeChar:
		return Char(binary.BigEndian.Uint32(p)), nil
	case codeDecimal32:
		return Decimal32(p), nil
	case codeUlong:
		return binary.BigEndian.Uint64(p), nil
	case codeLong:
		return int64(binary.BigEndian.Uint64(p)), nil
	case codeDouble:
		return math.Float64frombits(binary.BigEndian.Uint64(p)), nil
	case codeTimestamp:
		return Timestamp(binary.BigEndian.Uint64(p)), nil
	case codeDecimal64:
		return Decimal64(p), nil
	case codeDecimal128:
		return Decimal128(p), nil
	}
	return UUID(p), nil
}

// items checks a count of values of at least one byte each, before anything is made for them.
func (d *decoder) items(count int) error {
	if count > d.remaining() {
		return d.malformed("%d items in %d bytes", count, d.remaining())
	}
	return d.spend(count)
}

func (d *decoder) list(code byte, depth int) (List, error) {
	saved, count, err := d.openCompound(code, codeList8)
	if err != nil {
		return nil, err
	}
	if err := d.items(count); err != nil {
		return nil, err
	}
	out := make(List, count)
	for i := range out {
		if out[i], err = d.value(depth + 1); err != nil {
			return nil, err
		}
	}
	return out, d.closeCompound(saved)
}

func (d *decoder) mapping(code byte, depth int) (Map, error) {
	saved, count, err := d.openCompound(code, codeMap8)
	if err != nil {
		return nil, err
	}
	if count%2 != 0 {
		return nil, d.malformed("map with a key without value")
	}
	if err := d.items(count); err != nil {
		return nil, err
	}
	out := make(Map, count/2)
	for i := range out {
		if out[i].Key, err = d.value(depth + 1); err != nil {
			return nil, err
		}
		if out[i].Value, err = d.value(depth + 1); err != nil {
			return nil, err
		}
	}
	return out, d.closeCompound(saved)
}

// optionalMap decodes a map or null, which is nil.
func (d *decoder) optionalMap() (Map, error) {
	code, err := d.take1()
	if err != nil {
		return nil, err
	}
	switch code {
	case codeNull:
		return nil, nil
	case codeMap8, codeMap:
		return d.mapping(code, 0)
	}
	return nil, d.malformed("map wanted, code 0x%02x found", code)
}
