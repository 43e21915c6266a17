package system

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/twinhub/twinhub/internal/sas"
	"github.com/twinhub/twinhub/internal/wire/mqtt"
)

// mqttClient is a device's end of an MQTT connection, packet by packet.
type mqttClient struct {
	net.Conn
	id     string
	reader *mqtt.Reader
}

// openMQTT connects over TLS without saying anything. dial may be nil.
func (h *hub) openMQTT(ctx context.Context, dial func() (net.Conn, error)) (*mqttClient, error) {
	if dial == nil {
		dial = func() (net.Conn, error) { return h.openPort("mqtts") }
	}
	nc, err := dial()
	if err != nil {
		return nil, err
	}
	tc := tls.Client(nc, h.tls())
	if err := tc.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, nc.Close())
	}
	return &mqttClient{Conn: tc, reader: mqtt.NewReader(tc, mqtt.Options{From: mqtt.Server, Limit: 1 << 20})}, nil
}

// username is the user name of a device.
func username(id string) string { return host + "/" + id + "/?api-version=2020-09-30" }

// deviceToken signs for a device with its key.
func (h *hub) deviceToken(id, key string, lifetime time.Duration) string {
	secret, err := sas.HubKey(key)
	if err != nil {
		panic("system: bad key of a test: " + err.Error())
	}
	return h.sign(sas.DeviceResource(host, id, ""), secret, "", time.Now().Add(lifetime))
}

// connectPacket is the CONNECT of a device.
func (h *hub) connectPacket(id, key string) *mqtt.Connect {
	return &mqtt.Connect{CleanSession: true, KeepAlive: 4 * time.Minute, ClientID: id, HasUsername: true, Username: username(id),
		HasPassword: true, Password: []byte(h.deviceToken(id, key, time.Hour))}
}

// send writes packets, in one write.
func (c *mqttClient) send(packets ...mqtt.Packet) error {
	var out []byte
	for _, p := range packets {
		if err := p.Validate(); err != nil {
			return err
		}
		out = p.AppendTo(out)
	}
	_, err := c.Write(out)
	return err
}

// receive returns the next packet, which must come within a time.
func (c *mqttClient) receive(within time.Duration) (mqtt.Packet, error) {
	if err := c.SetReadDeadline(time.Now().Add(within)); err != nil {
		return nil, err
	}
	return c.reader.ReadPacket()
}

// signIn sends CONNECT and returns the hub's return code.
func (c *mqttClient) signIn(connect *mqtt.Connect) (mqtt.ConnectCode, error) {
	if err := c.send(connect); err != nil {
		return 0, err
	}
	p, err := c.receive(10 * time.Second)
	if err != nil {
		return 0, err
	}
	ack, ok := p.(*mqtt.Connack)
	if !ok {
		return 0, fmt.Errorf("got %v, want CONNACK", p.Type())
	}
	c.id = connect.ClientID
	return ack.Code, nil
}

// connect connects a device that is registered.
func (h *hub) connect(ctx context.Context, id, key string) (*mqttClient, error) {
	c, err := h.openMQTT(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("connect %s: %w", id, err)
	}
	code, err := c.signIn(h.connectPacket(id, key))
	if err == nil && code != mqtt.Accepted {
		err = fmt.Errorf("return code %d", code)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("connect %s: %w", id, err), c.Close())
	}
	return c, c.SetReadDeadline(time.Time{})
}

// mustConnect connects a device for a test and closes the connection with it.
func (h *hub) mustConnect(t testing.TB, id, key string) *mqttClient {
	t.Helper()
	c, err := h.connect(t.Context(), id, key)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// mustSend sends packets for a test.
func (c *mqttClient) mustSend(t testing.TB, packets ...mqtt.Packet) {
	t.Helper()
	if err := c.send(packets...); err != nil {
		t.Fatalf("%s: send: %v", c.id, err)
	}
}

// mustReceive receives a packet for a test.
func mustReceive[P mqtt.Packet](t testing.TB, c *mqttClient) P {
	t.Helper()
	p, err := c.receive(10 * time.Second)
	if err != nil {
		t.Fatalf("%s: receive: %v", c.id, err)
	}
	wanted, ok := p.(P)
	if !ok {
		t.Fatalf("%s: got %v %+v, want %T", c.id, p.Type(), p, wanted)
	}
	return wanted
}

// mustEnd expects that the hub closes the connection within a time, and sends no packet before.
func (c *mqttClient) mustEnd(t testing.TB, within time.Duration) {
	t.Helper()
	p, err := c.receive(within)
	if err == nil {
		t.Fatalf("%s: got %v %+v, want the connection closed", c.id, p.Type(), p)
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		t.Fatalf("%s: the connection is still open after %v", c.id, within)
	}
}

// telemetryTopic is the topic of a device's messages without properties.
func telemetryTopic(id string) string { return "devices/" + id + "/messages/events/" }

// reportedTopic is the topic of a reported patch.
func reportedTopic(rid int64) string {
	return fmt.Sprintf("$iothub/twin/PATCH/properties/reported/?$rid=%d", rid)
}

// twinAnswer reads the topic of an answer to a twin request: status, request id and version, which may be missing.
func twinAnswer(topic string) (status, rid, version int64, err error) {
	rest, ok := strings.CutPrefix(topic, "$iothub/twin/res/")
	if !ok {
		return 0, 0, 0, fmt.Errorf("topic %q is no answer to a twin request", topic)
	}
	n, err := fmt.Sscanf(rest, "%d/?$rid=%d&$version=%d", &status, &rid, &version)
	if n >= 2 {
		return status, rid, version, nil
	}
	return 0, 0, 0, fmt.Errorf("topic %q: %w", topic, err)
}
