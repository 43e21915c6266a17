package mqtt

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func TestErrorTexts(t *testing.T) {
	for _, c := range []struct {
		err  error
		is   error
		want string
	}{
		{&MalformedError{TypePublish, "MQTT-4.7.3-1", "empty topic"}, ErrMalformed, "mqtt: malformed PUBLISH: empty topic [MQTT-4.7.3-1]"},
		{&TooLargeError{TypeConnect, "bytes", 20000, 16384}, ErrTooLarge, "mqtt: CONNECT too large: 20000 bytes, limit 16384"},
		{&ProtocolVersionError{"MQ\x00", 5}, ErrProtocolVersion, `mqtt: protocol "MQ\x00" level 5 not supported, want "MQTT" level 4`},
		{checkLength(TypePublish, MaxRemainingLength+1), ErrTooLarge, "mqtt: PUBLISH too large: 268435456 bytes, limit 268435455"},
	} {
		if !errors.Is(c.err, c.is) {
			t.Errorf("%#v is not %v", c.err, c.is)
		}
		if got := c.err.Error(); got != c.want {
			t.Errorf("error text %q, want %q", got, c.want)
		}
	}
	if err := checkLength(TypePublish, MaxRemainingLength); err != nil {
		t.Errorf("checkLength of the largest length: %v", err)
	}
}

// TestErrorsKeepSecrets cuts and damages a CONNECT at every byte: no error repeats what the client sent.
func TestErrorsKeepSecrets(t *testing.T) {
	const secret = "hunter2hunter2"
	whole := (&Connect{
		ClientID: "c", HasUsername: true, Username: secret, HasPassword: true, Password: []byte(secret),
	}).AppendTo(nil)
	refusals := 0
	for at := 8; at < len(whole); at++ { // behind the protocol name, which errors do repeat
		for _, value := range []byte{0x00, 0x01, 0xff} {
			damaged := bytes.Clone(whole)
			damaged[at] = value
			_, err := NewReader(bytes.NewReader(damaged), Options{}).ReadPacket()
			if err == nil {
				continue
			}
			refusals++
			if strings.Contains(err.Error(), secret[:7]) {
				t.Errorf("with byte %d = %#x: error %q repeats the secret", at, value, err)
			}
		}
	}
	if refusals < 20 {
		t.Errorf("only %d of the damages were refused: the test sees too little", refusals)
	}
}
