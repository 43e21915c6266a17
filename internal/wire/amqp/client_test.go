package amqp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	goamqp "github.com/Azure/go-amqp"
)

// These tests judge the server with an independent client.

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func dial(t *testing.T, nc net.Conn, opts *goamqp.ConnOptions) *goamqp.Conn {
	t.Helper()
	client, err := goamqp.NewConn(testContext(t), nc, opts)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func newSessionOf(t *testing.T, c *goamqp.Conn) *goamqp.Session {
	t.Helper()
	s, err := c.NewSession(testContext(t), nil)
	if err != nil {
		t.Fatalf("begin: %v", err)
	}
	return s
}

func TestClientOpens(t *testing.T) {
	for _, c := range []struct {
		name      string
		sasl      goamqp.SASLType
		mechanism Symbol
	}{
		{"without SASL", nil, ""},
		{"with ANONYMOUS", goamqp.SASLTypeAnonymous(), "ANONYMOUS"},
		{"with PLAIN", goamqp.SASLTypePlain("user", strings.Repeat("token", 500)), "PLAIN"},
	} {
		t.Run(c.name, func(t *testing.T) {
			seen := make(chan *Conn, 1)
			h := &testHandler{open: func(c *Conn) *Error { seen <- c; return nil }}
			cfg := Config{
				Properties: Map{{Symbol("product"), "p"}},
				Mechanisms: []Mechanism{{Name: "MSSBCBS"}, {Name: "ANONYMOUS"}, {Name: "PLAIN", Authenticate: func(r SASLRequest) (any, error) {
					_, rest, _ := bytes.Cut(r.Response, []byte{0})
					user, _, _ := bytes.Cut(rest, []byte{0})
					return string(user), nil
				}}},
			}
			nc, result := serveTCP(t, cfg, h)
			client := dial(t, nc, &goamqp.ConnOptions{SASLType: c.sasl, ContainerID: "me", HostName: "host", Properties: map[string]any{"k": "v"}})
			conn := <-seen
			if conn.ContainerID() != "me" || conn.Hostname() != "host" || conn.Mechanism() != c.mechanism {
				t.Errorf("container %q, host %q, mechanism %q; want me, host, %q", conn.ContainerID(), conn.Hostname(), conn.Mechanism(), c.mechanism)
			}
			if v, _ := conn.Properties().Get("k"); v != "v" {
				t.Errorf("property k = %v, want v", v)
			}
			if id := conn.Identity(); c.mechanism == "PLAIN" && id != "user" {
				t.Errorf("identity = %v, want user", id)
			}
			if got := client.Properties()["product"]; got != "p" {
				t.Errorf("the client sees product = %v, want p", got)
			}
			if err := client.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
			if err := result(); err != nil {
				t.Errorf("Serve = %v, want nil after an orderly close", err)
			}
		})
	}
}

func TestClientRefused(t *testing.T) {
	t.Run("by SASL", func(t *testing.T) {
		cfg := Config{Mechanisms: []Mechanism{{Name: "PLAIN", Authenticate: func(SASLRequest) (any, error) { return nil, errors.New("wrong key") }}}}
		nc, result := serve(t, cfg, &testHandler{})
		_, err := goamqp.NewConn(testContext(t), nc, &goamqp.ConnOptions{SASLType: goamqp.SASLTypePlain("u", "p")})
		if err == nil || !strings.Contains(err.Error(), "SASL PLAIN auth failed") {
			t.Errorf("open = %v, want a failed SASL", err)
		}
		if err := result(); err == nil || !strings.Contains(err.Error(), "wrong key") {
			t.Errorf("Serve = %v, want the reason", err)
		}
	})
	t.Run("by the handler", func(t *testing.T) {
		h := &testHandler{
			open:  func(*Conn) *Error { return Errorf(CondNotAllowed, "not you") },
			close: func(*Conn, error) { t.Error("OnClose of a refused connection") },
		}
		nc, result := serve(t, Config{}, h)
		client, err := goamqp.NewConn(testContext(t), nc, nil)
		if err == nil {
			<-client.Done()
			err = client.Err()
		}
		if err == nil || !strings.Contains(err.Error(), "not you") {
			t.Errorf("the client sees %v, want the refusal", err)
		}
		if err := result(); err == nil || !strings.Contains(err.Error(), "not you") {
			t.Errorf("Serve = %v, want the refusal", err)
		}
	})
}

// Messages arrive whole and typed, whatever the frame size, and their outcome goes back.
func TestClientSends(t *testing.T) {
	for _, size := range []int{0, 300, 511, 512, 5000, 200_000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			got := make(chan *Delivery, 3)
			h := &testHandler{transfer: func(r *Receiver, d *Delivery) { got <- d }}
			nc, _ := serve(t, Config{MaxFrameSize: 512}, h)
			s := newSessionOf(t, dial(t, nc, nil))
			sender, err := s.NewSender(testContext(t), "/devices/d/messages/events", &goamqp.SenderOptions{Properties: map[string]any{"model": "m"}})
			if err != nil {
				t.Fatalf("attach: %v", err)
			}
			body := bytes.Repeat([]byte("x"), size)
			for _, c := range []struct {
				state State
				want  string
			}{{Accepted{}, ""}, {Rejected{Error: Errorf("com.microsoft:quota-exceeded", "no more")}, "no more"}, {Released{}, "released"}} {
				receipt, err := sender.SendWithReceipt(testContext(t), &goamqp.Message{Data: [][]byte{body}, Properties: &goamqp.MessageProperties{MessageID: goamqp.UUID{1}}}, nil)
				if err != nil {
					t.Fatalf("send: %v", err)
				}
				d := <-got
				m, err := DecodeMessage(d.Payload)
				if err != nil || !bytes.Equal(m.Body.Bytes(), body) || m.Properties.MessageID != (UUID{1}) {
					t.Fatalf("message %+v, %v; want %d bytes and a uuid", m, err, size)
				}
				d.Settle(c.state)
				d.Settle(Released{}) // the second time does nothing
				state, err := receipt.Wait(testContext(t))
				if err != nil {
					t.Fatalf("outcome: %v", err)
				}
				if text := fmt.Sprintf("%T %+v", state, state); !strings.Contains(strings.ToLower(text), c.want) {
					t.Errorf("the client sees %s after %T", text, c.state)
				}
			}
		})
	}
}

