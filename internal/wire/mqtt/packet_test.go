package mqtt

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

// wire reads annotated bytes: hexadecimal pairs and quoted text, separated by spaces; // begins a comment.
func wire(t testing.TB, annotated string) []byte {
	t.Helper()
	var b []byte
	for line := range strings.Lines(annotated) {
		line, _, _ = strings.Cut(line, "//")
		for _, word := range strings.Fields(line) {
			if text, ok := strings.CutPrefix(word, "'"); ok {
				b = append(b, strings.TrimSuffix(text, "'")...)
				continue
			}
			pair, err := hex.DecodeString(word)
			if err != nil {
				t.Fatalf("annotated bytes: %q: %v", word, err)
			}
			b = append(b, pair...)
		}
	}
	return b
}

// packets is every kind of packet as bytes and as the struct they mean, in the shape the decoder gives it.
var packets = []struct {
	name   string
	from   Side
	bytes  string
	packet Packet
}{
	{"connect, nothing optional", Client, `
		10 0c       // CONNECT, 12 bytes
		00 04 'MQTT'
		04          // level
		02          // clean session
		00 00       // no keep alive
		00 00       // empty client id`,
		&Connect{CleanSession: true}},
	{"connect, session kept, username without password", Client, `
		10 17       // CONNECT, 23 bytes
		00 04 'MQTT' 04
		80          // username
		00 3c       // 60 s
		00 05 'dev-1'
		00 04 'hub/'`,
		&Connect{KeepAlive: time.Minute, ClientID: "dev-1", HasUsername: true, Username: "hub/"}},
	{"connect, everything", Client, `
		10 2e       // CONNECT, 46 bytes
		00 04 'MQTT' 04
		ee          // username, password, will retain, will QoS 1, will, clean session
		ff ff       // 65,535 s
		00 03 'd/m'
		00 03 'w/t' // will topic
		00 04 'gone'
		00 06 68 c3 bc 62 2f 64 // "hüb/d"
		00 0a 'sig=%2F' 00 ff 3d // a password is any bytes`,
		&Connect{
			CleanSession: true, KeepAlive: 65535 * time.Second, ClientID: "d/m",
			Will:        &Will{Topic: "w/t", Payload: []byte("gone"), QoS: QoS1, Retain: true},
			HasUsername: true, Username: "hüb/d",
			HasPassword: true, Password: []byte("sig=%2F\x00\xff="),
		}},
	{"connect, will QoS 2 and empty fields that are present", Client, `
		10 16       // CONNECT, 22 bytes
		00 04 'MQTT' 04
		d6          // username, password, will QoS 2, will, clean session
		00 01
		00 01 'c'
		00 01 'w'
		00 00       // empty will message
		00 00       // empty username
		00 00       // empty password`,
		&Connect{
			CleanSession: true, KeepAlive: time.Second, ClientID: "c",
			Will:        &Will{Topic: "w", Payload: []byte{}, QoS: QoS2},
			HasUsername: true, HasPassword: true, Password: []byte{},
		}},
	{"connack, accepted, session present", Server, `20 02 01 00`, &Connack{SessionPresent: true}},
	{"connack, not authorized", Server, `20 02 00 05`, &Connack{Code: RefusedNotAuthorized}},
	{"publish, QoS 0", Client, `
		30 07       // PUBLISH, 7 bytes
		00 03 'a/b'
		'hi'`,
		&Publish{Topic: "a/b", Payload: []byte("hi")}},
	{"publish, QoS 1, dup, retain", Client, `
		3b 09       // PUBLISH, DUP, QoS 1, RETAIN, 9 bytes
		00 03 'a/b'
		01 02       // packet id
		'hi'`,
		&Publish{Dup: true, QoS: QoS1, Retain: true, Topic: "a/b", ID: 0x0102, Payload: []byte("hi")}},
	{"publish, no payload, a topic with a byte order mark", Server, `
		32 08       // PUBLISH, QoS 1, 8 bytes
		00 04 ef bb bf 'x'
		ff ff`,
		&Publish{QoS: QoS1, Topic: "\ufeffx", ID: 65535, Payload: []byte{}}},
	{"publish, remaining length of two bytes", Server,
		"30 83 01 00 01 't'" + strings.Repeat(" 2a", 128), // 0x03 + 1*128 = 131
		&Publish{Topic: "t", Payload: bytes.Repeat([]byte{0x2a}, 128)}},
	{"puback from a client", Client, `40 02 00 01`, &Puback{ID: 1}},
	{"puback from a server", Server, `40 02 ff fe`, &Puback{ID: 65534}},
	{"subscribe", Client, `
		82 15       // SUBSCRIBE, reserved flags 0010, 21 bytes
		00 0a       // packet id
		00 03 'a/#' 01
		00 01 '+'   00
		00 06 '$x/+/y' 02 // QoS 2 may be asked for`,
		&Subscribe{ID: 10, Subscriptions: []Subscription{{"a/#", QoS1}, {"+", QoS0}, {"$x/+/y", QoS2}}}},
	{"suback", Server, `
		90 06       // SUBACK, 6 bytes
		00 0a
		01 00 02 80 // granted 1, 0 and 2; refused`,
		&Suback{ID: 10, Codes: []byte{1, 0, 2, SubackFailure}}},
	{"unsubscribe", Client, `
		a2 0a       // UNSUBSCRIBE, reserved flags 0010, 10 bytes
		00 0b
		00 03 'a/#'
		00 01 '+'`,
		&Unsubscribe{ID: 11, Filters: []string{"a/#", "+"}}},
	{"unsuback", Server, `b0 02 00 0b`, &Unsuback{ID: 11}},
	{"pingreq", Client, `c0 00`, &Pingreq{}},
	{"pingresp", Server, `d0 00`, &Pingresp{}},
	{"disconnect", Client, `e0 00`, &Disconnect{}},
}

