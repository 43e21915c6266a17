package jsondoc

import (
	"slices"
	"strings"
)

// Names of the operations that Diff uses, as JSON Patch writes them.
const (
	OpAdd     = "add"
	OpReplace = "replace"
	OpRemove  = "remove"
)

// Op is one operation of a JSON Patch (RFC 6902 section 4).
type Op struct {
	Op    string // OpAdd, OpReplace or OpRemove
	Path  string // JSON pointer; "" is the whole document
	Value Value  // of add and replace
}

// Patch is a JSON Patch: operations to be applied in order.
type Patch []Op

// Append appends the compact JSON text of p to dst: an array of objects whose members are op, path
// and value in this order; remove has no value.
func (p Patch) Append(dst []byte) []byte {
	dst = append(dst, '[')
	for i, op := range p {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendQuoted(append(dst, `{"op":`...), op.Op)
		dst = appendQuoted(append(dst, `,"path":`...), validText(op.Path))
		if op.Op != OpRemove {
			dst = op.Value.Append(append(dst, `,"value":`...))
		}
		dst = append(dst, '}')
	}
	return append(dst, ']')
}

// String returns the JSON text of p.
func (p Patch) String() string { return string(p.Append(nil)) }

// MarshalJSON returns the JSON text of p.
func (p Patch) MarshalJSON() ([]byte, error) { return p.Append(nil), nil }

// Diff returns the operations that turn the document before into after; none when they are the
// same but for the order of members.
//
// Objects are compared member by member. A member only in after is one add with its whole value, a
// member only in before is one remove, and two objects are compared in their turn. Everything else
// that differs is one replace: arrays whole, and numbers also when only their text differs (1 and
// 1.0), so that the result of the patch shows what after shows. Documents that are not both
// objects give one replace of "".
//
// The order is by key, ascending by the bytes of UTF-8 (ordinal, "$metadata" before any letter): at
// each level all operations at or below one key come before those of the next. The members of
// added and replacing values are put in the same order at every depth, which is how the hub's
// digital twin change events show a new component: "$metadata" first.
//
// Reference: IoT Hub docs, "Digital twin change notifications"; RFC 6902.
func Diff(before, after Value) Patch {
	return appendDiff(nil, nil, before, after)
}

// appendDiff appends the operations for the values at path to patch. It may write behind the length
// of path.
func appendDiff(patch Patch, path []byte, before, after Value) Patch {
	if !before.IsObject() || !after.IsObject() {
		if same(before, after, sameText, false) {
			return patch
		}
		return append(patch, Op{Op: OpReplace, Path: string(path), Value: Sorted(after)})
	}
	if before.node == after.node {
		return patch
	}
	olds, news := inKeyOrder(before), inKeyOrder(after)
	for len(olds) > 0 || len(news) > 0 {
		switch order := compareHeads(olds, news); {
		case order < 0:
			p := AppendPointer(path, olds[0].Key)
			patch = append(patch, Op{Op: OpRemove, Path: string(p)})
			olds = olds[1:]
		case order > 0:
			p := AppendPointer(path, news[0].Key)
			patch = append(patch, Op{Op: OpAdd, Path: string(p), Value: Sorted(news[0].Value)})
			news = news[1:]
		default:
			p := AppendPointer(path, olds[0].Key)
			patch = appendDiff(patch, p, olds[0].Value, news[0].Value)
			olds, news = olds[1:], news[1:]
		}
	}
	return patch
}

// compareHeads compares the first keys of two sorted lists, of which an empty one counts as last.
func compareHeads(a, b []Member) int {
	switch {
	case len(a) == 0:
		return 1
	case len(b) == 0:
		return -1
	}
	return strings.Compare(a[0].Key, b[0].Key)
}

// inKeyOrder returns the members of the object v sorted by key. The caller must not write to it.
func inKeyOrder(v Value) []Member {
	byKey := func(a, b Member) int { return strings.Compare(a.Key, b.Key) }
	if slices.IsSortedFunc(v.node.members, byKey) {
		return v.node.members
	}
	sorted := slices.Clone(v.node.members)
	slices.SortFunc(sorted, byKey)
	return sorted
}
