package amqp

import (
	"context"
	"encoding/binary"
	"fmt"
)

// Sender is a link on which we send and the peer receives. It is safe for concurrent use; deliveries
// leave in the order in which Send and TrySend are called.
type Sender struct {
	link

	turn chan struct{} // held while a delivery is being sent, so that frames of two do not mix
	wake chan struct{} // something a waiting Send waits for may have changed

	// Guarded by conn.mu.
	deliveryCount uint32
	credit        uint32
	draining      bool
	blocked       bool // it is in conn.blocked
}

// Outgoing is a delivery to send.
type Outgoing struct {
	Tag     []byte   // at most 32 bytes, unique among the unsettled ones; nil makes one from the delivery-id
	Format  uint32   // message-format; 0 is the standard one
	Payload [][]byte // the message, in any number of pieces; only read while Send runs
	// Settled sends it settled, without an outcome to come. The peer's settle mode goes first: a link of
	// mode settled sends everything settled, one of mode unsettled nothing.
	Settled bool
}

// transferOverhead is more than the frame header and performative of any transfer we send.
const transferOverhead = 8 + 12 + 5 + 5 + 2 + maxTag + 5 + 8

// Send sends a delivery, in as many frames as the peer's frame size asks for, and returns its
// delivery-id. It waits for credit, for the peer's session window and for room in the connection's
// outbox, and returns when all frames are in the outbox. ctx ends the wait only until the first frame
// is there: what has begun ends with the link at the latest. It fails with ErrLinkClosed or ctx.Err().
func (s *Sender) Send(ctx context.Context, o Outgoing) (id uint32, err error) {
	if len(o.Tag) > maxTag {
		return 0, fmt.Errorf("send: delivery tag of %d bytes", len(o.Tag))
	}
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	defer func() { <-s.turn }()
	c := s.session.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		if s.state >= linkDetaching {
			return 0, s.closedError()
		}
		if s.ready() {
			break
		}
		if err := s.wait(ctx); err != nil {
			return 0, err
		}
	}
	t := s.start(&o)
	id = t.DeliveryID.Value
	rest := payload{pieces: o.Payload}
	for s.frame(&t, &rest) {
		for s.state == linkAttached && (s.session.remoteWindow == 0 || !s.roomy(true)) {
			_ = s.wait(context.Background()) // which never ends
		}
		if s.state != linkAttached {
			return id, s.closedError()
		}
	}
	s.reportDrain()
	return id, nil
}

// TrySend is Send for those who must not wait: it sends the whole delivery now or fails with ErrBlocked.
func (s *Sender) TrySend(o Outgoing) (id uint32, err error) {
	if len(o.Tag) > maxTag {
		return 0, fmt.Errorf("send: delivery tag of %d bytes", len(o.Tag))
	}
	select {
	case s.turn <- struct{}{}:
	default:
		return 0, ErrBlocked
	}
	defer func() { <-s.turn }()
	c := s.session.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.state >= linkDetaching {
		return 0, s.closedError()
	}
	size := 0
	for _, p := range o.Payload {
		size += len(p)
	}
	if !s.ready() || int64(size/(c.peerMaxFrame-transferOverhead)) >= int64(s.session.remoteWindow) {
		return 0, ErrBlocked
	}
	t := s.start(&o)
	rest := payload{pieces: o.Payload}
	for s.frame(&t, &rest) {
	}
	s.reportDrain()
	return t.DeliveryID.Value, nil
}

// reportDrain tells a peer that waits for the end of its credit that the delivery just sent was it. AMQP 2.6.7.
func (s *Sender) reportDrain() {
	if s.draining && s.credit == 0 && s.state == linkAttached {
		s.report()
	}
}

// Credit is how many deliveries the peer takes now; 0 on a link that is closed.
func (s *Sender) Credit() uint32 {
	c := s.session.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.state != linkAttached {
		return 0
	}
	return s.credit
}

// Draining says whether the peer waits for its credit to be used up.
func (s *Sender) Draining() bool {
	c := s.session.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	return s.draining && s.credit > 0
}

// Drained says that there is nothing to send now: if the peer asked for a drain, what is left of its
// credit is used up. Otherwise it does nothing. AMQP 2.6.7.
func (s *Sender) Drained() {
	c := s.session.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.state != linkAttached || !s.draining || s.credit == 0 {
		return
	}
	s.deliveryCount += s.credit
	s.credit = 0
	s.report()
}

// Settle settles a delivery whose outcome came unsettled (receiver settle mode second), telling the
// peer the state, usually the outcome's own. It does nothing when the delivery is settled already or
// its link has ended.
func (s *Sender) Settle(id uint32, state State) {
	c := s.session.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if d, ok := s.session.unsettled[id]; !ok || d.sender != s {
		return
	}
	s.session.settled(id)
	s.session.dispose(roleSender, id, true, state)
	c.kick()
}

