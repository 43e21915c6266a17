package amqp

import (
	"encoding/binary"
	"math"
)

// fieldWriter appends a composite: a described list whose fields follow in spec order. It ends with
// close, which leaves out nulls at the end, or closeFull; the list never becomes list0, which some
// clients cannot read as a performative.
type fieldWriter struct {
	b       []byte
	mark    int // where the list begins
	fields  int // written so far, nulls included
	kept    int // up to and including the last that is not null
	keptEnd int // length of b after it
}

func openComposite(dst []byte, descriptor uint64) fieldWriter {
	b, mark := OpenList(AppendDescriptor(dst, descriptor))
	return fieldWriter{b: b, mark: mark, keptEnd: len(b)}
}

func (w *fieldWriter) close() []byte {
	return closeCompound(w.b[:w.keptEnd], w.mark, codeList8, w.kept)
}

// closeFull is close with the absent fields at the end written as nulls. Performatives end so, because the Event Hubs
// client for Python reads their fields by position and fails on a list that is shorter than the specification's.
func (w *fieldWriter) closeFull() []byte {
	return closeCompound(w.b, w.mark, codeList8, w.fields)
}

func (w *fieldWriter) null() {
	w.b = append(w.b, codeNull)
	w.fields++
}

// wrote counts a field whose bytes have just been appended to b.
func (w *fieldWriter) wrote() {
	w.fields++
	w.kept, w.keptEnd = w.fields, len(w.b)
}

// flag writes a boolean whose default is false.
func (w *fieldWriter) flag(v bool) {
	if !v {
		w.null()
		return
	}
	w.bool(true)
}

func (w *fieldWriter) bool(v bool)     { w.b = AppendBool(w.b, v); w.wrote() }
func (w *fieldWriter) ubyte(v uint8)   { w.b = AppendUbyte(w.b, v); w.wrote() }
func (w *fieldWriter) ushort(v uint16) { w.b = AppendUshort(w.b, v); w.wrote() }
func (w *fieldWriter) uint(v uint32)   { w.b = AppendUint(w.b, v); w.wrote() }
func (w *fieldWriter) ulong(v uint64)  { w.b = AppendUlong(w.b, v); w.wrote() }

func (w *fieldWriter) optUint(v Optional[uint32]) {
	if !v.Set {
		w.null()
		return
	}
	w.uint(v.Value)
}

func (w *fieldWriter) optUshort(v Optional[uint16]) {
	if !v.Set {
		w.null()
		return
	}
	w.ushort(v.Value)
}

func (w *fieldWriter) optUbyte(v Optional[uint8]) {
	if !v.Set {
		w.null()
		return
	}
	w.ubyte(v.Value)
}

func (w *fieldWriter) optTimestamp(v Optional[Timestamp]) {
	if !v.Set {
		w.null()
		return
	}
	w.b = AppendTimestamp(w.b, v.Value)
	w.wrote()
}

// binary writes nil as null.
func (w *fieldWriter) binary(v []byte) {
	if v == nil {
		w.null()
		return
	}
	w.b = AppendBinary(w.b, v)
	w.wrote()
}

// string writes "" as null; text writes it as a string.
func (w *fieldWriter) string(v string) {
	if v == "" {
		w.null()
		return
	}
	w.text(v)
}

func (w *fieldWriter) text(v string) { w.b = AppendString(w.b, v); w.wrote() }

// symbol writes "" as null.
func (w *fieldWriter) symbol(v Symbol) {
	if v == "" {
		w.null()
		return
	}
	w.b = AppendSymbol(w.b, v)
	w.wrote()
}

// symbols writes nil as null.
func (w *fieldWriter) symbols(v []Symbol) {
	if v == nil {
		w.null()
		return
	}
	w.b = AppendSymbolArray(w.b, v)
	w.wrote()
}

// value writes nil, and what cannot be encoded, as null; it reports the latter.
func (w *fieldWriter) value(v any) error {
	if v == nil {
		w.null()
		return nil
	}
	b, err := AppendValue(w.b, v)
	if err != nil {
		w.null()
		return err
	}
	w.b = b
	w.wrote()
	return nil
}

