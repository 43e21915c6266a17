package service

import (
	"context"
	"net"
	"strings"
	"testing"

	goamqp "github.com/Azure/go-amqp"

	"github.com/twinhub/twinhub/internal/wire/amqp"
)

// refusingHub ends each link as it is told.
type refusingHub struct {
	amqp.Handler // panics where nothing is expected
	end          func(amqp.Link)
}

func (h refusingHub) OnOpen(*amqp.Conn) *amqp.Error { return nil }
func (h refusingHub) OnAttach(l amqp.Link)          { h.end(l) }
func (h refusingHub) OnDetach(amqp.Link, error)     {}
func (h refusingHub) OnFlow(*amqp.Sender)           {}
func (h refusingHub) OnClose(*amqp.Conn, error)     {}

// TestRedirect reads what Azure and others answer: at once, or after the link was attached.
func TestRedirect(t *testing.T) {
	to := func(address string) *amqp.Error {
		return &amqp.Error{Condition: amqp.CondLinkRedirect, Description: "there", Info: amqp.Map{{Key: amqp.Symbol("address"), Value: address}}}
	}
	azure := to("amqps://ihsuprod.servicebus.windows.net:5671/iothub-ehub-my-hub-1/")
	for name, test := range map[string]struct {
		end                func(amqp.Link)
		host, entity, fail string
	}{
		"rejected":        {end: func(l amqp.Link) { l.Reject(azure) }, host: "ihsuprod.servicebus.windows.net", entity: "iothub-ehub-my-hub-1"},
		"detached":        {end: func(l amqp.Link) { _ = l.Accept(amqp.Accept{}); l.Detach(azure) }, host: "ihsuprod.servicebus.windows.net", entity: "iothub-ehub-my-hub-1"},
		"another port":    {end: func(l amqp.Link) { l.Reject(to("amqps://localhost:45671/a%20b/$management")) }, host: "localhost:45671", entity: "a b"},
		"no host":         {end: func(l amqp.Link) { l.Reject(to("x")) }, fail: `redirects to "x"`},
		"no event hub":    {end: func(l amqp.Link) { l.Reject(to("amqps://h:5671/")) }, fail: "redirects to"},
		"another refusal": {end: func(l amqp.Link) { l.Reject(amqp.Errorf(amqp.CondUnauthorizedAccess, "no")) }, fail: "does not say"},
		"refused attached": {end: func(l amqp.Link) {
			_ = l.Accept(amqp.Accept{})
			l.Detach(amqp.Errorf(amqp.CondUnauthorizedAccess, "no"))
		}, fail: "does not say"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			near, far := net.Pipe()
			served := make(chan struct{})
			go func() {
				defer close(served)
				_ = amqp.Serve(ctx, far, amqp.Config{}, refusingHub{end: test.end}) // the end of the pipe
			}()
			defer func() {
				cancel()
				<-served
			}()
			conn, err := goamqp.NewConn(ctx, near, &goamqp.ConnOptions{HostName: "h", SASLType: goamqp.SASLTypeAnonymous()})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			session, err := conn.NewSession(ctx, nil)
			if err != nil {
				t.Fatal(err)
			}
			host, entity, err := redirect(ctx, session)
			if host != test.host || entity != test.entity || (err == nil) != (test.fail == "") || err != nil && !strings.Contains(err.Error(), test.fail) {
				t.Errorf("got %q, %q, %v; want %q, %q, %q", host, entity, err, test.host, test.entity, test.fail)
			}
		})
	}
}
