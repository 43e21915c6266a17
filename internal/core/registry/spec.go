package registry

import (
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/core/identity"
	"github.com/twinhub/twinhub/internal/sas"
)

// Bounds of what callers may set. Reference: IoT Hub, "Identity registry", device identity properties.
const (
	// MaxStatusReason is in characters; the others are in bytes.
	MaxStatusReason = 128
	MinKey          = 16
	MaxKey          = 64
	// MaxScope is above the scope of an edge device with the longest id.
	MaxScope = 256
	// MaxParentScopes is far above the nesting of gateways that the original allows (5 layers).
	MaxParentScopes = 32
)

// A Spec is what a caller wants a device to be: the members of a Device that can be set. It is a full description:
// what is nil or empty gets its default, whatever it was before. The JSON form is part of Device's.
type Spec struct {
	DeviceID     string  `json:"deviceId"`
	Status       *string `json:"status"` // enabled, which is the default, or disabled
	StatusReason *string `json:"statusReason"`
	// Authentication: type sas, selfSigned or certificateAuthority; without a type, selfSigned if there are
	// thumbprints and no keys, else sas. Keys are made for sas when none are given, for each write anew.
	Authentication *Authentication `json:"authentication"`
	Capabilities   *Capabilities   `json:"capabilities"`
	DeviceScope    *string         `json:"deviceScope"`
	ParentScopes   []string        `json:"parentScopes"`
}

func invalid(format string, args ...any) *twinhub.Error {
	return twinhub.Errorf(twinhub.CodeArgumentInvalid, format, args...)
}

// CheckID returns CodeArgumentInvalid when no device or module can have the id.
func CheckID(id string) error {
	if !twinhub.ValidID(id) {
		return invalid("The id %.200q is not 1 to %d ASCII letters, digits and - : . + %% _ # * ? ! ( ) , = @ ; $ '.", id, twinhub.MaxIDLength)
	}
	return nil
}

// identity returns the record that the spec describes, without what the hub sets. Fails with CodeArgumentInvalid.
func (s *Spec) identity() (*identity.Identity, error) {
	if err := CheckID(s.DeviceID); err != nil {
		return nil, err
	}
	i := &identity.Identity{DeviceID: s.DeviceID, StatusReason: text(s.StatusReason), DeviceScope: text(s.DeviceScope), ParentScopes: s.ParentScopes}
	if len([]rune(i.StatusReason)) > MaxStatusReason {
		return nil, invalid("statusReason is longer than %d characters.", MaxStatusReason)
	}
	var err error
	if i.Status, err = word("status", text(s.Status), identity.Enabled, identity.Enabled, identity.Disabled); err != nil {
		return nil, err
	}
	if i.Auth, err = s.auth(); err != nil {
		return nil, err
	}
	i.Edge = s.Capabilities != nil && s.Capabilities.IoTEdge
	if len(s.ParentScopes) > MaxParentScopes {
		return nil, invalid("parentScopes has more than %d members.", MaxParentScopes)
	}
	for _, scope := range append([]string{i.DeviceScope}, s.ParentScopes...) {
		if len(scope) > MaxScope {
			return nil, invalid("A scope is longer than %d bytes.", MaxScope)
		}
	}
	return i, nil
}

// auth checks the authentication part, and makes keys if it needs some.
func (s *Spec) auth() (identity.Auth, error) {
	var given Authentication
	if s.Authentication != nil {
		given = *s.Authentication
	}
	a := identity.Auth{
		PrimaryKey: text(given.SymmetricKey.PrimaryKey), SecondaryKey: text(given.SymmetricKey.SecondaryKey),
		PrimaryThumbprint: text(given.X509Thumbprint.PrimaryThumbprint), SecondaryThumbprint: text(given.X509Thumbprint.SecondaryThumbprint),
	}
	hasKeys := a.PrimaryKey != "" || a.SecondaryKey != ""
	hasThumbprints := a.PrimaryThumbprint != "" || a.SecondaryThumbprint != ""
	usual := identity.AuthSAS
	if hasThumbprints && !hasKeys {
		usual = identity.AuthSelfSigned
	}
	var err error
	if a.Type, err = word("authentication.type", given.Type, usual, identity.AuthSAS, identity.AuthSelfSigned, identity.AuthAuthority); err != nil {
		return a, err
	}
	switch a.Type {
	case identity.AuthSAS:
		a.PrimaryThumbprint, a.SecondaryThumbprint = "", ""
		if !hasKeys {
			a.PrimaryKey, a.SecondaryKey = sas.NewKey(), sas.NewKey()
		}
		return a, checkKeys(a.PrimaryKey, a.SecondaryKey)
	case identity.AuthSelfSigned:
		a.PrimaryKey, a.SecondaryKey = "", ""
		if !hasThumbprints {
			return a, invalid("authentication.type selfSigned needs a thumbprint.")
		}
		return a, checkThumbprints(a.PrimaryThumbprint, a.SecondaryThumbprint)
	}
	return identity.Auth{Type: a.Type}, nil
}