// mapping writes nil as null; see value.
func (w *fieldWriter) mapping(m Map) error {
	if m == nil {
		w.null()
		return nil
	}
	return w.value(m)
}

// fieldReader reads the fields of a composite in spec order. Missing and null fields give the default.
// The first error stays, and makes every later field its default.
type fieldReader struct {
	d     *decoder
	saved []byte
	left  int
	err   error
}

// descriptor reads 0x00 and a descriptor, given as number or name.
func (d *decoder) descriptor() (uint64, error) {
	start, err := d.take1()
	if err != nil {
		return 0, err
	}
	if start != codeDescribed {
		return 0, d.malformed("described value wanted, code 0x%02x found", start)
	}
	code, err := d.take1()
	if err != nil {
		return 0, err
	}
	switch code {
	case codeSmallUlong:
		n, err := d.take1()
		return uint64(n), err
	case codeUlong:
		return d.take64()
	case codeUlong0:
		return 0, nil
	case codeSymbol8, codeSymbol:
		name, err := d.text(code == codeSymbol8)
		if err != nil {
			return 0, err
		}
		return namedDescriptor(string(name)), nil
	}
	return 0, d.malformed("descriptor of code 0x%02x", code)
}

// openFields begins the list of a composite whose descriptor has been read.
func (d *decoder) openFields() fieldReader {
	r := fieldReader{d: d}
	code, err := d.take1()
	switch {
	case err != nil:
		r.err = err
	case code == codeList0:
		r.saved = d.b
		d.b = d.b[:d.off]
	case code == codeList8 || code == codeList:
		r.saved, r.left, r.err = d.openCompound(code, codeList8)
		if r.err == nil {
			r.err = d.items(r.left)
		}
	default:
		r.err = d.malformed("list of fields wanted, code 0x%02x found", code)
	}
	return r
}

// close checks that nothing is left but fields this version does not know, and returns the first error.
func (r *fieldReader) close() error {
	for r.err == nil && r.left > 0 {
		r.left--
		_, r.err = r.d.value(0)
	}
	if r.err != nil {
		return r.err
	}
	return r.d.closeCompound(r.saved)
}

// next returns the constructor of the next field, codeNull when it is null or missing.
func (r *fieldReader) next() byte {
	if r.err != nil || r.left == 0 {
		return codeNull
	}
	r.left--
	code, err := r.d.take1()
	if err != nil {
		r.err = err
		return codeNull
	}
	return code
}

func (r *fieldReader) fail(field string, code byte) {
	if r.err == nil {
		r.err = r.d.malformed("field %s has a value of code 0x%02x", field, code)
	}
}

// keep stores the first error of a read.
func (r *fieldReader) keep(err error) {
	if r.err == nil {
		r.err = err
	}
}

func (r *fieldReader) require(field string, set bool) {
	if r.err == nil && !set {
		r.err = r.d.malformed("field %s is mandatory", field)
	}
}

func (r *fieldReader) bool(field string, def bool) bool {
	switch code := r.next(); code {
	case codeNull:
	case codeTrue:
		return true
	case codeFalse:
		return false
	case codeBool:
		p, err := r.d.take1()
		if err == nil && p > 1 {
			err = r.d.malformed("boolean 0x%02x", p)
		}
		r.keep(err)
		return p == 1
	default:
		r.fail(field, code)
	}
	return def
}

func (r *fieldReader) ubyte(field string) Optional[uint8] {
	switch code := r.next(); code {
	case codeNull:
	case codeUbyte:
		n, err := r.d.take1()
		r.keep(err)
		return Some(n)
	default:
		r.fail(field, code)
	}
	return Optional[uint8]{}
}

func (r *fieldReader) ushort(field string) Optional[uint16] {
	switch code := r.next(); code {
	case codeNull:
	case codeUshort:
		p, err := r.d.take(2)
		if err != nil {
			r.keep(err)
			break
		}
		return Some(binary.BigEndian.Uint16(p))
	default:
		r.fail(field, code)
	}
	return Optional[uint16]{}
}

