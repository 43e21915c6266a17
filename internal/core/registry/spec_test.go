package registry

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/core/identity"
)

func TestKeysAreMadeForEachWrite(t *testing.T) {
	c := newCore(t)
	seen := map[string]bool{}
	for _, ifMatch := range []string{"", "*", "*"} {
		d := c.put(t, &Spec{DeviceID: "d1", Authentication: &Authentication{}}, ifMatch)
		for _, key := range []*string{d.Authentication.SymmetricKey.PrimaryKey, d.Authentication.SymmetricKey.SecondaryKey} {
			secret, err := base64.StdEncoding.DecodeString(*key)
			if err != nil || len(secret) != 32 || seen[*key] {
				t.Errorf("key %s: %d bytes, %v, seen before %v; want 32 new ones", *key, len(secret), err, seen[*key])
			}
			seen[*key] = true
		}
	}
}

func TestKeyLengths(t *testing.T) {
	c := newCore(t)
	for _, n := range []int{0, 1, 15, 16, 64, 65, 1000} {
		key := base64.StdEncoding.EncodeToString(make([]byte, n))
		_, err := c.Put(t.Context(), &Spec{DeviceID: fmt.Sprint("d", n), Authentication: keys(key, keyA)}, "")
		if ok := n >= MinKey && n <= MaxKey; ok != (err == nil) || !ok && !twinhub.HasCode(err, twinhub.CodeArgumentInvalid) {
			t.Errorf("key of %d bytes: got %v", n, err)
		}
	}
}

func TestSpecBounds(t *testing.T) {
	c := newCore(t)
	long := strings.Repeat("x", MaxScope+1)
	tests := []struct {
		name string
		spec Spec
		ok   bool
	}{
		{"empty id", Spec{}, false},
		{"long id", Spec{DeviceID: strings.Repeat("d", 129)}, false},
		{"longest id", Spec{DeviceID: strings.Repeat("d", 128)}, true},
		{"slash in the id", Spec{DeviceID: "a/b"}, false},
		{"reason of 128 characters", Spec{DeviceID: "r", StatusReason: p(strings.Repeat("é", 128))}, true},
		{"reason of 129 characters", Spec{DeviceID: "s", StatusReason: p(strings.Repeat("e", 129))}, false},
		{"status in capitals", Spec{DeviceID: "t", Status: p("Disabled")}, true},
		{"long scope", Spec{DeviceID: "u", DeviceScope: &long}, false},
		{"long parent scope", Spec{DeviceID: "v", ParentScopes: []string{long}}, false},
		{"many parent scopes", Spec{DeviceID: "w", ParentScopes: make([]string, MaxParentScopes+1)}, false},
		{"thumbprint of 39 digits", Spec{DeviceID: "x", Authentication: &Authentication{X509Thumbprint: X509Thumbprint{PrimaryThumbprint: p(strings.Repeat("a", 39))}}}, false},
		{"thumbprint with another letter", Spec{DeviceID: "y", Authentication: &Authentication{X509Thumbprint: X509Thumbprint{SecondaryThumbprint: p(strings.Repeat("g", 40))}}}, false},
		{"secondary thumbprint alone", Spec{DeviceID: "z", Authentication: &Authentication{X509Thumbprint: X509Thumbprint{SecondaryThumbprint: p(strings.Repeat("F", 64))}}}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, err := c.Put(t.Context(), &tt.spec, "")
			if tt.ok != (err == nil) || !tt.ok && !twinhub.HasCode(err, twinhub.CodeArgumentInvalid) {
				t.Fatalf("got %+v, %v; want ok %v", d, err, tt.ok)
			}
			if tt.ok && tt.spec.Status != nil && d.Status != identity.Disabled {
				t.Errorf("status %q", d.Status)
			}
		})
	}
}

func TestScopes(t *testing.T) {
	c := newCore(t)
	edge := &Capabilities{IoTEdge: true}
	gateway := c.put(t, &Spec{DeviceID: "gateway-1", Capabilities: edge}, "")
	c.put(t, &Spec{DeviceID: "leaf", DeviceScope: &gateway.DeviceScope}, "")
	for _, tt := range []struct {
		name, scope string
		ok          bool
	}{
		{"of an edge device", gateway.DeviceScope, true},
		{"of one that is gone", "ms-azure-iot-edge://gone-637388855582764406", true},
		{"a word", "gateway-1", false},
		{"another scheme", "https://gateway-1-637388855582764406", false},
		{"no number", "ms-azure-iot-edge://gateway", false},
		{"nothing after the dash", "ms-azure-iot-edge://gateway-", false},
		{"letters after the dash", "ms-azure-iot-edge://gateway-x1", false},
		{"no id", "ms-azure-iot-edge://-1", false},
		{"no possible id", "ms-azure-iot-edge://a/b-1", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			check := func(what string, err error) {
				t.Helper()
				if tt.ok != (err == nil) || !tt.ok && !twinhub.HasCode(err, twinhub.CodeInvalidDeviceScope) {
					t.Errorf("%s: got %v, want ok %v", what, err, tt.ok)
				}
			}
			_, err := c.Put(t.Context(), &Spec{DeviceID: "leaf", DeviceScope: &tt.scope}, "*")
			check("another parent of a leaf", err)
			_, err = c.Put(t.Context(), &Spec{DeviceID: "gateway-1", Capabilities: edge, ParentScopes: []string{tt.scope}}, "*")
			check("a parent of an edge device", err)
		})
	}
}