func TestAppendTo(t *testing.T) {
	for _, c := range packets {
		t.Run(c.name, func(t *testing.T) {
			if err := c.packet.Validate(); err != nil {
				t.Fatalf("Validate: %v", err)
			}
			want := append([]byte("before"), wire(t, c.bytes)...)
			got := c.packet.AppendTo([]byte("before"))
			if !bytes.Equal(got, want) {
				t.Errorf("AppendTo:\n got % x\nwant % x", got, want)
			}
			room := make([]byte, 0, len(want))
			if n := testing.AllocsPerRun(100, func() { c.packet.AppendTo(room) }); n != 0 {
				t.Errorf("AppendTo with enough room allocates %v times, want 0", n)
			}
		})
	}
}

// TestTypes checks that each struct is the kind that its first byte says, and that every kind is in the table.
func TestTypes(t *testing.T) {
	seen := map[Type]bool{TypePubrec: true, TypePubrel: true, TypePubcomp: true} // never structs
	for _, c := range packets {
		if want := Type(wire(t, c.bytes)[0] >> 4); c.packet.Type() != want {
			t.Errorf("%s: type %v, want %v", c.name, c.packet.Type(), want)
		}
		seen[c.packet.Type()] = true
	}
	for k := TypeConnect; k <= TypeDisconnect; k++ {
		if !seen[k] {
			t.Errorf("no %v among the packets tested", k)
		}
	}
	for k, want := range map[Type]string{0: "type 0", TypeConnect: "CONNECT", TypePubrel: "PUBREL", 15: "type 15", 200: "type 200"} {
		if got := k.String(); got != want {
			t.Errorf("Type(%d).String() = %q, want %q", byte(k), got, want)
		}
	}
}

