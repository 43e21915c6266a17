package amqp

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A violation on a link detaches that link and tells the handler; the session goes on.
func TestViolationsDetachTheLink(t *testing.T) {
	more := func(id uint32) *transferFrame {
		f := message(id)
		f.More = true
		return f
	}
	for _, c := range []struct {
		name string
		want Symbol
		do   func(*peer)
	}{
		{"no credit", CondTransferLimitExceeded, func(p *peer) {
			for id := range uint32(3) {
				p.send(0, message(id))
			}
		}},
		{"no delivery-id", CondInvalidField, func(p *peer) { p.send(0, &transferFrame{DeliveryTag: []byte{1}}) }},
		{"no delivery-tag", CondInvalidField, func(p *peer) { p.send(0, &transferFrame{DeliveryID: Some(uint32(0))}) }},
		{"another delivery before the end of one", CondInvalidField, func(p *peer) {
			p.send(0, more(0))
			p.send(0, more(1))
		}},
		{"message too large in one frame", CondMessageSizeExceeded, func(p *peer) { p.send(0, message(0), make([]byte, 1001)...) }},
		{"message too large in two frames", CondMessageSizeExceeded, func(p *peer) {
			p.send(0, more(0), make([]byte, 600)...)
			p.send(0, &transferFrame{More: true}, make([]byte, 401)...)
			p.send(0, &transferFrame{}, make([]byte, 400)...) // ignored
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			detached := make(chan error, 1)
			h := &testHandler{
				attach:   func(l Link) { _ = l.Accept(Accept{Credit: 2}) },
				transfer: func(*Receiver, *Delivery) {}, // settles nothing
				detach:   func(_ Link, err error) { detached <- err },
			}
			nc, _ := serveTCP(t, Config{MaxMessageSize: 1000}, h)
			p := newPeer(t, nc)
			p.deadline()
			p.begin()
			p.attachSender(0)
			c.do(p)
			got := expect[detachFrame](p)
			if condition(got.Error) != c.want || !got.Closed {
				t.Errorf("detach %+v with %v, want closed with %s", got, got.Error, c.want)
			}
			var e *Error
			if err := <-detached; !errors.As(err, &e) || e.Condition != c.want {
				t.Errorf("OnDetach got %v, want %s", err, c.want)
			}
			p.send(0, &detachFrame{Closed: true})
			p.attachSender(0) // the handle is free again
		})
	}
}

func TestRefusedByItself(t *testing.T) {
	for _, c := range []struct {
		name   string
		want   Symbol
		attach attachFrame
	}{
		{"too large", CondResourceLimitExceeded, attachFrame{Name: "l", Role: roleReceiver, Source: &Source{Address: strings.Repeat("a", maxAttachFrame)}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			nc, _ := serveTCP(t, Config{}, &testHandler{attach: func(Link) { t.Error("the handler was asked") }})
			p := newPeer(t, nc)
			p.deadline()
			p.begin()
			p.send(0, &c.attach)
			if a := expect[attachFrame](p); a.Source != nil {
				t.Errorf("the refusal has source %+v", a.Source)
			}
			if d := expect[detachFrame](p); condition(d.Error) != c.want {
				t.Errorf("detach with %v, want %s", d.Error, c.want)
			}
		})
	}
	t.Run("transactions", func(t *testing.T) {
		nc, _ := serveTCP(t, Config{}, &testHandler{attach: func(Link) { t.Error("the handler was asked") }})
		p := newPeer(t, nc)
		p.deadline()
		p.begin()
		p.write(frameOf(0, 0, unhex(t, "005312 c014 07 a1016c 43 42 40 40 005328c00100 005330c00100")))
		expect[attachFrame](p)
		if d := expect[detachFrame](p); condition(d.Error) != CondNotImplemented {
			t.Errorf("detach with %v, want %s", d.Error, CondNotImplemented)
		}
	})
}