func (r *fieldReader) uint(field string) Optional[uint32] {
	switch code := r.next(); code {
	case codeNull:
	case codeUint0:
		return Some(uint32(0))
	case codeSmallUint:
		n, err := r.d.take1()
		r.keep(err)
		return Some(uint32(n))
	case codeUint:
		n, err := r.d.take32()
		r.keep(err)
		return Some(n)
	default:
		r.fail(field, code)
	}
	return Optional[uint32]{}
}

func (r *fieldReader) ulong(field string) Optional[uint64] {
	switch code := r.next(); code {
	case codeNull:
	case codeUlong0:
		return Some(uint64(0))
	case codeSmallUlong:
		n, err := r.d.take1()
		r.keep(err)
		return Some(uint64(n))
	case codeUlong:
		n, err := r.d.take64()
		r.keep(err)
		return Some(n)
	default:
		r.fail(field, code)
	}
	return Optional[uint64]{}
}

func (r *fieldReader) timestamp(field string) Optional[Timestamp] {
	switch code := r.next(); code {
	case codeNull:
	case codeTimestamp:
		n, err := r.d.take64()
		r.keep(err)
		return Some(Timestamp(n))
	default:
		r.fail(field, code)
	}
	return Optional[Timestamp]{}
}

// binary returns nil for null; the bytes alias the input.
func (r *fieldReader) binary(field string) []byte {
	switch code := r.next(); code {
	case codeNull:
	case codeBinary8, codeBinary:
		p, err := r.d.octets(code == codeBinary8)
		r.keep(err)
		return p
	default:
		r.fail(field, code)
	}
	return nil
}

// string returns "" for null. It takes symbols too: clients confuse the two in fields of both types.
func (r *fieldReader) string(field string) string {
	switch code := r.next(); code {
	case codeNull:
	case codeString8, codeString, codeSymbol8, codeSymbol:
		p, err := r.d.text(code == codeString8 || code == codeSymbol8)
		r.keep(err)
		return string(p)
	default:
		r.fail(field, code)
	}
	return ""
}

func (r *fieldReader) symbol(field string) Symbol { return Symbol(r.string(field)) }

// symbols takes an array of symbols, or a single one, as fields marked multiple allow. Null is nil.
func (r *fieldReader) symbols(field string) []Symbol {
	switch code := r.next(); code {
	case codeNull:
		return nil
	case codeSymbol8, codeSymbol:
		p, err := r.d.text(code == codeSymbol8)
		r.keep(err)
		return []Symbol{Symbol(p)}
	case codeArray8, codeArray:
		v, err := r.d.array(code, 0)
		r.keep(err)
		switch v := v.(type) {
		case []Symbol:
			return v
		case Array:
			if len(v.Items) == 0 {
				return []Symbol{}
			}
		}
		r.fail(field, code)
	default:
		r.fail(field, code)
	}
	return nil
}

func (r *fieldReader) mapping(field string) Map {
	switch code := r.next(); code {
	case codeNull:
		return nil
	case codeMap8, codeMap:
		m, err := r.d.mapping(code, 0)
		r.keep(err)
		return m
	default:
		r.fail(field, code)
	}
	return nil
}

// value returns a field of any type.
func (r *fieldReader) value() any {
	if r.err != nil || r.left == 0 {
		return nil
	}
	r.left--
	v, err := r.d.value(0)
	r.keep(err)
	return v
}

// described begins a field that is itself a composite, such as source: it returns its descriptor, or
// ok false when the field is null or missing.
func (r *fieldReader) described() (descriptor uint64, ok bool) {
	if r.err != nil || r.left == 0 {
		return 0, false
	}
	r.left--
	if r.d.remaining() > 0 && r.d.b[r.d.off] == codeNull {
		r.d.off++
		return 0, false
	}
	descriptor, err := r.d.descriptor()
	r.keep(err)
	return descriptor, err == nil
}

// size32 clamps a size of the configuration to what an uint field can say.
func size32(n int) uint32 { return uint32(min(max(n, 0), math.MaxInt32)) }
