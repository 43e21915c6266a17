package jsondoc

// Equal reports whether a and b mean the same JSON: objects have the same members in whatever
// order, arrays the same elements in the same order, numbers the same exact value (1, 1.0 and 10e-1
// are equal, -0 is 0). Numbers whose exponent has more than 17 digits are compared by their text.
func Equal(a, b Value) bool { return same(a, b, sameNumber, false) }

// Identical reports whether a and b are written the same: Equal, and the same text of every number
// and the same order of members.
func Identical(a, b Value) bool { return same(a, b, sameText, true) }

func sameText(a, b string) bool { return a == b }

// same compares deeply, numbers with the given function and members by place if inOrder.
func same(a, b Value, number func(a, b string) bool, inOrder bool) bool {
	if a.Kind() != b.Kind() {
		return false
	}
	switch a.Kind() {
	case KindNumber:
		return number(a.text, b.text)
	case KindArray:
		if a.node == b.node {
			return true
		}
		if len(a.node.elems) != len(b.node.elems) {
			return false
		}
		for i := range a.node.elems {
			if !same(a.node.elems[i], b.node.elems[i], number, inOrder) {
				return false
			}
		}
		return true
	case KindObject:
		if a.node == b.node {
			return true
		}
		if len(a.node.members) != len(b.node.members) {
			return false
		}
		for i := range a.node.members {
			key, at := a.node.members[i].Key, i
			if b.node.members[i].Key != key {
				if inOrder {
					return false
				}
				if at = b.node.find(key); at < 0 {
					return false
				}
			}
			if !same(a.node.members[i].Value, b.node.members[at].Value, number, inOrder) {
				return false
			}
		}
		return true
	}
	return a.node == b.node && a.text == b.text
}