// TestRefusalInTwoWrites checks that the detach of a refused link is not written together with its attach.
func TestRefusalInTwoWrites(t *testing.T) {
	nc, _ := serve(t, Config{}, &testHandler{attach: func(l Link) { l.Reject(Errorf(CondLinkRedirect, "elsewhere")) }})
	p := newPeer(t, nc)
	p.deadline()
	p.begin()
	for handle := range uint32(3) {
		p.send(0, &attachFrame{Name: "out", Handle: handle, Role: roleReceiver, Source: &Source{Address: "a"}})
		for _, code := range []uint64{descAttach, descDetach} {
			b := make([]byte, 4096)
			n, err := nc.Read(b) // of a pipe: one write
			if err != nil {
				t.Fatal(err)
			}
			f, err := (&frameReader{src: bytes.NewReader(b[:n]), before: func() error { return nil }, buffers: new(Buffers)}).next(n)
			if err != nil || f.size != n {
				t.Fatalf("a write of %d bytes holds a frame of %d: %v", n, f.size, err)
			}
			d := newDecoder(f.body)
			if got, err := d.descriptor(); err != nil || got != code {
				t.Errorf("frame 0x%x, %v, want 0x%x", got, err, code)
			}
		}
	}
}

// What the links of a connection keep of their attaches is bounded as a whole.
func TestAttachBytesAreBounded(t *testing.T) {
	nc, _ := serveTCP(t, Config{}, &testHandler{})
	p := newPeer(t, nc)
	p.deadline()
	p.begin()
	address := strings.Repeat("a", maxAttachFrame-200)
	for handle := range uint32(maxAttachTotal/maxAttachFrame + 10) {
		p.send(0, &attachFrame{Name: "l", Handle: handle, Role: roleReceiver, Source: &Source{Address: address}, Target: &Target{}})
		if a := expect[attachFrame](p); a.Source != nil {
			continue
		}
		if d := expect[detachFrame](p); condition(d.Error) != CondResourceLimitExceeded || handle < 250 {
			t.Errorf("link %d refused with %v", handle, d.Error)
		}
		return
	}
	t.Error("no attach was refused")
}

// An answer to attach that does not fit the peer's frames becomes a refusal that does.
func TestAttachAnswerTooLarge(t *testing.T) {
	accepted, detached := make(chan error, 1), make(chan error, 1)
	h := &testHandler{
		attach: func(l Link) { accepted <- l.Accept(Accept{Properties: Map{{Symbol("k"), strings.Repeat("v", 600)}}}) },
		detach: func(_ Link, err error) { detached <- err },
	}
	nc, _ := serveTCP(t, Config{}, h)
	p := newPeer(t, nc)
	p.deadline()
	open := plainOpen
	open.MaxFrameSize = minFrame
	p.open(open)
	p.beginOn(0, 1)
	p.send(0, &attachFrame{Name: "l", Role: roleReceiver, Source: &Source{Address: "a"}})
	expect[attachFrame](p)
	if d := expect[detachFrame](p); condition(d.Error) != CondFrameSizeTooSmall {
		t.Errorf("detach with %v, want %s", d.Error, CondFrameSizeTooSmall)
	}
	if err := <-accepted; !errors.Is(err, ErrLinkClosed) {
		t.Errorf("Accept = %v, want ErrLinkClosed", err)
	}
	p.send(0, &detachFrame{Closed: true})
	if err := <-detached; err == nil {
		t.Error("OnDetach without the reason")
	}
}

// A peer may detach before the handler has answered: it gets both answers, and Accept comes too late.
func TestDetachBeforeAccept(t *testing.T) {
	links, detached := make(chan Link, 1), make(chan error, 1)
	h := &testHandler{attach: func(l Link) { links <- l }, detach: func(_ Link, err error) { detached <- err }}
	nc, _ := serveTCP(t, Config{}, h)
	p := newPeer(t, nc)
	p.deadline()
	p.begin()
	p.send(0, &attachFrame{Name: "l", Role: roleSender, Source: &Source{}, Target: &Target{Address: "a"}})
	p.send(0, &detachFrame{Closed: true})
	expect[attachFrame](p)
	expect[detachFrame](p)
	if err := <-detached; err != nil {
		t.Errorf("OnDetach got %v, want nil", err)
	}
	l := <-links
	if err := l.Accept(Accept{}); !errors.Is(err, ErrLinkClosed) {
		t.Errorf("Accept = %v, want ErrLinkClosed", err)
	}
	l.Reject(Errorf(CondInternalError, "too late"))
	l.Detach(nil)
	p.attachAfter(links)
}

