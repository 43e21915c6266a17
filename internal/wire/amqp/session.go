package amqp

import (
	"cmp"
	"slices"
)

// outgoingWindow is what we say of our own window. We only send what the peer's window allows, and
// promise no less.
const outgoingWindow = 1 << 16

// Session is a session of a connection; to the handler it is only something to compare.
type Session struct {
	conn    *Conn
	channel uint16 // ours and the peer's

	peerHandleMax uint32

	// Guarded by conn.mu.
	ended          bool   // we have sent end
	nextIncomingID uint32 // of the next transfer frame we expect
	incomingLimit  uint32 // the first id that the window we granted does not cover
	nextOutgoingID uint32 // of the next transfer frame we send
	remoteWindow   uint32 // transfer frames the peer still takes
	nextDeliveryID uint32
	used           uint32          // handles below it have been attached at some time
	links          map[uint32]Link // by handle, ours and the peer's; nil is one we have refused and the peer not yet detached
	unsettled      map[uint32]sent // by delivery-id: sent by us, not yet settled
	pending        dispositionFrame
	hasPending     bool
}

// sent is a delivery the peer may tell an outcome of.
type sent struct {
	sender *Sender
	tag    string
	told   bool // the handler knows the outcome, the peer waits for it to settle
}

func newSession(c *Conn, channel uint16, f *beginFrame) *Session {
	return &Session{
		conn:           c,
		channel:        channel,
		peerHandleMax:  f.HandleMax,
		nextIncomingID: f.NextOutgoingID,
		incomingLimit:  f.NextOutgoingID + incomingWindow,
		remoteWindow:   f.IncomingWindow,
		links:          make(map[uint32]Link),
	}
}

// Conn is the session's connection.
func (s *Session) Conn() *Conn { return s.conn }

func (s *Session) isEnded() bool {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	return s.ended
}

// dispatch acts on a frame of the session. A frame that is not well-formed ends the session.
func (s *Session) dispatch(code uint64, d *decoder, f *frame) error {
	if code == descEnd {
		return s.peerEnd(d)
	}
	if s.isEnded() {
		return nil // it crossed with our end
	}
	switch code {
	case descAttach:
		var p attachFrame
		if err := readPerformative(d, &p); err != nil {
			s.fail(Errorf(CondDecodeError, "%v", err))
			return nil
		}
		s.attach(&p, f.size)
	case descFlow:
		var p flowFrame
		if err := readFlow(d, &p); err != nil {
			s.fail(Errorf(CondDecodeError, "%v", err))
			return nil
		}
		s.flow(&p)
	case descTransfer:
		var p transferFrame
		if err := readTransfer(d, &p); err != nil {
			s.fail(Errorf(CondDecodeError, "%v", err))
			return nil
		}
		s.transfer(&p, f.body[d.off:])
	case descDisposition:
		var p dispositionFrame
		if err := readPerformative(d, &p); err != nil {
			s.fail(Errorf(CondDecodeError, "%v", err))
			return nil
		}
		s.disposition(&p)
	case descDetach:
		var p detachFrame
		if err := readPerformative(d, &p); err != nil {
			s.fail(Errorf(CondDecodeError, "%v", err))
			return nil
		}
		s.peerDetach(&p)
	}
	return nil
}

// readFlow and readTransfer are readPerformative without its detour through an interface, which would
// cost an allocation a message.
func readFlow(d *decoder, p *flowFrame) error {
	r := d.openFields()
	p.read(&r)
	return r.close()
}

func readTransfer(d *decoder, p *transferFrame) error {
	r := d.openFields()
	p.read(&r)
	return r.close()
}

// peerEnd is the peer's end: the answer if it came first. AMQP 2.5.4.
func (s *Session) peerEnd(d *decoder) error {
	var f endFrame
	if err := readPerformative(d, &f); err != nil {
		return Errorf(CondDecodeError, "%v", err)
	}
	c := s.conn
	var cause error = ErrLinkClosed
	if f.Error != nil {
		cause = f.Error
	}
	c.mu.Lock()
	if !s.ended {
		c.flushDispositions()
		c.append(s.channel, (&endFrame{}).append)
		s.ended = true
		s.endLinks(cause)
		c.kick()
	}
	delete(c.sessions, s.channel)
	c.links -= len(s.links)
	c.mu.Unlock()
	s.tellLinks(cause)
	return nil
}

// fail ends the session because of a violation by the peer.
func (s *Session) fail(err *Error) {
	c := s.conn
	c.mu.Lock()
	if s.ended || c.phase != phaseOpen {
		c.mu.Unlock()
		return
	}
	c.flushDispositions()
	c.append(s.channel, (&endFrame{Error: c.fit(err)}).append)
	s.ended = true
	s.endLinks(err)
	c.kick()
	c.mu.Unlock()
	s.tellLinks(err)
}

