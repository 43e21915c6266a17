package sas

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Keys of the known answers: bytes 0..31 and 100..131.
const (
	key1 = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	key2 = "ZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp7fH1+f4CBgoM="
)

func hubKey(t testing.TB, text string) Key {
	t.Helper()
	k, err := HubKey(text)
	if err != nil {
		t.Fatalf("HubKey: %v", err)
	}
	return k
}

func eventHubsKey(t testing.TB, text string) Key {
	t.Helper()
	k, err := EventHubsKey(text)
	if err != nil {
		t.Fatalf("EventHubsKey: %v", err)
	}
	return k
}

// The signatures were computed with the hmac module of Python.
func TestKnownTokens(t *testing.T) {
	hub1, hub2 := hubKey(t, key1), hubKey(t, key2)
	tests := []struct {
		name    string
		text    string
		key     Key
		uri     string
		keyName string
	}{
		{"device, Node order", "SharedAccessSignature sr=hub.example.net%2Fdevices%2Fd1&sig=PbnusLc8T%2BUu8Tstc0OEeUfUWYHR7hHbXMTnplcJ%2BjI%3D&se=1700000000",
			hub1, "hub.example.net/devices/d1", ""},
		{"device, fields turned round", "SharedAccessSignature se=1700000000&sig=PbnusLc8T%2BUu8Tstc0OEeUfUWYHR7hHbXMTnplcJ%2BjI%3D&sr=hub.example.net%2Fdevices%2Fd1",
			hub1, "hub.example.net/devices/d1", ""},
		{"names in capitals, empty skn", "sharedaccesssignature SR=hub.example.net%2Fdevices%2Fd1&Sig=PbnusLc8T%2BUu8Tstc0OEeUfUWYHR7hHbXMTnplcJ%2BjI%3D&SE=1700000000&Skn=",
			hub1, "hub.example.net/devices/d1", ""},
		{"sig not percent-encoded", "SharedAccessSignature sr=hub.example.net%2Fdevices%2Fd1&sig=PbnusLc8T+Uu8Tstc0OEeUfUWYHR7hHbXMTnplcJ+jI=&se=1700000000",
			hub1, "hub.example.net/devices/d1", ""},
		{"lower-case hex kept", "SharedAccessSignature sr=hub.example.net%2fdevices%2fd1&sig=N1708toaCO8RvjzUIQfH6yMMFrt8FZbn8X0PFlevE5E%3D&se=1700000000",
			hub1, "hub.example.net/devices/d1", ""},
		{"sr not encoded, slash left in sig", "SharedAccessSignature sr=hub.example.net/devices/d1&sig=BY4utX9Iqofbzg8Jt/odOb%2BxNmusDJsz3Mw8NjqritM%3D&se=1700000000",
			hub1, "hub.example.net/devices/d1", ""},
		{"module", "SharedAccessSignature sr=hub.example.net%2Fdevices%2Fd1%2Fmodules%2Fm1&sig=lpMZO4kw59eKY6H6AY%2FQV2gz0JTy0vYmLfNwuJ2586w%3D&se=1700000000",
			hub1, "hub.example.net/devices/d1/modules/m1", ""},
		{"service, skn second", "SharedAccessSignature sr=hub.example.net&skn=iothubowner&sig=LxWqDBBUkYi4LTKqPYyuGB%2FJWhF32%2FzkD4JBxaGuoS8%3D&se=1700000000",
			hub1, "hub.example.net", "iothubowner"},
		{"skn percent-encoded", "SharedAccessSignature sr=hub.example.net&sig=LxWqDBBUkYi4LTKqPYyuGB%2FJWhF32%2FzkD4JBxaGuoS8%3D&se=1700000000&skn=iot%2Dhub",
			hub1, "hub.example.net", "iot-hub"},
		{"se with leading zero signed as written", "SharedAccessSignature sr=hub.example.net&sig=dJx3iQorqgPwdP2r3BVcwEt%2BGeMEujCUPB%2B03q3NIEo%3D&se=01700000000",
			hub1, "hub.example.net", ""},
		{"unknown field", "SharedAccessSignature sr=hub.example.net&sv=2&sig=LxWqDBBUkYi4LTKqPYyuGB%2FJWhF32%2FzkD4JBxaGuoS8%3D&se=1700000000",
			hub1, "hub.example.net", ""},
		{"id encoded twice, other key", "SharedAccessSignature sr=hub.example.net%2Fdevices%2Fa%2523b%252B1&sig=YCwOjOuGBeogpgAdE0vAF%2BMp0hIXnmYUKDu5I%2B%2BdIPQ%3D&se=1893456000",
			hub2, "hub.example.net/devices/a%23b%2B1", ""},
		{"Event Hubs", "SharedAccessSignature sr=sb%3A%2F%2Fhub.example.net%2Fevents&sig=PAP1ysRsKTyqLof%2FNdiZxBkW%2FJKcDBrrCPhqYRJRgms%3D&se=1700000000&skn=service",
			eventHubsKey(t, key1), "sb://hub.example.net/events", "service"},
		{"Event Hubs, lower-case hex", "SharedAccessSignature sr=sb%3a%2f%2fhub.example.net%2fevents&sig=S0MxedH/7X4fUyCLNHLjIAwD62ItnjWjK6xpTvwcxSs%3D&se=1700000000&skn=service",
			eventHubsKey(t, key1), "sb://hub.example.net/events", "service"},
		{"Event Hubs emulator's key text", "SharedAccessSignature sr=amqp%3A%2F%2Flocalhost%2Fevents&sig=TQYA9roVGHJAok1uKmycjNZwvgclpy0awrHtGDkTy00%3D&se=1700000000&skn=RootManageSharedAccessKey",
			eventHubsKey(t, "SAS_KEY_VALUE"), "amqp://localhost/events", "RootManageSharedAccessKey"},
	}
	other := eventHubsKey(t, "another")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			token, err := Parse(tt.text)
			if err != nil {
				t.Fatalf("Parse: %v", err)
			}
			if token.URI != tt.uri || token.KeyName != tt.keyName {
				t.Errorf("got URI %q, KeyName %q; want %q, %q", token.URI, token.KeyName, tt.uri, tt.keyName)
			}
			if !token.Verify(tt.key) {
				t.Error("Verify with its key: got false")
			}
			if !token.Verify(other, tt.key) || !token.Verify(tt.key, other) {
				t.Error("Verify with its key and another, in both orders: got false")
			}
			if token.Verify(other) || token.Verify() || token.Verify(Key{}) {
				t.Error("Verify with another key, no key or the zero Key: got true")
			}
			if rest := strings.Replace(tt.text, "17000", "17001", 1); rest != tt.text {
				moved, err := Parse(rest)
				if err != nil {
					t.Fatalf("Parse with another expiry: %v", err)
				}
				if moved.Verify(tt.key) {
					t.Error("Verify after the expiry was changed: got true")
				}
			}
		})
	}
}

