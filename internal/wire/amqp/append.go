package amqp

import (
	"encoding/binary"
	"fmt"
	"math"
)

// AppendNull appends the null value.
func AppendNull(dst []byte) []byte { return append(dst, codeNull) }

// AppendBool appends a boolean in one byte.
func AppendBool(dst []byte, v bool) []byte {
	if v {
		return append(dst, codeTrue)
	}
	return append(dst, codeFalse)
}

// AppendUbyte appends an unsigned 8-bit integer.
func AppendUbyte(dst []byte, v uint8) []byte { return append(dst, codeUbyte, v) }

// AppendUshort appends an unsigned 16-bit integer.
func AppendUshort(dst []byte, v uint16) []byte {
	return append(dst, codeUshort, byte(v>>8), byte(v))
}

// AppendUint appends an unsigned 32-bit integer in one, two or five bytes.
func AppendUint(dst []byte, v uint32) []byte {
	switch {
	case v == 0:
		return append(dst, codeUint0)
	case v <= math.MaxUint8:
		return append(dst, codeSmallUint, byte(v))
	}
	return binary.BigEndian.AppendUint32(append(dst, codeUint), v)
}

// AppendUlong appends an unsigned 64-bit integer in one, two or nine bytes.
func AppendUlong(dst []byte, v uint64) []byte {
	switch {
	case v == 0:
		return append(dst, codeUlong0)
	case v <= math.MaxUint8:
		return append(dst, codeSmallUlong, byte(v))
	}
	return binary.BigEndian.AppendUint64(append(dst, codeUlong), v)
}

// AppendByte appends a signed 8-bit integer.
func AppendByte(dst []byte, v int8) []byte { return append(dst, codeByte, byte(v)) }

// AppendShort appends a signed 16-bit integer.
func AppendShort(dst []byte, v int16) []byte {
	return append(dst, codeShort, byte(uint16(v)>>8), byte(v))
}

// AppendInt appends a signed 32-bit integer in two or five bytes.
func AppendInt(dst []byte, v int32) []byte {
	if v >= math.MinInt8 && v <= math.MaxInt8 {
		return append(dst, codeSmallInt, byte(v))
	}
	return binary.BigEndian.AppendUint32(append(dst, codeInt), uint32(v))
}

// AppendLong appends a signed 64-bit integer in two or nine bytes.
func AppendLong(dst []byte, v int64) []byte {
	if v >= math.MinInt8 && v <= math.MaxInt8 {
		return append(dst, codeSmallLong, byte(v))
	}
	return binary.BigEndian.AppendUint64(append(dst, codeLong), uint64(v))
}

// AppendFloat appends a 32-bit floating point number.
func AppendFloat(dst []byte, v float32) []byte {
	return binary.BigEndian.AppendUint32(append(dst, codeFloat), math.Float32bits(v))
}

// AppendDouble appends a 64-bit floating point number.
func AppendDouble(dst []byte, v float64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, codeDouble), math.Float64bits(v))
}

// AppendChar appends one Unicode code point.
func AppendChar(dst []byte, v Char) []byte {
	return binary.BigEndian.AppendUint32(append(dst, codeChar), uint32(v))
}

// AppendTimestamp appends a time in milliseconds since the Unix epoch.
func AppendTimestamp(dst []byte, ms Timestamp) []byte {
	return binary.BigEndian.AppendUint64(append(dst, codeTimestamp), uint64(ms))
}

// AppendUUID appends a UUID.
func AppendUUID(dst []byte, v UUID) []byte {
	return append(append(dst, codeUUID), v[:]...)
}

// AppendBinaryHeader appends what stands before n bytes of binary, for a caller who sends the bytes
// themselves from elsewhere. n is below 2^32.
func AppendBinaryHeader(dst []byte, n int) []byte {
	return appendSized(dst, codeBinary8, codeBinary, n)
}

// AppendBinary appends a sequence of octets; nil is an empty one, not null.
func AppendBinary(dst, v []byte) []byte {
	return append(AppendBinaryHeader(dst, len(v)), v...)
}

// AppendString appends a string. The caller vouches that it is UTF-8.
func AppendString(dst []byte, v string) []byte {
	return append(appendSized(dst, codeString8, codeString, len(v)), v...)
}