// attachAfter checks that nothing was left over on the wire: the next attach is answered next.
func (p *peer) attachAfter(links chan Link) {
	p.t.Helper()
	p.send(0, &attachFrame{Name: "next", Role: roleSender, Source: &Source{}, Target: &Target{Address: "a"}})
	l := <-links
	if err := l.Accept(Accept{Credit: 7}); err != nil {
		p.t.Errorf("Accept = %v", err)
	}
	if a := expect[attachFrame](p); a.Name != "next" {
		p.t.Errorf("attach answered by %+v", a)
	}
	if f := expect[flowFrame](p); f.LinkCredit != Some(uint32(7)) {
		p.t.Errorf("credit %+v, want 7", f.LinkCredit)
	}
}

func TestAbortedDelivery(t *testing.T) {
	got := make(chan *Delivery, 1)
	nc, _ := serveTCP(t, Config{}, &testHandler{
		attach:   func(l Link) { _ = l.Accept(Accept{Credit: 1}) },
		transfer: func(_ *Receiver, d *Delivery) { got <- d },
	})
	p := newPeer(t, nc)
	p.deadline()
	p.begin()
	p.attachSender(0)
	part := message(0)
	part.More = true
	p.send(0, part, 'x')
	p.send(0, &transferFrame{Aborted: true}, 'y')
	if f := expect[flowFrame](p); f.LinkCredit != Some(uint32(1)) || f.DeliveryCount != Some(uint32(1)) {
		t.Errorf("flow after an aborted delivery: %+v, want its credit back", f)
	}
	p.send(0, message(1), 'z')
	if d := <-got; d.ID != 1 || string(d.Payload) != "z" {
		t.Errorf("delivery %+v", d)
	}
}

// A drain uses up the credit when the sender says that it has nothing more. AMQP 2.6.7.
func TestDrain(t *testing.T) {
	h := &testHandler{flow: func(s *Sender) {
		if s.Draining() {
			if _, err := s.TrySend(Outgoing{Settled: true, Payload: [][]byte{{'a'}, {'b'}}}); err != nil {
				t.Errorf("send while draining: %v", err)
			}
			s.Drained()
			s.Drained() // the second time does nothing
		}
	}}
	nc, _ := serve(t, Config{}, h)
	p := newPeer(t, nc)
	p.deadline()
	p.begin()
	p.attachReceiver(0, 0)
	for round := range uint32(2) {
		count := 10 * round
		p.send(0, &flowFrame{IncomingWindow: 100, OutgoingWindow: 1, Handle: Some(uint32(0)), DeliveryCount: Some(count), LinkCredit: Some(uint32(10)), Drain: true, NextIncomingID: Some(round)})
		_, body, payload := p.read()
		if f, ok := body.(*transferFrame); !ok || string(payload) != "ab" || len(f.DeliveryTag) != 4 {
			t.Fatalf("%+v %q, want a transfer", body, payload)
		}
		if f := expect[flowFrame](p); f.DeliveryCount != Some(count+10) || f.LinkCredit != Some(uint32(0)) || !f.Drain {
			t.Errorf("flow after a drain: %+v", f)
		}
	}
}

// Send waits for each of credit, session window and outcomes, and goes on as soon as it gets it.
func TestSendWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		senders := make(chan *Sender, 1)
		nc, _ := serve(t, Config{MaxUnsettled: 2}, &testHandler{attach: func(l Link) { _ = l.Accept(Accept{}); senders <- l.(*Sender) }})
		p := newPeer(t, nc)
		p.open(plainOpen)
		p.beginOn(0, 1)
		p.attachReceiver(0, 0)
		s := <-senders
		var sent atomic.Int32
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range 4 {
				if _, err := s.Send(t.Context(), Outgoing{}); err != nil {
					t.Errorf("send: %v", err)
				}
				sent.Add(1)
			}
		}()
		check := func(what string, want int32) {
			t.Helper()
			synctest.Wait()
			if got := sent.Load(); got != want {
				t.Fatalf("%s: %d sent, want %d", what, got, want)
			}
		}
		flow := func(next, window, credit uint32) {
			p.send(0, &flowFrame{NextIncomingID: Some(next), IncomingWindow: window, OutgoingWindow: 1, Handle: Some(uint32(0)), DeliveryCount: Some(next), LinkCredit: Some(credit)})
		}
		check("no credit", 0)
		flow(0, 1, 10)
		expect[transferFrame](p)
		check("window of one", 1)
		if _, err := s.TrySend(Outgoing{}); !errors.Is(err, ErrBlocked) {
			t.Errorf("TrySend without window = %v, want ErrBlocked", err)
		}
		flow(1, 10, 10)
		expect[transferFrame](p)
		check("two unsettled", 2)
		p.send(0, &dispositionFrame{Role: roleReceiver, First: 0, Settled: true, State: Accepted{}})
		expect[transferFrame](p)
		check("one settled", 3)
		p.send(0, &dispositionFrame{Role: roleReceiver, First: 1, Last: 2, Settled: true})
		expect[transferFrame](p)
		<-done
	})
}

