package mqttfront

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/wire/mqtt"
)

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// A client is a device's end of a connection.
type client struct {
	t  testing.TB
	nc net.Conn
	r  *mqtt.Reader
}

// dial opens a TLS connection.
func (h *testHub) dial(t testing.TB) *client {
	t.Helper()
	return h.dialOver(t, h.listener.dial(t))
}

func (h *testHub) dialOver(t testing.TB, raw net.Conn) *client {
	t.Helper()
	nc := tls.Client(raw, &tls.Config{RootCAs: h.trust.CAPool(), ServerName: hubHost, MinVersion: tls.VersionTLS12})
	t.Cleanup(func() { raw.Close() })
	raw.SetDeadline(time.Now().Add(patience))
	if err := nc.Handshake(); err != nil {
		t.Fatalf("TLS handshake: %v", err)
	}
	raw.SetDeadline(time.Time{})
	return &client{t: t, nc: nc, r: mqtt.NewReader(nc, mqtt.Options{From: mqtt.Server, Limit: mqtt.MaxRemainingLength})}
}

// connectFor returns the CONNECT of an identity that may sign in.
func connectFor(t testing.TB, id twinhub.ID) *mqtt.Connect {
	t.Helper()
	return &mqtt.Connect{
		ClientID: id.String(), HasUsername: true, Username: hubHost + "/" + id.String() + "/?api-version=2021-04-12",
		HasPassword: true, Password: []byte(deviceToken(t, id)), KeepAlive: time.Minute,
	}
}

// connect signs a device in; edit may change its CONNECT.
func (h *testHub) connect(t testing.TB, device string, edit ...func(*mqtt.Connect)) *client {
	t.Helper()
	c, ack := h.tryConnect(t, device, edit...)
	if ack.Code != mqtt.Accepted {
		t.Fatalf("connect %s: got %v, want accepted\n%s", device, ack.Code, h.log)
	}
	return c
}

func (h *testHub) tryConnect(t testing.TB, device string, edit ...func(*mqtt.Connect)) (*client, *mqtt.Connack) {
	t.Helper()
	name, module, _ := strings.Cut(device, "/")
	p := connectFor(t, twinhub.ID{Device: name, Module: module})
	for _, f := range edit {
		f(p)
	}
	c := h.dial(t)
	c.send(p)
	ack, ok := c.receive().(*mqtt.Connack)
	if !ok {
		t.Fatalf("connect %s: no CONNACK", device)
	}
	return c, ack
}

func clean(p *mqtt.Connect) { p.CleanSession = true }

// send writes packets at once.
func (c *client) send(packets ...mqtt.Packet) {
	c.t.Helper()
	var b []byte
	for _, p := range packets {
		if err := p.Validate(); err != nil {
			c.t.Fatalf("send %v: %v", p.Type(), err)
		}
		b = p.AppendTo(b)
	}
	c.write(b)
}

func (c *client) write(b []byte) {
	c.t.Helper()
	c.nc.SetWriteDeadline(time.Now().Add(patience))
	if _, err := c.nc.Write(b); err != nil {
		c.t.Fatalf("write: %v", err)
	}
}

// receive returns the next packet, which belongs to the caller.
func (c *client) receive() mqtt.Packet {
	c.t.Helper()
	c.nc.SetReadDeadline(time.Now().Add(patience))
	p, err := c.r.ReadPacket()
	if err != nil {
		c.t.Fatalf("receive: %v", err)
	}
	switch p := p.(type) {
	case *mqtt.Publish:
		own := *p
		own.Payload = append([]byte{}, p.Payload...)
		return &own
	case *mqtt.Puback:
		own := *p
		return &own
	}
	return p
}

// want receives one packet for each text, as show writes it.
func (c *client) want(texts ...string) {
	c.t.Helper()
	for _, want := range texts {
		if got := show(c.receive()); got != want {
			c.t.Fatalf("got %s, want %s", got, want)
		}
	}
}

// wantNothing makes sure that nothing came before the answer to a PINGREQ.
func (c *client) wantNothing() {
	c.t.Helper()
	c.send(&mqtt.Pingreq{})
	c.want("PINGRESP")
}

// wantClosed makes sure that nothing comes but the end of the connection.
func (c *client) wantClosed() {
	c.t.Helper()
	c.nc.SetReadDeadline(time.Now().Add(patience))
	p, err := c.r.ReadPacket()
	switch {
	case err == nil:
		c.t.Fatalf("got %s, want the connection to be closed", show(p))
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.t.Fatal("the connection is still open")
	}
}

// show writes a packet on one line.
func show(p mqtt.Packet) string {
	switch p := p.(type) {
	case *mqtt.Connack:
		return fmt.Sprintf("CONNACK %d present=%t", p.Code, p.SessionPresent)
	case *mqtt.Puback:
		return fmt.Sprintf("PUBACK %d", p.ID)
	case *mqtt.Suback:
		return fmt.Sprintf("SUBACK %d %v", p.ID, p.Codes)
	case *mqtt.Unsuback:
		return fmt.Sprintf("UNSUBACK %d", p.ID)
	case *mqtt.Publish:
		return fmt.Sprintf("PUBLISH qos=%d retain=%t %s %s", p.QoS, p.Retain, p.Topic, p.Payload)
	}
	return p.Type().String()
}

// subscribe subscribes to filters and takes the SUBACK.
func (c *client) subscribe(qos mqtt.QoS, filters ...string) {
	c.t.Helper()
	p := &mqtt.Subscribe{ID: 1000}
	var codes []byte
	for _, f := range filters {
		p.Subscriptions = append(p.Subscriptions, mqtt.Subscription{Filter: f, QoS: qos})
		codes = append(codes, byte(min(qos, mqtt.QoS1)))
	}
	c.send(p)
	c.want(fmt.Sprintf("SUBACK 1000 %v", codes))
}

// publish1 returns a PUBLISH with QoS 1.
func publish1(id uint16, topic, payload string) *mqtt.Publish {
	return &mqtt.Publish{QoS: mqtt.QoS1, ID: id, Topic: topic, Payload: []byte(payload)}
}
