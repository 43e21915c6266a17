package mqtt

import (
	"fmt"
	"io"
	"testing"
)

// BenchmarkReadPublish reads telemetry of 256 bytes with QoS 1, one packet to a read and many.
func BenchmarkReadPublish(b *testing.B) {
	p := &Publish{QoS: QoS1, Topic: "devices/thermostat-17/messages/events/", ID: 1, Payload: make([]byte, 256)}
	one := p.AppendTo(nil)
	for _, batch := range []int{1, 10} {
		b.Run(fmt.Sprintf("%d per read", batch), func(b *testing.B) {
			var stream []byte
			for range batch {
				stream = append(stream, one...)
			}
			rest := stream
			r := NewReader(sourceFunc(func(to []byte) (int, error) {
				n := copy(to, rest)
				if rest = rest[n:]; len(rest) == 0 {
					rest = stream
				}
				return n, nil
			}), Options{})
			b.SetBytes(int64(len(one)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := r.ReadPacket(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkReadPing reads what an idle connection sends.
func BenchmarkReadPing(b *testing.B) {
	r := NewReader(sourceFunc(func(to []byte) (int, error) { return copy(to, "\xc0\x00"), nil }), Options{})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.ReadPacket(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendPuback(b *testing.B) {
	buf := make([]byte, 0, 4)
	b.ReportAllocs()
	for b.Loop() {
		p := Puback{ID: 1}
		buf = p.AppendTo(buf[:0])
	}
}

func BenchmarkAppendPublish(b *testing.B) {
	buf, payload := make([]byte, 0, 512), make([]byte, 256)
	b.ReportAllocs()
	for b.Loop() {
		p := Publish{QoS: QoS1, Topic: "devices/thermostat-17/messages/devicebound/", ID: 1, Payload: payload}
		buf = p.AppendTo(buf[:0])
	}
}

// TestAllocations holds the paths that every message takes to their cost: a publish allocates its topic, an
// acknowledgement and a ping nothing.
func TestAllocations(t *testing.T) {
	for _, c := range []struct {
		name   string
		packet Packet
		from   Side
		most   float64
	}{
		{"publish", &Publish{QoS: QoS1, Topic: "devices/d/messages/events/", ID: 1, Payload: make([]byte, 256)}, Client, 1},
		{"puback", &Puback{ID: 1}, Client, 0},
		{"pingreq", &Pingreq{}, Client, 0},
	} {
		stream := c.packet.AppendTo(nil)
		rest := stream
		r := NewReader(sourceFunc(func(to []byte) (int, error) {
			if len(rest) == 0 {
				rest = stream
			}
			n := copy(to, rest)
			rest = rest[n:]
			return n, nil
		}), Options{From: c.from})
		got := testing.AllocsPerRun(1000, func() {
			if _, err := r.ReadPacket(); err != nil && err != io.EOF {
				t.Fatal(err)
			}
		})
		if got > c.most {
			t.Errorf("reading a %s allocates %v times, want at most %v", c.name, got, c.most)
		}
	}
}