// Credit comes back as deliveries are settled: far more messages pass than the window.
func TestClientSendsBeyondCredit(t *testing.T) {
	var outstanding, most int
	h := &testHandler{
		attach: func(l Link) { _ = l.Accept(Accept{Credit: 4}) },
		transfer: func(_ *Receiver, d *Delivery) {
			outstanding++
			most = max(most, outstanding)
			d.Settle(Accepted{})
			outstanding--
		},
	}
	nc, _ := serve(t, Config{}, h)
	sender, err := newSessionOf(t, dial(t, nc, nil)).NewSender(testContext(t), "a", nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5000 { // more than twice the session window
		settled := i%3 == 0
		if err := sender.Send(testContext(t), goamqp.NewMessage([]byte("m")), &goamqp.SendOptions{Settled: settled}); err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
	}
	if most > 4 {
		t.Errorf("%d deliveries outstanding at once, credit was 4", most)
	}
}

func TestClientReceives(t *testing.T) {
	for _, c := range []struct {
		name     string
		size     int
		frame    uint32
		settled  bool
		mode     *goamqp.ReceiverSettleMode
		messages int
	}{
		{"settled", 300, 0, true, nil, 1500},
		{"unsettled", 300, 0, false, nil, 1500},
		{"settled by the sender second", 300, 0, false, goamqp.ReceiverSettleModeSecond.Ptr(), 200},
		{"in frames of 512", 5000, 512, true, nil, 20},
		{"in frames of 512, large", 200_000, 512, false, nil, 3},
		{"in frames of 4096", 20_000, 4096, false, nil, 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			var wg sync.WaitGroup
			defer wg.Wait()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			outcomes := make(chan Outcome, c.messages)
			h := &testHandler{
				attach: func(l Link) {
					s := l.(*Sender)
					if err := s.Accept(Accept{}); err != nil {
						t.Errorf("accept: %v", err)
					}
					wg.Add(1)
					go func() {
						defer wg.Done()
						pump(ctx, t, s, c.messages, c.size, c.settled)
					}()
				},
				disposition: func(s *Sender, o Outcome) {
					if !o.Settled {
						s.Settle(o.ID, o.State)
					}
					outcomes <- o
				},
			}
			nc, _ := serve(t, Config{}, h)
			s := newSessionOf(t, dial(t, nc, &goamqp.ConnOptions{MaxFrameSize: c.frame}))
			receiver, err := s.NewReceiver(testContext(t), "eh/ConsumerGroups/$Default/Partitions/0", &goamqp.ReceiverOptions{
				Credit: 300, SettlementMode: c.mode, Filters: []goamqp.LinkFilter{goamqp.NewSelectorFilter("amqp.annotation.x-opt-offset > '-1'")},
			})
			if err != nil {
				t.Fatalf("attach: %v", err)
			}
			for i := range c.messages {
				m, err := receiver.Receive(testContext(t), nil)
				if err != nil {
					t.Fatalf("message %d: %v", i, err)
				}
				if got := m.GetData(); len(got) != c.size || m.Annotations["n"] != int64(i) {
					t.Fatalf("message %d has %d bytes and n=%v, want %d and %d", i, len(got), m.Annotations["n"], c.size, i)
				}
				if err := receiver.AcceptMessage(testContext(t), m); err != nil {
					t.Fatalf("accept %d: %v", i, err)
				}
			}
			if !c.settled {
				for i := range c.messages {
					select {
					case o := <-outcomes:
						if _, ok := o.State.(Accepted); !ok || o.ID != uint32(i) || string(o.Tag) != fmt.Sprintf("tag-%d", i) {
							t.Fatalf("outcome %d: %+v", i, o)
						}
					case <-testContext(t).Done():
						t.Fatalf("%d outcomes of %d", i, c.messages)
					}
				}
			}
		})
	}
}

