package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// AnyETag as an etag lets an update or deletion take effect whatever the current etag is.
const AnyETag = "*"

// Device is a device's identity in the registry. Fields marked read-only are ignored by the hub.
// Reference: IoT Hub, "Identity registry", device identity properties.
type Device struct {
	// DeviceID is 1 to 128 ASCII letters, digits and - : . + % _ # * ? ! ( ) , = @ ; $ '. It is case-sensitive.
	DeviceID string `json:"deviceId"`
	// GenerationID tells lives of the same id apart. Read-only.
	GenerationID string `json:"generationId,omitempty"`
	// ETag changes with every write of the identity; bare, without quotes. Read-only; see [Client.UpdateDevice].
	ETag string `json:"etag,omitempty"`
	// Status is enabled, the default, or disabled. StatusReason is up to 128 characters.
	Status       string `json:"status,omitempty"`
	StatusReason string `json:"statusReason,omitempty"`
	// StatusUpdatedTime, ConnectionState (Connected or Disconnected), ConnectionStateUpdatedTime and LastActivityTime
	// are read-only. A time that never was is the zero time.
	StatusUpdatedTime          time.Time `json:"statusUpdatedTime,omitzero"`
	ConnectionState            string    `json:"connectionState,omitempty"`
	ConnectionStateUpdatedTime time.Time `json:"connectionStateUpdatedTime,omitzero"`
	LastActivityTime           time.Time `json:"lastActivityTime,omitzero"`
	// CloudToDeviceMessageCount is how many messages wait for the device. Read-only.
	CloudToDeviceMessageCount int `json:"cloudToDeviceMessageCount,omitempty"`
	// Authentication is how the device signs in. Nil on a write means new random keys.
	Authentication *Authentication `json:"authentication,omitempty"`
	Capabilities   *Capabilities   `json:"capabilities,omitempty"`
	// DeviceScope and ParentScopes place the device below an edge device.
	DeviceScope  string   `json:"deviceScope,omitempty"`
	ParentScopes []string `json:"parentScopes,omitempty"`

	// Raw is the JSON the hub answered with. It is not sent.
	Raw json.RawMessage `json:"-"`
}

// Authentication is how an identity signs in.
type Authentication struct {
	// Type is sas, the default, selfSigned, certificateAuthority or none.
	Type string `json:"type,omitempty"`
	// SymmetricKey is for sas. On a write, both keys empty means new random ones.
	SymmetricKey *SymmetricKey `json:"symmetricKey,omitempty"`
	// X509Thumbprint is for selfSigned.
	X509Thumbprint *X509Thumbprint `json:"x509Thumbprint,omitempty"`
}

// LogValue implements slog.LogValuer: id, generation, etag and status, no keys.
func (d Device) LogValue() slog.Value {
	return slog.GroupValue(slog.String("deviceId", d.DeviceID), slog.String("generationId", d.GenerationID),
		slog.String("etag", d.ETag), slog.String("status", d.Status))
}

// SymmetricKey holds the two keys of an identity, base64 of 16 to 64 bytes. They are secrets.
type SymmetricKey struct {
	PrimaryKey   string `json:"primaryKey"`
	SecondaryKey string `json:"secondaryKey"`
}

// String hides the keys; GoString does as well.
func (SymmetricKey) String() string { return "hidden" }

// LogValue implements slog.LogValuer and hides the keys.
func (SymmetricKey) LogValue() slog.Value { return slog.StringValue("hidden") }

// GoString hides the keys.
func (SymmetricKey) GoString() string { return "service.SymmetricKey{hidden}" }

// X509Thumbprint holds the SHA-1 or SHA-256 digests of an identity's certificates, in hex without separators.
type X509Thumbprint struct {
	PrimaryThumbprint   string `json:"primaryThumbprint,omitempty"`
	SecondaryThumbprint string `json:"secondaryThumbprint,omitempty"`
}

// Capabilities of a device.
type Capabilities struct {
	IoTEdge bool `json:"iotEdge"`
}

// ConnectionString returns the connection string with which the device signs in to the hub: host name, device id and
// primary key. It is "" if the device has no key. It is a secret.
func (c *Client) ConnectionString(d *Device) string {
	if d.Authentication == nil || d.Authentication.SymmetricKey == nil || d.Authentication.SymmetricKey.PrimaryKey == "" {
		return ""
	}
	return fmt.Sprintf("HostName=%s;DeviceId=%s;SharedAccessKey=%s", c.hostName, d.DeviceID, d.Authentication.SymmetricKey.PrimaryKey)
}

