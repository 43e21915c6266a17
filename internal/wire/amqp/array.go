package amqp

import (
	"encoding/binary"
	"fmt"
	"math"
)

// appendArray appends an array other than one of symbols or strings; every element has the wide form.
func appendArray(dst []byte, a Array, depth int) ([]byte, error) {
	if wideCode(a.Code) != a.Code {
		return dst, fmt.Errorf("encode array: 0x%02x is not the widest code of a type", a.Code)
	}
	mark := len(dst)
	dst = append(dst, codeArray, 0, 0, 0, 0, 0, 0, 0, 0)
	var err error
	if a.Descriptor != nil {
		if dst, err = appendValue(append(dst, codeDescribed), a.Descriptor, depth+1); err != nil {
			return dst, err
		}
	}
	dst = append(dst, a.Code)
	for _, item := range a.Items {
		if dst, err = appendElement(dst, a.Code, item, depth+1); err != nil {
			return dst, err
		}
	}
	return closeCompound(dst, mark, codeArray8, len(a.Items)), nil
}

// appendElement appends an array element: the wide form of v without its constructor.
func appendElement(dst []byte, code byte, v any, depth int) ([]byte, error) {
	mismatch := func() ([]byte, error) {
		return dst, fmt.Errorf("encode array: a %T among elements of code 0x%02x", v, code)
	}
	start := len(dst)
	switch v := v.(type) {
	case uint32:
		if code == codeUint {
			return binary.BigEndian.AppendUint32(dst, v), nil
		}
		return mismatch()
	case int32:
		if code == codeInt {
			return binary.BigEndian.AppendUint32(dst, uint32(v)), nil
		}
		return mismatch()
	case uint64:
		if code == codeUlong {
			return binary.BigEndian.AppendUint64(dst, v), nil
		}
		return mismatch()
	case int64:
		if code == codeLong {
			return binary.BigEndian.AppendUint64(dst, uint64(v)), nil
		}
		return mismatch()
	case bool:
		if code != codeBool {
			return mismatch()
		}
		if v {
			return append(dst, 1), nil
		}
		return append(dst, 0), nil
	case nil:
		if code == codeNull {
			return dst, nil
		}
		return mismatch()
	}
	out, err := appendValue(dst, v, depth)
	if err != nil {
		return dst, err
	}
	if wideCode(out[start]) != code {
		return mismatch()
	}
	return widen(out, start), nil
}

// widen turns the value at start, the last of dst, into an array element: its constructor goes, and
// one-byte sizes and counts grow to four bytes. The value is no integer or boolean.
func widen(dst []byte, start int) []byte {
	var head [8]byte
	skip, grow := 1, 0
	switch code := dst[start]; code {
	case codeList0:
		grow = 8
		binary.BigEndian.PutUint32(head[:], 4)
	case codeBinary8, codeString8, codeSymbol8:
		skip, grow = 2, 4
		binary.BigEndian.PutUint32(head[:], uint32(dst[start+1]))
	case codeList8, codeMap8, codeArray8:
		skip, grow = 3, 8
		binary.BigEndian.PutUint32(head[:], uint32(dst[start+1])-1+4)
		binary.BigEndian.PutUint32(head[4:], uint32(dst[start+2]))
	}
	end := len(dst)
	dst = append(dst, head[:]...)
	copy(dst[start+grow:], dst[start+skip:end])
	copy(dst[start:], head[:grow])
	return dst[:end-skip+grow]
}

// wideCode returns the code that holds every value of the type of code.
func wideCode(code byte) byte {
	switch code {
	case codeTrue, codeFalse:
		return codeBool
	case codeUint0, codeSmallUint:
		return codeUint
	case codeUlong0, codeSmallUlong:
		return codeUlong
	case codeSmallInt:
		return codeInt
	case codeSmallLong:
		return codeLong
	case codeList0, codeList8:
		return codeList
	case codeMap8:
		return codeMap
	case codeArray8:
		return codeArray
	case codeBinary8:
		return codeBinary
	case codeString8:
		return codeString
	case codeSymbol8:
		return codeSymbol
	}
	return code
}

// array decodes the content of an array; its constructor has been read.
func (d *decoder) array(code byte, depth int) (any, error) {
	saved, count, err := d.openCompound(code, codeArray8)
	if err != nil {
		return nil, err
	}
	var descriptor any
	element, err := d.take1()
	if err != nil {
		return nil, err
	}
	if element == codeDescribed {
		if descriptor, err = d.value(depth + 1); err != nil {
			return nil, err
		}
		if element, err = d.take1(); err != nil {
			return nil, err
		}
	}
	if element == codeDescribed {
		return nil, d.malformed("array elements described twice")
	}
	// Elements of no width (null, true, 0) make any count fit in no bytes: the budget bounds them.
	if width := fixedWidth(element); width > 0 && count > d.remaining()/width {
		return nil, d.malformed("%d array elements in %d bytes", count, d.remaining())
	}
	if err := d.spend(count); err != nil {
		return nil, err
	}
	result, err := d.elements(element, descriptor, count, depth)
	if err != nil {
		return nil, err
	}
	return result, d.closeCompound(saved)
}

func (d *decoder) elements(element byte, descriptor any, count, depth int) (any, error) {
	wide := wideCode(element)
	if descriptor == nil && wide == codeSymbol {
		out := make([]Symbol, count)
		for i := range out {
			text, err := d.text(element == codeSymbol8)
			if err != nil {
				return nil, err
			}
			out[i] = Symbol(text)
		}
		return out, nil
	}
	if descriptor == nil && wide == codeString {
		out := make([]string, count)
		for i := range out {
			text, err := d.text(element == codeString8)
			if err != nil {
				return nil, err
			}
			out[i] = string(text)
		}
		return out, nil
	}
	out := Array{Code: wide, Descriptor: descriptor, Items: make([]any, count)}
	for i := range out.Items {
		item, err := d.body(element, depth+1)
		if err != nil {
			return nil, err
		}
		out.Items[i] = item
	}
	if count == 0 && !knownCode(element) {
		return nil, d.malformed("unknown format code 0x%02x", element)
	}
	return out, nil
}

// fixedWidth is the least number of bytes a value of the code takes after its constructor.
func fixedWidth(code byte) int {
	switch code >> 4 {
	case 0x4:
		return 0
	case 0x5:
		return 1
	case 0x6:
		return 2
	case 0x7:
		return 4
	case 0x8:
		return 8
	case 0x9:
		return 16
	case 0xa, 0xc, 0xe:
		return 1
	}
	return 4
}

func knownCode(code byte) bool {
	switch code {
	case codeNull, codeTrue, codeFalse, codeUint0, codeUlong0, codeList0, codeUbyte, codeByte, codeSmallUint,
		codeSmallUlong, codeSmallInt, codeSmallLong, codeBool, codeUshort, codeShort, codeUint, codeInt, codeFloat,
		codeChar, codeDecimal32, codeUlong, codeLong, codeDouble, codeTimestamp, codeDecimal64, codeDecimal128,
		codeUUID, codeBinary8, codeString8, codeSymbol8, codeBinary, codeString, codeSymbol, codeList8, codeMap8,
		codeList, codeMap, codeArray8, codeArray:
		return true
	}
	return false
}

// checkCount guards the conversion of a wire count on machines whose int has 32 bits.
func checkCount(n uint32) bool { return n <= math.MaxInt32 }
