package device

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/twinhub/twinhub/internal/sas"
)

// Port is the port of MQTT over TLS.
const Port = "8883"

// Defaults of Options.
const (
	DefaultKeepAlive     = 60 * time.Second
	DefaultTokenLifetime = time.Hour
	DefaultMaxInFlight   = 1000
	DefaultMaxCalls      = 64
	DefaultMinBackoff    = time.Second
	DefaultMaxBackoff    = time.Minute
)

// maxKeepAlive is the largest keep alive that Azure honours; it hangs up after 1.5 times as long.
// Reference: IoT Hub, "Communicate using the MQTT protocol", keep-alive time-out.
const maxKeepAlive = 1177 * time.Second

// Options change how a Client works. The zero value is right for a device without a model, on a hub at its usual port,
// with a certificate that the system's roots vouch for.
type Options struct {
	// ModelID is the DTDL model that the device announces when it connects, such as "dtmi:com:example:Thermostat;1".
	ModelID string
	// Address is the host:port to connect to instead of port 8883 of the host name. The certificate is still that of
	// the host name.
	Address string
	// DialContext makes the TCP connection, for example through a proxy; TLS runs on top of it. Nil means net.Dialer.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
	// TLS configures the connection, for example with RootCAs, or with Certificates for a device that signs in with
	// one. It is cloned. Nil means the system's roots. The hub may renegotiate, as Azure does to ask for a certificate.
	TLS *tls.Config
	// KeepAlive is how often the client asks whether the hub is still there: whole seconds, 1 s to 1,177 s, default
	// 60 s. A hub that is gone is noticed within 1.5 times as long.
	KeepAlive time.Duration
	// TokenLifetime is how long a token signed with the device's key is good; default one hour.
	TokenLifetime time.Duration
	// MaxInFlight is how many publications may await their acknowledgement at a time; more wait. 1 to 10,000, default
	// 1,000.
	MaxInFlight int
	// MaxCalls is how many method handlers may run at a time; default 64. Calls beyond are answered with status 429.
	MaxCalls int
	// MinBackoff and MaxBackoff bound the wait before each try to connect again: it doubles from the first (default
	// 1 s) to the second (default 1 min), and each wait is drawn at random from its upper half. It starts anew when a
	// connection has lasted for MaxBackoff.
	MinBackoff, MaxBackoff time.Duration
	// CleanSession makes the hub forget the device's subscriptions, and messages kept for it, at each connect. Azure's
	// own SDKs do not set it.
	CleanSession bool
	// OnStatus is told of each change of the connection, in order, from a goroutine of the client. It must not wait for
	// the Client. The first is the connection that Dial made.
	OnStatus func(Status)
	// Product is put before the package's own name in what the client says of itself (DeviceClientType).
	Product string
	// Logger gets a line for each lost or failed connection and for each faulty packet; default none.
	Logger *slog.Logger
}

// Status says that a connection was made or lost, or could not be made.
type Status struct {
	// Connected says that the hub has accepted the device and its subscriptions.
	Connected bool
	// Err is why the connection was lost or could not be made; nil when Connected, and when the client closed it itself
	// to renew its token.
	Err error
	// Retry is how long the client waits before it connects again.
	Retry time.Duration
}

// An Identity is who a device is and how it proves it. HostName and DeviceID are required.
type Identity struct {
	// HostName is the hub's, such as my-hub.azure-devices.net.
	HostName string
	// GatewayHostName, if not empty, is where to connect instead, and whose certificate to expect.
	GatewayHostName string
	DeviceID        string
	// ModuleID makes it an identity of a module of the device.
	ModuleID string

	// SharedAccessKey signs tokens: base64, the identity's own key or, with SharedAccessKeyName, that of a policy with
	// the right DeviceConnect. It is a secret.
	SharedAccessKey     string
	SharedAccessKeyName string
	// Token returns the token for the next connection, "SharedAccessSignature sr=...&sig=...&se=...", instead of
	// SharedAccessKey. It is called for each attempt to connect and once again before the token expires (se). Without
	// both, the client signs in with a certificate of Options.TLS.
	Token func(ctx context.Context) (string, error)
}

// ParseConnectionString reads a device's or module's connection string:
// "HostName=...;DeviceId=...[;ModuleId=...];SharedAccessKey=...[;GatewayHostName=...]". SharedAccessSignature=... in
// place of the key is used until it expires; x509=true means a certificate of Options.TLS. Errors never show the key.
func ParseConnectionString(text string) (Identity, error) {
	cs, err := sas.ParseHubConnectionString(text)
	if err != nil {
		return Identity{}, fmt.Errorf("device: %w", err)
	}
	id := Identity{
		HostName: cs.HostName, GatewayHostName: cs.GatewayHostName, DeviceID: cs.DeviceID, ModuleID: cs.ModuleID,
		SharedAccessKey: cs.SharedAccessKey, SharedAccessKeyName: cs.SharedAccessKeyName,
	}
	switch {
	case cs.DeviceID == "":
		return Identity{}, fmt.Errorf("device: %w: DeviceId is missing", sas.ErrConnectionString)
	case cs.SharedAccessSignature != "":
		id.Token = func(context.Context) (string, error) { return cs.SharedAccessSignature, nil }
	case cs.SharedAccessKey == "" && !cs.X509:
		return Identity{}, fmt.Errorf("device: %w: neither SharedAccessKey nor SharedAccessSignature nor x509=true", sas.ErrConnectionString)
	}
	return id, nil
}

