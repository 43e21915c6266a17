package mqttfront

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"syscall"
	"unicode/utf8"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/core/auth"
	"github.com/twinhub/twinhub/internal/core/session"
	"github.com/twinhub/twinhub/internal/core/telemetry"
	"github.com/twinhub/twinhub/internal/sas"
	"github.com/twinhub/twinhub/internal/wire/mqtt"
)

// CONNECT: client id {device}[/{module}], user name {host}/{device}[/{module}]/?{parameters}, password a shared
// access signature.
//
//   - Any MQTT version but 3.1.1 is answered in its own form and closed.
//   - A malformed user name, token or will gets return code 4, a client id that does not fit 2, whoever may not sign in
//     5, trouble of the hub's own 3.
//   - model-id is noted in the twin before CONNACK; a CONNECT without one clears it.
//   - A newer connection of the same identity takes over; the older socket is closed without a packet.
//   - Who has read CONNACK finds the device connected, and reachable through what it has subscribed to before.
//   - Ids are not percent-encoded. Parameters may come in any order; unknown ones are ignored.
//
// Reference: IoT Hub, "Use the MQTT protocol directly (as a device)".

// A username is what the user name of a CONNECT says.
type username struct {
	host  string
	id    twinhub.ID
	model string
}

// parseUsername reads a user name. Parameters may be absent, or come in the legacy form without a question mark.
func parseUsername(s string) (username, error) {
	host, rest, ok := strings.Cut(s, "/")
	if !ok {
		return username{}, errors.New("it has no slash")
	}
	u := username{host: host}
	device, rest, _ := strings.Cut(rest, "/")
	u.id.Device = device
	// Parameters are the last segment; one that begins with a question mark may hold slashes.
	isParameters := func(s string) bool {
		first, _, more := strings.Cut(s, "/")
		return !more || strings.HasPrefix(first, "?") && strings.Contains(first, "=")
	}
	if !isParameters(rest) {
		u.id.Module, rest, _ = strings.Cut(rest, "/")
		switch {
		case !twinhub.ValidID(u.id.Module):
			return u, errors.New("the module id is invalid")
		case !isParameters(rest):
			return u, errors.New("it has too many segments")
		}
	}
	if !twinhub.ValidID(u.id.Device) {
		return u, errors.New("the device id is invalid")
	}
	for pair := range strings.SplitSeq(strings.TrimPrefix(rest, "?"), "&") {
		name, value, _ := strings.Cut(pair, "=")
		if name != "model-id" && name != "digital-twin-model-id" {
			continue
		}
		model, err := url.PathUnescape(value)
		if err != nil || !utf8.ValidString(model) {
			return u, errors.New("the model-id is not percent-encoded UTF-8")
		}
		u.model = model
	}
	return u, nil
}

// signIn reads the CONNECT of a new connection, answers it and returns the connection of the device, which is open in
// the directory then; the answer leaves once the caller releases its outbox. With an error the refusal has been
// answered, if it could be, and nothing is left to end.
func (f *Front) signIn(ctx context.Context, nc net.Conn) (*conn, error) {
	r := mqtt.NewReader(nc, mqtt.Options{From: mqtt.Client})
	connect, err := f.readConnect(nc, r)
	if err != nil {
		return nil, err
	}
	u, code, err := f.checkConnect(connect)
	if err != nil {
		return nil, refuse(nc, code, err)
	}
	grant, err := f.Auth.Device(string(connect.Password), u.id)
	if err != nil {
		if errors.Is(err, sas.ErrMalformed) && len(connect.Password) > 0 {
			return nil, refuse(nc, mqtt.RefusedCredentials, err)
		}
		return nil, refuse(nc, codeOf(err), err)
	}
	if err := f.Twins.SetModel(ctx, u.id, u.model); err != nil {
		return nil, refuse(nc, codeOf(err), err)
	}
	c := newConn(f, nc, r, u.id)
	c.clean = connect.CleanSession
	c.will = connect.Will
	c.timeout = maxKeepAlive
	if k := connect.KeepAlive + connect.KeepAlive/2; k > 0 {
		c.timeout = min(k, maxKeepAlive)
	}
	c.sender = telemetry.Sender{ID: u.id, AuthMethod: grant.AuthMethod, GenerationID: grant.Identity.GenerationID, ModelID: u.model}

	// From here on others reach the device, and an older connection is none any more.
	c.session = f.Sessions.Open(u.id, c)
	if err := f.checkAgain(connect, u.id, grant); err != nil {
		c.session.Close()
		return nil, refuse(nc, codeOf(err), err)
	}
	if err := c.accept(ctx); err != nil {
		c.session.Close()
		return nil, refuse(nc, mqtt.RefusedUnavailable, err)
	}
	c.expiry = f.Clock.AfterFunc(grant.Expires.Sub(f.Clock.Now()), func() { c.Close(session.Expired) })
	r.SetLimit(maxPacket)
	return c, nil
}