// TestHeaderLengths checks both sides of each step in the size of the remaining length (table 2.4).
func TestHeaderLengths(t *testing.T) {
	for _, c := range []struct {
		length int
		want   string
	}{
		{0, "30 00"}, {127, "30 7f"},
		{128, "30 80 01"}, {16383, "30 ff 7f"},
		{16384, "30 80 80 01"}, {2097151, "30 ff ff 7f"},
		{2097152, "30 80 80 80 01"}, {268435455, "30 ff ff ff 7f"},
	} {
		want := wire(t, c.want)
		if got := appendHeader(nil, TypePublish, 0, c.length); !bytes.Equal(got, want) {
			t.Errorf("appendHeader(%d) = % x, want % x", c.length, got, want)
		}
		r := NewReader(nil, Options{Limit: MaxRemainingLength})
		h, err := r.parseHeader(want)
		if err != nil || h.length != c.length || h.size != len(want) {
			t.Errorf("parseHeader(% x) = length %d, size %d, %v; want length %d, size %d", want, h.length, h.size, err, c.length, len(want))
		}
		for cut := range len(want) {
			if h, err := r.parseHeader(want[:cut]); err != nil || h.size != 0 {
				t.Errorf("parseHeader(% x) = size %d, %v; want it to ask for more", want[:cut], h.size, err)
			}
		}
	}
}

// TestValidate has for each rule a packet that breaks it alone: the error names the clause, and nothing of
// the packet is written.
func TestValidate(t *testing.T) {
	long := strings.Repeat("x", maxString+1)
	connect := func(change func(*Connect)) *Connect {
		p := &Connect{ClientID: "c"}
		change(p)
		return p
	}
	will := func(w Will) *Connect { return &Connect{ClientID: "c", Will: &w} }
	for _, c := range []struct {
		name   string
		packet Packet
		clause string // or, for the sentinels:
		is     error
	}{
		{"connect: keep alive negative", connect(func(p *Connect) { p.KeepAlive = -time.Second }), "section 3.1.2.10", nil},
		{"connect: keep alive too long", connect(func(p *Connect) { p.KeepAlive = 65536 * time.Second }), "section 3.1.2.10", nil},
		{"connect: keep alive not whole", connect(func(p *Connect) { p.KeepAlive = 1500 * time.Millisecond }), "section 3.1.2.10", nil},
		{"connect: client id not UTF-8", connect(func(p *Connect) { p.ClientID = "\xff" }), "MQTT-1.5.3-1", nil},
		{"connect: client id too long", connect(func(p *Connect) { p.ClientID = long }), "MQTT-4.7.3-3", nil},
		{"connect: no client id for a kept session", &Connect{}, "", ErrClientID},
		{"connect: will QoS 3", will(Will{Topic: "w", QoS: 3}), "MQTT-3.1.2-14", nil},
		{"connect: will without a topic", will(Will{}), "MQTT-4.7.3-1", nil},
		{"connect: will topic with a wildcard", will(Will{Topic: "w/#"}), "MQTT-3.3.2-2", nil},
		{"connect: will message too long", will(Will{Topic: "w", Payload: []byte(long)}), "section 3.1.3.3", nil},
		{"connect: username with U+0000", connect(func(p *Connect) { p.HasUsername, p.Username = true, "a\x00" }), "MQTT-1.5.3-2", nil},
		{"connect: password without username", connect(func(p *Connect) { p.HasPassword = true }), "MQTT-3.1.2-22", nil},
		{"connect: password too long", connect(func(p *Connect) {
			p.HasUsername, p.HasPassword, p.Password = true, true, []byte(long)
		}), "section 3.1.3.5", nil},
		{"connack: reserved code", &Connack{Code: 6}, "section 3.2.2.3", nil},
		{"connack: session present in a refusal", &Connack{SessionPresent: true, Code: RefusedUnavailable}, "MQTT-3.2.2-4", nil},
		{"publish: QoS 2", &Publish{QoS: QoS2, ID: 1, Topic: "t"}, "", ErrQoS2},
		{"publish: QoS 3", &Publish{QoS: 3, ID: 1, Topic: "t"}, "MQTT-3.3.1-4", nil},
		{"publish: dup with QoS 0", &Publish{Dup: true, Topic: "t"}, "MQTT-3.3.1-2", nil},
		{"publish: QoS 1 without an id", &Publish{QoS: QoS1, Topic: "t"}, "MQTT-2.3.1-1", nil},
		{"publish: empty topic", &Publish{}, "MQTT-4.7.3-1", nil},
		{"publish: wildcard +", &Publish{Topic: "a/+"}, "MQTT-3.3.2-2", nil},
		{"publish: wildcard #", &Publish{Topic: "#"}, "MQTT-3.3.2-2", nil},
		{"publish: topic too long", &Publish{Topic: long}, "MQTT-4.7.3-3", nil},
		{"puback: id 0", &Puback{}, "MQTT-2.3.1-1", nil},
		{"subscribe: id 0", &Subscribe{Subscriptions: []Subscription{{"a", 0}}}, "MQTT-2.3.1-1", nil},
		{"subscribe: no filter", &Subscribe{ID: 1}, "MQTT-3.8.3-3", nil},
		{"subscribe: QoS 3", &Subscribe{ID: 1, Subscriptions: []Subscription{{"a", 3}}}, "MQTT-3.8.3-4", nil},
		{"subscribe: second filter invalid", &Subscribe{ID: 1, Subscriptions: []Subscription{{"a", 0}, {"a#", 0}}}, "MQTT-4.7.1-2", nil},
		{"subscribe: too many", &Subscribe{ID: 1, Subscriptions: make([]Subscription, MaxFilters+1)}, "", ErrTooLarge},
		{"suback: id 0", &Suback{Codes: []byte{0}}, "MQTT-2.3.1-1", nil},
		{"suback: no code", &Suback{ID: 1}, "MQTT-3.8.4-5", nil},
		{"suback: reserved code", &Suback{ID: 1, Codes: []byte{0, 3}}, "MQTT-3.9.3-2", nil},
		{"unsubscribe: id 0", &Unsubscribe{Filters: []string{"a"}}, "MQTT-2.3.1-1", nil},
		{"unsubscribe: no filter", &Unsubscribe{ID: 1}, "MQTT-3.10.3-2", nil},
		{"unsubscribe: invalid filter", &Unsubscribe{ID: 1, Filters: []string{"a", "b+"}}, "MQTT-4.7.1-3", nil},
		{"unsubscribe: too many", &Unsubscribe{ID: 1, Filters: make([]string, MaxFilters+1)}, "", ErrTooLarge},
		{"unsuback: id 0", &Unsuback{}, "MQTT-2.3.1-1", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			checkRefusal(t, c.packet.Validate(), c.packet.Type(), c.clause, c.is)
			if got := c.packet.AppendTo([]byte("before")); string(got) != "before" {
				t.Errorf("AppendTo wrote % x, want nothing", got[len("before"):])
			}
		})
	}
}

