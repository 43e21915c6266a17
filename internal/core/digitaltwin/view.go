// Package digitaltwin shows a device twin by the conventions of IoT Plug and Play, and changes it in that form. A
// digital twin is a view and never stored: View makes it from the stored twin, Service turns patches of it into
// writes of desired properties. The hub does not look into models here: any name that fits the conventions passes.
//
// Reference: IoT Plug and Play, "Understand IoT Plug and Play digital twins" and "Conventions".
package digitaltwin

import (
	"github.com/twinhub/twinhub/internal/core/twin"
	"github.com/twinhub/twinhub/internal/jsondoc"
)

// Names that the conventions give a meaning.
const (
	idName         = "$dtId"
	metadataName   = "$metadata"
	modelName      = "$model"
	markerName     = "__t" // of an object that is a component
	marker         = "c"
	ackValueName   = "value"
	ackCodeName    = "ac"
	ackVerName     = "av"
	ackDescName    = "ad"
	updatedName    = "$lastUpdated"
	updatedVerName = "$lastUpdatedVersion"
)

// View implements twin.View: it says how a change of a device's twin changes its digital twin.
type View struct{}

// Diff implements twin.View. Operations are in ordinal order of their paths.
func (View) Diff(before, after *twin.Document) jsondoc.Patch {
	return jsondoc.Diff(Show("", before), Show("", after))
}

// Show returns the digital twin of a device: $dtId, properties, components, $metadata.
func Show(device string, d *twin.Document) jsondoc.Value {
	b := jsondoc.NewBuilder(2 + d.Reported.Values.Len() + d.Desired.Values.Len())
	b.Set(idName, jsondoc.String(device))
	metadata := jsondoc.NewBuilder(1 + d.Reported.Values.Len() + d.Desired.Values.Len())
	metadata.Set(modelName, jsondoc.String(d.ModelID))
	root := part{
		reported: d.Reported.Values, reportedMeta: d.Reported.Metadata,
		desired: d.Desired.Values, desiredMeta: d.Desired.Metadata,
	}
	var components []string
	for _, name := range root.names() {
		if root.component(name) {
			components = append(components, name)
			continue
		}
		root.property(name, b, metadata)
	}
	for _, name := range components {
		b.Set(name, root.inner(name).show())
	}
	return b.Set(metadataName, metadata.Object()).Object()
}

// A part is what the two sections of a twin say of the device itself, or of one of its components.
type part struct {
	reported, reportedMeta jsondoc.Value
	desired, desiredMeta   jsondoc.Value
}

// names returns the members of both sections, the reported ones first, without the component marker.
func (p part) names() []string {
	names := make([]string, 0, p.reported.Len()+p.desired.Len())
	for name := range p.reported.Members() {
		names = append(names, name)
	}
	for name := range p.desired.Members() {
		if _, ok := p.reported.Get(name); !ok {
			names = append(names, name)
		}
	}
	return names
}

// component reports whether name is a component: either section says so.
func (p part) component(name string) bool {
	reported, _ := p.reported.Get(name)
	desired, _ := p.desired.Get(name)
	return isComponent(reported) || isComponent(desired)
}

func isComponent(v jsondoc.Value) bool {
	t, _ := v.Get(markerName)
	s, _ := t.AsString()
	return s == marker
}

// inner returns the part of a component. A section whose member is no object has nothing to say of it.
func (p part) inner(name string) part {
	var c part
	c.reported, _ = p.reported.Get(name)
	c.reportedMeta, _ = p.reportedMeta.Get(name)
	c.desired, _ = p.desired.Get(name)
	c.desiredMeta, _ = p.desiredMeta.Get(name)
	return c
}

// show returns a component: its properties, then $metadata.
func (p part) show() jsondoc.Value {
	b := jsondoc.NewBuilder(1 + p.reported.Len() + p.desired.Len())
	metadata := jsondoc.NewBuilder(p.reported.Len() + p.desired.Len())
	for _, name := range p.names() {
		if name != markerName {
			p.property(name, b, metadata)
		}
	}
	return b.Set(metadataName, metadata.Object()).Object()
}

// property sets what is known of a property: its reported value, if any, and its metadata entry.
func (p part) property(name string, values, metadata *jsondoc.Builder) {
	entry := jsondoc.NewBuilder(6)
	if v, ok := p.desired.Get(name); ok {
		entry.Set("desiredValue", v)
		if version, ok := p.desiredMeta.Lookup(name, updatedVerName); ok {
			entry.Set("desiredVersion", version)
		}
	}
	if v, ok := p.reported.Get(name); ok {
		if value, isAck := acknowledged(v); isAck {
			setIf(entry, "ackVersion", v, ackVerName)
			setIf(entry, "ackCode", v, ackCodeName)
			setIf(entry, "ackDescription", v, ackDescName)
			v = value
		}
		values.Set(name, v)
		if updated, ok := p.reportedMeta.Lookup(name, updatedName); ok {
			entry.Set("lastUpdateTime", updated)
		}
	}
	metadata.Set(name, entry.Object())
}

// acknowledged returns the value inside a device's answer to a desired property: an object with value and at least
// one of ac and av. The conventions ask for both, but devices leave one out.
func acknowledged(v jsondoc.Value) (value jsondoc.Value, ok bool) {
	value, ok = v.Get(ackValueName)
	_, code := v.Get(ackCodeName)
	_, version := v.Get(ackVerName)
	_, marked := v.Get(markerName)
	return value, ok && (code || version) && !marked
}

func setIf(b *jsondoc.Builder, key string, from jsondoc.Value, name string) {
	if v, ok := from.Get(name); ok {
		b.Set(key, v)
	}
}
