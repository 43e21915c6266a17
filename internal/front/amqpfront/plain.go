package amqpfront

import (
	"bytes"
	"errors"
	"net/url"
	"strings"

	"github.com/twinhub/twinhub/internal/core/auth"
	"github.com/twinhub/twinhub/internal/wire/amqp"
)

// SASL PLAIN: the response {authzid} NUL {user name} NUL {password}, for clients that use no $cbs.
//
//	{policy}                        with a key of the policy
//	{policy}@sas.root.{hub name}    with a token of the policy, for what the token was signed for
//
//   - It is offered over TLS alone. authzid and hub name are not looked at.
//   - Clients that take both from a URI may leave them percent-encoded.
//   - A token ends when it expires, as one put on $cbs does.
//
// Reference: RFC 4616; IoT Hub, "Communicate with your IoT hub by using the AMQP protocol", protocol specifics.

// mechanisms are offered to the peer of a connection over TLS.
func (c *conn) mechanisms() []amqp.Mechanism {
	return []amqp.Mechanism{{Name: "MSSBCBS"}, {Name: "ANONYMOUS"}, {Name: "PLAIN", Authenticate: c.plain}}
}

// errDenied is told to nobody: the peer gets the outcome auth, and the log has the reason.
var errDenied = errors.New("denied")

// plain checks a response; the identity of the connection is then an *auth.Claim.
func (c *conn) plain(r amqp.SASLRequest) (identity any, err error) {
	claim, err := c.front.plainClaim(r.Response)
	if err == nil {
		return claim, nil
	}
	c.explained.Store(true)
	if denial := (*auth.Denial)(nil); errors.As(err, &denial) {
		c.front.Refusals.Deny(protocol, denial, "remote", c.remote.String())
	} else {
		c.front.Refusals.Log(protocol, "SASL PLAIN: "+err.Error(), "sign in as an Event Hubs client does, with a policy's name and key", "remote", c.remote.String())
	}
	return nil, errDenied
}

func (f *Front) plainClaim(response []byte) (*auth.Claim, error) {
	fields := bytes.Split(response, []byte{0})
	if len(fields) != 3 {
		return nil, errors.New("the response is not of the form authzid NUL user name NUL password")
	}
	user, password := string(fields[1]), string(fields[2])
	if strings.Contains(user, "%") {
		user, password = unescaped(user), unescaped(password)
	}
	at := strings.LastIndexByte(user, '@')
	switch {
	case at < 0:
		return f.Auth.Key(user, password, auth.ServiceConnect)
	case !strings.HasPrefix(strings.ToLower(user[at:]), "@sas.root."):
		return nil, errors.New("devices cannot sign in over AMQP")
	}
	claim, err := f.Auth.Claim(password, auth.ServiceConnect)
	if err == nil && claim.Policy != user[:at] {
		return nil, errors.New("the token is of another policy than the user name")
	}
	return claim, err
}

// unescaped returns s percent-decoded, or as it is.
func unescaped(s string) string {
	if decoded, err := url.PathUnescape(s); err == nil {
		return decoded
	}
	return s
}
