package twin

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/jsondoc"
)

// Limits of twins. Reference: IoT Hub, "Understand and use device twins", tags and properties format; "Quotas and
// throttling".
const (
	MaxTags     = 8 << 10  // size of all tags
	MaxDesired  = 32 << 10 // size of all desired properties
	MaxReported = 32 << 10

	MaxDepth  = 10                // objects and arrays below the root of a section; a scalar may sit inside the last
	MaxKey    = 1024              // bytes of a name
	MaxString = 4096              // bytes of a string
	MinInt    = -4503599627370496 // -2^52
	MaxInt    = 4503599627370495  // 2^52-1
)

// maxBody bounds the text of a request. A client may send a whole twin back, whose stored form has at most
// engine.MaxValue bytes, with every member it does not change.
const maxBody = 2 << 20

// A sectionRule is what a section is called in error texts, and its size.
type sectionRule struct {
	path string
	size int
}

var (
	tagsSection     = sectionRule{path: "tags", size: MaxTags}
	desiredSection  = sectionRule{path: "properties.desired", size: MaxDesired}
	reportedSection = sectionRule{path: "properties.reported", size: MaxReported}
)

// check tells whether patch, an object, is fit for the section: names, depth, values. Nulls stand for deletions
// except inside arrays.
func (r sectionRule) check(patch jsondoc.Value) error {
	return patch.Walk(func(c *jsondoc.Cursor) error {
		if c.Parent() == jsondoc.KindObject {
			if err := r.checkKey(c); err != nil {
				return err
			}
		}
		v := c.Value()
		switch v.Kind() {
		case jsondoc.KindObject, jsondoc.KindArray:
			if c.Depth() > MaxDepth {
				return r.errorf(c, "is nested deeper than %d levels", MaxDepth)
			}
		case jsondoc.KindString:
			if s, _ := v.AsString(); len(s) > MaxString {
				return r.errorf(c, "is a string of %d bytes; the limit is %d", len(s), MaxString)
			}
		case jsondoc.KindNumber:
			if n, ok := v.AsInt64(); v.IsInteger() && (!ok || n < MinInt || n > MaxInt) {
				return r.errorf(c, "is an integer outside %d to %d", int64(MinInt), int64(MaxInt))
			}
		case jsondoc.KindNull:
			if c.Around(jsondoc.KindArray) > 0 {
				return r.errorf(c, "is null; arrays cannot contain null")
			}
		}
		return nil
	})
}

func (r sectionRule) checkKey(c *jsondoc.Cursor) error {
	key := c.Key()
	if len(key) > MaxKey {
		return r.errorf(c, "has a name of %d bytes; the limit is %d", len(key), MaxKey)
	}
	if strings.ContainsFunc(key, illegal) {
		return r.errorf(c, "has a name with a character that is not allowed: '.', '$', '#', space or a control character")
	}
	return nil
}

func illegal(c rune) bool {
	return c == '.' || c == '$' || c == '#' || c == ' ' || unicode.IsControl(c)
}

// maxShownPath bounds the path in an error text; names can be long.
const maxShownPath = 256

func (r sectionRule) errorf(c *jsondoc.Cursor, format string, args ...any) error {
	path := r.path + strings.ReplaceAll(c.Pointer(), "/", ".")
	if len(path) > maxShownPath {
		path = strings.ToValidUTF8(path[:maxShownPath], "") + "..."
	}
	return twinhub.Errorf(twinhub.CodeArgumentInvalid, "The twin value at %s %s.", path, fmt.Sprintf(format, args...))
}

// sizes counts UTF-8 bytes of names and strings without control characters, 8 for a number, 4 for a boolean.
var sizes = jsondoc.SizeRule{Number: 8, Bool: 4}

func (r sectionRule) checkSize(values jsondoc.Value) error {
	if n := values.Size(sizes); n > r.size {
		return twinhub.Errorf(twinhub.CodeArgumentInvalid, "The size of %s would be %d bytes; the limit is %d.", r.path, n, r.size)
	}
	return nil
}

func (d *Document) checkSizes() error {
	if err := tagsSection.checkSize(d.Tags); err != nil {
		return err
	}
	if err := desiredSection.checkSize(d.Desired.Values); err != nil {
		return err
	}
	return reportedSection.checkSize(d.Reported.Values)
}

// serviceSection returns what a service sent for a section, checked and without the members that only the hub
// writes. Null and {} come back as they are.
func serviceSection(v jsondoc.Value, rule sectionRule) (jsondoc.Value, error) {
	if v.IsNull() {
		return v, nil
	}
	if !v.IsObject() {
		return v, twinhub.Errorf(twinhub.CodeArgumentInvalid, "%s must be an object, not %s.", rule.path, v.Kind())
	}
	v = v.Delete(metadataName).Delete(versionName)
	return v, rule.check(v)
}

func parseObject(body []byte) (jsondoc.Value, error) {
	v, err := jsondoc.Parse(body, jsondoc.Limits{MaxBytes: maxBody})
	if err != nil {
		return v, twinhub.Errorf(twinhub.CodeArgumentInvalid, "The body is not acceptable: %v.", err)
	}
	if !v.IsObject() {
		return v, twinhub.Errorf(twinhub.CodeArgumentInvalid, "The body must be a JSON object, not %s.", v.Kind())
	}
	return v, nil
}
