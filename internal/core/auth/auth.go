// Package auth decides who is calling and what they may do. Callers show shared access signatures: of a policy, or
// of the device itself. Client certificates will be checked here too.
package auth

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/clock"
	"github.com/twinhub/twinhub/internal/core/identity"
	"github.com/twinhub/twinhub/internal/engine"
	"github.com/twinhub/twinhub/internal/sas"
)

// A Denial is a refusal to let a caller in. Error is for the hub's log; the client is told no more than that it is
// not authorised.
type Denial struct {
	Reason string // what was wrong, without secrets
	Remedy string // what the operator can do
	// Subject is whom it is about: a policy, an identity or a resource.
	Subject string

	repeats string // equal for denials that differ only in times; empty: Reason
	cause   error
}

// Error implements error.
func (d *Denial) Error() string { return d.Reason + "; " + d.Remedy }

// Unwrap returns sas.ErrMalformed when the token could not be read.
func (d *Denial) Unwrap() error { return d.cause }

func deny(subject, remedy, reason string, args ...any) error {
	return &Denial{Subject: subject, Remedy: remedy, Reason: fmt.Sprintf(reason, args...)}
}

// A Grant is what a valid token allows.
type Grant struct {
	// Policy is the shared access policy that signed the token; empty when it was the identity itself.
	Policy string
	// Identity is the record of the device or module, when the grant is for one.
	Identity *identity.Identity
	// AuthMethod is the JSON that events of this sender carry.
	AuthMethod string
	// Expires is when the grant ends, zero for one that does not.
	Expires time.Time
}

// The auth methods of events. Key order and the null are part of the form that readers know.
const (
	deviceKeyMethod = `{"scope":"device","type":"sas","issuer":"iothub","acceptingIpFilterRule":null}`
	moduleKeyMethod = `{"scope":"module","type":"sas","issuer":"iothub","acceptingIpFilterRule":null}`
	policyMethod    = `{"scope":"hub","type":"sas","issuer":"iothub","acceptingIpFilterRule":null}`
)

// Authenticator checks tokens. It is immutable and safe for concurrent use.
type Authenticator struct {
	engine   engine.Engine
	clock    clock.Clock
	hosts    []string
	policies map[string]Policy
}

// New makes an Authenticator for a hub that is known by the host names, with the policies.
func New(e engine.Engine, c clock.Clock, hosts []string, policies []Policy) *Authenticator {
	a := &Authenticator{engine: e, clock: c, hosts: hosts, policies: map[string]Policy{}}
	for _, p := range policies {
		a.policies[p.Name] = p
	}
	return a
}

// Service checks a token for a service operation on path ("/devices/d1"), which needs the right. It fails with a
// *Denial.
func (a *Authenticator) Service(text, path string, want Rights) (*Grant, error) {
	token, err := a.parse(text)
	if err != nil {
		return nil, err
	}
	if err := a.covers(token, token.KeyName, path); err != nil {
		return nil, err
	}
	return a.policy(token, want, sas.HubKey)
}

// Device checks a token with which id signs in: its own or that of a policy with DeviceConnect. It fails with a
// *Denial, which covers an unknown or disabled identity too.
func (a *Authenticator) Device(text string, id twinhub.ID) (*Grant, error) {
	token, err := a.parse(text)
	if err != nil {
		return nil, err
	}
	i, err := a.enabled(id)
	if err != nil {
		return nil, err
	}
	path := "/devices/" + id.Device
	if id.IsModule() {
		path += "/modules/" + id.Module
	}
	if err := a.covers(token, id.String(), path); err != nil {
		return nil, err
	}
	if token.KeyName != "" {
		grant, err := a.policy(token, DeviceConnect, sas.HubKey)
		if err != nil {
			return nil, err
		}
		grant.Identity = i
		return grant, nil
	}
	if i.Auth.Type != identity.AuthSAS {
		return nil, deny(id.String(), "connect with the certificate, or change authentication.type", "the identity %s authenticates by %s, not by keys", id, i.Auth.Type)
	}
	if !signed(token, sas.HubKey, i.Auth.PrimaryKey, i.Auth.SecondaryKey) {
		return nil, deny(id.String(), "compare the key in the device's connection string with the registry's", "the signature of %s matches neither of its keys", id)
	}
	method := deviceKeyMethod
	if id.IsModule() {
		method = moduleKeyMethod
	}
	return &Grant{Identity: i, AuthMethod: method, Expires: token.Expiry}, nil
}

