package service

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// Twin is what the hub keeps about a device or module besides its identity.
// Reference: IoT Hub, "Understand and use device twins".
type Twin struct {
	DeviceID string `json:"deviceId"`
	ModuleID string `json:"moduleId"`
	// ETag changes with every write of tags or desired properties, not with the device's reports. It is bare, without
	// quotes.
	ETag       string `json:"etag"`
	DeviceETag string `json:"deviceEtag"`
	// ModelID is the DTDL model that the device announced when it last connected; empty if it announced none.
	ModelID string `json:"modelId"`
	// Version counts all writes of tags, desired and reported properties.
	Version int64 `json:"version"`

	Status                    string          `json:"status"`
	StatusReason              string          `json:"statusReason"`
	StatusUpdateTime          time.Time       `json:"statusUpdateTime"`
	ConnectionState           string          `json:"connectionState"`
	LastActivityTime          time.Time       `json:"lastActivityTime"`
	CloudToDeviceMessageCount int             `json:"cloudToDeviceMessageCount"`
	AuthenticationType        string          `json:"authenticationType"`
	X509Thumbprint            *X509Thumbprint `json:"x509Thumbprint"`
	Capabilities              *Capabilities   `json:"capabilities"`
	DeviceScope               string          `json:"deviceScope"`
	ParentScopes              []string        `json:"parentScopes"`

	// Tags is a JSON object; nil when there are none.
	Tags json.RawMessage `json:"tags"`
	// Properties are the two sections, each a JSON object with $metadata and $version.
	Properties TwinProperties `json:"properties"`

	// Raw is the whole twin as the hub sent it.
	Raw json.RawMessage `json:"-"`
}

// TwinProperties are the property sections of a twin: what the back end wants, and what the device says.
type TwinProperties struct {
	Desired  json.RawMessage `json:"desired"`
	Reported json.RawMessage `json:"reported"`
}

// TwinPatch is what [Client.UpdateTwin] and [Client.ReplaceTwin] usually send. Each member may be any value that is
// encoded as a JSON object, or nil to leave the section out. A property of a component stands inside an object that is
// marked as one: {"thermostat1": {"__t": "c", "targetTemperature": 42}}.
type TwinPatch struct {
	Tags    any
	Desired any
}

// MarshalJSON returns {"tags":...,"properties":{"desired":...}} without what is nil.
func (p TwinPatch) MarshalJSON() ([]byte, error) {
	type properties struct {
		Desired json.RawMessage `json:"desired"`
	}
	var out struct {
		Tags       json.RawMessage `json:"tags,omitempty"`
		Properties *properties     `json:"properties,omitempty"`
	}
	var err error
	if p.Tags != nil {
		if out.Tags, err = encode(p.Tags); err != nil {
			return nil, err
		}
	}
	if p.Desired != nil {
		out.Properties = &properties{}
		if out.Properties.Desired, err = encode(p.Desired); err != nil {
			return nil, err
		}
	}
	return encode(out)
}

// GetTwin returns a device's twin. Fails with CodeDeviceNotFound. Sends GET /twins/{id}.
func (c *Client) GetTwin(ctx context.Context, deviceID string) (*Twin, error) {
	return c.GetModuleTwin(ctx, deviceID, "")
}

// GetModuleTwin is GetTwin for a module of the device. Fails with CodeModuleNotFound too.
func (c *Client) GetModuleTwin(ctx context.Context, deviceID, moduleID string) (*Twin, error) {
	return c.twin(ctx, "get", request{method: http.MethodGet}, deviceID, moduleID)
}

// UpdateTwin merges patch into a device's twin and returns the twin after it: a member replaces what is there, objects
// merge, null deletes. The patch is usually a [TwinPatch]; any other value goes out as its JSON. If etag is not empty
// the update takes effect only while the twin's etag is that one (CodePreconditionFailed otherwise). The device gets the
// desired properties of the patch if it is connected. Sends PATCH /twins/{id}.
func (c *Client) UpdateTwin(ctx context.Context, deviceID string, patch any, etag string) (*Twin, error) {
	return c.UpdateModuleTwin(ctx, deviceID, "", patch, etag)
}

// UpdateModuleTwin is UpdateTwin for a module of the device.
func (c *Client) UpdateModuleTwin(ctx context.Context, deviceID, moduleID string, patch any, etag string) (*Twin, error) {
	return c.writeTwin(ctx, "update", http.MethodPatch, deviceID, moduleID, patch, etag)
}

// ReplaceTwin sets tags and desired properties to exactly those of document, a section left out becoming empty, and
// returns the twin after it. Document and etag are as for UpdateTwin. Sends PUT /twins/{id}.
func (c *Client) ReplaceTwin(ctx context.Context, deviceID string, document any, etag string) (*Twin, error) {
	return c.ReplaceModuleTwin(ctx, deviceID, "", document, etag)
}

// ReplaceModuleTwin is ReplaceTwin for a module of the device.
func (c *Client) ReplaceModuleTwin(ctx context.Context, deviceID, moduleID string, document any, etag string) (*Twin, error) {
	return c.writeTwin(ctx, "replace", http.MethodPut, deviceID, moduleID, document, etag)
}

func (c *Client) writeTwin(ctx context.Context, what, method, deviceID, moduleID string, v any, etag string) (*Twin, error) {
	body, err := encode(v)
	if err != nil {
		return nil, fmt.Errorf("%s twin of %s: %w", what, name(deviceID, moduleID), err)
	}
	return c.twin(ctx, what, request{method: method, body: body, ifMatch: quoteETag(etag)}, deviceID, moduleID)
}

func (c *Client) twin(ctx context.Context, what string, r request, deviceID, moduleID string) (*Twin, error) {
	if deviceID == "" {
		return nil, errNoID
	}
	r.path = twinPath(deviceID, moduleID)
	_, answer, err := c.do(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("%s twin of %s: %w", what, name(deviceID, moduleID), err)
	}
	return DecodeTwin(answer)
}

// DecodeTwin reads a twin as the hub writes it, for example an item of [Client.Query]. It keeps raw.
func DecodeTwin(raw json.RawMessage) (*Twin, error) {
	t := &Twin{Raw: raw}
	if err := json.Unmarshal(raw, t); err != nil {
		return nil, fmt.Errorf("decode twin: %w", err)
	}
	return t, nil
}

func twinPath(deviceID, moduleID string) string {
	path := "/twins/" + escape(deviceID)
	if moduleID != "" {
		path += "/modules/" + escape(moduleID)
	}
	return path
}

func name(deviceID, moduleID string) string {
	if moduleID == "" {
		return deviceID
	}
	return deviceID + "/" + moduleID
}
