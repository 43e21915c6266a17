package digitaltwin

import (
	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/jsondoc"
)

// An operation is one step of a patch: set or clear a property, of the device itself or of a component, or a whole
// component.
type operation struct {
	component string // empty for the device itself
	property  string // empty for a whole component
	remove    bool
	value     jsondoc.Value // of a whole component: its properties, without $metadata
}

// Bounds of a patch.
const (
	// maxPatch bounds the text: all desired properties take 32 KiB, and a path and an operation around a short value
	// some eight times its size.
	maxPatch = 256 << 10
	// maxOperations bounds the work: each operation copies the list of properties of one component.
	maxOperations = 1000
	// maxObjectDepth is how deep a DTDL object value may nest.
	maxObjectDepth = 5
	// maxName is the longest DTDL name. Reference: DTDL v2, "Interface", property names.
	maxName = 64
)

// parsePatch reads and checks a JSON Patch (RFC 6902) of add, replace and remove.
func parsePatch(text []byte) ([]operation, error) {
	malformed := func(format string, args ...any) error {
		return twinhub.Errorf(twinhub.CodeInvalidDigitalTwinJsonPatch, format, args...)
	}
	v, err := jsondoc.Parse(text, jsondoc.Limits{MaxBytes: maxPatch})
	if err != nil {
		return nil, malformed("The body is not acceptable: %v.", err)
	}
	if v.Kind() != jsondoc.KindArray {
		return nil, malformed("The body must be a JSON Patch, an array of operations, not %s.", v.Kind())
	}
	if v.Len() > maxOperations {
		return nil, malformed("The patch has %d operations; the limit is %d.", v.Len(), maxOperations)
	}
	ops := make([]operation, 0, v.Len())
	for element := range v.Elements() {
		n := len(ops)
		opMember, _ := element.Get("op")
		op, _ := opMember.AsString()
		if op != jsondoc.OpAdd && op != jsondoc.OpReplace && op != jsondoc.OpRemove {
			return nil, malformed("Operation %d of the patch must be an object with op add, replace or remove.", n)
		}
		pathMember, _ := element.Get("path")
		path, ok := pathMember.AsString()
		if !ok {
			return nil, malformed("Operation %d of the patch has no path.", n)
		}
		value, ok := element.Get("value")
		if !ok && op != jsondoc.OpRemove {
			return nil, malformed("Operation %d of the patch has no value.", n)
		}
		o, err := newOperation(op, path, value)
		if err != nil {
			return nil, err
		}
		ops = append(ops, o)
	}
	return ops, nil
}

func newOperation(op, path string, value jsondoc.Value) (operation, error) {
	names, err := jsondoc.ParsePointer(path)
	if err != nil || len(names) < 1 || len(names) > 2 {
		return operation{}, twinhub.Errorf(twinhub.CodeInvalidDigitalTwinPatchPath,
			"The path %.200q must name a property or component, or a property of a component: /name or /component/name.", path)
	}
	for _, name := range names {
		if !validName(name) {
			return operation{}, twinhub.Errorf(twinhub.CodeInvalidDigitalTwinPatchPath,
				"The path %.200q contains a name that is not a DTDL name: a letter, then letters, digits and _, not _ at the end, at most %d in all.", path, maxName)
		}
	}
	o := operation{property: names[len(names)-1], remove: op == jsondoc.OpRemove}
	if len(names) == 2 {
		o.component = names[0]
	}
	if o.remove {
		return o, nil
	}
	if metadata, ok := value.Get(metadataName); ok && o.component == "" {
		if !metadata.IsObject() || metadata.Len() > 0 {
			return o, invalidValue(path, "has a $metadata member that is not {}")
		}
		o.component, o.property = names[0], ""
		o.value = value.Delete(metadataName)
		for name, v := range o.value.Members() {
			if !validName(name) {
				return o, invalidValue(path, "contains a name that is not a DTDL name")
			}
			if err := checkValue(path, v); err != nil {
				return o, err
			}
		}
		return o, nil
	}
	o.value = value
	return o, checkValue(path, value)
}

// checkValue tells whether v may be the value of a writable property.
func checkValue(path string, v jsondoc.Value) error {
	return v.Walk(func(c *jsondoc.Cursor) error {
		switch c.Value().Kind() {
		case jsondoc.KindNull:
			return invalidValue(path, "is or contains null")
		case jsondoc.KindArray:
			return invalidValue(path, "is or contains an array")
		case jsondoc.KindObject:
			if c.Depth() >= maxObjectDepth {
				return invalidValue(path, "has objects nested deeper than 5")
			}
		}
		if c.Parent() == jsondoc.KindObject && !validName(c.Key()) {
			return invalidValue(path, "contains a name that is not a DTDL name")
		}
		return nil
	})
}

func invalidValue(path, what string) error {
	return twinhub.Errorf(twinhub.CodeInvalidDigitalTwinPayload, "The value for %.200q %s.", path, what)
}

// validName reports whether s is a DTDL name: 1 to 64 ASCII letters, digits and underscores, a letter first and no
// underscore last.
func validName(s string) bool {
	if s == "" || len(s) > maxName || s[len(s)-1] == '_' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (i == 0 || c != '_' && (c < '0' || c > '9')) {
			return false
		}
	}
	return true
}
