// Package twin keeps device and module twins: the documents, how requests of services and devices change them, and
// the events and desired patches that tell of a change. Package registry makes and deletes a twin in the commit that
// makes or deletes its identity; package digitaltwin shows a device's twin in another form.
//
// The main types are Document, the stored twin, and Service. A Document never changes; a change makes a new one.
// Invariant: a change of a twin and the events that announce it are one commit.
package twin

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/engine"
	"github.com/twinhub/twinhub/internal/jsondoc"
)

// A Document is a stored twin. Connection state and what belongs to the identity are not in it. It must not be
// modified.
type Document struct {
	// Counter counts the service's writes of tags or desired properties, from 1; ETag shows it.
	Counter uint64
	// Version counts all writes of tags, desired or reported properties, from 2.
	Version int64
	// ModelID is what the device announced last; empty if it never did.
	ModelID string
	// Tags is an object.
	Tags     jsondoc.Value
	Desired  Section
	Reported Section
}

// A Section is the desired or the reported properties of a twin.
type Section struct {
	// Version counts the writes of the section, from 1.
	Version int64
	// Values is an object: the properties in the order in which their sender wrote them.
	Values jsondoc.Value
	// Metadata mirrors Values: each property and each object on the way to it has $lastUpdated and, in desired
	// properties, $lastUpdatedVersion.
	Metadata jsondoc.Value
}

// Members of the stored form, which is one JSON object.
const (
	keyCounter  = "etag"
	keyVersion  = "version"
	keyModelID  = "modelId"
	keyTags     = "tags"
	keyDesired  = "desired"
	keyReported = "reported"
	keyValues   = "values"
	keyMetadata = "metadata"
)

// Names that the hub adds inside sections.
const (
	metadataName           = "$metadata"
	versionName            = "$version"
	lastUpdatedName        = "$lastUpdated"
	lastUpdatedVersionName = "$lastUpdatedVersion"
)

var empty = jsondoc.Object()

// NewDocument returns the twin of an identity made at now. tags and desired are objects with which it starts, or null; their
// $metadata and $version members and null members are left out. Fails with CodeArgumentInvalid as Service.Update does.
// Reference: IoT Hub, "Understand and use device twins", device twin metadata.
func NewDocument(now time.Time, modelID string, tags, desired jsondoc.Value) (*Document, error) {
	tags, err := serviceSection(tags, tagsSection)
	if err != nil {
		return nil, err
	}
	desired, err = serviceSection(desired, desiredSection)
	if err != nil {
		return nil, err
	}
	created := jsondoc.Object(jsondoc.Member{Key: lastUpdatedName, Value: jsondoc.String(twinhub.FormatTime(now))})
	d := &Document{
		Counter: 1, Version: 2, ModelID: modelID,
		Tags:     *whole(&tags),
		Desired:  Section{Version: 1, Values: empty, Metadata: created},
		Reported: Section{Version: 1, Values: empty, Metadata: created},
	}
	if desired.Len() > 0 {
		d.Desired, _ = d.Desired.merge(desired, desiredStamp(now, 1), 1)
	}
	return d, d.checkSizes()
}

// ETag returns the unquoted etag of the twin: base64 of the eight bytes of Counter, most significant first.
func (d *Document) ETag() string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint64(nil, d.Counter))
}

// Prefixes of the document keys. Ids cannot contain a slash.
const (
	devicePrefix = "t/"
	modulePrefix = "u/"
)

// Key returns the key of the document that stores the twin of id.
func Key(id twinhub.ID) string {
	if id.IsModule() {
		return modulePrefix + id.Device + "/" + id.Module
	}
	return devicePrefix + id.Device
}

// Write returns the engine write that stores d as the twin of id, provided that the stored one has the expected
// revision. Fails with CodeArgumentInvalid when the twin with its metadata is larger than engine.MaxValue.
func (d *Document) Write(id twinhub.ID, expect engine.Revision) (engine.Write, error) {
	value := d.encode()
	if len(value) > engine.MaxValue {
		return engine.Write{}, twinhub.Errorf(twinhub.CodeArgumentInvalid,
			"The twin with its metadata would take %d bytes; the limit is %d.", len(value), engine.MaxValue)
	}
	return engine.Write{Key: Key(id), Value: value, Expect: expect}, nil
}

func (d *Document) encode() []byte {
	return jsondoc.Object(
		jsondoc.Member{Key: keyCounter, Value: jsondoc.Int(int64(d.Counter))},
		jsondoc.Member{Key: keyVersion, Value: jsondoc.Int(d.Version)},
		jsondoc.Member{Key: keyModelID, Value: jsondoc.String(d.ModelID)},
		jsondoc.Member{Key: keyTags, Value: d.Tags},
		jsondoc.Member{Key: keyDesired, Value: d.Desired.stored()},
		jsondoc.Member{Key: keyReported, Value: d.Reported.stored()},
	).Append(make([]byte, 0, 1024))
}

func (s Section) stored() jsondoc.Value {
	return jsondoc.Object(
		jsondoc.Member{Key: keyVersion, Value: jsondoc.Int(s.Version)},
		jsondoc.Member{Key: keyValues, Value: s.Values},
		jsondoc.Member{Key: keyMetadata, Value: s.Metadata},
	)
}

// Decode reads the value of a document whose key Key made. It keeps no reference to value.
func Decode(value []byte) (*Document, error) {
	v, err := jsondoc.Parse(value, jsondoc.Limits{})
	if err != nil {
		return nil, fmt.Errorf("decode twin: %w", err)
	}
	f := fields{of: v}
	d := &Document{
		Counter: uint64(f.number(keyCounter)), Version: f.number(keyVersion), ModelID: f.text(keyModelID),
		Tags: f.object(keyTags), Desired: f.section(keyDesired), Reported: f.section(keyReported),
	}
	if f.missing != "" {
		return nil, fmt.Errorf("decode twin: no valid member %q", f.missing)
	}
	return d, nil
}

// fields reads members of a stored object and remembers the first that is not as it must be.
type fields struct {
	of      jsondoc.Value
	missing string
}

func (f *fields) want(key string, ok bool) {
	if !ok && f.missing == "" {
		f.missing = key
	}
}

func (f *fields) number(key string) int64 {
	v, _ := f.of.Get(key)
	n, ok := v.AsInt64()
	f.want(key, ok)
	return n
}

func (f *fields) text(key string) string {
	v, _ := f.of.Get(key)
	s, ok := v.AsString()
	f.want(key, ok)
	return s
}

func (f *fields) object(key string) jsondoc.Value {
	v, _ := f.of.Get(key)
	f.want(key, v.IsObject())
	return v
}

func (f *fields) section(key string) Section {
	inner := fields{of: f.object(key)}
	s := Section{Version: inner.number(keyVersion), Values: inner.object(keyValues), Metadata: inner.object(keyMetadata)}
	f.want(key+"."+inner.missing, inner.missing == "")
	return s
}
