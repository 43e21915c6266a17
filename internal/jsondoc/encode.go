package jsondoc

import (
	"fmt"

	"github.com/go-json-experiment/json/jsontext"
)

// Append appends the compact JSON text of v to dst and returns the longer slice. Numbers are
// written as they were read, members in their order. Only what JSON requires is escaped (quote,
// backslash, control characters): neither HTML characters nor anything outside ASCII is.
func (v Value) Append(dst []byte) []byte {
	switch v.Kind() {
	case KindBool:
		if v.node == trueNode {
			return append(dst, "true"...)
		}
		return append(dst, "false"...)
	case KindNumber:
		return append(dst, v.text...)
	case KindString:
		return appendQuoted(dst, v.text)
	case KindArray:
		dst = append(dst, '[')
		for i, e := range v.node.elems {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = e.Append(dst)
		}
		return append(dst, ']')
	case KindObject:
		dst = append(dst, '{')
		for i := range v.node.members {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(appendQuoted(dst, v.node.members[i].Key), ':')
			dst = v.node.members[i].Value.Append(dst)
		}
		return append(dst, '}')
	}
	return append(dst, "null"...)
}

// appendQuoted appends s as a JSON string. Every text inside a Value is UTF-8, so quoting has
// nothing to refuse; its error can be dropped.
func appendQuoted(dst []byte, s string) []byte {
	dst, _ = jsontext.AppendQuote(dst, s)
	return dst
}

// Marshal returns the compact JSON text of v in a slice of its own; see [Value.Append].
func (v Value) Marshal() []byte { return v.Append(make([]byte, 0, 64)) }

// String returns the compact JSON text of v. For the content of a string use [Value.AsString].
func (v Value) String() string { return string(v.Marshal()) }

// MarshalJSON lets a Value be a field of a struct that encoding/json writes.
func (v Value) MarshalJSON() ([]byte, error) { return v.Marshal(), nil }

// UnmarshalJSON reads text as Parse does with the default limits.
func (v *Value) UnmarshalJSON(text []byte) error {
	parsed, err := Parse(text, Limits{})
	if err != nil {
		return err
	}
	*v = parsed
	return nil
}

// MarshalJSONTo lets a Value be a field of a struct that github.com/go-json-experiment/json writes.
func (v Value) MarshalJSONTo(enc *jsontext.Encoder) error {
	if err := enc.WriteValue(v.Append(enc.AvailableBuffer())); err != nil {
		return fmt.Errorf("write JSON value: %w", err)
	}
	return nil
}

// UnmarshalJSONFrom reads the next value of dec as Parse does with the default limits.
func (v *Value) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	text, err := dec.ReadValue()
	if err != nil {
		return err
	}
	return v.UnmarshalJSON(text)
}
