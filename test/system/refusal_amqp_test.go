package system

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"io"
	"testing"
	"time"

	"github.com/Azure/go-amqp"
)

// amqpHeader begins a connection without SASL.
const amqpHeader = "AMQP\x00\x01\x00\x00"

// amqpFrame is a frame of channel 0 around a performative.
func amqpFrame(body string) string {
	head := binary.BigEndian.AppendUint32(nil, uint32(8+len(body)))
	return string(append(head, 2, 0, 0, 0)) + body
}

// amqpOpen is the OPEN of a container named x.
var amqpOpen = amqpFrame("\x00\x53\x10\xc0\x04\x01\xa1\x01x")

// TestAMQPViolations sends what is no AMQP, or not its turn: the hub says what is wrong and closes.
func TestAMQPViolations(t *testing.T) {
	t.Parallel()
	h := sharedHub(t)
	watch(t, h)
	const closing = 2 * time.Second // the hub waits so long for an answer to its CLOSE
	tests := map[string]struct {
		say       string
		condition amqp.ErrCond // of the hub's CLOSE; none before OPEN
		log       string
	}{
		"HTTP":                   {"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "", "protocol header"},
		"AMQP 0.9.1":             {"AMQP\x00\x00\x09\x01", "", "protocol header"},
		"no OPEN":                {amqpHeader + amqpFrame("\x00\x53\x11\x45"), amqp.ErrCondIllegalState, "where open is due"},
		"second OPEN":            {amqpHeader + amqpOpen + amqpOpen, amqp.ErrCondIllegalState, "second open"},
		"frame of 2 GiB":         {amqpHeader + amqpOpen + "\x7f\xff\xff\xff\x02\x00\x00\x00", amqp.ErrCondFramingError, "2147483647"},
		"frame without header":   {amqpHeader + amqpOpen + "\x00\x00\x00\x03\x02\x00\x00\x00", amqp.ErrCondFramingError, "frame"},
		"SASL after OPEN":        {amqpHeader + amqpOpen + "\x00\x00\x00\x0c\x02\x01\x00\x00\x00\x53\x40\x45", amqp.ErrCondFramingError, "type 1"},
		"unknown performative":   {amqpHeader + amqpOpen + amqpFrame("\x00\x53\x77\x45"), amqp.ErrCondDecodeError, "0x77"},
		"no performative":        {amqpHeader + amqpOpen + amqpFrame("\xff\xff\xff"), amqp.ErrCondDecodeError, "decode-error"},
		"TRANSFER, no session":   {amqpHeader + amqpOpen + amqpFrame("\x00\x53\x14\x45"), amqp.ErrCondNotAllowed, "no session"},
		"array of 4 Gi elements": {amqpHeader + amqpOpen + amqpFrame("\x00\x53\x11\xf0\xff\xff\xff\xff\xff\xff\xff\xff\x40"), amqp.ErrCondDecodeError, "decode-error"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nc, err := h.openPort("amqps")
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			c := tls.Client(nc, h.tls())
			if err := c.SetDeadline(time.Now().Add(closing + noticeable)); err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(c, tt.say); err != nil {
				t.Fatal(err)
			}
			answer, err := io.ReadAll(c)
			if err != nil {
				t.Fatalf("got %x and %v, want the connection closed", answer, err)
			}
			if !bytes.HasPrefix(answer, []byte("AMQP")) || !bytes.Contains(answer, []byte(tt.condition)) {
				t.Errorf("got %q, want a header of AMQP and the condition %q", answer, tt.condition)
			}
			h.explained(t, "amqp", tt.log)
		})
	}
}