func TestSign(t *testing.T) {
	expiry := time.Unix(1700000000, 999)
	tests := []struct {
		name, resource, policy string
		key                    Key
		want                   string
	}{
		{"device", DeviceResource("hub.example.net", "d1", ""), "", hubKey(t, key1),
			"SharedAccessSignature sr=hub.example.net%2Fdevices%2Fd1&sig=PbnusLc8T%2BUu8Tstc0OEeUfUWYHR7hHbXMTnplcJ%2BjI%3D&se=1700000000"},
		{"module", DeviceResource("hub.example.net", "d1", "m1"), "", hubKey(t, key1),
			"SharedAccessSignature sr=hub.example.net%2Fdevices%2Fd1%2Fmodules%2Fm1&sig=lpMZO4kw59eKY6H6AY%2FQV2gz0JTy0vYmLfNwuJ2586w%3D&se=1700000000"},
		{"service", "hub.example.net", "iothubowner", hubKey(t, key1),
			"SharedAccessSignature sr=hub.example.net&sig=LxWqDBBUkYi4LTKqPYyuGB%2FJWhF32%2FzkD4JBxaGuoS8%3D&se=1700000000&skn=iothubowner"},
		{"event hub", "sb://hub.example.net/events", "service", eventHubsKey(t, key1),
			"SharedAccessSignature sr=sb%3A%2F%2Fhub.example.net%2Fevents&sig=PAP1ysRsKTyqLof%2FNdiZxBkW%2FJKcDBrrCPhqYRJRgms%3D&se=1700000000&skn=service"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := Sign(tt.resource, tt.key, tt.policy, expiry); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
	got := DeviceResource("hub.example.net", "a#b+1", "")
	if want := "hub.example.net/devices/a%23b%2B1"; got != want {
		t.Errorf("DeviceResource: got %q, want %q", got, want)
	}
}

func TestSignRefusesZeroKey(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("Sign with the zero Key did not panic")
		}
	}()
	Sign("hub.example.net", Key{}, "", time.Unix(1, 0))
}