// checkRefusal fails unless err is a *MalformedError of that type and clause or, if clause is empty, is is.
func checkRefusal(t *testing.T, err error, of Type, clause string, is error) {
	t.Helper()
	if clause == "" {
		if !errors.Is(err, is) {
			t.Errorf("got error %v, want %v", err, is)
		}
		return
	}
	var malformed *MalformedError
	if !errors.As(err, &malformed) || !errors.Is(err, ErrMalformed) {
		t.Fatalf("got error %v, want a malformed %v by %s", err, of, clause)
	}
	if malformed.Type != of || malformed.Clause != clause {
		t.Errorf("got %v, want a malformed %v by %s", err, of, clause)
	}
	if want := fmt.Sprintf("malformed %v: %s [%s]", of, malformed.Reason, clause); !strings.HasSuffix(err.Error(), want) || malformed.Reason == "" {
		t.Errorf("error text %q, want it to end in %q and give a reason", err, want)
	}
}

// TestIDIgnoredWithQoS0 holds AppendTo to its word: an ID left in a Publish of QoS 0 is not written.
func TestIDIgnoredWithQoS0(t *testing.T) {
	got := (&Publish{Topic: "t", ID: 7}).AppendTo(nil)
	if want := wire(t, "30 03 00 01 't'"); !bytes.Equal(got, want) {
		t.Errorf("AppendTo = % x, want % x", got, want)
	}
}

func TestConnectCodeString(t *testing.T) {
	seen := map[string]ConnectCode{}
	for code := Accepted; code <= RefusedNotAuthorized+1; code++ {
		s := code.String()
		if other, ok := seen[s]; ok || s == "" {
			t.Errorf("codes %d and %d both read %q", other, code, s)
		}
		seen[s] = code
	}
}

// equal compares two packets by their fields.
func equal(a, b Packet) bool { return reflect.DeepEqual(a, b) }
