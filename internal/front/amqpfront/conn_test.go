package amqpfront

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	goamqp "github.com/Azure/go-amqp"
)

// TestAddresses attaches a reader under every form of its address.
func TestAddresses(t *testing.T) {
	bubble(t, func(t *testing.T, h *testFront) {
		c := h.signedIn()
		for _, address := range []string{
			eventHub + "/ConsumerGroups/$Default/Partitions/0",
			"/" + eventHub + "/ConsumerGroups/$Default/Partitions/0",
			"/" + eventHub + "/ConsumerGroups/%24Default/Partitions/0",
			"amqps://" + hubHost + "/" + eventHub + "/ConsumerGroups/$Default/Partitions/0",
			"amqps://" + hubHost + ":5671/" + eventHub + "/ConsumerGroups/$default/Partitions/0/",
			"sb://localhost/" + eventHub + "/ConsumerGroups/%24default/Partitions/0",
			strings.ToUpper(eventHub) + "/consumergroups/$DEFAULT/partitions/0",
			eventHub + "/ConsumerGroups/SECOND/Partitions/0",
		} {
			r := h.mustAttach(c, address, from(latest))
			h.write(0, address)
			h.expect(r, address)
			if err := r.Close(t.Context()); err != nil {
				t.Errorf("close: %v", err)
			}
		}
	})
}

func TestUnknownAddresses(t *testing.T) {
	bubble(t, func(t *testing.T, h *testFront) {
		c := h.signedIn()
		for address, want := range map[string]struct {
			condition   goamqp.ErrCond
			description string
		}{
			"other/ConsumerGroups/$Default/Partitions/0":           {goamqp.ErrCondNotFound, "The messaging entity 'other' could not be found."},
			eventHub + "/ConsumerGroups/third/Partitions/0":        {goamqp.ErrCondNotFound, "The messaging entity '" + eventHub + "/ConsumerGroups/third' could not be found."},
			eventHub + "/ConsumerGroups/$Default/Partitions/4":     {"com.microsoft:argument-out-of-range", `The partition "4" does not exist.`},
			eventHub + "/ConsumerGroups/$Default/Partitions/00":    {"com.microsoft:argument-out-of-range", `The partition "00" does not exist.`},
			eventHub + "/ConsumerGroups/$Default/Partitions/65535": {"com.microsoft:argument-out-of-range", `The partition "65535" does not exist.`},
			eventHub + "/ConsumerGroups/$Default/Partitions":       {goamqp.ErrCondNotFound, "There is no node"},
			eventHub + "/Groups/$Default/Partitions/0":             {goamqp.ErrCondNotFound, "There is no node"},
			eventHub:                    {goamqp.ErrCondNotFound, "There is no node"},
			"%zz":                       {goamqp.ErrCondNotFound, "There is no node"},
			"/":                         {goamqp.ErrCondNotFound, "There is no node"},
			"a/b/c/d/e/f/g/$management": {goamqp.ErrCondNotFound, "There is no node"},
		} {
			e := h.refused(c, address, nil, want.condition)
			if !strings.Contains(e.Description, want.description) {
				t.Errorf("attach %s: description %q, want it to contain %q", address, e.Description, want.description)
			}
		}
		h.logged("use the EntityPath in connection.env", "add it to consumerGroups in the configuration file", "ask $management for the partition ids")
	})
}

// TestSendersRefused checks that nobody publishes to the endpoint.
func TestSendersRefused(t *testing.T) {
	bubble(t, func(t *testing.T, h *testFront) {
		s := h.session(h.signedIn())
		for _, target := range []string{eventHub, eventHub + "/Partitions/0", "/devices/d/messages/events", ""} {
			_, err := s.NewSender(t.Context(), target, nil)
			if err == nil {
				t.Fatalf("a sender to %q was let in", target)
			}
			if e := h.linkError(err); e.Condition != goamqp.ErrCondUnauthorizedAccess {
				t.Errorf("sender to %q: got %v, want %s", target, e, goamqp.ErrCondUnauthorizedAccess)
			}
		}
		h.logged("devices connect over MQTT")
	})
}