// Anybody can sign with no key at all; such a token must not pass where a key is not set.
func TestZeroKeyVerifiesNothing(t *testing.T) {
	forged := Scheme + " sr=h&se=1700000000&sig=" + url.QueryEscape(base64.StdEncoding.EncodeToString(Key{}.signature("h", "1700000000")))
	token, err := Parse(forged)
	if err != nil {
		t.Fatal(err)
	}
	if token.Verify(Key{}) || token.Verify(hubKey(t, key1), Key{}) {
		t.Error("a token signed with the empty key verifies with the zero Key")
	}
}

func TestParseErrors(t *testing.T) {
	const sr, sig, se = "sr=h", "sig=LxWqDBBUkYi4LTKqPYyuGB%2FJWhF32%2FzkD4JBxaGuoS8%3D", "se=1700000000"
	join := func(fields ...string) string { return Scheme + " " + strings.Join(fields, "&") }
	tests := []struct{ name, text, want string }{
		{"empty", "", "begin with"},
		{"scheme only", "SharedAccessSignature", "begin with"},
		{"other scheme", "Bearer abc", "begin with"},
		{"no scheme", sr + "&" + sig + "&" + se, "begin with"},
		{"no sr", join(sig, se), "sr is missing"},
		{"empty sr", join("sr=", sig, se), "sr is missing"},
		{"no sig", join(sr, se), "sig is missing"},
		{"no se", join(sr, sig), "se is missing"},
		{"sr twice", join(sr, sr, sig, se), "sr occurs twice"},
		{"skn twice in two cases", join(sr, sig, se, "skn=", "SKN=a"), "skn occurs twice"},
		{"bad percent in sr", join("sr=h%2", sig, se), "sr is not percent-encoded"},
		{"bad percent in skn", join(sr, sig, se, "skn=%zz"), "skn is not percent-encoded"},
		{"bad percent in sig", join(sr, "sig=%", se), "sig is not percent-encoded"},
		{"sig not base64", join(sr, "sig=????", se), "sig is not 32 bytes"},
		{"sig too short", join(sr, "sig=AAAA", se), "sig is not 32 bytes"},
		{"negative se", join(sr, sig, "se=-1"), "se is not a number"},
		{"signed se", join(sr, sig, "se=+1"), "se is not a number"},
		{"fraction in se", join(sr, sig, "se=1.5"), "se is not a number"},
		{"line feed in se", join(sr, sig, "se=1%0A2"), "se is not a number"},
		{"se in milliseconds", join(sr, sig, "se=1700000000000"), "not milliseconds"},
		{"se beyond int64", join(sr, sig, "se=99999999999999999999"), "not milliseconds"},
		{"too long", join(sr, sig, se, "x="+strings.Repeat("x", MaxTokenBytes)), "longer than 4096"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			token, err := Parse(tt.text)
			if err == nil {
				t.Fatalf("got %v, want an error with %q", token, tt.want)
			}
			if !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %q, want ErrMalformed with %q", err, tt.want)
			}
			if strings.Contains(err.Error(), "LxWqDBB") {
				t.Errorf("the error shows the signature: %q", err)
			}
		})
	}
	longest := join(sr, sig, se, "x=")
	longest += strings.Repeat("x", MaxTokenBytes-len(longest))
	if _, err := Parse(longest); err != nil {
		t.Errorf("a token of exactly MaxTokenBytes: %v", err)
	}
	tail := join(sr, sig, "se=253402300799")
	if token, err := Parse(tail); err != nil || token.Expiry.Year() != 9999 {
		t.Errorf("the last second of 9999: got %v, %v", token.Expiry, err)
	}
}