func checkKeys(primary, secondary string) error {
	if primary == "" || secondary == "" {
		return invalid("Either no keys or both keys can be set")
	}
	for _, key := range []string{primary, secondary} {
		secret, err := base64.StdEncoding.DecodeString(key)
		if err != nil {
			return invalid("A device key is not base64.")
		}
		if len(secret) < MinKey || len(secret) > MaxKey {
			return invalid("Invalid device key length: %d to %d bytes, in base64, are allowed.", MinKey, MaxKey)
		}
	}
	return nil
}

func checkThumbprints(thumbprints ...string) error {
	for _, t := range thumbprints {
		if t == "" {
			continue
		}
		digits := strings.Trim(t, "0123456789abcdefABCDEF") == ""
		if !digits || len(t) != 40 && len(t) != 64 {
			return invalid("StringIsNotThumbprint: 40 or 64 hexadecimal digits are a thumbprint.")
		}
	}
	return nil
}

// word returns the one of words that value is, in any case, or usual when there is no value.
func word(member, value, usual string, words ...string) (string, error) {
	if value == "" {
		return usual, nil
	}
	for _, w := range words {
		if strings.EqualFold(w, value) {
			return w, nil
		}
	}
	return "", invalid("%s %.40q is not one of %s.", member, value, strings.Join(words, ", "))
}

// text returns what p points to, or nothing.
func text(p *string) string {
	if p == nil {
		return ""
	}
	return *p
}

// scopePrefix begins the scope of every edge device.
const scopePrefix = "ms-azure-iot-edge://"

// scope sets the scopes of the record next, made by a spec, given the record before; that is nil on creation. ticks is
// the present time. Fails with CodeArgumentInvalid when an edge device is to get another scope; one that is not said
// stays. Fails with CodeInvalidDeviceScope when a parent is no edge device's scope by its form; whether the parent
// exists is not checked.
// Reference: IoT Hub, "Establish a parent-child relationship with IoT Edge".
func scope(next, before *identity.Identity, ticks int64) error {
	wasEdge := before != nil && before.Edge
	switch {
	case next.Edge && wasEdge:
		if next.DeviceScope != "" && next.DeviceScope != before.DeviceScope {
			return invalid("Device scope is immutable")
		}
		next.DeviceScope = before.DeviceScope
	case next.Edge:
		next.DeviceScope = fmt.Sprintf("%s%s-%d", scopePrefix, next.DeviceID, ticks)
	case wasEdge || next.DeviceScope == "":
		next.DeviceScope, next.ParentScopes = "", nil
	default:
		next.ParentScopes = []string{next.DeviceScope}
	}
	for _, parent := range next.ParentScopes {
		if !isScope(parent) {
			return twinhub.Errorf(twinhub.CodeInvalidDeviceScope, "%.300q is not the scope of an edge device, %s{id}-{number}.", parent, scopePrefix)
		}
	}
	return nil
}

// isScope reports whether s has the form of the scope that scope makes for an edge device.
func isScope(s string) bool {
	name, ok := strings.CutPrefix(s, scopePrefix)
	dash := strings.LastIndexByte(name, '-')
	return ok && dash > 0 && twinhub.ValidID(name[:dash]) && dash+1 < len(name) && strings.Trim(name[dash+1:], "0123456789") == ""
}