// TestRedirect asks the hub's own address for events, in the forms of old clients, without any token.
func TestRedirect(t *testing.T) {
	bubble(t, func(t *testing.T, h *testFront) {
		c := h.dial()
		at := "amqps://" + hubHost + ":5671/" + eventHub + "/"
		for address, want := range map[string]string{
			"messages/events/":            at,
			"messages/events":             at,
			"/messages/events/":           at,
			"Messages/Events/$management": at + "$management",
			"messages/events/ConsumerGroups/$Default/Partitions/1":                      at + "ConsumerGroups/$Default/Partitions/1",
			"amqps://" + hubHost + "/messages/events/ConsumerGroups/a%20b/Partitions/1": at + "ConsumerGroups/a%20b/Partitions/1",
		} {
			e := h.refused(c, address, nil, goamqp.ErrCondLinkRedirect)
			for key, value := range map[string]any{"hostname": hubHost, "network-host": hubHost, "port": uint16(5671), "address": want} {
				if e.Info[key] != value {
					t.Errorf("%s: %s is %T %v, want %T %v", address, key, e.Info[key], e.Info[key], value, value)
				}
			}
		}
		s := h.session(c)
		_, err := s.NewSender(t.Context(), "messages/events/$management", nil)
		if e := h.linkError(err); e.Condition != goamqp.ErrCondLinkRedirect {
			t.Errorf("sender to messages/events/$management: got %v, want %s", e, goamqp.ErrCondLinkRedirect)
		}
	})
}

// TestRedirectNamesTheHostThatWasUsed checks that a client is sent to a name it can reach.
func TestRedirectNamesTheHostThatWasUsed(t *testing.T) {
	bubble(t, func(t *testing.T, h *testFront) {
		for used, want := range map[string]string{"": hubHost, hubHost: hubHost, "LocalHost": "localhost", "elsewhere.example.net": hubHost} {
			c, err := goamqp.NewConn(t.Context(), h.pipe(), &goamqp.ConnOptions{SASLType: goamqp.SASLTypeAnonymous(), HostName: used, IdleTimeout: -1})
			if err != nil {
				t.Fatal(err)
			}
			e := h.refused(c, "messages/events/", nil, goamqp.ErrCondLinkRedirect)
			for key, value := range map[string]any{"hostname": want, "network-host": want, "address": "amqps://" + want + ":5671/" + eventHub + "/"} {
				if e.Info[key] != value {
					t.Errorf("host name %q in OPEN: %s is %v, want %v", used, key, e.Info[key], value)
				}
			}
			c.Close()
		}
	})
}

// TestSignInTime checks that a connection that claims nothing ends, and one that does stays.
func TestSignInTime(t *testing.T) {
	bubble(t, func(t *testing.T, h *testFront) {
		good, silent, wrong := h.signedIn(), h.dial(), h.dial()
		h.put(wrong, "no token", 401)
		half := h.pipe() // says nothing at all
		defer half.Close()
		synctest.Wait()
		if got := h.Connections(); got != 4 {
			t.Errorf("connections: got %d, want 4", got)
		}
		time.Sleep(signInTime - time.Second)
		for name, c := range map[string]*goamqp.Conn{"silent": silent, "wrong": wrong} {
			select {
			case <-c.Done():
				t.Errorf("%s: closed before the sign-in time", name)
			default:
			}
		}
		time.Sleep(10 * time.Second)
		for name, c := range map[string]*goamqp.Conn{"silent": silent, "wrong": wrong} {
			select {
			case <-c.Done():
				if !strings.Contains(c.Err().Error(), "no valid token") {
					t.Errorf("%s: closed with %v, want the reason", name, c.Err())
				}
			default:
				t.Errorf("%s: open after the sign-in time", name)
			}
		}
		if got := h.Connections(); got != 1 {
			t.Errorf("connections after the sign-in time: got %d, want the good one", got)
		}
		h.logged("a connection had no valid token for 30s")
		if strings.Contains(h.log.String(), "the connection was closed") {
			t.Errorf("the log explains the same end twice:\n%s", h.log)
		}
		time.Sleep(20 * time.Minute)
		h.write(0, "a")
		h.expect(h.mustAttach(good, readerOf("0"), from(earliest)), "a")
	})
}