// pump sends messages of size bytes, numbered by the annotation n.
func pump(ctx context.Context, t *testing.T, s *Sender, messages, size int, settled bool) {
	body := bytes.Repeat([]byte("x"), size)
	for i := range messages {
		head, _ := AppendMap(AppendDescriptor(nil, SectionMessageAnnotations), Map{{Symbol("n"), int64(i)}})
		o := Outgoing{Tag: fmt.Appendf(nil, "tag-%d", i), Payload: [][]byte{head, AppendData(nil, body)}, Settled: settled}
		if _, err := s.Send(ctx, o); err != nil {
			if ctx.Err() == nil {
				t.Errorf("send %d: %v", i, err)
			}
			return
		}
	}
}

// This client asks for a drain with credit 0: all it had given is taken back, and the answer comes at once.
func TestClientDrains(t *testing.T) {
	senders := make(chan *Sender, 1)
	credited := make(chan uint32, 10)
	h := &testHandler{
		attach: func(l Link) { _ = l.Accept(Accept{}); senders <- l.(*Sender) },
		flow:   func(s *Sender) { credited <- s.Credit() },
	}
	nc, _ := serve(t, Config{}, h)
	receiver, err := newSessionOf(t, dial(t, nc, nil)).NewReceiver(testContext(t), "a", &goamqp.ReceiverOptions{Credit: -1})
	if err != nil {
		t.Fatal(err)
	}
	s := <-senders
	message := Outgoing{Payload: [][]byte{AppendData(nil, []byte("m"))}, Settled: true}
	if _, err := s.TrySend(message); !errors.Is(err, ErrBlocked) {
		t.Errorf("TrySend without credit = %v, want ErrBlocked", err)
	}
	for range 3 {
		if err := receiver.IssueCredit(10); err != nil {
			t.Fatal(err)
		}
		for <-credited != 10 { // the client sends a flow without credit when it attaches, and one to drain
		}
		if _, err := s.TrySend(message); err != nil {
			t.Errorf("TrySend with credit 10: %v", err)
		}
		if err := receiver.DrainCredit(testContext(t), nil); err != nil {
			t.Fatalf("drain: %v", err)
		}
		if got := s.Credit(); got != 0 {
			t.Errorf("credit after a drain = %d, want 0", got)
		}
		if m, err := receiver.Receive(testContext(t), nil); err != nil || string(m.GetData()) != "m" {
			t.Errorf("receive = %v, %v; want the message sent before the drain", m, err)
		}
	}
}

