package digitaltwin

import (
	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/core/twin"
	"github.com/twinhub/twinhub/internal/jsondoc"
)

// An edit turns operations into one merge patch of the desired properties. It notes what the operations touched,
// because a property that gets the value it has counts as written, and what it became.
type edit struct {
	doc     *twin.Document
	order   []string
	touched map[string]*touch
}

// A touch is what operations did to one member of the desired properties.
type touch struct {
	value jsondoc.Value // what it is now; null if cleared
	// members are the properties touched in a component. whole says that the member was touched as a whole.
	members []string
	seen    map[string]bool
	whole   bool
}

// translate returns the change of desired properties that the operations, applied in order, make of a twin.
func translate(doc *twin.Document, ops []operation) (twin.DesiredEdit, error) {
	e := edit{doc: doc, touched: map[string]*touch{}}
	for _, o := range ops {
		if err := e.apply(o); err != nil {
			return twin.DesiredEdit{}, err
		}
	}
	if len(e.order) == 0 {
		return twin.DesiredEdit{}, nil
	}
	patch, wire := jsondoc.NewBuilder(len(e.order)), jsondoc.NewBuilder(len(e.order))
	for _, name := range e.order {
		p, w := e.touched[name].result(e.was(name))
		patch.Set(name, p)
		wire.Set(name, w)
	}
	return twin.DesiredEdit{Patch: patch.Object(), Wire: wire.Object()}, nil
}

// was returns a desired property as it was before the patch; null if it was not.
func (e *edit) was(name string) jsondoc.Value {
	v, _ := e.doc.Desired.Values.Get(name)
	return v
}

// now returns it as the operations so far left it.
func (e *edit) now(name string) jsondoc.Value {
	if t := e.touched[name]; t != nil {
		return t.value
	}
	return e.was(name)
}

func (e *edit) touch(name string) *touch {
	t := e.touched[name]
	if t == nil {
		t = &touch{value: e.was(name)}
		e.touched[name] = t
		e.order = append(e.order, name)
	}
	return t
}

func (e *edit) apply(o operation) error {
	switch {
	case o.remove && o.component == "":
		e.clear(o.property)
		return nil
	case o.component == "":
		return e.setProperty(o.property, o.value)
	case o.property == "":
		return e.setComponent(o.component, o.value)
	case o.remove:
		return e.clearInside(o.component, o.property)
	}
	return e.setInside(o.component, o.property, o.value)
}

// clear removes a property, or all desired properties of a component; one that is absent stays so.
func (e *edit) clear(name string) {
	if e.now(name).IsNull() {
		return
	}
	t := e.touch(name)
	t.value, t.whole = jsondoc.Null(), true
}

func (e *edit) setProperty(name string, value jsondoc.Value) error {
	reported, _ := e.doc.Reported.Values.Get(name)
	if isComponent(reported) || isComponent(e.now(name)) {
		return notConformant(name)
	}
	t := e.touch(name)
	t.value, t.whole = value, true
	return nil
}

// checkComponent fails when there is something of that name that is not a component.
func (e *edit) checkComponent(name string) error {
	reported, _ := e.doc.Reported.Values.Get(name)
	for _, v := range []jsondoc.Value{reported, e.now(name)} {
		if !v.IsNull() && !isComponent(v) {
			return notConformant(name)
		}
	}
	return nil
}

// setComponent gives a component exactly these desired properties.
func (e *edit) setComponent(name string, properties jsondoc.Value) error {
	if err := e.checkComponent(name); err != nil {
		return err
	}
	if properties.Len() == 0 {
		e.clear(name)
		return nil
	}
	t := e.touch(name)
	for property := range t.value.Members() {
		if property != markerName {
			t.note(property)
		}
	}
	b := jsondoc.NewBuilder(properties.Len()+1).Set(markerName, jsondoc.String(marker))
	for property, v := range properties.Members() {
		t.note(property)
		b.Set(property, v)
	}
	t.value = b.Object()
	return nil
}

func (e *edit) setInside(component, property string, value jsondoc.Value) error {
	if err := e.checkComponent(component); err != nil {
		return err
	}
	t := e.touch(component)
	if t.value.IsNull() {
		t.value = jsondoc.Object(jsondoc.Member{Key: markerName, Value: jsondoc.String(marker)})
	}
	t.note(property)
	t.value = t.value.Set(property, value)
	return nil
}

// clearInside removes a property of a component, and with the last one the component.
func (e *edit) clearInside(component, property string) error {
	now := e.now(component)
	if now.IsNull() {
		return nil
	}
	if err := e.checkComponent(component); err != nil {
		return err
	}
	if _, ok := now.Get(property); !ok {
		return nil
	}
	t := e.touch(component)
	t.note(property)
	if t.value = t.value.Delete(property); t.value.Len() == 1 { // the marker alone
		t.value, t.whole = jsondoc.Null(), true
	}
	return nil
}

func (t *touch) note(property string) {
	if t.seen == nil {
		t.seen = map[string]bool{}
	}
	if !t.seen[property] {
		t.seen[property] = true
		t.members = append(t.members, property)
	}
}

// result returns the merge patch that makes of the former value what it is now, and the same as the device gets it:
// with the marker of a component even if the device knows it.
func (t *touch) result(was jsondoc.Value) (patch, wire jsondoc.Value) {
	if t.value.IsNull() || !isComponent(t.value) {
		patch = twin.Replacement(was, t.value)
		return patch, patch
	}
	members := t.members
	if t.whole { // cleared, and made again
		for property := range was.Members() {
			if property != markerName && !t.seen[property] {
				members = append(members, property)
			}
		}
	}
	b := jsondoc.NewBuilder(len(members) + 1)
	for _, property := range members {
		before, had := was.Get(property)
		after, has := t.value.Get(property)
		switch {
		case has:
			b.Set(property, twin.Replacement(before, after))
		case had:
			b.Set(property, jsondoc.Null())
		}
	}
	patch = b.Object()
	b.Set(markerName, jsondoc.String(marker))
	for property, v := range patch.Members() {
		b.Set(property, v)
	}
	wire = b.Object()
	if !isComponent(was) {
		patch = wire
	}
	return patch, wire
}

func notConformant(name string) error {
	return twinhub.Errorf(twinhub.CodeArgumentInvalid, "'%s' exists within the device twin and is not digital twin conformant property. "+
		"Please refer to aka.ms/dtpatch to update this to be conformant.", name)
}
