package mqtt

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestWrongSide(t *testing.T) {
	for _, c := range packets {
		_, err := NewReader(bytes.NewReader(wire(t, c.bytes)), Options{From: 1 - c.from}).ReadPacket()
		both := c.packet.Type() == TypePublish || c.packet.Type() == TypePuback
		switch {
		case both && err != nil:
			t.Errorf("%s from the %v: %v", c.name, 1-c.from, err)
		case !both && !errors.Is(err, ErrWrongSide):
			t.Errorf("%s from the %v: error %v, want ErrWrongSide", c.name, 1-c.from, err)
		case !both && !strings.Contains(err.Error(), c.packet.Type().String()):
			t.Errorf("%s: error %q does not name the packet", c.name, err)
		}
	}
}

// TestMalformed has for each rule bytes that break it alone. Where the header is all there is, the refusal
// came before any body was read.
func TestMalformed(t *testing.T) {
	for _, c := range []struct {
		name   string
		from   Side
		bytes  string
		clause string // or, for the sentinels:
		is     error
	}{
		{"type 0", Client, "00", "section 2.2.1", nil},
		{"type 15", Server, "f0", "section 2.2.1", nil},
		{"length of five bytes", Client, "30 ff ff ff ff", "section 2.2.3", nil},
		{"length of five bytes that is zero", Client, "30 80 80 80 80", "section 2.2.3", nil},
		{"over the limit", Client, "30 81 80 01", "", ErrTooLarge}, // 16,385
		{"over the limit by far", Client, "10 ff ff ff 7f", "", ErrTooLarge},

		{"connect flags", Client, "11", "MQTT-2.2.2-2", nil},
		{"connack flags", Server, "22", "MQTT-2.2.2-2", nil},
		{"puback flags", Client, "42", "MQTT-2.2.2-2", nil},
		{"pubrel flags", Client, "60", "MQTT-2.2.2-2", nil},
		{"subscribe flags", Client, "80", "MQTT-3.8.1-1", nil},
		{"suback flags", Server, "92", "MQTT-2.2.2-2", nil},
		{"unsubscribe flags", Client, "a0", "MQTT-3.10.1-1", nil},
		{"unsuback flags", Server, "b1", "MQTT-2.2.2-2", nil},
		{"pingreq flags", Client, "c1", "MQTT-2.2.2-2", nil},
		{"pingresp flags", Server, "d8", "MQTT-2.2.2-2", nil},
		{"disconnect flags", Client, "e4", "MQTT-3.14.1-1", nil},

		{"publish QoS 2", Client, "34", "", ErrQoS2},
		{"publish QoS 2 from a server", Server, "3d", "", ErrQoS2},
		{"pubrec", Client, "50", "", ErrQoS2},
		{"pubrel", Client, "62", "", ErrQoS2},
		{"pubcomp", Server, "70", "", ErrQoS2},

		{"connack too long, as in MQTT 5", Server, "20 03", "MQTT-4.8.0-1", nil},
		{"puback too short", Client, "40 01", "MQTT-4.8.0-1", nil},
		{"puback too long", Client, "40 03", "MQTT-4.8.0-1", nil},
		{"unsuback too long", Server, "b0 04", "MQTT-4.8.0-1", nil},
		{"pingreq with a body", Client, "c0 01", "MQTT-4.8.0-1", nil},
		{"pingresp with a body", Server, "d0 01", "MQTT-4.8.0-1", nil},
		{"disconnect with a body, as in MQTT 5", Client, "e0 02", "MQTT-4.8.0-1", nil},

		{"connect empty", Client, "10 00", "MQTT-4.8.0-1", nil},
		{"connect ends before its level", Client, "10 06 00 04 'MQTT'", "MQTT-4.8.0-1", nil},
		{"connect ends before its flags", Client, "10 07 00 04 'MQTT' 04", "MQTT-4.8.0-1", nil},
		{"connect reserved flag", Client, "10 0d 00 04 'MQTT' 04 03 00 00 00 01 'c'", "MQTT-3.1.2-3", nil},
		{"connect will QoS without a will", Client, "10 0d 00 04 'MQTT' 04 0a 00 00 00 01 'c'", "MQTT-3.1.2-13", nil},
		{"connect will retain without a will", Client, "10 0d 00 04 'MQTT' 04 22 00 00 00 01 'c'", "MQTT-3.1.2-15", nil},
		{"connect will QoS 3", Client, "10 12 00 04 'MQTT' 04 1e 00 00 00 01 'c' 00 01 'w' 00 00", "MQTT-3.1.2-14", nil},
		{"connect will flag without a will", Client, "10 0d 00 04 'MQTT' 04 06 00 00 00 01 'c'", "MQTT-4.8.0-1", nil},
		{"connect will without a message", Client, "10 10 00 04 'MQTT' 04 06 00 00 00 01 'c' 00 01 'w'", "MQTT-4.8.0-1", nil},
		{"connect will with an empty topic", Client, "10 11 00 04 'MQTT' 04 06 00 00 00 01 'c' 00 00 00 00", "MQTT-4.7.3-1", nil},
		{"connect password without username", Client, "10 0f 00 04 'MQTT' 04 42 00 00 00 01 'c' 00 00", "MQTT-3.1.2-22", nil},
		{"connect username flag without username", Client, "10 0d 00 04 'MQTT' 04 82 00 00 00 01 'c'", "MQTT-4.8.0-1", nil},
		{"connect username without its flag", Client, "10 10 00 04 'MQTT' 04 02 00 00 00 01 'c' 00 01 'u'", "MQTT-4.8.0-1", nil},
		{"connect password flag without password", Client, "10 10 00 04 'MQTT' 04 c2 00 00 00 01 'c' 00 01 'u'", "MQTT-4.8.0-1", nil},
		{"connect client id past the end", Client, "10 0d 00 04 'MQTT' 04 02 00 00 00 02 'c'", "MQTT-4.8.0-1", nil},
		{"connect client id not UTF-8", Client, "10 0d 00 04 'MQTT' 04 02 00 00 00 01 ff", "MQTT-1.5.3-1", nil},
		{"connect username a surrogate", Client, "10 12 00 04 'MQTT' 04 82 00 00 00 01 'c' 00 03 ed a0 80", "MQTT-1.5.3-1", nil},
		{"connect empty client id, session kept", Client, "10 0c 00 04 'MQTT' 04 00 00 00 00 00", "", ErrClientID},

		{"connack reserved flag", Server, "20 02 02 00", "section 3.2.2.1", nil},
		{"connack reserved code", Server, "20 02 00 06", "section 3.2.2.3", nil},
		{"connack session present in a refusal", Server, "20 02 01 05", "MQTT-3.2.2-4", nil},

		{"publish QoS 3", Client, "36", "MQTT-3.3.1-4", nil},
		{"publish empty", Client, "30 00", "MQTT-4.8.0-1", nil},
		{"publish dup with QoS 0", Client, "38 03 00 01 't'", "MQTT-3.3.1-2", nil},
		{"publish empty topic", Client, "30 02 00 00", "MQTT-4.7.3-1", nil},
		{"publish topic past the end", Client, "30 03 00 02 't'", "MQTT-4.8.0-1", nil},
		{"publish wildcard", Client, "30 05 00 03 'a/+'", "MQTT-3.3.2-2", nil},
		{"publish topic with U+0000", Client, "30 03 00 01 00", "MQTT-1.5.3-2", nil},
		{"publish topic overlong", Client, "30 04 00 02 c0 80", "MQTT-1.5.3-1", nil},
		{"publish without its id", Client, "32 04 00 01 't' 01", "MQTT-4.8.0-1", nil},
		{"publish id 0", Client, "32 05 00 01 't' 00 00", "MQTT-2.3.1-1", nil},
		{"puback id 0", Client, "40 02 00 00", "MQTT-2.3.1-1", nil},

		{"subscribe empty", Client, "82 00", "MQTT-4.8.0-1", nil},
		{"subscribe id 0", Client, "82 06 00 00 00 01 'a' 00", "MQTT-2.3.1-1", nil},
		{"subscribe no filter", Client, "82 02 00 01", "MQTT-3.8.3-3", nil},
		{"subscribe no QoS", Client, "82 05 00 01 00 01 'a'", "MQTT-4.8.0-1", nil},
		{"subscribe QoS 3", Client, "82 06 00 01 00 01 'a' 03", "MQTT-3.8.3-4", nil},
		{"subscribe reserved bits", Client, "82 06 00 01 00 01 'a' 81", "MQTT-3.8.3-4", nil},
		{"subscribe empty filter", Client, "82 05 00 01 00 00 00", "MQTT-4.7.3-1", nil},
		{"subscribe misplaced #", Client, "82 08 00 01 00 03 '#/a' 00", "MQTT-4.7.1-2", nil},
		{"subscribe one byte left over", Client, "82 07 00 01 00 01 'a' 00 00", "MQTT-4.8.0-1", nil},
		{"suback no code", Server, "90 02 00 01", "MQTT-3.8.4-5", nil},
		{"suback reserved code", Server, "90 03 00 01 03", "MQTT-3.9.3-2", nil},
		{"suback id 0", Server, "90 03 00 00 00", "MQTT-2.3.1-1", nil},
		{"unsubscribe id 0", Client, "a2 05 00 00 00 01 'a'", "MQTT-2.3.1-1", nil},
		{"unsubscribe no filter", Client, "a2 02 00 01", "MQTT-3.10.3-2", nil},
		{"unsubscribe filter past the end", Client, "a2 05 00 01 00 02 'a'", "MQTT-4.8.0-1", nil},
		{"unsubscribe misplaced +", Client, "a2 06 00 01 00 02 'a+'", "MQTT-4.7.1-3", nil},
		{"unsuback id 0", Server, "b0 02 00 00", "MQTT-2.3.1-1", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := wire(t, c.bytes)
			for _, source := range []io.Reader{
				pieces(errors.New("read past the refusal"), b),
				iotest.OneByteReader(pieces(errors.New("read past the refusal"), b)),
			} {
				r := NewReader(source, Options{From: c.from})
				p, err := r.ReadPacket()
				if err == nil {
					t.Fatalf("decoded as %#v", p)
				}
				checkRefusal(t, err, Type(b[0]>>4), c.clause, c.is)
				expectEnd(t, r, err)
			}
		})
	}
}

