package amqp

import (
	"errors"
	"fmt"
)

// Errors of links.
var (
	// ErrLinkClosed is wrapped by calls on a link that is detached or whose session or connection has ended.
	ErrLinkClosed = errors.New("link is closed")
	// ErrBlocked says that a delivery cannot be sent now without waiting.
	ErrBlocked = errors.New("no credit or room to send now")

	errAccepted = errors.New("link is accepted already")
)

// Link is a *Sender or a *Receiver. Its methods are safe for concurrent use.
type Link interface {
	// Name is the name the peer chose. It need not be unique, not even within a connection.
	Name() string
	// Conn and Session tell where the link lives; sessions can be compared.
	Conn() *Conn
	Session() *Session
	// Source and Target are as the peer sent them, and must not be changed; either may be nil.
	Source() *Source
	Target() *Target
	// Address is that of our end: a Sender's source, a Receiver's target; "" when there is none.
	Address() string
	// Properties and DesiredCapabilities are the peer's, and must not be changed.
	Properties() Map
	DesiredCapabilities() []Symbol
	// SenderSettleMode and ReceiverSettleMode are the peer's wish, which is always granted.
	SenderSettleMode() SenderSettleMode
	ReceiverSettleMode() ReceiverSettleMode

	// Accept answers the peer's attach. It fails with ErrLinkClosed when the link has ended meanwhile.
	Accept(a Accept) error
	// Reject answers the peer's attach with a refusal: an attach without the terminus of our end and a
	// detach with the error. No other call for the link follows, OnDetach included.
	Reject(err *Error)
	// Detach closes the link; err may be nil. It returns at once, and OnDetach follows when the peer has
	// answered. On a link not yet accepted it is Reject, on one that has ended it does nothing.
	Detach(err *Error)

	// SetValue keeps a value of the handler's with the link, which Value returns. Set it before Accept.
	SetValue(v any)
	Value() any

	base() *link
}

// Accept is the answer to an attach.
type Accept struct {
	Properties          Map // symbol keys; nil sends none
	OfferedCapabilities []Symbol
	Source              *Source // nil echoes the peer's
	Target              *Target // nil echoes the peer's

	// Credit is, for a Receiver, how many deliveries may be unsettled by the handler at once; the peer
	// gets new credit as deliveries are settled. Default 100.
	Credit uint32
}

const defaultCredit = 100

type linkState uint8

const (
	linkPending   linkState = iota // offered to the handler, not answered
	linkAttached                   // both ends are attached
	linkDetaching                  // we have sent detach, the peer has not
	linkEnded                      // nothing is sent or expected any more
)

// link is what Sender and Receiver have in common.
type link struct {
	session *Session
	attach  attachFrame // the peer's
	value   any
	self    Link
	size    int // of the attach frame, counted in conn.attachBytes

	// Guarded by conn.mu.
	state linkState
	cause error // why it ended, if for a reason
	told  bool  // OnDetach has been called, or must not be
}

func (l *link) base() *link                   { return l }
func (l *link) Name() string                  { return l.attach.Name }
func (l *link) Conn() *Conn                   { return l.session.conn }
func (l *link) Session() *Session             { return l.session }
func (l *link) Source() *Source               { return l.attach.Source }
func (l *link) Target() *Target               { return l.attach.Target }
func (l *link) Properties() Map               { return l.attach.Properties }
func (l *link) DesiredCapabilities() []Symbol { return l.attach.DesiredCapabilities }
func (l *link) SetValue(v any)                { l.value = v }
func (l *link) Value() any                    { return l.value }

func (l *link) SenderSettleMode() SenderSettleMode {
	return SenderSettleMode(l.attach.SndSettleMode.Or(uint8(SenderMixed)))
}

func (l *link) ReceiverSettleMode() ReceiverSettleMode {
	return ReceiverSettleMode(l.attach.RcvSettleMode.Or(uint8(ReceiverFirst)))
}

func (l *link) Address() string {
	switch {
	case l.attach.Role == roleReceiver && l.attach.Source != nil:
		return l.attach.Source.Address
	case l.attach.Role == roleSender && l.attach.Target != nil:
		return l.attach.Target.Address
	}
	return ""
}

