package system

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/Azure/go-amqp"
)

// openAMQP connects an AMQP client to the TLS door. dial may be nil.
func (h *hub) openAMQP(ctx context.Context, dial func() (net.Conn, error)) (*amqp.Conn, error) {
	if dial == nil {
		dial = func() (net.Conn, error) { return h.openPort("amqps") }
	}
	nc, err := dial()
	if err != nil {
		return nil, err
	}
	c, err := amqp.NewConn(ctx, tls.Client(nc, h.tls()), &amqp.ConnOptions{SASLType: amqp.SASLTypeAnonymous(), HostName: host, IdleTimeout: -1})
	if err != nil {
		return nil, errors.Join(err, nc.Close())
	}
	return c, nil
}

// putToken puts a token on $cbs and returns the status of the answer.
func putToken(ctx context.Context, c *amqp.Conn, audience, token string) (int32, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	s, err := c.NewSession(ctx, nil)
	if err != nil {
		return 0, err
	}
	to, err := s.NewSender(ctx, "$cbs", nil)
	if err != nil {
		return 0, err
	}
	from, err := s.NewReceiver(ctx, "$cbs", nil)
	if err != nil {
		return 0, err
	}
	m := &amqp.Message{
		Properties: &amqp.MessageProperties{MessageID: "1"}, Value: token,
		ApplicationProperties: map[string]any{"operation": "put-token", "type": "servicebus.windows.net:sastoken", "name": audience},
	}
	if err := to.Send(ctx, m, nil); err != nil {
		return 0, err
	}
	reply, err := from.Receive(ctx, nil)
	if err != nil {
		return 0, err
	}
	code, ok := reply.ApplicationProperties["status-code"].(int32)
	if !ok || reply.Properties == nil || reply.Properties.CorrelationID != "1" {
		return 0, fmt.Errorf("answer of $cbs: got %+v", reply)
	}
	return code, from.Close(ctx)
}

// eventsResource is what a token for reading a partition is for.
func (h *hub) eventsResource() string { return "amqps://" + host + "/twinhub" }

// partitionAddress is where a partition is read.
func partitionAddress(p string) string { return "twinhub/ConsumerGroups/$Default/Partitions/" + p }

// wantCondition expects an AMQP error of that condition.
func wantCondition(t testing.TB, err error, want amqp.ErrCond) {
	t.Helper()
	var link *amqp.LinkError
	var conn *amqp.ConnError
	var direct *amqp.Error
	switch {
	case errors.As(err, &link) && link.RemoteErr != nil:
		direct = link.RemoteErr
	case errors.As(err, &conn) && conn.RemoteErr != nil:
		direct = conn.RemoteErr
	default:
		errors.As(err, &direct)
	}
	if direct == nil || direct.Condition != want || direct.Description == "" {
		t.Errorf("got %v, want condition %s with a description", err, want)
	}
}
