package mqtt

import (
	"errors"
	"io"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestRoundTrip: whatever valid packets one side writes, the other reads the same ones in the same order,
// however the bytes are cut on the way.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		from := rapid.SampledFrom([]Side{Client, Server}).Draw(t, "from")
		sent := rapid.SliceOfN(anyPacket(from), 1, 8).Draw(t, "packets")
		var stream []byte
		for _, p := range sent {
			if err := p.Validate(); err != nil {
				t.Fatalf("%#v: %v", p, err)
			}
			stream = p.AppendTo(stream)
		}
		r := NewReader(sourceFunc(func(b []byte) (int, error) {
			if len(stream) == 0 {
				return 0, io.EOF
			}
			n := copy(b, stream[:rapid.IntRange(1, len(stream)).Draw(t, "read")])
			stream = stream[n:]
			return n, nil
		}), Options{From: from, Limit: MaxRemainingLength})
		for i, want := range sent {
			got, err := r.ReadPacket()
			if err != nil || !equal(got, want) {
				t.Fatalf("packet %d: %#v, %v; want %#v", i, got, err, want)
			}
		}
		if p, err := r.ReadPacket(); !errors.Is(err, io.EOF) {
			t.Fatalf("after the last packet: %#v, %v", p, err)
		}
	})
}

// anyPacket draws valid packets that the side may send, in the shape the decoder gives them: what is absent
// is zero, what is present is not nil.
func anyPacket(from Side) *rapid.Generator[Packet] {
	id := rapid.Uint16Min(1)
	payload := rapid.SliceOfN(rapid.Byte(), 0, 9000)
	topic := rapid.StringMatching(`[a-z$/é \x{10ffff}]{1,40}`)
	filter := rapid.StringMatching(`(([a-z$é]{0,5}|\+)/){0,4}([a-z]{1,5}|\+|#)`)
	text := rapid.StringMatching(`[ -~é]{0,300}`)

	publish := rapid.Custom(func(t *rapid.T) Packet {
		p := &Publish{
			QoS:     rapid.SampledFrom([]QoS{QoS0, QoS1}).Draw(t, "qos"),
			Retain:  rapid.Bool().Draw(t, "retain"),
			Topic:   topic.Draw(t, "topic"),
			Payload: payload.Draw(t, "payload"),
		}
		if p.QoS == QoS1 {
			p.ID, p.Dup = id.Draw(t, "id"), rapid.Bool().Draw(t, "dup")
		}
		return p
	})
	puback := rapid.Custom(func(t *rapid.T) Packet { return &Puback{ID: id.Draw(t, "id")} })
	if from == Server {
		return rapid.OneOf(publish, puback,
			rapid.Custom(func(t *rapid.T) Packet {
				if rapid.Bool().Draw(t, "session present") {
					return &Connack{SessionPresent: true}
				}
				return &Connack{Code: ConnectCode(rapid.IntRange(0, 5).Draw(t, "code"))}
			}),
			rapid.Custom(func(t *rapid.T) Packet {
				code := rapid.SampledFrom([]byte{0, 1, 2, SubackFailure})
				return &Suback{ID: id.Draw(t, "id"), Codes: rapid.SliceOfN(code, 1, 20).Draw(t, "codes")}
			}),
			rapid.Custom(func(t *rapid.T) Packet { return &Unsuback{ID: id.Draw(t, "id")} }),
			rapid.Just[Packet](&Pingresp{}),
		)
	}
	return rapid.OneOf(publish, puback,
		rapid.Custom(func(t *rapid.T) Packet {
			p := &Connect{
				CleanSession: rapid.Bool().Draw(t, "clean session"),
				KeepAlive:    time.Duration(rapid.Uint16().Draw(t, "keep alive")) * time.Second,
				ClientID:     topic.Draw(t, "client id"),
			}
			if rapid.Bool().Draw(t, "will") {
				p.Will = &Will{
					Topic:   topic.Draw(t, "will topic"),
					Payload: payload.Draw(t, "will message"),
					QoS:     QoS(rapid.IntRange(0, 2).Draw(t, "will QoS")),
					Retain:  rapid.Bool().Draw(t, "will retain"),
				}
			}
			if rapid.Bool().Draw(t, "has username") {
				p.HasUsername, p.Username = true, text.Draw(t, "username")
				if rapid.Bool().Draw(t, "has password") {
					p.HasPassword, p.Password = true, payload.Draw(t, "password")
				}
			}
			return p
		}),
		rapid.Custom(func(t *rapid.T) Packet {
			subscription := rapid.Custom(func(t *rapid.T) Subscription {
				return Subscription{filter.Draw(t, "filter"), QoS(rapid.IntRange(0, 2).Draw(t, "qos"))}
			})
			return &Subscribe{ID: id.Draw(t, "id"), Subscriptions: rapid.SliceOfN(subscription, 1, 9).Draw(t, "subscriptions")}
		}),
		rapid.Custom(func(t *rapid.T) Packet {
			return &Unsubscribe{ID: id.Draw(t, "id"), Filters: rapid.SliceOfN(filter, 1, 9).Draw(t, "filters")}
		}),
		rapid.Just[Packet](&Pingreq{}),
		rapid.Just[Packet](&Disconnect{}),
	)
}
