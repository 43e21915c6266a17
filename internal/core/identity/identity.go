// Package identity keeps the records of devices and modules: who exists, with which keys, enabled or not. It reads
// them and builds the writes that change them; package registry decides on changes and commits them.
package identity

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/engine"
)

// Words of the status and authentication fields.
const (
	Enabled  = "enabled"
	Disabled = "disabled"

	AuthSAS        = "sas"
	AuthSelfSigned = "selfSigned"
	AuthAuthority  = "certificateAuthority"
)

// An Identity is the stored record of a device or module. Its JSON form is the stored one; clients see it through
// package registry.
type Identity struct {
	DeviceID string `json:"deviceId"`
	ModuleID string `json:"moduleId,omitempty"`
	// GenerationID differs between two identities of the same id, one made after the other was deleted.
	GenerationID string `json:"generationId"`
	// Version counts the writes of this record and is the number in its ETag.
	Version           uint64    `json:"version"`
	Status            string    `json:"status"`
	StatusReason      string    `json:"statusReason,omitempty"`
	StatusUpdatedTime time.Time `json:"statusUpdatedTime,omitzero"`
	Auth              Auth      `json:"auth"`
	Edge              bool      `json:"edge,omitempty"`
	DeviceScope       string    `json:"deviceScope,omitempty"`
	ParentScopes      []string  `json:"parentScopes,omitempty"`
}

// Auth says how an identity proves itself.
type Auth struct {
	Type                string `json:"type"`
	PrimaryKey          string `json:"primaryKey,omitempty"` // base64 of 16 to 64 bytes
	SecondaryKey        string `json:"secondaryKey,omitempty"`
	PrimaryThumbprint   string `json:"primaryThumbprint,omitempty"` // 40 or 64 hex digits
	SecondaryThumbprint string `json:"secondaryThumbprint,omitempty"`
}

// String leaves the keys out, so that a record that is logged by mistake shows none.
func (a Auth) String() string { return "auth " + a.Type }

// ID returns whose record it is.
func (i *Identity) ID() twinhub.ID { return twinhub.ID{Device: i.DeviceID, Module: i.ModuleID} }

// ETag returns the unquoted etag of the record: base64 of its decimal version.
func (i *Identity) ETag() string {
	return base64.StdEncoding.EncodeToString(strconv.AppendUint(nil, i.Version, 10))
}

// Prefixes of the document keys. Ids cannot contain a slash.
const (
	devicePrefix = "d/"
	modulePrefix = "m/"
)

// Key returns the document key of an identity's record.
func Key(id twinhub.ID) string {
	if id.IsModule() {
		return modulePrefix + id.Device + "/" + id.Module
	}
	return devicePrefix + id.Device
}

// Write returns the engine write that stores the record, provided that it still has the expected revision.
func (i *Identity) Write(expect engine.Revision) (engine.Write, error) {
	value, err := json.Marshal(i)
	if err != nil {
		return engine.Write{}, fmt.Errorf("encode identity: %w", err)
	}
	return engine.Write{Key: Key(i.ID()), Value: value, Expect: expect}, nil
}

// NotFound returns the error that says id does not exist.
func NotFound(id twinhub.ID) *twinhub.Error {
	if id.IsModule() {
		return twinhub.Errorf(twinhub.CodeModuleNotFound, "Module %s on device %s is not registered.", id.Module, id.Device)
	}
	return twinhub.Errorf(twinhub.CodeDeviceNotFound, "Device %s is not registered.", id.Device)
}

// Get reads a record and its revision. It fails with CodeDeviceNotFound or CodeModuleNotFound.
func Get(e engine.Engine, id twinhub.ID) (*Identity, engine.Revision, error) {
	doc, err := e.Get(engine.PartitionOf(e, id.Device), Key(id))
	if errors.Is(err, engine.ErrNotFound) {
		return nil, 0, NotFound(id)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read identity: %w", err)
	}
	i, err := decode(doc)
	return i, doc.Revision, err
}

// Devices returns up to limit device records of one partition with an id greater than after, ordered by id.
func Devices(e engine.Engine, p engine.Partition, after string, limit int) ([]*Identity, error) {
	if after != "" {
		after = devicePrefix + after
	}
	docs, err := e.Scan(p, devicePrefix, after, limit)
	if err != nil {
		return nil, fmt.Errorf("scan identities: %w", err)
	}
	list := make([]*Identity, len(docs))
	for n, doc := range docs {
		if list[n], err = decode(doc); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func decode(doc engine.Document) (*Identity, error) {
	i := new(Identity)
	if err := json.Unmarshal(doc.Value, i); err != nil {
		return nil, fmt.Errorf("decode identity %q: %w", doc.Key, err)
	}
	return i, nil
}
