package jsondoc

import (
	"cmp"
	"iter"
	"slices"
	"strings"
)

// linearLookup is the member count up to which a key is searched for one by one: up to there
// comparing is faster than, and as small as, keeping a sorted index.
const linearLookup = 16

// Member is one name and value of an object.
type Member struct {
	Key   string
	Value Value
}

// Object returns an object of the given members in the given order. When a key occurs more than
// once, the last value stands at the place of the first. It keeps no reference to the slice.
func Object(members ...Member) Value {
	b := Builder{members: make([]Member, 0, len(members))}
	for _, m := range members {
		b.Set(m.Key, m.Value)
	}
	return b.Object()
}

// objectOf returns an object that owns members, whose keys are distinct and UTF-8.
func objectOf(members []Member) Value {
	if len(members) == 0 {
		return Value{node: emptyObject}
	}
	n := &node{kind: KindObject, members: members}
	if len(members) > linearLookup {
		n.order = sortedOrder(members)
	}
	return Value{node: n}
}

// sortedOrder returns the positions of members in ascending byte order of their keys.
func sortedOrder(members []Member) []int32 {
	order := make([]int32, len(members))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int {
		return strings.Compare(members[a].Key, members[b].Key)
	})
	return order
}

// find returns the position of key among the members of n, or -1.
func (n *node) find(key string) int {
	if n == nil {
		return -1
	}
	if n.order == nil {
		for i := range n.members {
			if n.members[i].Key == key {
				return i
			}
		}
		return -1
	}
	at, ok := slices.BinarySearchFunc(n.order, key, func(pos int32, key string) int {
		return cmp.Compare(n.members[pos].Key, key)
	})
	if !ok {
		return -1
	}
	return int(n.order[at])
}

// Get returns the member of v with the given key; ok is false, and the value null, when v has no
// such member or is not an object.
func (v Value) Get(key string) (member Value, ok bool) {
	i := v.node.find(key)
	if i < 0 {
		return Value{}, false
	}
	return v.node.members[i].Value, true
}

// Lookup follows keys from object to object and returns what it finds; ok is false when a member
// on the way is absent or not an object. Without keys it returns v.
func (v Value) Lookup(keys ...string) (found Value, ok bool) {
	for _, key := range keys {
		if v, ok = v.Get(key); !ok {
			return Value{}, false
		}
	}
	return v, true
}

// Set returns v with the member key set to member: at its old place when the key exists, else as
// the last. When v is not an object the result has this member only. To set many members, use a
// [Builder] or [Merge]: each Set copies the list of members (not the members).
func (v Value) Set(key string, member Value) Value {
	if !v.IsObject() {
		return objectOf([]Member{{Key: validText(key), Value: member}})
	}
	key = validText(key)
	if i := v.node.find(key); i >= 0 {
		members := slices.Clone(v.node.members)
		members[i].Value = member
		return Value{node: &node{kind: KindObject, members: members, order: v.node.order}}
	}
	members := make([]Member, 0, len(v.node.members)+1)
	members = append(append(members, v.node.members...), Member{Key: key, Value: member})
	return objectOf(members)
}

// Delete returns v without the member key; v itself when it has none.
func (v Value) Delete(key string) Value {
	i := v.node.find(key)
	if i < 0 {
		return v
	}
	members := make([]Member, 0, len(v.node.members)-1)
	members = append(append(members, v.node.members[:i]...), v.node.members[i+1:]...)
	return objectOf(members)
}

// Members iterates over the members of an object in their order; over nothing for every other kind.
func (v Value) Members() iter.Seq2[string, Value] {
	return func(yield func(string, Value) bool) {
		if v.node == nil {
			return
		}
		for i := range v.node.members {
			if !yield(v.node.members[i].Key, v.node.members[i].Value) {
				return
			}
		}
	}
}

// Sorted returns v with the members of every object in it, at every depth and inside arrays too,
// in ascending byte order of their keys.
func Sorted(v Value) Value {
	switch v.Kind() {
	case KindArray:
		elems := make([]Value, len(v.node.elems))
		for i, e := range v.node.elems {
			elems[i] = Sorted(e)
		}
		return arrayOf(elems)
	case KindObject:
		members := make([]Member, len(v.node.members))
		for i, m := range v.node.members {
			members[i] = Member{Key: m.Key, Value: Sorted(m.Value)}
		}
		slices.SortFunc(members, func(a, b Member) int { return strings.Compare(a.Key, b.Key) })
		return objectOf(members)
	}
	return v
}

// Builder makes an object member by member without a copy for each. The zero Builder is ready. Not
// safe for concurrent use.
type Builder struct {
	members []Member
	places  map[string]int // of all members, once there are more than linearLookup
}

// NewBuilder returns a Builder with room for n members.
func NewBuilder(n int) *Builder { return &Builder{members: make([]Member, 0, n)} }

// Len returns the number of members so far.
func (b *Builder) Len() int { return len(b.members) }

// Set sets the member key: at its old place when the key exists, else as the last. It returns b.
func (b *Builder) Set(key string, member Value) *Builder {
	key = validText(key)
	if i := b.find(key); i >= 0 {
		b.members[i].Value = member
		return b
	}
	b.members = append(b.members, Member{Key: key, Value: member})
	if b.places != nil {
		b.places[key] = len(b.members) - 1
	}
	return b
}

func (b *Builder) find(key string) int {
	if len(b.members) <= linearLookup {
		return slices.IndexFunc(b.members, func(m Member) bool { return m.Key == key })
	}
	if b.places == nil {
		b.places = make(map[string]int, 2*len(b.members))
		for i, m := range b.members {
			b.places[m.Key] = i
		}
	}
	if i, ok := b.places[key]; ok {
		return i
	}
	return -1
}

// Object returns the object built so far and empties b for the next one.
func (b *Builder) Object() Value {
	members := b.members
	b.members, b.places = nil, nil
	return objectOf(members)
}