// A delivery that has begun is sent to its end, though as many are unsettled as may be: it is one of them, and a peer
// settles none before it has all of it.
func TestBegunDeliveryIsNotHeldBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		senders := make(chan *Sender, 1)
		nc, _ := serve(t, Config{MaxUnsettled: 1}, &testHandler{attach: func(l Link) { _ = l.Accept(Accept{}); senders <- l.(*Sender) }})
		p := newPeer(t, nc)
		p.open(openFrame{ContainerID: "peer", MaxFrameSize: minFrame})
		p.beginOn(0, 1000)
		p.attachReceiver(0, 0)
		p.credit(0, 0, 10)
		s := <-senders
		done := make(chan struct{})
		go func() {
			defer close(done)
			if _, err := s.Send(t.Context(), Outgoing{Payload: [][]byte{make([]byte, 2000)}}); err != nil {
				t.Errorf("send: %v", err)
			}
		}()
		got := 0
		for more := true; more; {
			_, body, payload := p.read()
			f, ok := body.(*transferFrame)
			if !ok {
				t.Fatalf("got %+v, want a transfer", body)
			}
			got, more = got+len(payload), f.More
		}
		<-done
		if got != 2000 {
			t.Errorf("%d bytes arrived, want 2000", got)
		}
	})
}

// Send gives up with its context, and with its link; a second Send waits its turn and is woken too.
func TestSendEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		senders := make(chan *Sender, 1)
		nc, _ := serve(t, Config{}, &testHandler{attach: func(l Link) { _ = l.Accept(Accept{}); senders <- l.(*Sender) }})
		p := newPeer(t, nc)
		p.begin()
		p.attachReceiver(0, 0)
		s := <-senders
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := s.Send(ctx, Outgoing{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Send = %v, want its context's error", err)
		}
		if _, err := s.Send(t.Context(), Outgoing{Tag: make([]byte, 33)}); err == nil {
			t.Error("a tag of 33 bytes was taken")
		}
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if _, err := s.Send(t.Context(), Outgoing{}); !errors.Is(err, ErrLinkClosed) || !strings.Contains(err.Error(), "stolen") {
					t.Errorf("Send = %v, want ErrLinkClosed with the reason", err)
				}
			})
		}
		synctest.Wait()
		s.Detach(Errorf(CondStolen, "by another"))
		s.Detach(nil)
		wg.Wait()
		if d := expect[detachFrame](p); condition(d.Error) != CondStolen {
			t.Errorf("detach with %v", d.Error)
		}
		if _, err := s.TrySend(Outgoing{}); !errors.Is(err, ErrLinkClosed) {
			t.Errorf("TrySend = %v, want ErrLinkClosed", err)
		}
	})
}

// The peer's settle mode decides whether deliveries are settled.
func TestSettleModes(t *testing.T) {
	for mode, want := range map[SenderSettleMode][2]bool{SenderUnsettled: {false, false}, SenderSettled: {true, true}, SenderMixed: {false, true}} {
		h := &testHandler{flow: func(s *Sender) {
			for _, settled := range []bool{false, true} {
				if _, err := s.TrySend(Outgoing{Settled: settled}); err != nil {
					t.Errorf("send: %v", err)
				}
			}
		}}
		nc, _ := serveTCP(t, Config{}, h)
		p := newPeer(t, nc)
		p.deadline()
		p.begin()
		p.send(0, &attachFrame{Name: "l", Role: roleReceiver, SndSettleMode: Some(uint8(mode)), Source: &Source{Address: "a"}})
		if a := expect[attachFrame](p); a.SndSettleMode != Some(uint8(mode)) {
			t.Errorf("mode %d answered by %+v", mode, a.SndSettleMode)
		}
		p.credit(0, 0, 2)
		for i := range want {
			if f := expect[transferFrame](p); f.Settled != Some(want[i]) {
				t.Errorf("mode %d, delivery %d: settled %+v, want %v", mode, i, f.Settled, want[i])
			}
		}
	}
}