// TestTooManyFilters checks the limit that no length implies, on both sides of it.
func TestTooManyFilters(t *testing.T) {
	for _, c := range []struct {
		of      Type
		element string
	}{
		{TypeSubscribe, "\x00\x01a\x00"},
		{TypeUnsubscribe, "\x00\x01a"},
	} {
		for _, n := range []int{MaxFilters - 1, MaxFilters, MaxFilters + 1, 3 * MaxFilters} {
			body := "\x00\x01" + strings.Repeat(c.element, n)
			stream := string(appendHeader(nil, c.of, 0b0010, len(body))) + body
			p, err := NewReader(strings.NewReader(stream), Options{}).ReadPacket()
			if n <= MaxFilters {
				if err != nil {
					t.Errorf("%v of %d filters: %v", c.of, n, err)
				}
				continue
			}
			var got *TooLargeError
			if want := (TooLargeError{c.of, "filters", MaxFilters + 1, MaxFilters}); !errors.As(err, &got) || *got != want {
				t.Errorf("%v of %d filters: %v, %v; want %v", c.of, n, p, err, &want)
			}
		}
	}
}

func TestProtocolVersion(t *testing.T) {
	const old, five = "20 02 00 01", "20 03 00 84 00"
	for _, c := range []struct {
		name    string
		connect string // what follows the level makes no sense to MQTT 3.1.1
		want    ProtocolVersionError
		answer  string
	}{
		{"MQTT 5", "10 0b 00 04 'MQTT' 05 ff ff ff ff", ProtocolVersionError{"MQTT", 5}, five},
		{"MQTT 5, nothing after the level", "10 07 00 04 'MQTT' 05", ProtocolVersionError{"MQTT", 5}, five},
		{"MQTT 3.1", "10 0b 00 06 'MQIsdp' 03 01 01", ProtocolVersionError{"MQIsdp", 3}, old},
		{"MQTT level 3", "10 08 00 04 'MQTT' 03 ff", ProtocolVersionError{"MQTT", 3}, old},
		{"MQTT level 6", "10 08 00 04 'MQTT' 06 ff", ProtocolVersionError{"MQTT", 6}, old},
		{"a bridge's level", "10 07 00 04 'MQTT' 84", ProtocolVersionError{"MQTT", 0x84}, old},
		{"right level, wrong name", "10 07 00 04 'mqtt' 04", ProtocolVersionError{"mqtt", 4}, old},
		{"no name", "10 03 00 00 04", ProtocolVersionError{"", 4}, old},
		{"a name too long to keep", "10 17 00 14 'aaaabbbbccccddddeeee' 05", ProtocolVersionError{"aaaabbbbccccdddd", 5}, old},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := NewReader(bytes.NewReader(wire(t, c.connect)), Options{}).ReadPacket()
			var got *ProtocolVersionError
			if !errors.As(err, &got) || !errors.Is(err, ErrProtocolVersion) {
				t.Fatalf("error %v, want a ProtocolVersionError", err)
			}
			if *got != c.want {
				t.Errorf("got %+v, want %+v", *got, c.want)
			}
			want := append([]byte("before"), wire(t, c.answer)...)
			if answer := got.AppendConnack([]byte("before")); !bytes.Equal(answer, want) {
				t.Errorf("AppendConnack = % x, want % x", answer, want)
			}
		})
	}
}
