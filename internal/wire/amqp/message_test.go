package amqp

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func event() *Message {
	return &Message{
		MessageAnnotations: Map{
			{Symbol("iothub-connection-device-id"), "d"},
			{Symbol("x-opt-sequence-number"), int64(13280)},
			{Symbol("x-opt-offset"), "12890070640"},
			{Symbol("x-opt-enqueued-time"), Timestamp(1603288810824)},
		},
		Properties:            &Properties{ContentType: "application/json", ContentEncoding: "utf-8"},
		ApplicationProperties: Map{{"k", "v"}},
		Body:                  DataBody([]byte(`{"temperature": 12}`)),
	}
}

// Golden bytes by the field lists of AMQP 3.2.
func TestMessageGolden(t *testing.T) {
	for _, c := range []struct {
		name string
		m    Message
		hex  string
	}{
		{"empty", Message{}, ""},
		{"header", Message{Header: &Header{Durable: true, Priority: Some(uint8(4)), TTL: Some(uint32(1000)), DeliveryCount: 1}},
			"005370 c00c 05 41 5004 70000003e8 40 5201"},
		{"header of defaults", Message{Header: &Header{}}, "005370 c00100"},
		{"annotations", Message{DeliveryAnnotations: Map{}, MessageAnnotations: Map{{Symbol("k"), int64(1)}}, Footer: Map{}},
			"005371 c10100 005372 c10602 a3016b 5501 005378 c10100"},
		{"message-id string", Message{Properties: &Properties{MessageID: "1"}}, "005373 c00401a10131"},
		{"message-id empty string", Message{Properties: &Properties{MessageID: ""}}, "005373 c00301a100"},
		{"message-id ulong", Message{Properties: &Properties{MessageID: uint64(1)}}, "005373 c003015301"},
		{"message-id binary", Message{Properties: &Properties{MessageID: []byte{1}}}, "005373 c00401a00101"},
		{"correlation-id uuid", Message{Properties: &Properties{CorrelationID: UUID{15: 1}}},
			"005373 c017 06 4040404040 98 00000000000000000000000000000001"},
		{"all properties", Message{Properties: &Properties{MessageID: "m", UserID: []byte("u"), To: "t", Subject: "s", ReplyTo: "r",
			CorrelationID: "c", ContentType: "y", ContentEncoding: "e", AbsoluteExpiryTime: Some(Timestamp(1)),
			CreationTime: Some(Timestamp(0)), GroupID: "g", GroupSequence: Some(uint32(0)), ReplyToGroupID: "h"}},
			"005373 c032 0d a1016d a00175 a10174 a10173 a10172 a10163 a30179 a30165 830000000000000001 830000000000000000 a10167 43 a10168"},
		{"application properties", Message{ApplicationProperties: Map{{"status-code", int32(200)}}},
			"005374 c113 02 a10b7374617475732d636f6465 71000000c8"},
		{"two data sections", Message{Body: Body{Kind: BodyData, Data: [][]byte{{1}, {}}}}, "005375 a00101 005375 a000"},
		{"null value", Message{Body: ValueBody(nil)}, "005377 40"},
		{"map value", Message{Body: ValueBody(Map{{"partition_ids", []string{"0", "1"}}})},
			"005377 c11802 a10d706172746974696f6e5f696473 e00602a1 0130 0131"},
		{"sequences", Message{Body: Body{Kind: BodySequence, Sequence: []List{{true}, {}}}}, "005376 c0020141 005376 45"},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := unhex(t, c.hex)
			got, err := AppendMessage(nil, &c.m)
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("encoded\n got %x, %v\nwant %x", got, err, want)
			}
			m, err := DecodeMessage(want)
			if err != nil || !reflect.DeepEqual(*m, c.m) {
				t.Fatalf("decoded\n got %+v, %v\nwant %+v", m, err, c.m)
			}
		})
	}
}

func TestMessageRoundTrip(t *testing.T) {
	want := event()
	b, err := AppendMessage(nil, want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeMessage(b)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("got %+v, %v; want %+v", got, err, want)
	}
}

func TestMessageMalformed(t *testing.T) {
	for _, c := range []struct{ name, hex string }{
		{"no section", "40"},
		{"unknown section", "00536f45"},
		{"section after the last", "00537945"},
		{"header twice", "00537045 00537045"},
		{"properties before annotations", "00537345 005372c10100"},
		{"two values", "00537740 00537740"},
		{"value after data", "005375a000 00537740"},
		{"data after sequence", "00537645 005375a000"},
		{"data that is a string", "005375a100"},
		{"sequence that is a map", "005376c10100"},
		{"annotations that are a list", "00537245"},
		{"message-id that is a long", "005373 c003015501"},
		{"content-type that is a number", "005373 c00907 404040404040 5201"},
		{"data beyond the end", "005375 b0ffffffff00"},
		{"section without value", "005375"},
		{"half a descriptor", "0053"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if m, err := DecodeMessage(unhex(t, c.hex)); !errors.Is(err, ErrMalformed) {
				t.Fatalf("got %+v, %v; want ErrMalformed", m, err)
			}
		})
	}
	tooMany := bytes.Repeat([]byte{0, 0x53, 0x75, 0xa0, 0}, maxBodySections+1)
	if _, err := DecodeMessage(tooMany); !errors.Is(err, ErrMalformed) {
		t.Errorf("%d data sections: %v, want ErrMalformed", maxBodySections+1, err)
	}
	if m, err := DecodeMessage(tooMany[5:]); err != nil || len(m.Body.Data) != maxBodySections {
		t.Errorf("%d data sections: %v", maxBodySections, err)
	}
}

func TestMessageRefusesIDs(t *testing.T) {
	_, err := AppendMessage(nil, &Message{Properties: &Properties{CorrelationID: int64(1)}})
	if err == nil || !strings.Contains(err.Error(), "int64") {
		t.Errorf("correlation-id of type int64: %v, want an error that names it", err)
	}
}

func TestBodyBytes(t *testing.T) {
	for name, c := range map[string]struct {
		body Body
		want []byte
	}{
		"none":  {Body{}, nil},
		"one":   {DataBody([]byte("a")), []byte("a")},
		"three": {Body{Kind: BodyData, Data: [][]byte{[]byte("a"), {}, []byte("bc")}}, []byte("abc")},
		"value": {ValueBody("a"), nil},
	} {
		if got := c.body.Bytes(); !bytes.Equal(got, c.want) || (got == nil) != (c.want == nil) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