// countingConn counts writes.
type countingConn struct {
	net.Conn
	writes atomic.Int32
}

func (c *countingConn) Write(b []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(b)
}

// Transfers sent while a write is under way leave together in the next.
func TestTransfersShareWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := net.Pipe()
		counted := &countingConn{Conn: server}
		senders := make(chan *Sender, 1)
		serveOn(t, counted, client, Config{}, &testHandler{attach: func(l Link) { _ = l.Accept(Accept{}); senders <- l.(*Sender) }})
		p := newPeer(t, client)
		p.begin()
		p.attachReceiver(0, 0)
		p.credit(0, 0, 1000)
		s := <-senders
		synctest.Wait()
		before := counted.writes.Load()
		for range 100 {
			if _, err := s.Send(t.Context(), Outgoing{Payload: [][]byte{make([]byte, 300)}}); err != nil {
				t.Fatal(err)
			}
		}
		for range 100 {
			expect[transferFrame](p)
		}
		if n := counted.writes.Load() - before; n > 3 {
			t.Errorf("100 transfers took %d writes", n)
		}
	})
}

// A handler that settles nothing stops the reading of the connection, not its memory.
func TestHeldDeliveriesStopReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := make(chan *Delivery, 100)
		nc, _ := serve(t, Config{}, &testHandler{transfer: func(_ *Receiver, d *Delivery) { got <- d }})
		p := newPeer(t, nc)
		p.begin()
		p.attachSender(0)
		const size = 60_000
		go func() {
			for id := range uint32(90) {
				if _, err := nc.Write(frameOf(0, 0, append(message(id).append(nil), make([]byte, size)...))); err != nil {
					return
				}
			}
		}()
		synctest.Wait()
		if n := len(got); n != maxHeld/size+1 {
			t.Errorf("%d deliveries of %d bytes arrived, want %d", n, size, maxHeld/size+1)
		}
		go func() { // or the outcomes would fill the pipe
			for {
				if _, err := p.in.next(maxMaxFrame); err != nil {
					return
				}
			}
		}()
		for range 90 {
			(<-got).Settle(Accepted{})
		}
		_ = nc.Close()
	})
}

// Unfinished messages are bounded over all links together.
func TestPartialMessagesAreBounded(t *testing.T) {
	const bound = maxPartials * 1_000_000
	nc, _ := serveTCP(t, Config{MaxMessageSize: 1_000_000}, &testHandler{})
	p := newPeer(t, nc)
	p.deadline()
	p.begin()
	chunk := bytes.Repeat([]byte{1}, 60_000)
	total := 0
	for handle := uint32(0); ; handle++ {
		p.attachSender(handle)
		f := message(handle)
		f.Handle, f.More = handle, true
		for range 16 {
			p.send(0, f, chunk...)
			total += len(chunk)
		}
		p.send(0, &flowFrame{IncomingWindow: 1, OutgoingWindow: 1, Echo: true})
		_, body, _ := p.read()
		if d, ok := body.(*detachFrame); ok {
			if condition(d.Error) != CondResourceLimitExceeded || total < bound {
				t.Errorf("after %d bytes: detach with %v", total, d.Error)
			}
			return
		}
		if total > 2*bound {
			t.Fatalf("%d bytes of unfinished messages were taken", total)
		}
	}
}

