package sas

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"
)

func TestHubKey(t *testing.T) {
	tests := []struct {
		name, text, want string
		ok               bool
	}{
		{"four bytes", "AQIDBA==", "\x01\x02\x03\x04", true},
		{"plus and slash", "+/+/", "\xfb\xff\xbf", true},
		{"empty", "", "", false},
		{"padding missing", "AQIDBA", "", false},
		{"URL alphabet", "-_-_", "", false},
		{"not base64", "SAS_KEY_VALUE", "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			key, err := HubKey(tt.text)
			if (err == nil) != tt.ok || key.secret != tt.want {
				t.Fatalf("got %q, %v; want %q, ok %v", key.secret, err, tt.want, tt.ok)
			}
			if err != nil && !errors.Is(err, ErrKey) {
				t.Errorf("got %v, want ErrKey", err)
			}
			if tt.text != "" && err != nil && strings.Contains(err.Error(), tt.text) {
				t.Errorf("the error shows the key: %v", err)
			}
		})
	}
}

func TestEventHubsKey(t *testing.T) {
	key, err := EventHubsKey(key1)
	if err != nil || key.secret != key1 {
		t.Errorf("got %v, want the bytes of the text", err)
	}
	if key, err := EventHubsKey(""); !errors.Is(err, ErrKey) || !key.IsZero() {
		t.Errorf("empty text: got %v, want ErrKey", err)
	}
}

func TestNewKey(t *testing.T) {
	a, b := NewKey(), NewKey()
	if a == b {
		t.Errorf("two keys are equal")
	}
	raw, err := base64.StdEncoding.DecodeString(a)
	if err != nil || len(raw) != 32 {
		t.Errorf("got %d bytes, %v; want 32 bytes in base64", len(raw), err)
	}
	if _, err := HubKey(a); err != nil {
		t.Errorf("HubKey: %v", err)
	}
}
