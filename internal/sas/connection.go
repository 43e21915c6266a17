package sas

import (
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
)

// MaxConnectionStringBytes is the longest connection string that is read: a token of MaxTokenBytes
// and as much again for names.
const MaxConnectionStringBytes = 2 * MaxTokenBytes

// ErrConnectionString is wrapped by every error about a connection string. Such errors name fields,
// never their values.
var ErrConnectionString = errors.New("invalid connection string")

// HubConnectionString is the connection string of an IoT hub for a service (a policy's name and
// key), a device or a module. Fields that are "" are absent.
type HubConnectionString struct {
	HostName              string // of the hub; always there
	GatewayHostName       string // where to dial instead, for devices behind a gateway
	DeviceID              string
	ModuleID              string // only together with DeviceID
	SharedAccessKeyName   string
	SharedAccessKey       string // base64, for HubKey; secret
	SharedAccessSignature string // a whole token; secret
	X509                  bool   // signs in with a client certificate
}

// ParseHubConnectionString reads "HostName=...;DeviceId=...;SharedAccessKey=...". Names are
// case-insensitive, in any order; values are kept whole, '=' included; unknown names are passed
// over. HostName is required, ModuleId needs DeviceId, and at most one of SharedAccessKey,
// SharedAccessSignature and x509=true may be there. Errors wrap ErrConnectionString.
func ParseHubConnectionString(text string) (HubConnectionString, error) {
	var c HubConnectionString
	err := parseFields(text, map[string]field{
		"hostname":              {text: &c.HostName},
		"gatewayhostname":       {text: &c.GatewayHostName},
		"deviceid":              {text: &c.DeviceID},
		"moduleid":              {text: &c.ModuleID},
		"sharedaccesskeyname":   {text: &c.SharedAccessKeyName},
		"sharedaccesskey":       {text: &c.SharedAccessKey},
		"sharedaccesssignature": {text: &c.SharedAccessSignature},
		"x509":                  {flag: &c.X509},
	})
	if err != nil {
		return HubConnectionString{}, err
	}
	credentials := 0
	for _, there := range []bool{c.SharedAccessKey != "", c.SharedAccessSignature != "", c.X509} {
		if there {
			credentials++
		}
	}
	switch {
	case c.HostName == "":
		return HubConnectionString{}, fmt.Errorf("%w: HostName is missing", ErrConnectionString)
	case c.ModuleID != "" && c.DeviceID == "":
		return HubConnectionString{}, fmt.Errorf("%w: ModuleId without DeviceId", ErrConnectionString)
	case credentials > 1:
		return HubConnectionString{}, fmt.Errorf("%w: more than one of SharedAccessKey, SharedAccessSignature and x509", ErrConnectionString)
	}
	return c, nil
}

// Format returns the text that ParseHubConnectionString reads, secrets included: for the owner of
// the key, not for logs.
func (c HubConnectionString) Format() string { return c.format(false) }

// String returns the connection string with its secrets replaced by "hidden".
func (c HubConnectionString) String() string { return c.format(true) }

// GoString returns the connection string with its secrets replaced by "hidden".
func (c HubConnectionString) GoString() string {
	return "sas.HubConnectionString(" + c.format(true) + ")"
}

// LogValue returns the connection string with its secrets replaced by "hidden".
func (c HubConnectionString) LogValue() slog.Value { return slog.StringValue(c.String()) }

func (c HubConnectionString) format(hide bool) string {
	var w fieldWriter
	w.add("HostName", c.HostName)
	w.add("DeviceId", c.DeviceID)
	w.add("ModuleId", c.ModuleID)
	w.add("SharedAccessKeyName", c.SharedAccessKeyName)
	w.addSecret("SharedAccessKey", c.SharedAccessKey, hide)
	w.addSecret("SharedAccessSignature", c.SharedAccessSignature, hide)
	if c.X509 {
		w.add("x509", "true")
	}
	w.add("GatewayHostName", c.GatewayHostName)
	return w.String()
}

// EventHubsConnectionString is the connection string of an Event Hubs namespace or event hub, such
// as a hub's built-in endpoint. Fields that are "" are absent.
type EventHubsConnectionString struct {
	Endpoint               string // as written, e.g. "sb://hub.example/"; always there
	SharedAccessKeyName    string
	SharedAccessKey        string // for EventHubsKey; secret
	SharedAccessSignature  string // a whole token; secret
	EntityPath             string // the event hub
	UseDevelopmentEmulator bool   // plain AMQP on port 5672
}

