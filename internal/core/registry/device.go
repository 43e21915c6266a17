package registry

import (
	"slices"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/core/identity"
	"github.com/twinhub/twinhub/internal/core/session"
)

// A Device is a device identity as clients see it. Its JSON form is that of the service API: both objects of
// authentication are always there, with null where unused.
// Reference: IoT Hub, "Identity registry", device identity properties.
type Device struct {
	DeviceID                   string         `json:"deviceId"`
	GenerationID               string         `json:"generationId"`
	ETag                       string         `json:"etag"` // unquoted
	ConnectionState            string         `json:"connectionState"`
	Status                     string         `json:"status"`
	StatusReason               *string        `json:"statusReason"`
	ConnectionStateUpdatedTime string         `json:"connectionStateUpdatedTime"`
	StatusUpdatedTime          string         `json:"statusUpdatedTime"`
	LastActivityTime           string         `json:"lastActivityTime"`
	CloudToDeviceMessageCount  int            `json:"cloudToDeviceMessageCount"`
	Authentication             Authentication `json:"authentication"`
	Capabilities               Capabilities   `json:"capabilities"`
	DeviceScope                string         `json:"deviceScope,omitempty"`
	ParentScopes               []string       `json:"parentScopes,omitempty"`
}

// Authentication says how a device proves who it is. An empty text is the same as null.
type Authentication struct {
	SymmetricKey   SymmetricKey   `json:"symmetricKey"`
	X509Thumbprint X509Thumbprint `json:"x509Thumbprint"`
	Type           string         `json:"type"`
}

// SymmetricKey holds two keys of 16 to 64 bytes, in base64.
type SymmetricKey struct {
	PrimaryKey   *string `json:"primaryKey"`
	SecondaryKey *string `json:"secondaryKey"`
}

// X509Thumbprint holds hashes of certificates: 40 or 64 hexadecimal digits.
type X509Thumbprint struct {
	PrimaryThumbprint   *string `json:"primaryThumbprint"`
	SecondaryThumbprint *string `json:"secondaryThumbprint"`
}

// Capabilities says what a device may do beside being one.
type Capabilities struct {
	IoTEdge bool `json:"iotEdge"`
}

// show returns what clients see of an identity.
func show(i *identity.Identity, s session.State) *Device {
	d := &Device{
		DeviceID: i.DeviceID, GenerationID: i.GenerationID, ETag: i.ETag(),
		ConnectionState: "Disconnected", Status: i.Status, StatusReason: orNull(i.StatusReason),
		ConnectionStateUpdatedTime: twinhub.FormatTime(s.UpdatedTime),
		StatusUpdatedTime:          twinhub.FormatTime(i.StatusUpdatedTime),
		LastActivityTime:           twinhub.FormatTime(s.LastActivityTime),
		Authentication: Authentication{
			SymmetricKey:   SymmetricKey{orNull(i.Auth.PrimaryKey), orNull(i.Auth.SecondaryKey)},
			X509Thumbprint: X509Thumbprint{orNull(i.Auth.PrimaryThumbprint), orNull(i.Auth.SecondaryThumbprint)},
			Type:           i.Auth.Type,
		},
		Capabilities: Capabilities{IoTEdge: i.Edge},
		DeviceScope:  i.DeviceScope,
		ParentScopes: slices.Clone(i.ParentScopes),
	}
	if s.Connected {
		d.ConnectionState = "Connected"
	}
	return d
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