// TestStrangers opens many connections that never say anything. They end, and others do not notice.
func TestStrangers(t *testing.T) {
	bubble(t, func(t *testing.T, h *testFront) {
		for range 500 {
			defer h.pipe().Close()
		}
		r := h.mustAttach(h.signedIn(), readerOf("0"), from(latest))
		h.write(0, "a")
		h.expect(r, "a")
		time.Sleep(signInTime + time.Second)
		if got := h.Connections(); got != 1 {
			t.Errorf("connections: got %d, want 1", got)
		}
	})
}

// TestStrangerGetsFewLinks checks that links to nodes are bounded until a token is there, and that ended ones do not count.
func TestStrangerGetsFewLinks(t *testing.T) {
	bubble(t, func(t *testing.T, h *testFront) {
		c := h.dial()
		s := h.session(c)
		n := 0
		attach := func() (link interface{ Close(context.Context) error }, err error) { // one that sends, one that receives
			if n++; n%2 == 0 {
				return s.NewReceiver(t.Context(), "$cbs", nil)
			}
			return s.NewSender(t.Context(), "$cbs", nil)
		}
		for range maxStrangerLinks - 1 {
			if _, err := attach(); err != nil {
				t.Fatal(err)
			}
		}
		for range 5 {
			last, err := attach()
			if err != nil {
				t.Fatal(err)
			}
			n++
			_, err = attach()
			if e := h.linkError(err); e.Condition != goamqp.ErrCondResourceLimitExceeded {
				t.Errorf("link %d: got %v", maxStrangerLinks+1, e)
			}
			if err := last.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		h.logged("there is no valid token", "remedy=")
		known := h.session(h.signedIn())
		for range maxStrangerLinks + 1 {
			if _, err := known.NewSender(t.Context(), "$cbs", nil); err != nil {
				t.Fatalf("link of a peer with a token: %v", err)
			}
		}
	})
}

// TestStrangerSendsLittle checks that a message larger than any request ends its link.
func TestStrangerSendsLittle(t *testing.T) {
	bubble(t, func(t *testing.T, h *testFront) {
		s, err := h.session(h.dial()).NewSender(t.Context(), "$cbs", nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.MaxMessageSize(); got != maxRequest {
			t.Errorf("largest message: got %d, want %d", got, maxRequest)
		}
	})
}

// TestRefusalsShowNoPassword checks that of an address with a password only the path is told.
func TestRefusalsShowNoPassword(t *testing.T) {
	bubble(t, func(t *testing.T, h *testFront) {
		const address = "amqps://service:pa55word@" + hubHost + "/nowhere/at/all"
		c := h.signedIn()
		h.refused(c, address, nil, goamqp.ErrCondNotFound)
		if _, err := h.session(c).NewSender(t.Context(), address, nil); err == nil {
			t.Error("a sender was let in")
		}
		h.logged("nowhere/at/all")
		if strings.Contains(h.log.String(), "pa55word") {
			t.Errorf("the log shows a password:\n%s", h.log)
		}
	})
}

// TestShutdown checks that the hub ends soon whatever its peers are doing, and tells them.
func TestShutdown(t *testing.T) {
	bubble(t, func(t *testing.T, h *testFront) {
		reading := h.signedIn()
		h.mustAttach(reading, readerOf("0"), from(latest))
		conns := []*goamqp.Conn{reading, h.signedIn(), h.dial()}
		stalled := h.rawPeer()
		stalled.put(serviceToken("sb://"+hubHost, time.Hour))
		stalled.attachReader(1, readerOf("0"))
		defer h.pipe().Close()
		synctest.Wait()
		stalled.stop()
		h.write(0, strings.Repeat("x", 200<<10))
		began := time.Now()
		h.stop()
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("the hub took %v to end", took)
		}
		for i, c := range conns {
			<-c.Done()
			if !strings.Contains(c.Err().Error(), "shutting down") {
				t.Errorf("client %d: closed with %v, want the reason", i, c.Err())
			}
		}
	})
}

// TestAcceptFails checks that a listener that breaks ends Serve with the reason, and every connection with it.
func TestAcceptFails(t *testing.T) {
	bubble(t, func(t *testing.T, h *testFront) {
		l := make(pipeListener)
		served := make(chan error)
		go func() { served <- h.Serve(t.Context(), l, true) }()
		client, server := net.Pipe()
		defer client.Close()
		l <- server
		l.Close()
		if err := <-served; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Serve: got %v, want %v", err, net.ErrClosed)
		}
	})
}
