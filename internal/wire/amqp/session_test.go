package amqp

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

// A violation within a session ends that session and no other.
func TestViolationsEndTheSession(t *testing.T) {
	raw := func(hex string) func(*peer) {
		return func(p *peer) { p.write(frameOf(frameAMQP, 0, unhex(p.t, hex))) }
	}
	for _, c := range []struct {
		name string
		want Symbol
		do   func(*peer)
	}{
		{"attach that cannot be decoded", CondDecodeError, raw("00531245")},
		{"flow that cannot be decoded", CondDecodeError, raw("00531345")},
		{"transfer that cannot be decoded", CondDecodeError, raw("00531445")},
		{"disposition that cannot be decoded", CondDecodeError, raw("00531545")},
		{"detach that cannot be decoded", CondDecodeError, raw("00531645")},
		{"transactional state", CondDecodeError, raw("005315 c00c05 4143 40 40 005334 c00100")},
		{"handle in use", CondHandleInUse, func(p *peer) {
			p.attachReceiver(1, 0)
			p.send(0, &attachFrame{Name: "x", Handle: 1, Role: roleReceiver})
		}},
		{"handle above handle-max", CondNotAllowed, func(p *peer) { p.send(0, &attachFrame{Name: "x", Handle: 8, Role: roleReceiver}) }},
		{"transfer to no handle", CondUnattachedHandle, func(p *peer) { p.send(0, message(0)) }},
		{"flow to no handle", CondUnattachedHandle, func(p *peer) { p.send(0, &flowFrame{Handle: Some(uint32(7))}) }},
		{"detach of no handle", CondUnattachedHandle, func(p *peer) { p.send(0, &detachFrame{Handle: 7}) }},
		{"transfer to a link on which we send", CondNotAllowed, func(p *peer) {
			p.attachReceiver(0, 0)
			p.send(0, message(0))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			nc, _ := serveTCP(t, Config{MaxLinks: 8}, &testHandler{})
			p := newPeer(t, nc)
			p.deadline()
			p.begin()
			c.do(p)
			got := expect[endFrame](p)
			if condition(got.Error) != c.want {
				t.Errorf("end with %v, want %s", got.Error, c.want)
			}
			p.send(0, &flowFrame{Echo: true}) // crossed with the end: ignored
			p.send(0, message(0))
			p.send(0, &endFrame{})
			p.beginOn(0, 1) // the channel is free again
		})
	}
}

func TestMoreLinksThanAllowed(t *testing.T) {
	nc, _ := serveTCP(t, Config{MaxLinks: 8}, &testHandler{})
	p := newPeer(t, nc)
	p.deadline()
	p.begin()
	for handle := range uint32(8) {
		p.attachReceiver(handle, 0)
	}
	p.beginOn(1, 1)
	p.send(1, &attachFrame{Name: "x", Role: roleReceiver})
	if got := expect[endFrame](p); condition(got.Error) != CondResourceLimitExceeded {
		t.Errorf("end with %v, want %s", got.Error, CondResourceLimitExceeded)
	}
	p.send(0, &detachFrame{Handle: 3, Closed: true})
	expect[detachFrame](p)
	p.attachReceiver(3, 0) // there is room for one again
}

// A peer that uses the window it is given never runs out of it.
func TestWindowIsRefilled(t *testing.T) {
	nc, _ := serveTCP(t, Config{}, &testHandler{attach: func(l Link) { _ = l.Accept(Accept{Credit: 10_000}) }})
	p := newPeer(t, nc)
	p.deadline()
	p.begin()
	p.attachSender(0)
	// A delivery in frames without bytes: only the session window speaks against it. The server gives new
	// window at half, so that a peer that waits for it is never in the wrong.
	part := message(0)
	part.More = true
	for i := range 2 * incomingWindow {
		p.send(0, part)
		if (i+1)%(incomingWindow/2) == 0 {
			if f := expect[flowFrame](p); f.Handle.Set || f.NextIncomingID.Value != uint32(i+1) || f.IncomingWindow != incomingWindow {
				t.Fatalf("after %d transfers: %+v", i+1, f)
			}
		}
	}
}

func TestSessionFlowEcho(t *testing.T) {
	nc, _ := serveTCP(t, Config{}, &testHandler{})
	p := newPeer(t, nc)
	p.deadline()
	p.begin()
	p.send(0, &flowFrame{IncomingWindow: 1, OutgoingWindow: 1, Echo: true})
	if f := expect[flowFrame](p); f.Handle.Set || f.IncomingWindow != incomingWindow || f.NextOutgoingID != 0 || f.Echo {
		t.Errorf("echo of a session flow: %+v", f)
	}
	p.attachSender(3)
	p.send(0, &flowFrame{IncomingWindow: 1, OutgoingWindow: 1, Handle: Some(uint32(3)), DeliveryCount: Some(uint32(0)), Echo: true})
	if f := expect[flowFrame](p); f.Handle != Some(uint32(3)) || f.LinkCredit != Some(uint32(defaultCredit)) {
		t.Errorf("echo of a link flow: %+v", f)
	}
}