// CreateDevice registers a device and returns it as the hub keeps it, with its keys. Only DeviceID is required; without
// Authentication the hub makes symmetric keys. Fails with CodeDeviceAlreadyExists if the id is taken. Sends
// PUT /devices/{id} without If-Match.
func (c *Client) CreateDevice(ctx context.Context, d *Device) (*Device, error) {
	if d.Authentication == nil {
		withKeys := *d
		withKeys.Authentication = &Authentication{Type: "sas", SymmetricKey: &SymmetricKey{}}
		d = &withKeys
	}
	return c.putDevice(ctx, "create", d, "")
}

// UpdateDevice replaces a device's identity: what d leaves out gets its default, so begin with [Client.GetDevice].
// If d.ETag is not empty the update takes effect only while that is the current etag, and fails with
// CodePreconditionFailed otherwise; empty or AnyETag updates in any case. Fails with CodeDeviceNotFound if there is no
// such device. Sends PUT /devices/{id} with If-Match.
func (c *Client) UpdateDevice(ctx context.Context, d *Device) (*Device, error) {
	etag := d.ETag
	if etag == "" {
		etag = AnyETag
	}
	return c.putDevice(ctx, "update", d, etag)
}

func (c *Client) putDevice(ctx context.Context, what string, d *Device, etag string) (*Device, error) {
	if d.DeviceID == "" {
		return nil, errNoID
	}
	sent := *d
	sent.ETag = "" // If-Match says it
	body, err := encode(&sent)
	if err != nil {
		return nil, fmt.Errorf("%s device %s: %w", what, d.DeviceID, err)
	}
	_, answer, err := c.do(ctx, request{method: http.MethodPut, path: "/devices/" + escape(d.DeviceID), body: body, ifMatch: quoteETag(etag)})
	if err != nil {
		return nil, fmt.Errorf("%s device %s: %w", what, d.DeviceID, err)
	}
	return decodeDevice(answer)
}

// GetDevice returns a device's identity. Fails with CodeDeviceNotFound if there is none. Sends GET /devices/{id}.
func (c *Client) GetDevice(ctx context.Context, deviceID string) (*Device, error) {
	if deviceID == "" {
		return nil, errNoID
	}
	_, answer, err := c.do(ctx, request{method: http.MethodGet, path: "/devices/" + escape(deviceID)})
	if err != nil {
		return nil, fmt.Errorf("get device %s: %w", deviceID, err)
	}
	return decodeDevice(answer)
}

// DeleteDevice removes a device with its modules and twin, and ends its connection. The etag is that of the identity
// ([Device.ETag]); "" and AnyETag delete in any case. Fails with CodeDeviceNotFound or CodePreconditionFailed. Sends
// DELETE /devices/{id} with If-Match.
func (c *Client) DeleteDevice(ctx context.Context, deviceID, etag string) error {
	if deviceID == "" {
		return errNoID
	}
	if etag == "" {
		etag = AnyETag
	}
	_, _, err := c.do(ctx, request{method: http.MethodDelete, path: "/devices/" + escape(deviceID), ifMatch: quoteETag(etag)})
	if err != nil {
		return fmt.Errorf("delete device %s: %w", deviceID, err)
	}
	return nil
}

// ListDevices returns up to most device identities, 1 to 1,000, in no order that is promised; 0 means 1,000. The hub has
// no way to ask for the next ones: use [Client.Query] to see all devices. Sends GET /devices?top=most.
func (c *Client) ListDevices(ctx context.Context, most int) ([]*Device, error) {
	r := request{method: http.MethodGet, path: "/devices"}
	if most != 0 {
		r.query = url.Values{"top": {strconv.Itoa(most)}}
	}
	_, answer, err := c.do(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("list devices: %w", err)
	}
	var items []json.RawMessage
	if err := json.Unmarshal(answer, &items); err != nil {
		return nil, fmt.Errorf("list devices: %w", err)
	}
	devices := make([]*Device, len(items))
	for i, item := range items {
		if devices[i], err = decodeDevice(item); err != nil {
			return nil, err
		}
	}
	return devices, nil
}

var errNoID = errors.New("service: the device id is empty")

func decodeDevice(raw json.RawMessage) (*Device, error) {
	d := &Device{Raw: raw}
	if err := json.Unmarshal(raw, d); err != nil {
		return nil, fmt.Errorf("decode device: %w", err)
	}
	return d, nil
}