func TestExpired(t *testing.T) {
	token, err := Parse(Sign("h", hubKey(t, key1), "", time.Unix(1700000000, 0)))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		now  time.Time
		want bool
	}{
		{"a nanosecond before", time.Unix(1700000000, -1), false},
		{"at the second", time.Unix(1700000000, 0), true},
		{"after", time.Unix(1700000001, 0), true},
		{"long before", time.Unix(0, 0), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := token.Expired(tt.now); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

// Whatever is printed, a key or a signature does not show.
func TestSecretsDoNotPrint(t *testing.T) {
	key := hubKey(t, key1)
	text := Sign("hub.example.net/devices/d1", key, "device", time.Unix(1700000000, 0))
	token, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	hub := HubConnectionString{HostName: "h", SharedAccessKey: key1}
	hubToken := HubConnectionString{HostName: "h", SharedAccessSignature: text}
	events := EventHubsConnectionString{Endpoint: "sb://h/", SharedAccessKey: key1}
	eventsToken := EventHubsConnectionString{Endpoint: "sb://h/", SharedAccessSignature: text}

	secrets := []string{key1, string(key.secret), text, "PbnusLc8", base64.StdEncoding.EncodeToString(token.Signature), url.QueryEscape(key1), fmt.Sprint(token.Signature)}
	var out strings.Builder
	log := slog.New(slog.NewJSONHandler(&out, nil))
	for _, v := range []any{key, token, &token, hub, hubToken, events, eventsToken, []Key{key}, struct{ K Key }{key}} {
		fmt.Fprintf(&out, "%v %+v %#v %s %q\n", v, v, v, v, v)
	}
	for _, v := range []any{key, token, hub, hubToken, events, eventsToken} {
		log.Info("printed", "value", v)
	}
	marshalled, err := json.Marshal(key)
	if err != nil {
		t.Fatal(err)
	}
	out.Write(marshalled)
	for _, secret := range secrets {
		if strings.Contains(out.String(), secret) {
			t.Errorf("output contains the secret %q:\n%s", secret, out.String())
		}
	}
	if !strings.Contains(token.String(), "sr=hub.example.net%2Fdevices%2Fd1") || !strings.Contains(token.String(), "skn=device") {
		t.Errorf("String should say whose token it is: %s", token)
	}
}

func TestSignParseVerify(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		resource := rapid.StringN(1, 60, 200).Draw(rt, "resource")
		policy := rapid.StringN(0, 20, 60).Draw(rt, "policy")
		seconds := rapid.Int64Range(0, maxExpiry).Draw(rt, "expiry")
		secret := rapid.SliceOfN(rapid.Byte(), 1, 80).Draw(rt, "secret")
		key, err := HubKey(base64.StdEncoding.EncodeToString(secret))
		if err != nil {
			rt.Fatalf("HubKey: %v", err)
		}
		token, err := Parse(Sign(resource, key, policy, time.Unix(seconds, 0)))
		if err != nil {
			rt.Fatalf("Parse: %v", err)
		}
		if token.URI != resource || token.KeyName != policy || token.Expiry.Unix() != seconds {
			rt.Fatalf("got %q %q %d, want %q %q %d", token.URI, token.KeyName, token.Expiry.Unix(), resource, policy, seconds)
		}
		if !token.Verify(key) {
			rt.Fatal("Verify: got false")
		}
		// Not another zero byte: HMAC pads short keys with zeros, so that would be the same key.
		other, err := EventHubsKey(string(secret) + "x")
		if err != nil {
			rt.Fatalf("EventHubsKey: %v", err)
		}
		if token.Verify(other) {
			rt.Fatal("Verify with another key: got true")
		}
	})
}

// FuzzParse: no text makes Parse panic or pass without the three fields; what parses is bounded,
// does not verify with a key it was not signed with, and its scope check does not panic.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"",
		"SharedAccessSignature ",
		"SharedAccessSignature sr=hub.example.net%2Fdevices%2Fd1&sig=PbnusLc8T%2BUu8Tstc0OEeUfUWYHR7hHbXMTnplcJ%2BjI%3D&se=1700000000",
		"SharedAccessSignature sr=sb%3a%2f%2f%5b%3a%3a1%5d%2fevents&sig=S0MxedH/7X4fUyCLNHLjIAwD62ItnjWjK6xpTvwcxSs%3D&se=1700000000&skn=service",
		"sharedaccesssignature &&SE=1&sR=%25%32&sig=LxWqDBBUkYi4LTKqPYyuGB%2FJWhF32%2FzkD4JBxaGuoS8=",
	} {
		f.Add(seed, "hub.example.net", "/devices/d1")
	}
	key, err := EventHubsKey("nobody signed with this key")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text, host, path string) {
		token, err := Parse(text)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		if len(text) > MaxTokenBytes || token.Resource == "" || len(token.Signature) != signatureBytes || token.Expiry.Unix() < 0 {
			t.Fatalf("accepted %q as %+v", text, token)
		}
		if token.Verify(key) {
			t.Fatal("verified with a key nobody used")
		}
		if token.Covers(host, path) && !token.CoversFold(host, path) {
			t.Fatal("Covers is true and CoversFold false")
		}
	})
}

func BenchmarkParseVerify(b *testing.B) {
	key := hubKey(b, key1)
	text := Sign(DeviceResource("hub.example.net", "device-000001", ""), key, "", time.Unix(1700000000, 0))
	b.ReportAllocs()
	for b.Loop() {
		token, err := Parse(text)
		if err != nil || !token.Verify(key) || !token.Covers("hub.example.net", "/devices/device-000001") {
			b.Fatal("token refused", err)
		}
	}
}