// Neighbouring deliveries with one outcome share a disposition; others do not, and nothing overtakes. A writer that
// happens to run between two outcomes may send the first alone, so a try may show more frames, but not every try.
func TestDispositionsJoin(t *testing.T) {
	const tries = 50
	for range tries {
		if frames := settleTen(t); frames == 4 || t.Failed() {
			return
		}
	}
	t.Errorf("dispositions did not join in any of %d tries", tries)
}

// settleTen rejects the third of ten deliveries, leaves out the sixth and accepts the others. It checks what the peer is
// told and returns in how many frames.
func settleTen(t *testing.T) (frames int) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var held []*Delivery
		h := &testHandler{transfer: func(_ *Receiver, d *Delivery) {
			held = append(held, d)
			if d.ID < 9 {
				return
			}
			for _, d := range held {
				switch d.ID {
				case 3:
					d.Settle(Rejected{Error: Errorf("e", "bad")})
				case 6:
				default:
					d.Settle(Accepted{})
				}
			}
			d.receiver.Detach(nil)
		}}
		nc, _ := serve(t, Config{}, h)
		p := newPeer(t, nc)
		p.begin()
		p.attachSender(0)
		for id := range uint32(10) {
			p.send(0, message(id))
		}
		var told []uint32
		for len(told) < 9 && !t.Failed() {
			d := expect[dispositionFrame](p)
			frames++
			for id := d.First; id <= d.Last; id++ {
				told = append(told, id)
				if _, rejected := d.State.(Rejected); d.Role != roleReceiver || !d.Settled || rejected != (id == 3) {
					t.Errorf("delivery %d: got %+v", id, d)
				}
			}
		}
		if want := []uint32{0, 1, 2, 3, 4, 5, 7, 8, 9}; !slices.Equal(told, want) {
			t.Errorf("outcomes of deliveries %v, want %v", told, want)
		}
		expect[detachFrame](p)
	})
	return frames
}

// An outcome is not overtaken by what is sent after it, such as the answer to the request that it accepts, however long
// it waits for the writer.
func TestOutcomeBeforeAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var answers *Sender
		h := &testHandler{
			attach: func(l Link) {
				if s, ok := l.(*Sender); ok {
					answers = s
				}
				_ = l.Accept(Accept{})
			},
			transfer: func(_ *Receiver, d *Delivery) {
				if d.ID == 0 {
					return // the echo of a flow follows, which the peer does not read yet, so that the writer is busy
				}
				d.Settle(Accepted{})
				if _, err := answers.TrySend(Outgoing{Settled: true, Payload: [][]byte{{'a'}}}); err != nil {
					t.Errorf("send: %v", err)
				}
			},
		}
		nc, _ := serve(t, Config{}, h)
		p := newPeer(t, nc)
		p.begin()
		p.attachSender(0)
		p.attachReceiver(1, 0)
		p.credit(1, 0, 10)
		p.send(0, &flowFrame{IncomingWindow: 10, OutgoingWindow: 1, Echo: true})
		p.send(0, message(0))
		p.send(0, message(1))
		synctest.Wait()
		expect[flowFrame](p)
		if d := expect[dispositionFrame](p); d.First != 1 || d.State != (Accepted{}) {
			t.Errorf("outcome: %+v", d)
		}
		expect[transferFrame](p)
	})
}

