package auth

import (
	"crypto/subtle"
	"time"

	"github.com/twinhub/twinhub/internal/sas"
)

// A Claim is what an AMQP connection has shown of a policy: a valid token, or a key. What it covers is asked later,
// link by link.
type Claim struct {
	Grant
	token *sas.Token // nil: a key was shown, which is for everything
	hosts []string
}

// Covers reports whether the claim is for path ("/hub/ConsumerGroups/g/Partitions/0") on a host of this hub.
// Comparison ignores case, because some clients sign the resource in lower case.
func (c *Claim) Covers(path string) bool {
	if c.token == nil {
		return true
	}
	for _, host := range c.hosts {
		if c.token.CoversFold(host, path) {
			return true
		}
	}
	return false
}

// Resource returns what the token is for, "" for a key; a later claim for the same replaces it.
func (c *Claim) Resource() string {
	if c.token == nil {
		return ""
	}
	return c.token.URI
}

// Expired reports whether the claim has ended at now. A key does not end.
func (c *Claim) Expired(now time.Time) bool { return c.token != nil && c.token.Expired(now) }

// Claim checks a token put on an AMQP connection by a policy that has the right, signed in the form of IoT Hub or of
// Event Hubs, whose key is the text as it stands. It fails with a *Denial.
func (a *Authenticator) Claim(text string, want Rights) (*Claim, error) {
	token, err := a.parse(text)
	if err != nil {
		return nil, err
	}
	if token.KeyName == "" {
		return nil, deny(token.Resource, "connect devices with MQTT: this hub has no AMQP for them yet", "the access token for %s names no policy, as those of devices do", token.Resource)
	}
	grant, err := a.policy(token, want, sas.EventHubsKey, sas.HubKey)
	if err != nil {
		return nil, err
	}
	return &Claim{Grant: *grant, token: &token, hosts: a.hosts}, nil
}

// Key checks a key itself, as text, that was shown on an AMQP connection for a policy that has the right. Expires of the
// claim is zero. It fails with a *Denial.
func (a *Authenticator) Key(policy, key string, want Rights) (*Claim, error) {
	grant, err := a.proven(policy, want, "the key", func(p Policy) bool {
		primary, secondary := same(key, p.PrimaryKey), same(key, p.SecondaryKey)
		return primary || secondary
	})
	if err != nil {
		return nil, err
	}
	return &Claim{Grant: *grant, hosts: a.hosts}, nil
}

// same compares secrets in constant time. An empty one is like none.
func same(a, b string) bool {
	return b != "" && subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1
}
