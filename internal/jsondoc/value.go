// Package jsondoc holds JSON values the way a twin needs them: a number keeps the text it was
// written with ("1.0" stays "1.0"), an object keeps the order of its members, and nothing is lost
// between reading a document and writing it again.
//
// The main type is [Value]. [Parse] reads one, [Value.Append] writes it, [Merge] applies a merge
// patch (RFC 7396), [Diff] says in JSON Patch (RFC 6902) how one document becomes another, and
// [Value.Walk] visits every part for a caller that has rules to check. The package knows no rule
// of twins: names, sizes and depths of properties are the caller's matter.
//
// Invariant: a Value never changes. Every "change" returns a new Value that shares the untouched
// parts with the old one, so a copy is an assignment, old and new can be compared after the
// change, and any number of goroutines may use the same Value.
package jsondoc

import (
	"math"
	"strconv"
	"strings"
)

// Kind says which of the six JSON types a value has.
type Kind uint8

// The kinds. The zero Kind is KindNull, as the zero Value is null.
const (
	KindNull Kind = iota
	KindBool
	KindNumber
	KindString
	KindArray
	KindObject
)

// String returns the JSON name of the kind: "null", "boolean", "number", "string", "array" or
// "object".
func (k Kind) String() string {
	switch k {
	case KindNull:
		return "null"
	case KindBool:
		return "boolean"
	case KindNumber:
		return "number"
	case KindString:
		return "string"
	case KindArray:
		return "array"
	case KindObject:
		return "object"
	}
	return "kind " + strconv.Itoa(int(k))
}

// Value is one JSON value of any kind. The zero Value is null. A Value is immutable, cheap to copy
// (three words) and safe for concurrent use. Compare with [Equal] or [Identical], not with ==.
//
// Texts of a parsed Value share one copy of the text that was parsed; see [Value.Clone].
type Value struct {
	node *node  // nil for null; one of the fixed scalar nodes, or a container of its own
	text string // string content without quotes and escapes, or the literal of a number
}

// node carries the kind and, for containers, the children. It is never written after it has been
// given to a Value.
type node struct {
	kind    Kind
	elems   []Value  // array
	members []Member // object, in the order of the document
	order   []int32  // object of more than linearLookup members: their positions, sorted by key
}

// Nodes that many values share; never written.
var (
	falseNode   = &node{kind: KindBool}
	trueNode    = &node{kind: KindBool}
	numberNode  = &node{kind: KindNumber}
	stringNode  = &node{kind: KindString}
	emptyArray  = &node{kind: KindArray}
	emptyObject = &node{kind: KindObject}
)

// Null returns the null value, which is also the zero Value.
func Null() Value { return Value{} }

// Bool returns true or false.
func Bool(b bool) Value {
	if b {
		return Value{node: trueNode}
	}
	return Value{node: falseNode}
}

// String returns a string value. Bytes of s that are not UTF-8 are replaced by U+FFFD, so that
// what is written is always JSON.
func String(s string) Value {
	return Value{node: stringNode, text: validText(s)}
}

// Int returns the number n, written in decimal.
func Int(n int64) Value {
	return Value{node: numberNode, text: strconv.FormatInt(n, 10)}
}

// Float returns the number f in the shortest text that reads back as f, with an exponent only
// below 1e-6 and from 1e21 on. NaN and the infinities, which JSON cannot write, become null.
func Float(f float64) Value {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return Value{}
	}
	format := byte('f')
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	return Value{node: numberNode, text: strconv.FormatFloat(f, format, -1, 64)}
}

// Kind returns the kind of v.
func (v Value) Kind() Kind {
	if v.node == nil {
		return KindNull
	}
	return v.node.kind
}

// IsNull reports whether v is null.
func (v Value) IsNull() bool { return v.node == nil }

// IsObject reports whether v is an object.
func (v Value) IsObject() bool { return v.node != nil && v.node.kind == KindObject }

// AsBool returns the boolean v is; ok is false when v is not a boolean.
func (v Value) AsBool() (b, ok bool) {
	return v.node == trueNode, v.node == trueNode || v.node == falseNode
}

// AsString returns the content of the string v; ok is false when v is not a string.
func (v Value) AsString() (s string, ok bool) {
	if v.node != stringNode {
		return "", false
	}
	return v.text, true
}

// Clone returns a deep copy that shares no memory with v. Use it to keep a small part of a large
// document for long: the part alone would hold the whole text it was parsed from.
func (v Value) Clone() Value {
	switch v.Kind() {
	case KindNumber, KindString:
		return Value{node: v.node, text: strings.Clone(v.text)}
	case KindArray:
		elems := make([]Value, len(v.node.elems))
		for i, e := range v.node.elems {
			elems[i] = e.Clone()
		}
		return arrayOf(elems)
	case KindObject:
		members := make([]Member, len(v.node.members))
		for i, m := range v.node.members {
			members[i] = Member{Key: strings.Clone(m.Key), Value: m.Value.Clone()}
		}
		return objectOf(members)
	}
	return v
}

// validText returns s itself when it is UTF-8, else s with each bad run replaced by U+FFFD.
func validText(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