// endLinks makes the links unusable; conn.mu is held.
func (s *Session) endLinks(cause error) {
	if n := len(s.unsettled); n > 0 {
		s.conn.unsettled -= n
		s.unsettled = nil
		s.conn.wakeBlocked()
	}
	for _, l := range s.links {
		if l != nil {
			l.base().endWith(linkEnded, cause)
		}
	}
}

// tellLinks calls OnDetach for the links whose end the handler does not know. Only the reader calls it.
func (s *Session) tellLinks(cause error) {
	s.conn.mu.Lock()
	all := make([]Link, 0, len(s.links))
	for _, l := range s.links {
		if l != nil {
			all = append(all, l)
		}
	}
	s.conn.mu.Unlock()
	slices.SortFunc(all, func(a, b Link) int { return cmp.Compare(a.base().attach.Handle, b.base().attach.Handle) })
	for _, l := range all {
		s.tell(l, cause)
	}
}

// tell calls OnDetach once. The reason that ended the link itself comes before a later one.
func (s *Session) tell(l Link, cause error) {
	s.conn.mu.Lock()
	b := l.base()
	told := b.told
	b.told = true
	if b.cause != nil {
		cause = b.cause
	}
	s.conn.mu.Unlock()
	if !told {
		s.conn.handler.OnDetach(l, cause)
	}
}

// attach offers a link to the handler. AMQP 2.6.3.
func (s *Session) attach(f *attachFrame, size int) {
	c := s.conn
	c.mu.Lock()
	_, taken := s.links[f.Handle]
	switch {
	case c.phase != phaseOpen:
		c.mu.Unlock()
		return
	case taken:
		c.mu.Unlock()
		s.fail(Errorf(CondHandleInUse, "handle %d is in use", f.Handle))
		return
	case f.Handle >= size32(c.cfg.MaxLinks):
		c.mu.Unlock()
		s.fail(Errorf(CondNotAllowed, "handle %d, handle-max is %d", f.Handle, c.cfg.MaxLinks-1))
		return
	case f.Handle > s.peerHandleMax:
		c.mu.Unlock()
		s.fail(Errorf(CondNotAllowed, "handle %d is above the peer's own handle-max %d", f.Handle, s.peerHandleMax))
		return
	case c.links >= c.cfg.MaxLinks:
		c.mu.Unlock()
		s.fail(Errorf(CondResourceLimitExceeded, "more than %d links on a connection", c.cfg.MaxLinks))
		return
	}
	base := link{session: s, attach: *f, size: size}
	base.attach.Unsettled = nil
	var l Link
	if f.Role == roleReceiver {
		sender := &Sender{link: base, wake: make(chan struct{}, 1), turn: make(chan struct{}, 1)}
		sender.self, l = sender, sender
	} else {
		receiver := &Receiver{link: base, deliveryCount: f.InitialDeliveryCount.Or(0)}
		receiver.self, l = receiver, receiver
	}
	s.links[f.Handle] = l
	s.used = max(s.used, f.Handle+1)
	c.links++
	c.attachBytes += size
	var refusal *Error
	switch {
	case size > maxAttachFrame || c.attachBytes > maxAttachTotal:
		refusal = Errorf(CondResourceLimitExceeded, "attach of %d bytes", size)
	case f.Coordinator:
		refusal = Errorf(CondNotImplemented, "transactions are not supported")
	}
	c.mu.Unlock()
	if refusal != nil {
		l.Reject(refusal)
		return
	}
	c.handler.OnAttach(l)
}

// link returns the link of a handle. ok is false when the frame is to be ignored, or the session has
// been failed because the handle is not attached.
func (s *Session) link(handle uint32) (l Link, ok bool) {
	s.conn.mu.Lock()
	l, known := s.links[handle]
	ok = l != nil && l.base().state <= linkAttached
	s.conn.mu.Unlock()
	if !known {
		s.fail(Errorf(CondUnattachedHandle, "handle %d is not attached", handle))
	}
	return l, ok
}

// flow updates the session's window and, if it names one, a link. AMQP 2.5.6, 2.6.7.
func (s *Session) flow(f *flowFrame) {
	c := s.conn
	c.mu.Lock()
	wasShut := s.remoteWindow == 0
	// What the peer had not seen when it sent this is still to be taken from its window.
	window := int64(f.IncomingWindow) - int64(int32(s.nextOutgoingID-f.NextIncomingID.Or(0)))
	s.remoteWindow = uint32(min(max(window, 0), 1<<32-1))
	if wasShut && s.remoteWindow > 0 {
		for _, l := range s.links {
			if sender, ok := l.(*Sender); ok {
				sender.signal()
			}
		}
	}
	if !f.Handle.Set {
		if f.Echo {
			c.append(s.channel, s.flowState().append)
			c.kick()
		}
		c.mu.Unlock()
		return
	}
	_, attached := s.links[f.Handle.Value]
	late := !attached && f.Handle.Value < s.used
	c.mu.Unlock()
	if late {
		return // the Event Hubs client for Go may send a flow for a link that it has just detached
	}
	l, ok := s.link(f.Handle.Value)
	if !ok {
		return
	}
	switch l := l.(type) {
	case *Sender:
		l.flow(f)
		c.handler.OnFlow(l)
	case *Receiver:
		l.flow(f)
	}
}