func (a *Authenticator) parse(text string) (sas.Token, error) {
	token, err := sas.Parse(text)
	if err != nil {
		return token, unreadable(text, err)
	}
	subject := token.KeyName
	if subject == "" {
		subject = token.Resource
	}
	if now := a.clock.Now(); token.Expired(now) {
		return token, &Denial{
			Subject: subject,
			Reason: fmt.Sprintf("the access token for %s expired at %s, %s before this hub's clock", token.Resource,
				token.Expiry.UTC().Format(time.RFC3339), now.Sub(token.Expiry).Round(time.Second)),
			Remedy:  "make a new token, and compare the clocks of both machines",
			repeats: "expired " + token.Resource + " " + token.KeyName,
		}
	}
	return token, nil
}

// unreadable is the denial of a text that is no token.
func unreadable(text string, err error) *Denial {
	d := &Denial{
		Reason: fmt.Sprintf("the access token cannot be read: %v", err),
		Remedy: "send a shared access signature: SharedAccessSignature sr=...&sig=...&se=...",
		cause:  sas.ErrMalformed,
	}
	const bearer = "Bearer "
	switch {
	case text == "":
		d.Reason = "there is no access token"
		d.Remedy += "; a client certificate does not sign in here yet"
	case len(text) > len(bearer) && strings.EqualFold(text[:len(bearer)], bearer):
		d.Reason = "the access token is one of Microsoft Entra ID, which this hub does not take"
		d.Remedy = "sign in with the connection string of a shared access policy"
	}
	return d
}

// A keyForm makes a key of its text: decoded for IoT Hub, as it stands for Event Hubs.
type keyForm func(text string) (sas.Key, error)

// signed reports whether one of the keys, in the form, made the token.
func signed(token sas.Token, form keyForm, texts ...string) bool {
	var keys []sas.Key
	for _, text := range texts {
		if key, err := form(text); err == nil {
			keys = append(keys, key)
		}
	}
	return token.Verify(keys...)
}

// policy checks that the token was signed, in one of the forms, by a policy that has the right.
func (a *Authenticator) policy(token sas.Token, want Rights, forms ...keyForm) (*Grant, error) {
	if token.KeyName == "" {
		return nil, deny(token.Resource, "use the connection string of a shared access policy", "the token names no policy, as those of devices do")
	}
	grant, err := a.proven(token.KeyName, want, "the signature", func(p Policy) bool {
		return slices.ContainsFunc(forms, func(form keyForm) bool { return signed(token, form, p.PrimaryKey, p.SecondaryKey) })
	})
	if err != nil {
		return nil, err
	}
	grant.Expires = token.Expiry
	return grant, nil
}

// proven checks that there is a policy of that name, that the proof, which what names, fits one of its keys, and that it
// has the right.
func (a *Authenticator) proven(name string, want Rights, what string, fits func(Policy) bool) (*Grant, error) {
	p, ok := a.policies[name]
	switch {
	case !ok:
		return nil, deny(name, "use the name of a shared access policy of this hub", "there is no policy %q", name)
	case !fits(p):
		return nil, deny(p.Name, "copy the connection string again: connection.env has the present keys", "%s matches neither key of policy %q", what, p.Name)
	case !p.Rights.Has(want):
		return nil, deny(p.Name, "use a policy that has the right", "policy %q lacks the right %s", p.Name, want)
	}
	return &Grant{Policy: p.Name, AuthMethod: policyMethod}, nil
}

// covers checks that the token is for this hub and for path.
func (a *Authenticator) covers(token sas.Token, subject, path string) error {
	for _, host := range a.hosts {
		if token.Covers(host, path) {
			return nil
		}
	}
	for _, host := range a.hosts {
		if token.ForHost(host) {
			return deny(subject, "sign for the hub, or for what the request is about", "the token is for %q and does not cover %q", token.Resource, path)
		}
	}
	return deny(subject, fmt.Sprintf("sign for a host name of this hub (%q), or start the hub with --hostname", a.hosts), "the token is for %q, which is not this hub", token.Resource)
}

// enabled returns the record of an identity that may sign in.
func (a *Authenticator) enabled(id twinhub.ID) (*identity.Identity, error) {
	i, _, err := identity.Get(a.engine, id)
	if twinhub.HasCode(err, twinhub.CodeDeviceNotFound) || twinhub.HasCode(err, twinhub.CodeModuleNotFound) {
		return nil, deny(id.String(), "create it with a registry call first", "there is no identity %s", id)
	}
	if err != nil {
		return nil, err
	}
	if i.Status != identity.Enabled {
		return nil, deny(id.String(), "enable it in the registry", "the identity %s is disabled", id)
	}
	if id.IsModule() {
		if _, err := a.enabled(twinhub.ID{Device: id.Device}); err != nil {
			return nil, err
		}
	}
	return i, nil
}