func TestClientLinksEnd(t *testing.T) {
	redirect := &Error{Condition: CondLinkRedirect, Description: "there", Info: Map{{Symbol("hostname"), "h"}, {Symbol("port"), uint16(5671)}}}
	for _, c := range []struct {
		name string
		end  func(Link)
	}{
		{"rejected", func(l Link) { l.Reject(redirect) }},
		{"rejected later", func(l Link) { go l.Reject(redirect) }},
		{"detached", func(l Link) { _ = l.Accept(Accept{}); l.Detach(redirect) }},
		{"detached later", func(l Link) { _ = l.Accept(Accept{}); go l.Detach(redirect) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := &testHandler{attach: c.end}
			nc, _ := serve(t, Config{}, h)
			s := newSessionOf(t, dial(t, nc, nil))
			check := func(what string, err error) {
				t.Helper()
				var remote *goamqp.Error
				var linkErr *goamqp.LinkError
				if errors.As(err, &linkErr) {
					remote = linkErr.RemoteErr
				} else {
					errors.As(err, &remote) // of an attach that was refused
				}
				if remote == nil || remote.Condition != goamqp.ErrCond(CondLinkRedirect) || remote.Info["hostname"] != "h" || remote.Info["port"] != uint16(5671) {
					t.Errorf("%s: the client sees %v, want the redirect", what, err)
				}
			}
			receiver, err := s.NewReceiver(testContext(t), "a", nil)
			if err == nil {
				_, err = receiver.Receive(testContext(t), nil)
			}
			check("receiver", err)
			sender, err := s.NewSender(testContext(t), "a", nil)
			for err == nil {
				err = sender.Send(testContext(t), goamqp.NewMessage(nil), nil)
			}
			check("sender", err)
		})
	}
}

func TestClientDetachesAndEnds(t *testing.T) {
	ended := make(chan error, 3)
	h := &testHandler{detach: func(_ Link, err error) { ended <- err }}
	nc, result := serveTCP(t, Config{}, h)
	client := dial(t, nc, nil)
	s := newSessionOf(t, client)
	if s2 := newSessionOf(t, client); s2 == s {
		t.Fatal("the same session twice")
	}
	receiver, err := s.NewReceiver(testContext(t), "a", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := receiver.Close(testContext(t)); err != nil {
		t.Errorf("detach: %v", err)
	}
	if err := <-ended; err != nil {
		t.Errorf("OnDetach after an orderly detach: %v, want nil", err)
	}
	for range 2 {
		if _, err := s.NewSender(testContext(t), "a", nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(testContext(t)); err != nil {
		t.Errorf("end: %v", err)
	}
	for range 2 {
		if err := <-ended; !errors.Is(err, ErrLinkClosed) {
			t.Errorf("OnDetach after end: %v, want ErrLinkClosed", err)
		}
	}
	if err := client.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if err := result(); err != nil {
		t.Errorf("Serve = %v, want nil", err)
	}
}

func TestClientMessageTooLarge(t *testing.T) {
	nc, _ := serve(t, Config{MaxMessageSize: 1000, MaxFrameSize: 512}, &testHandler{attach: func(l Link) {
		_ = l.Accept(Accept{})
	}})
	sender, err := newSessionOf(t, dial(t, nc, nil)).NewSender(testContext(t), "a", nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := sender.MaxMessageSize(); got != 1000 {
		t.Errorf("max-message-size = %d, want 1000", got)
	}
	if err := sender.Send(testContext(t), goamqp.NewMessage(make([]byte, 900)), nil); err != nil {
		t.Errorf("a message of 900 bytes: %v", err)
	}
	if err := sender.Send(testContext(t), goamqp.NewMessage(make([]byte, 1000)), nil); err == nil {
		t.Error("a message of more than 1000 bytes was sent")
	}
}

func TestClientSeesClose(t *testing.T) {
	conns := make(chan *Conn, 1)
	closed := make(chan error, 1)
	h := &testHandler{
		open:  func(c *Conn) *Error { conns <- c; return nil },
		close: func(_ *Conn, err error) { closed <- err },
	}
	nc, result := serve(t, Config{}, h)
	client := dial(t, nc, nil)
	(<-conns).Close(Errorf(CondConnectionForced, "taken over"))
	<-client.Done()
	if err := client.Err(); err == nil || !strings.Contains(err.Error(), "taken over") {
		t.Errorf("the client sees %v, want taken over", err)
	}
	err := result()
	var e *Error
	if !errors.As(err, &e) || e.Condition != CondConnectionForced {
		t.Errorf("Serve = %v, want the error given to Close", err)
	}
	if got := <-closed; !errors.Is(got, err) {
		t.Errorf("OnClose got %v, Serve returned %v", got, err)
	}
}