// readConnect reads the first packet, which must be CONNECT.
func (f *Front) readConnect(nc net.Conn, r *mqtt.Reader) (*mqtt.Connect, error) {
	packet, err := r.ReadPacket()
	var version *mqtt.ProtocolVersionError
	switch {
	case errors.As(err, &version):
		why := violates("set the client to MQTT 3.1.1", "the client speaks protocol %q level %d", version.Name, version.Level)
		if _, err := nc.Write(version.AppendConnack(nil)); err != nil {
			return nil, errors.Join(why, err)
		}
		return nil, why
	case errors.Is(err, mqtt.ErrClientID):
		return nil, refuse(nc, mqtt.RefusedIdentifier, violates("use the device id as client id", "%v", err))
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return nil, violates("if it is an MQTT client, give it the CA file or bundle named in connection.env: some clients that do not trust the certificate just close",
			"the client closed the connection after the TLS handshake, without a CONNECT")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, violates("send CONNECT right after the TLS handshake", "no CONNECT came within %v", f.signInTime)
	case err != nil:
		if strings.Contains(err.Error(), "tls: ") {
			reason, remedy := auth.ExplainHandshake(err)
			return nil, violates(remedy, "%s", reason)
		}
		return nil, fmt.Errorf("read CONNECT: %w", err)
	}
	connect, ok := packet.(*mqtt.Connect)
	if !ok {
		return nil, violates("send CONNECT first", "the first packet is %v, not CONNECT [MQTT-3.1.0-1]", packet.Type())
	}
	return connect, nil
}

// checkAgain checks an identity that is open in the directory now: it may have been deleted, disabled or given new
// keys since it was checked first, when there was no session to end.
func (f *Front) checkAgain(connect *mqtt.Connect, id twinhub.ID, before *auth.Grant) error {
	now, err := f.Auth.Device(string(connect.Password), id)
	if err != nil {
		return err
	}
	if now.Identity.GenerationID != before.Identity.GenerationID {
		return &auth.Denial{Subject: id.String(), Remedy: "connect again", Reason: fmt.Sprintf("the identity %s was made anew while it signed in", id)}
	}
	return nil
}

// accept takes up the session and queues CONNACK, with all that whoever has read it may rely on.
func (c *conn) accept(ctx context.Context) error {
	stored, err := c.storedSubscriptions(ctx)
	if err != nil {
		return err
	}
	if err := c.out.add(&mqtt.Connack{SessionPresent: len(stored) > 0}); err != nil {
		return err
	}
	c.mu.Lock()
	c.subscriptions = stored
	c.mu.Unlock()
	c.session.SetMethods(c.listens(methodsFilter))
	return nil
}

// checkConnect checks what a CONNECT says of itself, before any secret is looked at. It quotes no user name: a client
// that mixes up its settings may have put a token there.
func (f *Front) checkConnect(connect *mqtt.Connect) (username, mqtt.ConnectCode, error) {
	const remedy = "use the user name form {host}/{device}/?api-version=..."
	if !connect.HasUsername {
		return username{}, mqtt.RefusedCredentials, violates(remedy, "CONNECT has no user name")
	}
	u, err := parseUsername(connect.Username)
	if err != nil {
		return u, mqtt.RefusedCredentials, violates(remedy, "the user name cannot be read: %v", err)
	}
	if !slices.ContainsFunc(f.Hosts, func(h string) bool { return strings.EqualFold(h, u.host) }) {
		return u, mqtt.RefusedCredentials, violates("connect with a host name of this hub, or start it with --hostname", "the user name of %s is for host %q", u.id, clip(u.host))
	}
	if connect.ClientID != u.id.String() {
		return u, mqtt.RefusedIdentifier, violates("use the same ids in both", "the client id %q is not that of the user name, %q", clip(connect.ClientID), u.id)
	}
	if w := connect.Will; w != nil {
		bag, own := telemetryBag(u.id, w.Topic)
		if !own || w.QoS > mqtt.QoS1 {
			return u, mqtt.RefusedCredentials, violates("send the will to the device's own telemetry topic at QoS 0 or 1", "the will of %s has topic %q and QoS %d", u.id, clip(w.Topic), w.QoS)
		}
		if err := parseBag(bag, new(twinhub.Event)); err != nil {
			return u, mqtt.RefusedCredentials, violates("percent-encode names and values", "the property bag of the will of %s cannot be read: %v", u.id, err)
		}
	}
	return u, mqtt.Accepted, nil
}

// refuse answers a CONNECT and returns why.
func refuse(nc net.Conn, code mqtt.ConnectCode, why error) error {
	if _, err := nc.Write((&mqtt.Connack{Code: code}).AppendTo(nil)); err != nil {
		return errors.Join(why, err)
	}
	return why
}

// codeOf is the return code for an error of the core.
func codeOf(err error) mqtt.ConnectCode {
	var denial *auth.Denial
	switch {
	case errors.As(err, &denial), twinhub.HasCode(err, twinhub.CodeDeviceNotFound), twinhub.HasCode(err, twinhub.CodeModuleNotFound):
		return mqtt.RefusedNotAuthorized
	case twinhub.HasCode(err, twinhub.CodeArgumentInvalid):
		return mqtt.RefusedCredentials // the model id in the user name
	}
	return mqtt.RefusedUnavailable
}
