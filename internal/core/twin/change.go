package twin

import (
	"time"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/jsondoc"
)

// A change is one write of a twin. A nil delta means that the section stayed as it was.
type change struct {
	before, after *Document
	at            time.Time // the instant of the write, in whole ticks
	replaced      bool      // the service replaced the twin
	tags          *jsondoc.Value
	desired       *delta
	reported      *delta
	wire          *jsondoc.Value // the desired patch for the device, without $version
}

// A request is what a service asks for. An absent section is nil; one to be cleared is null.
type request struct {
	replace       bool
	tags, desired *jsondoc.Value
}

// parseRequest reads and checks the body of a service's PATCH or PUT. What a service cannot write is ignored, because
// clients send back whole twins.
func parseRequest(body []byte, replace bool) (request, error) {
	r := request{replace: replace}
	root, err := parseObject(body)
	if err != nil {
		return r, err
	}
	if r.tags, err = member(root, "tags", tagsSection); err != nil {
		return r, err
	}
	properties, _ := root.Get("properties")
	if !properties.IsNull() && !properties.IsObject() {
		return r, twinhub.Errorf(twinhub.CodeArgumentInvalid, "properties must be an object, not %s.", properties.Kind())
	}
	if r.desired, err = member(properties, "desired", desiredSection); err != nil {
		return r, err
	}
	if replace {
		r.tags, r.desired = whole(r.tags), whole(r.desired)
	}
	return r, nil
}

func member(object jsondoc.Value, key string, rule sectionRule) (*jsondoc.Value, error) {
	v, ok := object.Get(key)
	if !ok {
		return nil, nil
	}
	v, err := serviceSection(v, rule)
	return &v, err
}

// whole returns what a PUT makes of a section: an object without nulls.
func whole(v *jsondoc.Value) *jsondoc.Value {
	values := empty
	if v != nil && v.IsObject() {
		values = jsondoc.Merge(empty, *v)
	}
	return &values
}

// service applies a service's request; the change is nil when the request names neither tags nor desired properties.
func (d *Document) service(r request, now time.Time) (*change, error) {
	if r.tags == nil && r.desired == nil {
		return nil, nil
	}
	next := *d
	next.Counter++
	next.Version++
	c := &change{before: d, after: &next, at: now.Truncate(twinhub.Tick), replaced: r.replace}
	if r.tags != nil {
		patch := *r.tags
		switch {
		case r.replace:
			next.Tags = patch
		case patch.IsNull():
			patch = Replacement(d.Tags, empty)
			next.Tags = empty
		default:
			next.Tags = jsondoc.Merge(d.Tags, patch)
		}
		c.tags = &patch
	}
	if r.desired != nil {
		var dl delta
		version := d.Desired.Version + 1
		by := desiredStamp(c.at, version)
		switch {
		case r.replace:
			next.Desired, dl = d.Desired.replace(*r.desired, by, version)
		case r.desired.IsNull():
			next.Desired, dl = d.Desired.replace(empty, by, version)
		default:
			next.Desired, dl = d.Desired.merge(*r.desired, by, version)
		}
		c.desired, c.wire = &dl, &dl.patch
	}
	return c, next.checkSizes()
}

// parseReported reads and checks the body of a device's PATCH of its reported properties.
func parseReported(body []byte) (jsondoc.Value, error) {
	patch, err := parseObject(body)
	if err != nil {
		return patch, err
	}
	return patch, reportedSection.check(patch)
}

// report applies a device's patch.
func (d *Document) report(patch jsondoc.Value, now time.Time) (*change, error) {
	next := *d
	next.Version++
	c := &change{before: d, after: &next, at: now.Truncate(twinhub.Tick)}
	var dl delta
	next.Reported, dl = d.Reported.merge(patch, reportedStamp(c.at), d.Reported.Version+1)
	c.reported = &dl
	return c, reportedSection.checkSize(next.Reported.Values)
}

// model sets what the device announced; the change is nil when it is what is known.
func (d *Document) model(modelID string, now time.Time) *change {
	if d.ModelID == modelID {
		return nil
	}
	next := *d
	next.ModelID = modelID
	return &change{before: d, after: &next, at: now.Truncate(twinhub.Tick)}
}