// AppendSymbol appends a symbol. The caller vouches that it is ASCII.
func AppendSymbol(dst []byte, v Symbol) []byte {
	return append(appendSized(dst, codeSymbol8, codeSymbol, len(v)), v...)
}

// appendSized appends the constructor and length of a variable-width value.
func appendSized(dst []byte, narrow, wide byte, n int) []byte {
	if n <= math.MaxUint8 {
		return append(dst, narrow, byte(n))
	}
	return binary.BigEndian.AppendUint32(append(dst, wide), uint32(n))
}

// AppendSymbolArray appends an array of symbols, also when it is empty or has one element.
func AppendSymbolArray(dst []byte, v []Symbol) []byte {
	return appendTextArray(dst, codeSymbol8, codeSymbol, v)
}

// AppendStringArray appends an array of strings, also when it is empty or has one element.
func AppendStringArray(dst []byte, v []string) []byte {
	return appendTextArray(dst, codeString8, codeString, v)
}

func appendTextArray[T ~string](dst []byte, narrow, wide byte, v []T) []byte {
	code, width, size := narrow, 1, 1
	for _, s := range v {
		if len(s) > math.MaxUint8 {
			code, width = wide, 4
		}
	}
	for _, s := range v {
		size += width + len(s)
	}
	dst = appendCompound(dst, codeArray8, codeArray, size, len(v))
	dst = append(dst, code)
	for _, s := range v {
		if width == 1 {
			dst = append(dst, byte(len(s)))
		} else {
			dst = binary.BigEndian.AppendUint32(dst, uint32(len(s)))
		}
		dst = append(dst, s...)
	}
	return dst
}

// AppendMapHeader appends what stands before the keys and values of a map: size is their length in
// bytes, entries the number of pairs. It serves a caller who has the entries encoded already.
func AppendMapHeader(dst []byte, size, entries int) []byte {
	return appendCompound(dst, codeMap8, codeMap, size, 2*entries)
}

// AppendListHeader appends what stands before the items of a list: size is their length in bytes.
func AppendListHeader(dst []byte, size, items int) []byte {
	return appendCompound(dst, codeList8, codeList, size, items)
}

// appendCompound appends constructor, size and count of a compound whose content has size bytes.
func appendCompound(dst []byte, narrow, wide byte, size, count int) []byte {
	if size+1 <= math.MaxUint8 && count <= math.MaxUint8 {
		return append(dst, narrow, byte(size+1), byte(count))
	}
	dst = binary.BigEndian.AppendUint32(append(dst, wide), uint32(size+4))
	return binary.BigEndian.AppendUint32(dst, uint32(count))
}

// AppendDescriptor appends the start of a described value whose descriptor is the number code, such
// as one of the section codes; the value itself must follow. Codes below 256 always take the form
// 0x00 0x53 nn, because some clients read just that byte.
func AppendDescriptor(dst []byte, code uint64) []byte {
	if code <= math.MaxUint8 {
		return append(dst, codeDescribed, codeSmallUlong, byte(code))
	}
	return AppendUlong(append(dst, codeDescribed), code)
}

// compoundHeader is the room OpenList and OpenMap leave: constructor, four bytes each of size and count.
const compoundHeader = 9

// OpenList begins a list of unknown size: append its items to the result, then call CloseList with
// the same mark.
func OpenList(dst []byte) (out []byte, mark int) {
	return append(dst, codeList, 0, 0, 0, 0, 0, 0, 0, 0), len(dst)
}

// CloseList ends the list begun at mark, which has got items values, and returns the buffer with the
// list in its smallest form: 0x45 when it is empty.
func CloseList(dst []byte, mark, items int) []byte {
	if items == 0 {
		return append(dst[:mark], codeList0)
	}
	return closeCompound(dst, mark, codeList8, items)
}

// OpenMap begins a map of unknown size: append keys and values in turn, then call CloseMap.
func OpenMap(dst []byte) (out []byte, mark int) {
	return append(dst, codeMap, 0, 0, 0, 0, 0, 0, 0, 0), len(dst)
}

// CloseMap ends the map begun at mark, which has got entries pairs.
func CloseMap(dst []byte, mark, entries int) []byte {
	return closeCompound(dst, mark, codeMap8, 2*entries)
}

