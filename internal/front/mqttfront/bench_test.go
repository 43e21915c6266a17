package mqttfront

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/clock"
	"github.com/twinhub/twinhub/internal/core/session"
	"github.com/twinhub/twinhub/internal/core/telemetry"
	"github.com/twinhub/twinhub/internal/engine"
	"github.com/twinhub/twinhub/internal/wire/mqtt"
)

// endlessConn is a connection whose peer sends the same bytes again and again and takes everything.
type endlessConn struct {
	net.Conn
	bytes, rest []byte
}

func (c *endlessConn) Read(b []byte) (int, error) {
	if len(c.rest) == 0 {
		c.rest = c.bytes
	}
	n := copy(b, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

func (c *endlessConn) Write(b []byte) (int, error) { return len(b), nil }

func (c *endlessConn) Close() error { return nil }

func (c *endlessConn) SetReadDeadline(time.Time) error { return nil }

func (c *endlessConn) SetWriteDeadline(time.Time) error { return nil }

// instantEngine acknowledges every commit at once and keeps none.
type instantEngine struct{ engine.Engine }

func (instantEngine) Partitions() int { return 4 }

func (instantEngine) Submit(_ engine.Commit, done func(engine.Result, error)) {
	done(engine.Result{}, nil)
}

// BenchmarkPublish measures the way of one QoS 1 telemetry message through this process but for the engine: packet,
// property bag, event, record, commit, PUBACK.
func BenchmarkPublish(b *testing.B) {
	bodies := map[string]int{"256B": 256, "16KiB": 16 << 10}
	for _, size := range []string{"256B", "16KiB"} {
		for _, bag := range []string{"", "$.ct=application%2Fjson&$.ce=utf-8&$.sub=thermostat1&level=high"} {
			b.Run(fmt.Sprintf("body=%s/bag=%t", size, bag != ""), func(b *testing.B) {
				e := instantEngine{}
				id := twinhub.ID{Device: "d1"}
				packet := (&mqtt.Publish{
					Topic: "devices/d1/messages/events/" + bag, QoS: mqtt.QoS1, ID: 1, Payload: make([]byte, bodies[size]),
				}).AppendTo(nil)
				nc := &endlessConn{bytes: packet}
				f := &Front{Options: Options{
					Telemetry: telemetry.New(e, mustRouter(b), clock.System{}), Clock: clock.System{},
					Sessions: session.New(session.Options{Engine: e, Router: mustRouter(b), Clock: clock.System{}}),
				}}
				r := mqtt.NewReader(nc, mqtt.Options{From: mqtt.Client, Limit: maxPacket})
				c := newConn(f, nc, r, id)
				c.sender = telemetry.Sender{ID: id, AuthMethod: `{"scope":"device"}`, GenerationID: "638", ModelID: "dtmi:com:example:Thermostat;1"}
				c.session = f.Sessions.Open(id, c)
				c.timeout = time.Minute
				c.out.release()
				b.SetBytes(int64(len(packet)))
				b.ReportAllocs()
				for b.Loop() {
					packet, err := r.ReadPacket()
					if err != nil {
						b.Fatal(err)
					}
					if err := c.handle(context.Background(), packet); err != nil {
						b.Fatal(err)
					}
				}
				c.out.flush()
				c.out.close(net.ErrClosed)
				c.workers.Wait()
			})
		}
	}
}
