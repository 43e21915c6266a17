package twin

import (
	"strings"
	"time"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/jsondoc"
)

// A stamp is what a write leaves in the metadata of every node it touches.
type stamp struct {
	head []jsondoc.Member
	leaf jsondoc.Value // an object of head alone
}

func newStamp(head ...jsondoc.Member) stamp { return stamp{head: head, leaf: jsondoc.Object(head...)} }

func reportedStamp(now time.Time) stamp {
	return newStamp(jsondoc.Member{Key: lastUpdatedName, Value: jsondoc.String(twinhub.FormatTime(now))})
}

func desiredStamp(now time.Time, version int64) stamp {
	return newStamp(
		jsondoc.Member{Key: lastUpdatedName, Value: jsondoc.String(twinhub.FormatTime(now))},
		jsondoc.Member{Key: lastUpdatedVersionName, Value: jsondoc.Int(version)})
}

// A delta is how a section changed: the merge patch that was applied and the metadata of the nodes it touched, those
// of deleted ones left out.
type delta struct {
	patch    jsondoc.Value
	metadata jsondoc.Value
}

// merge applies a merge patch and gives the section its next version. Every node named in the patch and all objects
// on the way to it get the stamp; deleted nodes lose their metadata. A value that is the same again is a write too.
func (s Section) merge(patch jsondoc.Value, by stamp, version int64) (Section, delta) {
	touched := by.patch(s.Metadata, patch)
	next := Section{
		Version:  version,
		Values:   jsondoc.Merge(s.Values, patch),
		Metadata: jsondoc.Merge(s.Metadata, touched),
	}
	return next, delta{patch: patch, metadata: jsondoc.Merge(empty, touched)} // merging into nothing drops nulls
}

// replace makes values, which hold no null members, the properties of the section. The delta's patch has null for
// every node that vanished.
func (s Section) replace(values jsondoc.Value, by stamp, version int64) (Section, delta) {
	touched := by.patch(empty, values)
	next := Section{Version: version, Values: values, Metadata: touched}
	return next, delta{patch: Replacement(s.Values, values), metadata: touched}
}

// patch returns the merge patch of the metadata old that goes with the merge patch values of the properties.
func (s stamp) patch(old, values jsondoc.Value) jsondoc.Value {
	b := jsondoc.NewBuilder(len(s.head) + values.Len())
	for _, m := range s.head {
		b.Set(m.Key, m.Value)
	}
	for key, v := range values.Members() {
		before, _ := old.Get(key)
		switch {
		case v.IsNull():
			b.Set(key, jsondoc.Null())
		case v.IsObject():
			b.Set(key, s.patch(before, v))
		default:
			b.Set(key, s.leafOver(before))
		}
	}
	return b.Object()
}

// leafOver returns the merge patch for the metadata of a node that becomes a scalar or array: nothing of what the
// object that was there before contained may stay.
func (s stamp) leafOver(old jsondoc.Value) jsondoc.Value {
	if old.Len() <= len(s.head) {
		return s.leaf
	}
	b := jsondoc.NewBuilder(old.Len())
	for _, m := range s.head {
		b.Set(m.Key, m.Value)
	}
	for key := range old.Members() {
		if !strings.HasPrefix(key, "$") {
			b.Set(key, jsondoc.Null())
		}
	}
	return b.Object()
}

// Replacement returns the merge patch that turns old into next, which has no null members: all of next, and null for
// every member of old, at any depth, that next lacks. Members of old come first.
func Replacement(old, next jsondoc.Value) jsondoc.Value {
	if !old.IsObject() || !next.IsObject() {
		return next
	}
	b := jsondoc.NewBuilder(old.Len() + next.Len())
	for key, before := range old.Members() {
		if after, ok := next.Get(key); ok {
			b.Set(key, Replacement(before, after))
		} else {
			b.Set(key, jsondoc.Null())
		}
	}
	for key, after := range next.Members() {
		if _, ok := old.Get(key); !ok {
			b.Set(key, after)
		}
	}
	return b.Object()
}