func (l *link) closedError() error {
	if l.cause != nil {
		return fmt.Errorf("%w: %w", ErrLinkClosed, l.cause)
	}
	return ErrLinkClosed
}

func (l *link) Accept(a Accept) error {
	c := l.session.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case l.state == linkAttached:
		return errAccepted
	case l.state != linkPending || l.session.ended || c.phase != phaseOpen:
		return l.closedError()
	}
	reply := l.reply()
	reply.Properties, reply.OfferedCapabilities = a.Properties, a.OfferedCapabilities
	if a.Source != nil {
		reply.Source = a.Source
	}
	if a.Target != nil {
		reply.Target = a.Target
	}
	if err := c.appendAttach(l.session.channel, &reply); err != nil {
		l.refuse(Errorf(CondFrameSizeTooSmall, "the answer to attach does not fit: %v", err))
		return l.closedError()
	}
	l.state = linkAttached
	if r, ok := l.self.(*Receiver); ok {
		r.window = a.Credit
		if r.window == 0 {
			r.window = defaultCredit
		}
		r.refill()
	}
	c.kick()
	return nil
}

// reply is the answer to the peer's attach, as an echo of it.
func (l *link) reply() attachFrame {
	reply := attachFrame{
		Name:          l.attach.Name,
		Handle:        l.attach.Handle,
		Role:          !l.attach.Role,
		SndSettleMode: l.attach.SndSettleMode,
		RcvSettleMode: l.attach.RcvSettleMode,
		Source:        l.attach.Source,
		Target:        l.attach.Target,
	}
	if reply.Role == roleSender {
		reply.InitialDeliveryCount = Some(uint32(0))
	} else {
		reply.MaxMessageSize = uint64(l.session.conn.cfg.MaxMessageSize)
	}
	return reply
}

func (l *link) Reject(err *Error) { l.Detach(err) }

func (l *link) Detach(err *Error) {
	c := l.session.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	l.detach(err)
}

// detach is Detach with conn.mu held.
func (l *link) detach(err *Error) {
	c := l.session.conn
	if c.phase != phaseOpen || l.session.ended {
		return
	}
	switch l.state {
	case linkPending:
		l.told = true
		l.refuse(err)
		if c.phase == phaseOpen {
			l.session.links[l.attach.Handle] = nil // the handle stays taken until the peer detaches, the link goes
		}
	case linkAttached:
		c.flushDispositions()
		c.append(l.session.channel, (&detachFrame{Handle: l.attach.Handle, Closed: true, Error: c.fit(err)}).append)
		l.end(linkDetaching, err)
	}
	c.kick()
}

// refuse answers an attach with one that lacks our terminus, and detaches. AMQP 2.6.3.
func (l *link) refuse(err *Error) {
	c := l.session.conn
	reply := l.reply()
	if reply.Role == roleSender {
		reply.Source = nil
	} else {
		reply.Target = nil
	}
	if e := c.appendAttach(l.session.channel, &reply); e != nil {
		reply.Source, reply.Target = nil, nil
		if e := c.appendAttach(l.session.channel, &reply); e != nil {
			c.closeLocked(Errorf(CondFrameSizeTooSmall, "the answer to attach does not fit: %v", e))
			return
		}
	}
	// Programs on rhea look for the error after they have been told of the attach, and miss it when both come at once.
	c.cut()
	c.append(l.session.channel, (&detachFrame{Handle: l.attach.Handle, Closed: true, Error: c.fit(err)}).append)
	l.end(linkDetaching, err)
	c.kick()
}

// end moves the link to a state in which it can no longer be used, and wakes who waits on it.
// err is a typed *Error so that nil means no reason.
func (l *link) end(state linkState, err *Error) {
	if err != nil {
		l.endWith(state, err)
		return
	}
	l.endWith(state, nil)
}

func (l *link) endWith(state linkState, cause error) {
	if l.state < linkDetaching {
		l.session.conn.attachBytes -= l.size
		if l.cause == nil {
			l.cause = cause
		}
	}
	l.state = max(l.state, state)
	switch self := l.self.(type) {
	case *Sender:
		self.forget()
	case *Receiver:
		self.forget()
	}
}
