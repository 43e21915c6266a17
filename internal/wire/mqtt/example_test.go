package mqtt_test

import (
	"errors"
	"fmt"
	"net"

	"github.com/twinhub/twinhub/internal/wire/mqtt"
)

// A server reads until its Reader has nothing more at hand, then writes all of the answers at once.
func ExampleReader() {
	client, server := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer client.Close()
		out := (&mqtt.Connect{ClientID: "d", CleanSession: true}).AppendTo(nil)
		out = (&mqtt.Publish{QoS: mqtt.QoS1, ID: 1, Topic: "a/b", Payload: []byte("20.5")}).AppendTo(out)
		_, _ = client.Write(out)
		in := mqtt.NewReader(client, mqtt.Options{From: mqtt.Server})
		for range 2 {
			p, err := in.ReadPacket()
			fmt.Println("client:", p.Type(), err)
		}
	}()

	var out []byte
	r := mqtt.NewReader(server, mqtt.Options{From: mqtt.Client})
	for {
		p, err := r.ReadPacket()
		var version *mqtt.ProtocolVersionError
		if errors.As(err, &version) {
			_, _ = server.Write(version.AppendConnack(nil))
		}
		if err != nil {
			break
		}
		switch p := p.(type) {
		case *mqtt.Connect:
			r.SetLimit(256 << 10)
			out = (&mqtt.Connack{}).AppendTo(out)
		case *mqtt.Publish:
			fmt.Printf("server: %s %s\n", p.Topic, p.Payload)
			out = (&mqtt.Puback{ID: p.ID}).AppendTo(out)
		}
		if !r.Buffered() {
			_, _ = server.Write(out)
			out = out[:0]
		}
	}
	<-done
	// Output:
	// server: a/b 20.5
	// client: CONNACK <nil>
	// client: PUBACK <nil>
}
