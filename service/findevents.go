package service

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/Azure/go-amqp"

	"github.com/twinhub/twinhub/internal/sas"
)

// amqpsPort is the port of AMQP over TLS.
const amqpsPort = "5671"

// findTime bounds FindEvents: a hub that takes the connection and then says nothing would hold it for ever.
const findTime = 30 * time.Second

// FindEvents asks a hub where its built-in Event Hubs endpoint is and returns the connection string for [OpenEvents], with
// the policy and the key of the hub's connection string; the policy needs ServiceConnect. Of the options, which may be nil,
// Address and TLS count, for the hub's own AMQP door at port 5671. It tries once. The answer is a secret, as the question.
// Reference: Azure/azure-sdk-for-js, sdk/eventhub/event-hubs/samples, iothubConnectionString; AMQP 2.8.18, link redirect.
func FindEvents(ctx context.Context, hubConnectionString string, o *EventsOptions) (string, error) {
	if o == nil {
		o = &EventsOptions{}
	}
	found, err := findEvents(ctx, hubConnectionString, o)
	if err != nil {
		return "", fmt.Errorf("service: find events: %w", err)
	}
	return found, nil
}

func findEvents(ctx context.Context, hubConnectionString string, o *EventsOptions) (string, error) {
	cs, err := sas.ParseHubConnectionString(hubConnectionString)
	if err != nil {
		return "", err
	}
	if cs.SharedAccessKey == "" || cs.SharedAccessKeyName == "" {
		return "", errors.New("the connection string has no policy's key")
	}
	key, err := sas.HubKey(cs.SharedAccessKey)
	if err != nil {
		return "", fmt.Errorf("SharedAccessKey: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, findTime)
	defer cancel()
	address := o.Address
	if address == "" {
		address = net.JoinHostPort(cs.HostName, amqpsPort)
	}
	options := &amqp.ConnOptions{HostName: cs.HostName, SASLType: amqp.SASLTypeAnonymous(), TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12}}
	if o.TLS != nil {
		options.TLSConfig = o.TLS.Clone()
	}
	if options.TLSConfig.ServerName == "" {
		options.TLSConfig.ServerName = cs.HostName
	}
	conn, err := amqp.Dial(ctx, "amqps://"+address, options)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }() // what there was to know is known
	session, err := conn.NewSession(ctx, nil)
	if err != nil {
		return "", err
	}
	if err := putToken(ctx, session, cs.HostName, sas.Sign(cs.HostName, key, cs.SharedAccessKeyName, time.Now().Add(findLifetime))); err != nil {
		return "", err
	}
	host, entity, err := redirect(ctx, session)
	if err != nil {
		return "", err
	}
	events := sas.EventHubsConnectionString{
		Endpoint: "sb://" + host + "/", EntityPath: entity, SharedAccessKeyName: cs.SharedAccessKeyName, SharedAccessKey: cs.SharedAccessKey,
	}
	return events.Format(), nil
}

// putToken signs in. Reference: AMQP Claims-based Security, put-token.
func putToken(ctx context.Context, session *amqp.Session, audience, token string) error {
	const node = "$cbs"
	receiver, err := session.NewReceiver(ctx, node, nil)
	if err != nil {
		return fmt.Errorf("sign in: %w", err)
	}
	sender, err := session.NewSender(ctx, node, nil)
	if err != nil {
		return fmt.Errorf("sign in: %w", err)
	}
	to, replyTo := node, "cbs"
	if err := sender.Send(ctx, &amqp.Message{
		Properties:            &amqp.MessageProperties{To: &to, ReplyTo: &replyTo},
		ApplicationProperties: map[string]any{"operation": "put-token", "type": "servicebus.windows.net:sastoken", "name": audience},
		Value:                 token,
	}, nil); err != nil {
		return fmt.Errorf("sign in: %w", err)
	}
	answer, err := receiver.Receive(ctx, nil)
	if err != nil {
		return fmt.Errorf("sign in: %w", err)
	}
	switch status := answer.ApplicationProperties["status-code"]; status {
	case int32(200), int32(202):
		return nil
	default:
		return fmt.Errorf("sign in: the hub answers %v: %v", status, answer.ApplicationProperties["status-description"])
	}
}

// redirect asks the hub for its events and reads from its refusal where they are: a host, with its port unless that is the
// usual one, and the name of the event hub.
func redirect(ctx context.Context, session *amqp.Session) (host, entity string, err error) {
	receiver, err := session.NewReceiver(ctx, "messages/events/", nil)
	if err == nil { // a hub may refuse the link at once, or after it was attached
		_, err = receiver.Receive(ctx, nil)
	}
	var link *amqp.LinkError
	var refusal *amqp.Error
	if errors.As(err, &link) {
		refusal = link.RemoteErr // it is not in the chain
	} else {
		errors.As(err, &refusal)
	}
	switch {
	case refusal == nil && err != nil:
		return "", "", err
	case refusal == nil || refusal.Condition != amqp.ErrCondLinkRedirect:
		return "", "", fmt.Errorf("the hub does not say where its events are: %w", err)
	}
	text, _ := refusal.Info["address"].(string)
	address, err := url.Parse(text)
	if err != nil || address.Hostname() == "" {
		return "", "", fmt.Errorf("the hub redirects to %q", text)
	}
	if host = address.Hostname(); address.Port() != "" && address.Port() != amqpsPort {
		host = net.JoinHostPort(host, address.Port())
	}
	entity, _, _ = strings.Cut(strings.TrimPrefix(address.Path, "/"), "/")
	if entity == "" {
		return "", "", fmt.Errorf("the hub redirects to %q", text)
	}
	return host, entity, nil
}
