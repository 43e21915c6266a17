package jsondoc

import (
	"iter"
	"slices"
)

// Array returns an array of the given elements. It keeps a copy of the slice.
func Array(elems ...Value) Value { return arrayOf(slices.Clone(elems)) }

// arrayOf returns an array that owns elems.
func arrayOf(elems []Value) Value {
	if len(elems) == 0 {
		return Value{node: emptyArray}
	}
	return Value{node: &node{kind: KindArray, elems: elems}}
}

// Len returns the number of members of an object or of elements of an array, and 0 for every other
// kind.
func (v Value) Len() int {
	if v.node == nil {
		return 0
	}
	return len(v.node.elems) + len(v.node.members)
}

// Index returns element i of the array v, counted from 0. It returns null when v is not an array
// or has no such element.
func (v Value) Index(i int) Value {
	if v.node == nil || i < 0 || i >= len(v.node.elems) {
		return Value{}
	}
	return v.node.elems[i]
}

// Elements iterates over the elements of an array in order; over nothing for every other kind.
func (v Value) Elements() iter.Seq[Value] {
	return func(yield func(Value) bool) {
		if v.node == nil {
			return
		}
		for _, e := range v.node.elems {
			if !yield(e) {
				return
			}
		}
	}
}
