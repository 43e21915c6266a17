package jsondoc

import "slices"

// Merge returns target with the merge patch applied, as RFC 7396 section 2 defines it:
//
//   - a patch that is not an object replaces target whole;
//   - a null member deletes that member, at any depth; the object it was in stays, even empty;
//   - an object member is merged into the member of the same name; where target has none, or
//     none that is an object, it starts from {}, so nulls inside it vanish and it does not;
//   - any other member replaces the old value; arrays are replaced whole and kept as they are,
//     nulls inside them included.
//
// A member that existed keeps its place, new ones follow in the patch's order. Untouched parts are
// shared with target and patch, which do not change.
func Merge(target, patch Value) Value {
	if !patch.IsObject() {
		return patch
	}
	if !target.IsObject() {
		if !hasNullMember(patch) {
			return patch
		}
		target = Value{node: emptyObject}
	}
	if len(patch.node.members) == 0 {
		return target
	}
	merged := make([]Member, len(target.node.members), len(target.node.members)+len(patch.node.members))
	copy(merged, target.node.members)
	var deleted []int
	added := false
	for _, m := range patch.node.members {
		at := target.node.find(m.Key)
		switch {
		case at >= 0 && m.Value.IsNull():
			deleted = append(deleted, at)
		case at >= 0:
			merged[at].Value = Merge(merged[at].Value, m.Value)
		case !m.Value.IsNull():
			merged = append(merged, Member{Key: m.Key, Value: Merge(Value{}, m.Value)})
			added = true
		}
	}
	if len(deleted) == 0 && !added {
		// The keys are those of target, and so is their index.
		return Value{node: &node{kind: KindObject, members: merged, order: target.node.order}}
	}
	if len(deleted) > 0 {
		slices.Sort(deleted)
		kept := merged[:deleted[0]]
		for i, at := range deleted {
			end := len(merged)
			if i+1 < len(deleted) {
				end = deleted[i+1]
			}
			kept = append(kept, merged[at+1:end]...)
		}
		clear(merged[len(kept):])
		merged = kept
	}
	return objectOf(merged)
}

// hasNullMember reports whether v or an object reached from it through objects only has a member
// that is null: whether merging v into nothing would differ from v.
func hasNullMember(v Value) bool {
	if !v.IsObject() {
		return false
	}
	for i := range v.node.members {
		if m := v.node.members[i].Value; m.IsNull() || hasNullMember(m) {
			return true
		}
	}
	return false
}
