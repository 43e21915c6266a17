package service

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
)

// DigitalTwin is the view of a device's twin in the terms of its DTDL model: properties and components by name, with
// desired values and acknowledgements in $metadata.
type DigitalTwin struct {
	// DeviceID is $dtId, ModelID is $metadata.$model; the latter is empty when the device announced no model.
	DeviceID string
	ModelID  string
	// ETag is that of the twin, in quotes, as the hub sent it.
	ETag string
	// Raw is the document.
	Raw json.RawMessage
}

// PatchOperation is one step of a JSON Patch (RFC 6902). Op is add, replace or remove; Path is /property or
// /component/property or /component. Value is any value for JSON; it is left out for remove.
type PatchOperation struct {
	Op    string
	Path  string
	Value any
}

// MarshalJSON returns {"op":...,"path":...,"value":...}, without value for remove.
func (p PatchOperation) MarshalJSON() ([]byte, error) {
	out := struct {
		Op    string          `json:"op"`
		Path  string          `json:"path"`
		Value json.RawMessage `json:"value,omitempty"`
	}{Op: p.Op, Path: p.Path}
	if p.Op != "remove" {
		var err error
		if out.Value, err = encode(p.Value); err != nil {
			return nil, err
		}
	}
	return encode(out)
}

// GetDigitalTwin returns a device's digital twin. Fails with CodeDeviceNotFound. Sends GET /digitaltwins/{id}.
func (c *Client) GetDigitalTwin(ctx context.Context, deviceID string) (*DigitalTwin, error) {
	if deviceID == "" {
		return nil, errNoID
	}
	header, answer, err := c.do(ctx, request{method: http.MethodGet, path: digitalTwinPath(deviceID)})
	if err != nil {
		return nil, fmt.Errorf("get digital twin of %s: %w", deviceID, err)
	}
	var document struct {
		ID       string `json:"$dtId"`
		Metadata struct {
			Model string `json:"$model"`
		} `json:"$metadata"`
	}
	if err := json.Unmarshal(answer, &document); err != nil {
		return nil, fmt.Errorf("get digital twin of %s: %w", deviceID, err)
	}
	return &DigitalTwin{DeviceID: document.ID, ModelID: document.Metadata.Model, ETag: header.Get("ETag"), Raw: answer}, nil
}

// UpdateDigitalTwin changes desired properties by a JSON Patch, usually a []PatchOperation; all steps take effect as one
// write, or none does. If etag is not empty it takes effect only while the twin's etag is that one
// (CodePreconditionFailed otherwise). It returns the twin's new etag, in quotes, as the hub sends it. The device's
// reported values do not change by this. Sends PATCH /digitaltwins/{id}.
func (c *Client) UpdateDigitalTwin(ctx context.Context, deviceID string, patch any, etag string) (newETag string, err error) {
	if deviceID == "" {
		return "", errNoID
	}
	body, err := encode(patch)
	if err != nil {
		return "", fmt.Errorf("update digital twin of %s: %w", deviceID, err)
	}
	header, _, err := c.do(ctx, request{method: http.MethodPatch, path: digitalTwinPath(deviceID), body: body, ifMatch: quoteETag(etag)})
	if err != nil {
		return "", fmt.Errorf("update digital twin of %s: %w", deviceID, err)
	}
	return header.Get("ETag"), nil
}

func digitalTwinPath(deviceID string) string { return "/digitaltwins/" + escape(deviceID) }
