package sas

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"log/slog"
)

// newKeyBytes is the length of the keys NewKey makes, that of the HMAC and of Azure's own.
const newKeyBytes = 32

// ErrKey is returned for a text that cannot be a key. The text is not part of the error.
var ErrKey = errors.New("not a shared access key")

// Key is a secret that signs and verifies tokens. Make it with HubKey or EventHubsKey: the two
// services read the same key text differently. The zero Key signs and verifies nothing. It prints
// as a fixed word, and is safe for concurrent use.
type Key struct {
	secret string // bytes; a string so that nobody can change them
}

// HubKey returns the key that text stands for in IoT Hub: its base64-decoded bytes. It fails with
// ErrKey when text is not padded standard base64 or is empty.
func HubKey(text string) (Key, error) {
	secret, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(secret) == 0 {
		return Key{}, ErrKey
	}
	return Key{secret: string(secret)}, nil
}

// EventHubsKey returns the key that text stands for in Event Hubs: the bytes of the text itself,
// even when it looks like base64. It fails with ErrKey when text is empty.
func EventHubsKey(text string) (Key, error) {
	if text == "" {
		return Key{}, ErrKey
	}
	return Key{secret: text}, nil
}

// NewKey returns the text of a new random key: 32 bytes in base64, usable in both forms.
func NewKey() string {
	var secret [newKeyBytes]byte
	rand.Read(secret[:]) // documented never to fail
	return base64.StdEncoding.EncodeToString(secret[:])
}

// IsZero reports whether k is the zero Key.
func (k Key) IsZero() bool { return k.secret == "" }

// String returns a fixed word, not the key.
func (k Key) String() string { return "hidden key" }

// GoString returns a fixed word, not the key.
func (k Key) GoString() string { return "sas.Key(hidden)" }

// LogValue returns a fixed word, not the key.
func (k Key) LogValue() slog.Value { return slog.StringValue(k.String()) }

// signature returns HMAC-SHA256 over sr, LF, se.
func (k Key) signature(sr, se string) []byte {
	mac := hmac.New(sha256.New, []byte(k.secret))
	mac.Write([]byte(sr))
	mac.Write([]byte{'\n'})
	mac.Write([]byte(se))
	return mac.Sum(nil)
}
