package jsondoc

import (
	"errors"
	"strconv"
	"unicode"
)

// SkipChildren is returned by a visit function to pass over what the visited value contains.
var SkipChildren = errors.New("skip children")

// Cursor is a place in a document during [Value.Walk]. It is valid only while the visit function
// runs.
type Cursor struct {
	steps []step // from the root, which is steps[0], to the place
}

type step struct {
	value Value
	key   string // member name, when the step before is an object
	index int    // element number, when the step before is an array; else -1
}

// Value returns the value at the place.
func (c *Cursor) Value() Value { return c.steps[len(c.steps)-1].value }

// Key returns the member name of the value; "" at the root and for elements of an array.
func (c *Cursor) Key() string { return c.steps[len(c.steps)-1].key }

// Index returns the element number of the value; -1 at the root and for members of an object.
func (c *Cursor) Index() int { return c.steps[len(c.steps)-1].index }

// Parent returns the kind of the container the value is directly in: KindObject, KindArray, or
// KindNull at the root.
func (c *Cursor) Parent() Kind {
	if len(c.steps) < 2 {
		return KindNull
	}
	return c.steps[len(c.steps)-2].value.Kind()
}

// Depth returns how many containers are around the value: 0 at the root.
func (c *Cursor) Depth() int { return len(c.steps) - 1 }

// Around returns how many containers of the given kind are around the value.
func (c *Cursor) Around(kind Kind) int {
	n := 0
	for _, s := range c.steps[:len(c.steps)-1] {
		if s.value.Kind() == kind {
			n++
		}
	}
	return n
}

// Pointer returns the place as a JSON pointer from the root, "" for the root itself.
func (c *Cursor) Pointer() string {
	var path []byte
	for _, s := range c.steps[1:] {
		if s.index >= 0 {
			path = strconv.AppendInt(append(path, '/'), int64(s.index), 10)
			continue
		}
		path = AppendPointer(path, s.key)
	}
	return string(path)
}

// Walk calls visit for v and for everything in it, a container before its contents, in the order
// of the document. When visit returns SkipChildren the contents of that value are passed over; any
// other error ends the walk and is returned.
func (v Value) Walk(visit func(*Cursor) error) error {
	c := &Cursor{steps: make([]step, 0, 16)}
	return c.walk(step{value: v, index: -1}, visit)
}

func (c *Cursor) walk(s step, visit func(*Cursor) error) error {
	c.steps = append(c.steps, s)
	defer func() { c.steps = c.steps[:len(c.steps)-1] }()
	if err := visit(c); errors.Is(err, SkipChildren) {
		return nil
	} else if err != nil {
		return err
	}
	if s.value.node == nil {
		return nil
	}
	for i, e := range s.value.node.elems {
		if err := c.walk(step{value: e, index: i}, visit); err != nil {
			return err
		}
	}
	for _, m := range s.value.node.members {
		if err := c.walk(step{value: m.Value, key: m.Key, index: -1}, visit); err != nil {
			return err
		}
	}
	return nil
}

// Depth returns how deep containers nest in v: 0 for a scalar, 1 for {} and [1], 2 for {"a":{}}.
func (v Value) Depth() int {
	if v.node == nil || (v.node.kind != KindArray && v.node.kind != KindObject) {
		return 0
	}
	deepest := 0
	for _, e := range v.node.elems {
		deepest = max(deepest, e.Depth())
	}
	for i := range v.node.members {
		deepest = max(deepest, v.node.members[i].Value.Depth())
	}
	return 1 + deepest
}

// SizeRule says what [Value.Size] counts. The zero SizeRule counts texts only.
type SizeRule struct {
	Null, Bool, Number int                              // for each value of that kind
	Skip               func(depth int, key string) bool // members that count nothing; nil skips none; depth 0 = of v itself
}

// Size returns the size of what v says, not of its JSON: [TextSize] for each string and each
// member name, what rule says for other scalars, nothing for arrays and objects themselves.
func (v Value) Size(rule SizeRule) int { return v.size(rule, 0) }

func (v Value) size(rule SizeRule, depth int) int {
	switch v.Kind() {
	case KindNull:
		return rule.Null
	case KindBool:
		return rule.Bool
	case KindNumber:
		return rule.Number
	case KindString:
		return TextSize(v.text)
	}
	total := 0
	for _, e := range v.node.elems {
		total += e.size(rule, depth+1)
	}
	for i := range v.node.members {
		m := &v.node.members[i]
		if rule.Skip != nil && rule.Skip(depth, m.Key) {
			continue
		}
		total += TextSize(m.Key) + m.Value.size(rule, depth+1)
	}
	return total
}

// TextSize returns the length of s in bytes of UTF-8, control characters (C0 and C1) not counted.
func TextSize(s string) int {
	n := len(s)
	for _, r := range s {
		if unicode.IsControl(r) {
			n -= len(string(r))
		}
	}
	return n
}