func TestLinkTellsThePeersWish(t *testing.T) {
	links := make(chan Link, 1)
	conns := make(chan *Conn, 1)
	nc, _ := serveTCP(t, Config{}, &testHandler{
		open:   func(c *Conn) *Error { c.SetValue("conn"); conns <- c; return nil },
		attach: func(l Link) { l.SetValue(7); links <- l },
	})
	p := newPeer(t, nc)
	p.deadline()
	p.begin()
	p.send(0, &attachFrame{Name: "l", Role: roleReceiver, SndSettleMode: Some(uint8(1)), RcvSettleMode: Some(uint8(1)),
		Source: &Source{Address: "a", Filter: Map{{Symbol("f"), Described{Symbol("f"), "x"}}}}, Target: &Target{Address: "b"},
		DesiredCapabilities: []Symbol{"c"}, Properties: Map{{Symbol("com.microsoft:epoch"), int64(0)}}})
	l, c := <-links, <-conns
	if l.Name() != "l" || l.Address() != "a" || l.Target().Address != "b" || l.SenderSettleMode() != SenderSettled ||
		l.ReceiverSettleMode() != ReceiverSecond || l.Value() != 7 || l.Conn() != c || l.Session().Conn() != c || c.Value() != "conn" ||
		len(l.DesiredCapabilities()) != 1 || c.NetConn() == nil {
		t.Errorf("link %+v", l)
	}
	if v, _ := l.Properties().Get("com.microsoft:epoch"); v != int64(0) {
		t.Errorf("epoch = %#v, want int64 0", v)
	}
	if err := l.Accept(Accept{OfferedCapabilities: []Symbol{"c"}, Source: &Source{Address: "other"}, Target: &Target{Address: "t"}, Properties: Map{{Symbol("p"), true}}}); err != nil {
		t.Fatal(err)
	}
	a := expect[attachFrame](p)
	if a.Source.Address != "other" || a.Target.Address != "t" || len(a.OfferedCapabilities) != 1 || len(a.Properties) != 1 || a.Name != "l" {
		t.Errorf("attach answered by %+v", a)
	}
	if err := l.Accept(Accept{}); !errors.Is(err, errAccepted) {
		t.Errorf("a second Accept = %v, want %v", err, errAccepted)
	}
}

// Everything at once, for the race detector: senders of all kinds, settlements and detaches from other
// goroutines, and a Close in the middle. All goroutines end, and every link is told.
func TestConcurrentUse(t *testing.T) {
	var wg sync.WaitGroup
	conns := make(chan *Conn, 1)
	deliveries := make(chan *Delivery, 1000)
	h := &testHandler{
		open: func(c *Conn) *Error { conns <- c; return nil },
		attach: func(l Link) {
			wg.Go(func() {
				if err := l.Accept(Accept{Credit: 1000}); err != nil {
					return
				}
				s, ok := l.(*Sender)
				if !ok {
					return
				}
				for i := range 400 {
					o := Outgoing{Payload: [][]byte{make([]byte, 10*i)}, Settled: i%2 == 0}
					if _, err := s.Send(t.Context(), o); err != nil {
						return
					}
					_, _ = s.TrySend(o)
					_ = s.Credit()
					s.Drained()
				}
				s.Detach(nil)
			})
		},
		transfer:    func(_ *Receiver, d *Delivery) { deliveries <- d },
		disposition: func(s *Sender, o Outcome) { go s.Settle(o.ID, o.State) },
	}
	nc, result := serveTCP(t, Config{MaxUnsettled: 50}, h)
	p := newPeer(t, nc)
	p.begin()
	go discard(nc)
	for handle := range uint32(6) {
		p.send(0, &attachFrame{Name: "out", Handle: handle, Role: roleReceiver, Source: &Source{Address: "a"}})
		p.credit(handle, 0, 1<<20)
	}
	p.send(0, &attachFrame{Name: "in", Handle: 6, Role: roleSender, Target: &Target{Address: "a"}})
	wg.Go(func() {
		for d := range deliveries {
			d.Settle(Released{})
		}
	})
	for id := range uint32(300) {
		f := message(id)
		f.Handle = 6
		p.send(0, f, make([]byte, 100)...)
		p.send(0, &dispositionFrame{Role: roleReceiver, First: 0, Last: 10 * id, Settled: id%2 == 0, State: Accepted{}})
		if id == 250 {
			(<-conns).Close(nil)
		}
	}
	p.send(0, &closeFrame{})
	if err := result(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve = %v, want net.ErrClosed after Close(nil)", err)
	}
	close(deliveries)
	wg.Wait()
	if len(h.live) != 0 {
		t.Errorf("%d links were not told of the end", len(h.live))
	}
}
