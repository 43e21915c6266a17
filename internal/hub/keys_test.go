package hub

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/twinhub/twinhub/internal/core/auth"
	"github.com/twinhub/twinhub/internal/engine"
	"github.com/twinhub/twinhub/internal/engine/local"
)

const ownKey = "bXkgb3duIGtleSwgMzIgYnl0ZXMgbG9uZyBpbiBhbGw="

func openEngine(t *testing.T) engine.Engine {
	t.Helper()
	e, err := local.Open(local.Options{Dir: "data", FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func load(t *testing.T, e engine.Engine, configured []auth.Policy, owner string, now time.Time) *secrets {
	t.Helper()
	s, err := loadSecrets(t.Context(), e, configured, owner, now)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *secrets) policy(name string) auth.Policy {
	for _, p := range s.policies {
		if p.Name == name {
			return p
		}
	}
	return auth.Policy{}
}

// TestKeysAreMadeOnce opens the same data several times, with changing policies.
func TestKeysAreMadeOnce(t *testing.T) {
	e := openEngine(t)
	began := time.UnixMilli(1_700_000_000_000).UTC()
	first := load(t, e, nil, "", began)
	seen := map[string]bool{}
	for _, p := range first.policies {
		for _, key := range []string{p.PrimaryKey, p.SecondaryKey} {
			if len(key) != 44 || seen[key] {
				t.Errorf("policy %s: key of %d characters, seen before: %v", p.Name, len(key), seen[key])
			}
			seen[key] = true
		}
	}
	if len(first.policies) != 5 || len(first.PageKey) != 32 || !first.Created.Equal(began) {
		t.Errorf("got %d policies, page key of %d bytes, created %v", len(first.policies), len(first.PageKey), first.Created)
	}
	again := load(t, e, nil, "", began.Add(time.Hour))
	if !reflect.DeepEqual(again.policies, first.policies) || string(again.PageKey) != string(first.PageKey) || !again.Created.Equal(began) {
		t.Errorf("keys changed:\n%+v\n%+v", again, first)
	}

	more := load(t, e, []auth.Policy{{Name: "reader", Rights: auth.ServiceConnect, PrimaryKey: ownKey}, {Name: "device", Rights: auth.RegistryRead}}, ownKey, began)
	reader := more.policy("reader")
	if reader.PrimaryKey != ownKey || len(reader.SecondaryKey) != 44 || reader.Rights != auth.ServiceConnect {
		t.Errorf("a policy with one key: got %+v", reader)
	}
	if got := more.policy("device"); got.Rights != auth.RegistryRead || got.PrimaryKey != first.policy("device").PrimaryKey {
		t.Errorf("a built-in policy with other rights: got %+v, want the keys of before", got)
	}
	if got := more.policy(auth.OwnerPolicy); got.PrimaryKey != ownKey || got.SecondaryKey != first.policy(auth.OwnerPolicy).SecondaryKey {
		t.Errorf("the owner's keys: got %+v", got)
	}
	// Keys that are given are not kept.
	last := load(t, e, []auth.Policy{{Name: "reader", Rights: auth.ServiceConnect}}, "", began)
	if got := last.policy("reader"); got.PrimaryKey == ownKey || got.SecondaryKey != reader.SecondaryKey {
		t.Errorf("a policy whose key is no longer given: got %+v", got)
	}
	if got := last.policy(auth.OwnerPolicy); got != first.policy(auth.OwnerPolicy) {
		t.Errorf("the owner's keys without the given one: got %+v, want %+v", got, first.policy(auth.OwnerPolicy))
	}
}

// TestOwnerKeyFirst checks that the owner's key from the environment goes before that of the configuration.
func TestOwnerKeyFirst(t *testing.T) {
	configured := []auth.Policy{{Name: auth.OwnerPolicy, Rights: auth.RegistryRead, PrimaryKey: "Y29uZmlndXJlZCBrZXk=", SecondaryKey: "c2Vjb25kYXJ5IGtleQ=="}}
	p := load(t, openEngine(t), configured, ownKey, time.Now()).policy(auth.OwnerPolicy)
	if p.PrimaryKey != ownKey || p.SecondaryKey != "c2Vjb25kYXJ5IGtleQ==" || p.Rights != auth.RegistryRead {
		t.Errorf("got %+v", p)
	}
}

func TestBadKey(t *testing.T) {
	const secret = "this is no base64!"
	_, err := loadSecrets(t.Context(), openEngine(t), []auth.Policy{{Name: "reader", Rights: auth.ServiceConnect, SecondaryKey: secret}}, "", time.Now())
	if err == nil || !strings.Contains(err.Error(), `key of policy "reader"`) || strings.Contains(err.Error(), secret) {
		t.Errorf("got %v, want an error that names the policy and not the key", err)
	}
}

func TestDamagedKeys(t *testing.T) {
	e := openEngine(t)
	c := engine.Commit{Partition: engine.Hub, Writes: []engine.Write{{Key: secretsKey, Value: []byte("{"), Expect: engine.Any}}}
	if _, err := engine.Do(t.Context(), e, c); err != nil {
		t.Fatal(err)
	}
	if _, err := loadSecrets(t.Context(), e, nil, "", time.Now()); err == nil || !strings.Contains(err.Error(), "decode keys") {
		t.Errorf("got %v, want an error, not new keys", err)
	}
}