// String returns the host name and the ids, without secrets.
func (id Identity) String() string { return id.HostName + "/" + id.clientID() }

// GoString returns the host name and the ids, without secrets.
func (id Identity) GoString() string { return "device.Identity{" + id.String() + "}" }

// LogValue returns the host name and the ids, without secrets.
func (id Identity) LogValue() slog.Value { return slog.StringValue(id.String()) }

// clientID is the MQTT client id.
func (id Identity) clientID() string {
	if id.ModuleID == "" {
		return id.DeviceID
	}
	return id.DeviceID + "/" + id.ModuleID
}

// prefix is what the identity's own topics begin with.
func (id Identity) prefix() string {
	if id.ModuleID == "" {
		return "devices/" + id.DeviceID
	}
	return "devices/" + id.DeviceID + "/modules/" + id.ModuleID
}

// host is whom to expect at the other end.
func (id Identity) host() string {
	if id.GatewayHostName != "" {
		return id.GatewayHostName
	}
	return id.HostName
}

// settings are Options with their defaults, and the credentials ready for use.
type settings struct {
	Options
	id       Identity
	address  string
	tls      *tls.Config
	username string
	token    func(ctx context.Context) (string, error) // nil: a certificate
}

func newSettings(id Identity, o *Options) (*settings, error) {
	s := &settings{id: id}
	if o != nil {
		s.Options = *o
	}
	setDefault(&s.KeepAlive, DefaultKeepAlive)
	setDefault(&s.TokenLifetime, DefaultTokenLifetime)
	setDefault(&s.MaxInFlight, DefaultMaxInFlight)
	setDefault(&s.MaxCalls, DefaultMaxCalls)
	setDefault(&s.MinBackoff, DefaultMinBackoff)
	setDefault(&s.MaxBackoff, max(DefaultMaxBackoff, s.MinBackoff))
	if s.Logger == nil {
		s.Logger = slog.New(slog.DiscardHandler)
	}
	switch {
	case id.HostName == "":
		return nil, errors.New("device: the identity has no HostName")
	case id.DeviceID == "":
		return nil, errors.New("device: the identity has no DeviceID")
	case s.KeepAlive < time.Second || s.KeepAlive > maxKeepAlive || s.KeepAlive%time.Second != 0:
		return nil, fmt.Errorf("device: KeepAlive %v is not a whole number of seconds from 1 to %.0f", s.KeepAlive, maxKeepAlive.Seconds())
	case s.MaxInFlight < 1 || s.MaxInFlight > 10000:
		return nil, fmt.Errorf("device: MaxInFlight %d is not from 1 to 10,000", s.MaxInFlight)
	case s.MaxCalls < 1 || s.TokenLifetime < 0 || s.MinBackoff < 0 || s.MaxBackoff < s.MinBackoff:
		return nil, errors.New("device: MaxCalls and TokenLifetime must be positive, and MinBackoff not above MaxBackoff")
	}
	s.tls = &tls.Config{MinVersion: tls.VersionTLS12}
	if s.TLS != nil {
		s.tls = s.TLS.Clone()
	}
	if s.tls.Renegotiation == tls.RenegotiateNever {
		s.tls.Renegotiation = tls.RenegotiateFreelyAsClient
	}
	if s.tls.ServerName == "" {
		s.tls.ServerName = id.host()
	}
	if s.address = s.Address; s.address == "" {
		s.address = net.JoinHostPort(id.host(), Port)
	}
	if s.DialContext == nil {
		s.DialContext = new(net.Dialer).DialContext
	}
	s.username = username(id, &s.Options)
	switch {
	case id.Token != nil:
		s.token = id.Token
	case id.SharedAccessKey != "":
		key, err := sas.HubKey(id.SharedAccessKey)
		if err != nil {
			return nil, fmt.Errorf("device: SharedAccessKey: %w", err)
		}
		resource := sas.DeviceResource(id.HostName, id.DeviceID, id.ModuleID)
		s.token = func(context.Context) (string, error) {
			return sas.Sign(resource, key, id.SharedAccessKeyName, time.Now().Add(s.TokenLifetime)), nil
		}
	case len(s.tls.Certificates) == 0 && s.tls.GetClientCertificate == nil:
		return nil, errors.New("device: the identity has neither SharedAccessKey nor Token, and Options.TLS no certificate")
	}
	return s, nil
}

func setDefault[T comparable](v *T, value T) {
	var zero T
	if *v == zero {
		*v = value
	}
}

// username is the CONNECT's user name: who connects, and parameters. Ids go in as they are, values percent-encoded.
// Reference: IoT Hub, "Communicate using the MQTT protocol", using the MQTT protocol directly.
func username(id Identity, o *Options) string {
	name := id.HostName + "/" + id.clientID() + "/?api-version=" + APIVersion
	if o.ModelID != "" {
		name += "&model-id=" + escape(o.ModelID)
	}
	return name + "&DeviceClientType=" + escape(strings.TrimSpace(o.Product+" twinhub-go-device"))
}

// APIVersion is the version of the device API that the client asks for.
const APIVersion = "2021-04-12"
