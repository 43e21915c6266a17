package device

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/twinhub/twinhub/internal/wire/mqtt"
)

// dial connects, signs in and starts the link's goroutines.
func dial(ctx context.Context, c *Client, password string) (*link, error) {
	raw, err := c.s.DialContext(ctx, "tcp", c.s.address)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(raw, c.s.tls)
	stop := context.AfterFunc(ctx, func() { raw.SetDeadline(time.Unix(1, 0)) })
	reader, err := signIn(ctx, conn, c.s, password)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		raw.Close()
		return nil, err
	}
	l := &link{
		c: c, conn: conn, raw: raw, done: make(chan struct{}), out: make(chan outgoing, queued), acks: make(chan uint16, queued),
		pending: map[uint16]*pending{}, filters: map[string]bool{},
	}
	l.wg.Go(func() { l.fail(l.read(reader)) })
	l.wg.Go(func() { l.fail(l.write()) })
	l.wg.Go(func() { l.fail(l.keepAlive()) })
	return l, nil
}

// signIn does everything up to CONNACK.
func signIn(ctx context.Context, conn *tls.Conn, s *settings, password string) (*mqtt.Reader, error) {
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("TLS: %w", err)
	}
	connect := &mqtt.Connect{
		CleanSession: s.CleanSession, KeepAlive: s.KeepAlive, ClientID: s.id.clientID(), HasUsername: true, Username: s.username,
		HasPassword: password != "", Password: []byte(password),
	}
	if err := connect.Validate(); err != nil {
		return nil, err
	}
	if _, err := conn.Write(connect.AppendTo(nil)); err != nil {
		return nil, fmt.Errorf("send CONNECT: %w", err)
	}
	reader := mqtt.NewReader(conn, mqtt.Options{From: mqtt.Server, Limit: packetLimit})
	packet, err := reader.ReadPacket()
	if err != nil {
		return nil, fmt.Errorf("await CONNACK: %w", inWords(err))
	}
	ack, ok := packet.(*mqtt.Connack)
	switch {
	case !ok:
		return nil, fmt.Errorf("await CONNACK: the hub sent %v", packet.Type())
	case ack.Code != mqtt.Accepted:
		return nil, &RefusedError{Code: byte(ack.Code)}
	}
	return reader, nil
}

// inWords tells the end of a connection in words.
func inWords(err error) error {
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("the hub closed the connection: %w", err)
	}
	return err
}