// ready says whether a delivery may begin; conn.mu is held here and below.
func (s *Sender) ready() bool {
	return s.state == linkAttached && s.credit > 0 && s.session.remoteWindow > 0 && s.roomy(false)
}

// roomy says whether the connection has room for another frame, and if not, sees to being woken. A delivery that has
// begun is not held back by those that are not settled: it is one of them.
func (s *Sender) roomy(begun bool) bool {
	c := s.session.conn
	if !c.full() && (begun || c.unsettled < c.cfg.MaxUnsettled) {
		return true
	}
	if !s.blocked {
		s.blocked = true
		c.blocked = append(c.blocked, s)
	}
	return false
}

// wait lets go of conn.mu until signal is called or ctx ends.
func (s *Sender) wait(ctx context.Context) error {
	c := s.session.conn
	c.kick()
	c.mu.Unlock()
	defer c.mu.Lock()
	select {
	case <-s.wake:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Sender) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// start takes credit and a delivery-id for a delivery, and returns its first transfer.
func (s *Sender) start(o *Outgoing) transferFrame {
	// An answer must not overtake the outcome of its request: the uAMQP library, which the C and Python SDKs use, takes
	// it for a failure then, whatever it says.
	s.session.conn.flushDispositions()
	id := s.session.nextDeliveryID
	s.session.nextDeliveryID++
	s.credit--
	s.deliveryCount++
	settled := o.Settled
	switch s.SenderSettleMode() {
	case SenderSettled:
		settled = true
	case SenderUnsettled:
		settled = false
	}
	t := transferFrame{
		Handle:        s.attach.Handle,
		DeliveryID:    Some(id),
		DeliveryTag:   o.Tag,
		MessageFormat: Some(o.Format),
		Settled:       Some(settled),
	}
	if t.DeliveryTag == nil {
		t.DeliveryTag = binary.BigEndian.AppendUint32(nil, id)
	}
	if !settled {
		if s.session.unsettled == nil {
			s.session.unsettled = make(map[uint32]sent)
		}
		s.session.unsettled[id] = sent{sender: s, tag: string(t.DeliveryTag)}
		s.session.conn.unsettled++
	}
	return t
}

// payload is what is left of a message.
type payload struct {
	pieces [][]byte
	used   int // of the first piece
}

func (p *payload) size() int {
	n := -p.used
	for _, piece := range p.pieces {
		n += len(piece)
	}
	return n
}

// appendTo appends up to n bytes.
func (p *payload) appendTo(dst []byte, n int) []byte {
	for n > 0 && len(p.pieces) > 0 {
		piece := p.pieces[0][p.used:]
		if len(piece) > n {
			p.used += n
			return append(dst, piece[:n]...)
		}
		dst = append(dst, piece...)
		n -= len(piece)
		p.pieces, p.used = p.pieces[1:], 0
	}
	return dst
}

// frame appends one transfer with as much of rest as fits, and makes t the one that follows it. It
// says whether there is more to come.
func (s *Sender) frame(t *transferFrame, rest *payload) (more bool) {
	c := s.session.conn
	if !c.writable() {
		return false
	}
	s.session.remoteWindow--
	s.session.nextOutgoingID++
	start, left := len(c.out), rest.size()
	out := t.append(startFrame(c.out, frameAMQP, s.session.channel))
	if len(out)-start+left > c.peerMaxFrame {
		more = true
		t.More = true
		out = t.append(startFrame(c.out, frameAMQP, s.session.channel))
		left = c.peerMaxFrame - (len(out) - start)
	}
	c.out = finishFrame(rest.appendTo(out, left), start)
	c.kick()
	*t = transferFrame{Handle: t.Handle, Settled: t.Settled}
	return more
}

// flow takes over the peer's credit. AMQP 2.6.7.
func (s *Sender) flow(f *flowFrame) {
	c := s.session.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.LinkCredit.Set {
		s.credit = f.DeliveryCount.Or(0) + f.LinkCredit.Value - s.deliveryCount
		if int32(s.credit) < 0 && f.LinkCredit.Value <= 1<<31-1 {
			s.credit = 0 // more has been sent meanwhile than the new limit allows
		}
	}
	s.draining = f.Drain
	if s.state == linkAttached && (f.Echo || s.draining && s.credit == 0) {
		s.report()
	}
	s.signal()
}

// report sends the peer the link's state.
func (s *Sender) report() {
	f := s.session.flowState()
	f.Handle = Some(s.attach.Handle)
	f.DeliveryCount = Some(s.deliveryCount)
	f.LinkCredit = Some(s.credit)
	f.Available = Some(uint32(0))
	f.Drain = s.draining
	s.session.conn.append(s.session.channel, f.append)
	s.session.conn.kick()
}

// forget drops what the session keeps for a link that has ended.
func (s *Sender) forget() {
	for id, d := range s.session.unsettled {
		if d.sender == s {
			s.session.settled(id)
		}
	}
	s.credit = 0
	s.signal()
}
