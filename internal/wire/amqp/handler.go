package amqp

// Handler decides what a connection is for. Its methods run one at a time, on the goroutine that reads
// the connection, and must not block: while one runs nothing else is read. They hold no lock, so that
// they may call any method of Conn, Sender, Receiver and Delivery except Sender.Send, which can wait.
type Handler interface {
	// OnOpen is called once, when the peer has sent OPEN. An error refuses the connection: OPEN is
	// answered, CLOSE with the error follows, and OnClose is not called.
	OnOpen(c *Conn) *Error

	// OnAttach is called for every link that the peer wants: a *Sender when the peer is going to receive,
	// a *Receiver when it is going to send. Answer with l.Accept or l.Reject, during the call or later,
	// from any goroutine.
	OnAttach(l Link)

	// OnTransfer is called for every message that has arrived completely. The delivery and its bytes belong
	// to the handler, which calls d.Settle exactly once, during the call or later, from any goroutine.
	OnTransfer(r *Receiver, d *Delivery)

	// OnDisposition is called once for every unsettled delivery whose outcome the peer has told.
	OnDisposition(s *Sender, o Outcome)

	// OnFlow is called when the peer has sent a flow for the link: credit may have come, or a drain been
	// asked for. Code that waits in Send needs it only for Draining.
	OnFlow(s *Sender)

	// OnDetach is called exactly once for every link that was offered to OnAttach and not rejected,
	// however it ends; no other call for the link follows. The error is nil when the peer detached it
	// without one, an *Error when peer, handler or a violation gave a reason, and otherwise the end of
	// the session or connection.
	OnDetach(l Link, err error)

	// OnClose is called once, last of all, after OnOpen has accepted. The error is what Serve will return.
	OnClose(c *Conn, err error)
}

// Outcome is what the peer says of a delivery that it has received.
type Outcome struct {
	ID      uint32 // as Send returned it
	Tag     []byte // belongs to the handler
	State   State  // Accepted, Rejected, Released or Modified; nil when the peer settled without an outcome
	Settled bool   // the peer has settled; if not, it waits for Sender.Settle
}