func closeCompound(dst []byte, mark int, narrow byte, count int) []byte {
	size := len(dst) - mark - compoundHeader
	if size+1 <= math.MaxUint8 && count <= math.MaxUint8 {
		dst[mark], dst[mark+1], dst[mark+2] = narrow, byte(size+1), byte(count)
		copy(dst[mark+3:], dst[mark+compoundHeader:])
		return dst[:mark+3+size]
	}
	binary.BigEndian.PutUint32(dst[mark+1:], uint32(size+4))
	binary.BigEndian.PutUint32(dst[mark+5:], uint32(count))
	return dst
}

// AppendMap appends a map. It fails as AppendValue does.
func AppendMap(dst []byte, m Map) ([]byte, error) {
	dst, mark := OpenMap(dst)
	var err error
	for i := range m {
		if dst, err = AppendValue(dst, m[i].Key); err != nil {
			return dst, err
		}
		if dst, err = AppendValue(dst, m[i].Value); err != nil {
			return dst, err
		}
	}
	return CloseMap(dst, mark, len(m)), nil
}

// AppendValue appends a value of any of the Go types that stand for an AMQP type (see Array, List, Map
// and the package's other types, and bool, string, []byte and the sized numbers), in its smallest form. It fails for other Go types (an int has no AMQP type: choose int32 or int64), for an Array
// whose items do not match its Code, and for values nested deeper than decoders accept.
func AppendValue(dst []byte, v any) ([]byte, error) { return appendValue(dst, v, 0) }

func appendValue(dst []byte, v any, depth int) ([]byte, error) {
	var err error
	switch v.(type) {
	case Described, List, Map, Array, []Symbol, []string:
		if depth >= maxDepth {
			return dst, fmt.Errorf("encode value: nested deeper than %d", maxDepth)
		}
	}
	switch v := v.(type) {
	case nil:
		return AppendNull(dst), nil
	case bool:
		return AppendBool(dst, v), nil
	case uint8:
		return AppendUbyte(dst, v), nil
	case uint16:
		return AppendUshort(dst, v), nil
	case uint32:
		return AppendUint(dst, v), nil
	case uint64:
		return AppendUlong(dst, v), nil
	case int8:
		return AppendByte(dst, v), nil
	case int16:
		return AppendShort(dst, v), nil
	case int32:
		return AppendInt(dst, v), nil
	case int64:
		return AppendLong(dst, v), nil
	case float32:
		return AppendFloat(dst, v), nil
	case float64:
		return AppendDouble(dst, v), nil
	case Char:
		return AppendChar(dst, v), nil
	case Timestamp:
		return AppendTimestamp(dst, v), nil
	case UUID:
		return AppendUUID(dst, v), nil
	case Decimal32:
		return append(append(dst, codeDecimal32), v[:]...), nil
	case Decimal64:
		return append(append(dst, codeDecimal64), v[:]...), nil
	case Decimal128:
		return append(append(dst, codeDecimal128), v[:]...), nil
	case []byte:
		return AppendBinary(dst, v), nil
	case string:
		return AppendString(dst, v), nil
	case Symbol:
		return AppendSymbol(dst, v), nil
	case []Symbol:
		return AppendSymbolArray(dst, v), nil
	case []string:
		return AppendStringArray(dst, v), nil
	case Array:
		return appendArray(dst, v, depth)
	case Described:
		if dst, err = appendValue(append(dst, codeDescribed), v.Descriptor, depth+1); err != nil {
			return dst, err
		}
		return appendValue(dst, v.Value, depth+1)
	case List:
		dst, mark := OpenList(dst)
		for _, item := range v {
			if dst, err = appendValue(dst, item, depth+1); err != nil {
				return dst, err
			}
		}
		return CloseList(dst, mark, len(v)), nil
	case Map:
		dst, mark := OpenMap(dst)
		for i := range v {
			if dst, err = appendValue(dst, v[i].Key, depth+1); err != nil {
				return dst, err
			}
			if dst, err = appendValue(dst, v[i].Value, depth+1); err != nil {
				return dst, err
			}
		}
		return CloseMap(dst, mark, len(v)), nil
	}
	return dst, fmt.Errorf("encode value: no AMQP type for Go type %T", v)
}
