// Package sas makes and checks shared access signatures, the access tokens of IoT Hub and of Event
// Hubs, and reads the connection strings that carry their keys. It decides nothing: which key
// belongs to whom and what a policy may do is the caller's knowledge.
//
// The main types are [Token] (parsed, not yet trusted), [Key] (a secret, in the form either service
// uses) and the two connection strings. A door checks a token in four steps:
//
//	token, err := sas.Parse(text)       // is it a token
//	token.Verify(primary, secondary)    // did somebody who has the key write it
//	token.Expired(hub.Now())            // is it still good
//	token.Covers(host, "/devices/d1")   // does it speak of this resource
//
// Invariant: no error, String, GoString or log value of this package contains a key or a signature.
package sas

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Scheme is the word a token's text begins with, followed by a space.
const Scheme = "SharedAccessSignature"

const (
	// MaxTokenBytes is the longest text Parse takes. The longest honest token names a device and a
	// module of 128 characters each, every one encoded twice (5 bytes), under a host name of 253:
	// below 2 KiB with its signature. Twice that leaves room and bounds the work for strangers.
	MaxTokenBytes = 4096

	// maxExpiry is the last second of the year 9999, the end of time in the .NET clients and
	// service. A larger number is almost always one of milliseconds.
	maxExpiry = 253402300799

	// signatureBytes is the length of an HMAC-SHA256.
	signatureBytes = sha256.Size
)

// ErrMalformed is wrapped by every error of Parse.
var ErrMalformed = errors.New("malformed shared access signature")

// Token is a parsed token. That it could be parsed says nothing about who wrote it: see
// [Token.Verify]. It is a value, safe for concurrent use as long as Signature is not written to.
type Token struct {
	Resource  string    // sr as written, the text that was signed
	URI       string    // sr percent-decoded once, e.g. "hub.example/devices/d1" or "sb://hub.example/events"
	KeyName   string    // skn decoded: the policy; "" means an identity's own key
	Expiry    time.Time // se, in UTC
	Signature []byte    // sig decoded, 32 bytes

	expiryText string // se as written, the other half of the signed text
}

// Sign returns the text of a token, "SharedAccessSignature sr=...&sig=...&se=...", for resource,
// which is given plain and is percent-encoded here. A policyName other than "" is added as skn.
// The expiry is rounded down to whole seconds. It panics when key is the zero Key, since everybody
// could make that signature.
// Reference: IoT Hub docs, "Control access with shared access signatures", SAS token structure.
func Sign(resource string, key Key, policyName string, expiry time.Time) string {
	if key.IsZero() {
		panic("sas: Sign with the zero Key")
	}
	sr, se := escape(resource), strconv.FormatInt(expiry.Unix(), 10)
	sig := base64.StdEncoding.EncodeToString(key.signature(sr, se))
	text := Scheme + " sr=" + sr + "&sig=" + escape(sig) + "&se=" + se
	if policyName != "" {
		text += "&skn=" + escape(policyName)
	}
	return text
}

// Parse reads the text of a token. Fields may come in any order, their names and the leading word
// in any case, values raw or percent-encoded; unknown fields are passed over; sr, sig and se must
// be there and no known field twice. Every error wraps ErrMalformed and names the field, never
// its value.
func Parse(text string) (Token, error) {
	if len(text) > MaxTokenBytes {
		return Token{}, fmt.Errorf("%w: longer than %d bytes", ErrMalformed, MaxTokenBytes)
	}
	fields, err := splitFields(text)
	if err != nil {
		return Token{}, err
	}
	for _, name := range []string{"sr", "sig", "se"} {
		if fields[name] == "" {
			return Token{}, fmt.Errorf("%w: %s is missing", ErrMalformed, name)
		}
	}
	t := Token{Resource: fields["sr"], expiryText: fields["se"]}
	if t.URI, err = url.PathUnescape(t.Resource); err != nil {
		return Token{}, fmt.Errorf("%w: sr is not percent-encoded", ErrMalformed)
	}
	if t.KeyName, err = url.PathUnescape(fields["skn"]); err != nil {
		return Token{}, fmt.Errorf("%w: skn is not percent-encoded", ErrMalformed)
	}
	sig, err := url.PathUnescape(fields["sig"])
	if err != nil {
		return Token{}, fmt.Errorf("%w: sig is not percent-encoded", ErrMalformed)
	}
	if t.Signature, err = base64.StdEncoding.DecodeString(sig); err != nil || len(t.Signature) != signatureBytes {
		return Token{}, fmt.Errorf("%w: sig is not %d bytes in base64", ErrMalformed, signatureBytes)
	}
	if t.Expiry, err = parseExpiry(t.expiryText); err != nil {
		return Token{}, err
	}
	return t, nil
}

// splitFields returns the known fields of a token as written, by lower-case name.
func splitFields(text string) (map[string]string, error) {
	scheme, rest, found := strings.Cut(strings.TrimSpace(text), " ")
	if !found || !equalFold(scheme, Scheme) {
		return nil, fmt.Errorf("%w: does not begin with %q", ErrMalformed, Scheme+" ")
	}
	fields := make(map[string]string, 4)
	for part := range strings.SplitSeq(strings.TrimLeft(rest, " "), "&") {
		name, value, _ := strings.Cut(part, "=")
		name = strings.ToLower(name)
		switch name {
		case "sr", "sig", "se", "skn":
		default:
			continue
		}
		if _, twice := fields[name]; twice {
			return nil, fmt.Errorf("%w: %s occurs twice", ErrMalformed, name)
		}
		fields[name] = value
	}
	return fields, nil
}

func parseExpiry(text string) (time.Time, error) {
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' {
			return time.Time{}, fmt.Errorf("%w: se is not a number of seconds since 1970", ErrMalformed)
		}
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil || seconds > maxExpiry {
		return time.Time{}, fmt.Errorf("%w: se is after the year 9999 (it counts seconds, not milliseconds)", ErrMalformed)
	}
	return time.Unix(seconds, 0).UTC(), nil
}

// Verify reports whether one of keys made the signature over sr and se exactly as they are written
// in the token. Each key is tried and compared in constant time; zero Keys never match. It does not
// look at the expiry.
func (t Token) Verify(keys ...Key) bool {
	matched := false
	for _, key := range keys {
		if key.IsZero() {
			continue
		}
		if hmac.Equal(key.signature(t.Resource, t.expiryText), t.Signature) {
			matched = true
		}
	}
	return matched
}

// Expired reports whether the token is no longer good at now: from the second of its expiry on,
// without tolerance.
func (t Token) Expired(now time.Time) bool { return !t.Expiry.After(now) }

// String describes the token without its signature.
func (t Token) String() string {
	return fmt.Sprintf("%s sr=%s&sig=hidden&se=%s&skn=%s", Scheme, t.Resource, t.expiryText, escape(t.KeyName))
}

// GoString describes the token without its signature.
func (t Token) GoString() string { return "sas.Token(" + t.String() + ")" }

// LogValue describes the token without its signature.
func (t Token) LogValue() slog.Value { return slog.StringValue(t.String()) }

// escape percent-encodes all but the unreserved characters of RFC 3986, in upper-case hex.
func escape(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.', c == '~':
			b.WriteByte(c)
		default:
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		}
	}
	return b.String()
}

// equalFold reports whether a and b are equal but for the case of ASCII letters.
func equalFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