// flowState is a flow of the session alone; conn.mu is held. The peer's window is full again once it has it.
func (s *Session) flowState() *flowFrame {
	s.incomingLimit = s.nextIncomingID + incomingWindow
	return &flowFrame{
		NextIncomingID: Some(s.nextIncomingID),
		IncomingWindow: incomingWindow,
		NextOutgoingID: s.nextOutgoingID,
		OutgoingWindow: outgoingWindow,
	}
}

// transfer counts a transfer frame against the window, and gives it to its link. AMQP 2.5.6.
func (s *Session) transfer(f *transferFrame, payload []byte) {
	c := s.conn
	c.mu.Lock()
	s.nextIncomingID++
	// Renewed at half as frames are read, the window cannot run out, so that there is no violation to
	// look for: what slows a peer down is credit, and a connection that is not read.
	if s.incomingLimit-s.nextIncomingID <= incomingWindow/2 {
		c.append(s.channel, s.flowState().append)
		c.kick()
	}
	c.mu.Unlock()
	l, ok := s.link(f.Handle)
	if !ok {
		return
	}
	r, ok := l.(*Receiver)
	if !ok {
		s.fail(Errorf(CondNotAllowed, "transfer to handle %d, whose sender is the other end", f.Handle))
		return
	}
	switch d, violation := r.transfer(f, payload); {
	case violation != nil:
		s.tell(r, violation)
	case d != nil:
		c.handler.OnTransfer(r, d)
	}
}

// disposition gives the outcomes of a range of our deliveries to the handler. AMQP 2.7.6.
func (s *Session) disposition(f *dispositionFrame) {
	if f.Role == roleSender {
		return // the peer settles what it has sent: we keep nothing about that
	}
	c := s.conn
	type outcome struct {
		sender *Sender
		Outcome
	}
	var told []outcome
	c.mu.Lock()
	_, final := f.State.(Received)
	final = !final && (f.State != nil || f.Settled)
	for _, id := range s.covered(f.First, f.Last) {
		d := s.unsettled[id]
		if final && !d.told {
			told = append(told, outcome{d.sender, Outcome{ID: id, Tag: []byte(d.tag), State: f.State, Settled: f.Settled}})
			d.told = true
			s.unsettled[id] = d
		}
		if f.Settled {
			s.settled(id)
		}
	}
	c.mu.Unlock()
	for _, o := range told {
		c.handler.OnDisposition(o.sender, o.Outcome)
	}
}

// covered returns the unsettled deliveries from first to last, in order. The range may be any; the work
// is bounded by what is unsettled.
func (s *Session) covered(first, last uint32) []uint32 {
	span := last - first
	if int32(span) < 0 {
		return nil
	}
	var ids []uint32
	if int(span) < len(s.unsettled) {
		for id := first; ; id++ {
			if _, ok := s.unsettled[id]; ok {
				ids = append(ids, id)
			}
			if id == last {
				return ids
			}
		}
	}
	for id := range s.unsettled {
		if id-first <= span {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b uint32) int { return cmp.Compare(a-first, b-first) })
	return ids
}

// settled forgets a delivery; conn.mu is held.
func (s *Session) settled(id uint32) {
	if _, ok := s.unsettled[id]; !ok {
		return
	}
	delete(s.unsettled, id)
	if s.conn.unsettled == s.conn.cfg.MaxUnsettled {
		s.conn.wakeBlocked()
	}
	s.conn.unsettled--
}

// peerDetach is the peer's detach: the answer if it came first. AMQP 2.6.4.
func (s *Session) peerDetach(f *detachFrame) {
	c := s.conn
	c.mu.Lock()
	l, known := s.links[f.Handle]
	if !known {
		c.mu.Unlock()
		s.fail(Errorf(CondUnattachedHandle, "handle %d is not attached", f.Handle))
		return
	}
	if l != nil {
		b := l.base()
		if b.state == linkPending { // the handler has not answered: the attach must be, before the detach
			reply := b.reply()
			reply.Source, reply.Target = nil, nil
			_ = c.appendAttach(s.channel, &reply) // without termini it always fits
		}
		if b.state <= linkAttached {
			c.flushDispositions()
			c.append(s.channel, (&detachFrame{Handle: f.Handle, Closed: f.Closed}).append)
		}
		b.end(linkEnded, f.Error)
		c.kick()
	}
	delete(s.links, f.Handle)
	c.links--
	c.mu.Unlock()
	if l != nil {
		s.tell(l, nil)
	}
}