// ParseEventHubsConnectionString reads "Endpoint=sb://...;SharedAccessKeyName=...;...". The rules
// are those of ParseHubConnectionString; Endpoint is required, and at most one of SharedAccessKey
// and SharedAccessSignature may be there.
func ParseEventHubsConnectionString(text string) (EventHubsConnectionString, error) {
	var c EventHubsConnectionString
	err := parseFields(text, map[string]field{
		"endpoint":               {text: &c.Endpoint},
		"sharedaccesskeyname":    {text: &c.SharedAccessKeyName},
		"sharedaccesskey":        {text: &c.SharedAccessKey},
		"sharedaccesssignature":  {text: &c.SharedAccessSignature},
		"entitypath":             {text: &c.EntityPath},
		"usedevelopmentemulator": {flag: &c.UseDevelopmentEmulator},
	})
	switch {
	case err != nil:
		return EventHubsConnectionString{}, err
	case c.Endpoint == "":
		return EventHubsConnectionString{}, fmt.Errorf("%w: Endpoint is missing", ErrConnectionString)
	case c.SharedAccessKey != "" && c.SharedAccessSignature != "":
		return EventHubsConnectionString{}, fmt.Errorf("%w: both SharedAccessKey and SharedAccessSignature", ErrConnectionString)
	}
	return c, nil
}

// Host returns the host of Endpoint as written, with its port if it has one, without scheme and
// path.
func (c EventHubsConnectionString) Host() string {
	host, _, _ := strings.Cut(withoutScheme(c.Endpoint), "/")
	return host
}

// Format returns the text that ParseEventHubsConnectionString reads, secrets included: for the
// owner of the key, not for logs.
func (c EventHubsConnectionString) Format() string { return c.format(false) }

// String returns the connection string with its secrets replaced by "hidden".
func (c EventHubsConnectionString) String() string { return c.format(true) }

// GoString returns the connection string with its secrets replaced by "hidden".
func (c EventHubsConnectionString) GoString() string {
	return "sas.EventHubsConnectionString(" + c.format(true) + ")"
}

// LogValue returns the connection string with its secrets replaced by "hidden".
func (c EventHubsConnectionString) LogValue() slog.Value { return slog.StringValue(c.String()) }

func (c EventHubsConnectionString) format(hide bool) string {
	var w fieldWriter
	w.add("Endpoint", c.Endpoint)
	w.add("SharedAccessKeyName", c.SharedAccessKeyName)
	w.addSecret("SharedAccessKey", c.SharedAccessKey, hide)
	w.addSecret("SharedAccessSignature", c.SharedAccessSignature, hide)
	w.add("EntityPath", c.EntityPath)
	if c.UseDevelopmentEmulator {
		w.add("UseDevelopmentEmulator", "true")
	}
	return w.String()
}

// field says where a value goes: exactly one pointer is set.
type field struct {
	text *string
	flag *bool
}

// parseFields splits text at ';' and each part at its first '=', and stores what it knows.
func parseFields(text string, known map[string]field) error {
	if len(text) > MaxConnectionStringBytes {
		return fmt.Errorf("%w: longer than %d bytes", ErrConnectionString, MaxConnectionStringBytes)
	}
	seen := make(map[string]bool, len(known))
	for part := range strings.SplitSeq(text, ";") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		name, value, found := strings.Cut(part, "=")
		if !found {
			return fmt.Errorf("%w: a part without '='", ErrConnectionString)
		}
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		folded := strings.ToLower(name)
		to, ok := known[folded]
		if !ok {
			continue
		}
		if seen[folded] {
			return fmt.Errorf("%w: %s occurs twice", ErrConnectionString, name)
		}
		seen[folded] = true
		if to.text != nil {
			*to.text = value
			continue
		}
		flag, err := strconv.ParseBool(strings.ToLower(value))
		if err != nil {
			return fmt.Errorf("%w: %s is neither true nor false", ErrConnectionString, name)
		}
		*to.flag = flag
	}
	return nil
}

// fieldWriter joins "Name=value" with ';', leaving out empty values.
type fieldWriter struct{ strings.Builder }

func (w *fieldWriter) add(name, value string) {
	if value == "" {
		return
	}
	if w.Len() > 0 {
		w.WriteByte(';')
	}
	w.WriteString(name + "=" + value)
}

func (w *fieldWriter) addSecret(name, value string, hide bool) {
	if hide && value != "" {
		value = "hidden"
	}
	w.add(name, value)
}
