package amqpfront

import (
	"errors"
	"fmt"

	"github.com/twinhub/twinhub/internal/core/auth"
	"github.com/twinhub/twinhub/internal/wire/amqp"
)

// Claims-based security: a message to $cbs with the application properties operation=put-token, type and name, and the
// token as value, answered with status-code and status-description.
//
//   - A token counts for what it was signed for; name and expiration are not looked at, since clients write them as
//     they like.
//   - Keys of both forms are taken: the text of the key (Event Hubs) and the decoded key (IoT Hub).
//   - status-code is an int; the answer echoes message-id with its type, and none where there was none.
//   - A connection may hold many tokens; a new one for the same resource replaces the old one.
//
// Reference: AMQP Claims-based Security 1.0; Event Hubs, "AMQP protocol guide", claims-based security.

func (c *conn) putToken(m *amqp.Message) *amqp.Message {
	if operation, _ := m.ApplicationProperties.Get("operation"); operation != "put-token" {
		return c.misput(400, "The operation must be put-token.")
	}
	token, ok := m.Body.Value.(string)
	if !ok {
		return c.misput(400, "The body must be a string that holds the token.")
	}
	if refusal := c.takeToken(token); refusal != nil {
		return refusal
	}
	return status(200, "OK", "")
}

// takeToken keeps a token for the connection, or answers why it does not.
func (c *conn) takeToken(token string) (refusal *amqp.Message) {
	claim, err := c.front.Auth.Claim(token, auth.ServiceConnect)
	if err != nil {
		return c.denied(err)
	}
	if !c.addClaim(claim) {
		return c.misput(403, fmt.Sprintf("This connection holds %d tokens already.", maxClaims))
	}
	return nil
}

// misput answers a request that is none and logs what was wrong.
func (c *conn) misput(code int32, reason string) *amqp.Message {
	c.front.Refusals.Log(protocol, "$cbs: "+reason, "use the token that an Event Hubs client puts", "remote", c.remote.String())
	return status(code, reason, "")
}

// denied answers a token that is not taken and logs why.
func (c *conn) denied(err error) *amqp.Message {
	var denial *auth.Denial
	if !errors.As(err, &denial) {
		c.front.Logger.Error("check token", "protocol", protocol, "error", err)
		return status(500, "The token could not be checked.", "")
	}
	c.front.Refusals.Deny(protocol, denial, "remote", c.remote.String())
	return status(401, "The token is invalid, expired or lacks the right to listen; the hub's log has the reason.", amqp.CondUnauthorizedAccess)
}

// status makes an answer of a node without a body. An empty condition is left out.
func status(code int32, description string, condition amqp.Symbol) *amqp.Message {
	m := &amqp.Message{
		ApplicationProperties: amqp.Map{
			{Key: "status-code", Value: code},
			{Key: "status-description", Value: description},
		},
		Body: amqp.ValueBody(nil),
	}
	if condition != "" {
		m.ApplicationProperties = append(m.ApplicationProperties, amqp.Entry{Key: "error-condition", Value: condition})
	}
	return m
}
