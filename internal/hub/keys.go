package hub

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/twinhub/twinhub/internal/core/auth"
	"github.com/twinhub/twinhub/internal/engine"
	"github.com/twinhub/twinhub/internal/sas"
)

// secretsKey is the document of the hub partition that keeps what is made once.
const secretsKey = "secrets"

// secrets are the keys that a hub makes at its first start.
type secrets struct {
	// Policies holds primary and secondary key by policy name.
	Policies map[string][2]string `json:"policies"`
	// PageKey signs continuation tokens.
	PageKey []byte `json:"pageKey"`
	// Created is when the data were made.
	Created time.Time `json:"created"`

	policies []auth.Policy // with their keys
}

// loadSecrets reads what is stored, makes what is missing for the policies, and returns it with the policies. Keys
// that the configuration gives are used and not stored.
func loadSecrets(ctx context.Context, e engine.Engine, configured []auth.Policy, ownerKey string, now time.Time) (*secrets, error) {
	s := new(secrets)
	doc, err := e.Get(engine.Hub, secretsKey)
	switch {
	case errors.Is(err, engine.ErrNotFound):
	case err != nil:
		return nil, fmt.Errorf("read keys: %w", err)
	default:
		if err := json.Unmarshal(doc.Value, s); err != nil {
			return nil, fmt.Errorf("decode keys: %w", err)
		}
	}
	if s.Policies == nil {
		s.Policies = map[string][2]string{}
	}
	changed := false
	if len(s.PageKey) == 0 {
		s.PageKey = make([]byte, 32)
		rand.Read(s.PageKey)
		s.Created = now
		changed = true
	}
	s.policies = mergePolicies(configured, ownerKey)
	for i := range s.policies {
		p := &s.policies[i]
		stored, ok := s.Policies[p.Name]
		if !ok && (p.PrimaryKey == "" || p.SecondaryKey == "") {
			stored = [2]string{sas.NewKey(), sas.NewKey()}
			s.Policies[p.Name] = stored
			changed = true
		}
		p.PrimaryKey = cmp.Or(p.PrimaryKey, stored[0])
		p.SecondaryKey = cmp.Or(p.SecondaryKey, stored[1])
		for _, key := range []string{p.PrimaryKey, p.SecondaryKey} {
			if _, err := sas.HubKey(key); err != nil {
				return nil, fmt.Errorf("key of policy %q: %w", p.Name, err)
			}
		}
	}
	if !changed {
		return s, nil
	}
	value, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encode keys: %w", err)
	}
	c := engine.Commit{Partition: engine.Hub, Writes: []engine.Write{{Key: secretsKey, Value: value, Expect: doc.Revision}}}
	if _, err := engine.Do(ctx, e, c); err != nil {
		return nil, fmt.Errorf("store keys: %w", err)
	}
	return s, nil
}

// mergePolicies returns the built-in policies, changed and followed by the configured ones. An owner key goes before a
// configured one.
func mergePolicies(configured []auth.Policy, ownerKey string) []auth.Policy {
	policies := auth.BuiltInPolicies()
next:
	for _, c := range configured {
		for i := range policies {
			if policies[i].Name == c.Name {
				policies[i] = c
				continue next
			}
		}
		policies = append(policies, c)
	}
	for i := range policies {
		if policies[i].Name == auth.OwnerPolicy && ownerKey != "" {
			policies[i].PrimaryKey = ownerKey
		}
	}
	return policies
}