// Receiver settle mode second, both ways. AMQP 2.6.12.
func TestSecondMode(t *testing.T) {
	t.Run("the peer receives", func(t *testing.T) {
		var outcomes []Outcome
		h := &testHandler{
			attach: func(l Link) { _ = l.Accept(Accept{}) },
			flow: func(s *Sender) {
				for range 3 {
					if _, err := s.TrySend(Outgoing{Tag: []byte("0123456789abcdef")}); err != nil {
						t.Errorf("send: %v", err)
					}
				}
			},
			disposition: func(s *Sender, o Outcome) {
				outcomes = append(outcomes, o)
				s.Settle(o.ID, o.State)
				s.Settle(o.ID, o.State) // the second time does nothing
			},
		}
		nc, _ := serve(t, Config{}, h)
		p := newPeer(t, nc)
		p.deadline()
		p.begin()
		p.attachReceiver(0, ReceiverSecond)
		p.credit(0, 0, 3)
		for id := range uint32(3) {
			if f := expect[transferFrame](p); f.DeliveryID != Some(id) || f.Settled != Some(false) || string(f.DeliveryTag) != "0123456789abcdef" {
				t.Fatalf("transfer %+v", f)
			}
		}
		p.send(0, &dispositionFrame{Role: roleReceiver, First: 0, Last: 1, State: Received{}}) // not final: nothing follows
		p.send(0, &dispositionFrame{Role: roleReceiver, First: 0, Last: 1, State: Accepted{}})
		for next := uint32(0); next < 2; { // in one frame, unless the writer was quick
			d := expect[dispositionFrame](p)
			if d.Role != roleSender || !d.Settled || d.First != next || d.Last > 1 || d.State != (Accepted{}) {
				t.Fatalf("answer %+v, want %d, or that to 1, settled and accepted by the sender", d, next)
			}
			next = d.Last + 1
		}
		p.send(0, &dispositionFrame{Role: roleReceiver, First: 0, Last: 1<<31 - 1, Settled: true, State: Released{}})
		p.send(0, &dispositionFrame{Role: roleReceiver, First: 0, Last: 2, Settled: true, State: Accepted{}}) // all known already
		p.send(0, &flowFrame{IncomingWindow: 1, OutgoingWindow: 1, Echo: true})
		expect[flowFrame](p)
		if len(outcomes) != 3 || outcomes[0].ID != 0 || outcomes[1].ID != 1 || outcomes[2].ID != 2 ||
			outcomes[1].Settled || !outcomes[2].Settled || outcomes[2].State != (Released{}) {
			t.Errorf("outcomes %+v", outcomes)
		}
	})
	t.Run("the peer sends", func(t *testing.T) {
		nc, _ := serve(t, Config{}, &testHandler{})
		p := newPeer(t, nc)
		p.deadline()
		p.begin()
		p.send(0, &attachFrame{Name: "in", Role: roleSender, RcvSettleMode: Some(uint8(ReceiverSecond)), Source: &Source{}, Target: &Target{}})
		if a := expect[attachFrame](p); a.RcvSettleMode != Some(uint8(ReceiverSecond)) {
			t.Errorf("attach answered by %+v", a)
		}
		expect[flowFrame](p)
		p.send(0, message(0))
		if d := expect[dispositionFrame](p); d.Settled || d.State != (Accepted{}) {
			t.Errorf("disposition %+v, want accepted and not settled", d)
		}
		p.send(0, &dispositionFrame{Role: roleSender, First: 0, Settled: true})
		first := message(1)
		first.RcvSettleMode = Some(uint8(ReceiverFirst))
		p.send(0, first)
		if d := expect[dispositionFrame](p); !d.Settled {
			t.Errorf("disposition %+v, want it settled, as its transfer asks", d)
		}
	})
}

// An end, by either side, wakes who waits in Send, and tells the handler about every link.
func TestEndOfSessionWakesSend(t *testing.T) {
	failed := make(chan error, 1)
	h := &testHandler{attach: func(l Link) {
		_ = l.Accept(Accept{})
		go func() {
			_, err := l.(*Sender).Send(t.Context(), Outgoing{})
			failed <- err
		}()
	}}
	nc, _ := serve(t, Config{}, h)
	p := newPeer(t, nc)
	p.deadline()
	p.begin()
	p.attachReceiver(0, 0)
	p.send(0, &endFrame{Error: Errorf(CondInternalError, "the peer's reason")})
	expect[endFrame](p)
	err := <-failed
	if !errors.Is(err, ErrLinkClosed) || !strings.Contains(err.Error(), "the peer's reason") {
		t.Errorf("Send = %v, want ErrLinkClosed with the reason", err)
	}
}

// The Event Hubs client for Python detaches its links after it has ended their session: that is no violation.
func TestDetachAfterEndIsIgnored(t *testing.T) {
	nc, _ := serveTCP(t, Config{}, &testHandler{})
	p := newPeer(t, nc)
	p.deadline()
	p.begin()
	p.attachReceiver(0, 0)
	p.send(0, &endFrame{})
	expect[endFrame](p)
	p.send(0, &detachFrame{Closed: true})
	p.beginOn(0, 1)
}

// The Event Hubs client for Go may send a flow for a link after it has sent the link's detach.
func TestFlowAfterDetach(t *testing.T) {
	nc, _ := serveTCP(t, Config{}, &testHandler{})
	p := newPeer(t, nc)
	p.deadline()
	p.begin()
	p.attachReceiver(0, 0)
	p.send(0, &detachFrame{Handle: 0, Closed: true})
	p.send(0, &flowFrame{Handle: Some(uint32(0)), DeliveryCount: Some(uint32(0)), LinkCredit: Some(uint32(1))})
	expect[detachFrame](p)
	p.attachReceiver(0, 0) // the session goes on
}
