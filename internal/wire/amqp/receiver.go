package amqp

// Receiver is a link on which the peer sends and we receive. It is safe for concurrent use.
type Receiver struct {
	link

	// Guarded by conn.mu.
	window        uint32 // deliveries that may be unsettled by the handler
	outstanding   uint32 // deliveries begun and not yet settled by the handler
	credit        uint32 // what the peer has left of the credit we gave
	deliveryCount uint32

	partial *Delivery // the reader's: begun, and not complete
}

// Delivery is a message that has arrived. It belongs to the handler, bytes included.
type Delivery struct {
	ID      uint32
	Tag     []byte
	Format  uint32 // message-format
	Payload []byte // the encoded message; see DecodeMessage
	Settled bool   // sent settled: the peer expects no outcome

	receiver *Receiver
	first    bool // settle at once, whatever the link's mode
	done     bool // guarded by conn.mu
}

// Settle tells the peer the outcome, and returns the delivery's credit to it. It must be called exactly
// once for every delivery; for one that was sent settled it only returns the credit, and state may be
// nil. It does not wait. Safe for concurrent use.
func (d *Delivery) Settle(state State) {
	r := d.receiver
	c := r.session.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if d.done {
		return
	}
	d.done = true
	if c.held >= maxHeld {
		c.room.Broadcast()
	}
	c.held -= len(d.Payload)
	if r.state != linkAttached {
		return
	}
	r.outstanding--
	if !d.Settled {
		// In mode second the sender settles first, and its settled disposition needs no answer. AMQP 2.6.12.
		settled := d.first || r.ReceiverSettleMode() == ReceiverFirst
		r.session.dispose(roleReceiver, d.ID, settled, state)
	}
	r.refill()
	c.kick()
}

// SetCredit changes how many deliveries may be unsettled at once. Credit that the peer has stays.
func (r *Receiver) SetCredit(n uint32) {
	c := r.session.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	r.window = n
	if r.state == linkAttached {
		r.refill()
		c.kick()
	}
}

// refill gives the peer new credit once half of it is used. conn.mu is held here and below.
func (r *Receiver) refill() {
	if r.outstanding >= r.window || r.credit > r.window/2 {
		return
	}
	if r.window-r.outstanding <= r.credit {
		return
	}
	r.credit = r.window - r.outstanding
	r.report()
}

// report sends the peer the link's state.
func (r *Receiver) report() {
	f := r.session.flowState()
	f.Handle = Some(r.attach.Handle)
	f.DeliveryCount = Some(r.deliveryCount)
	f.LinkCredit = Some(r.credit)
	r.session.conn.append(r.session.channel, f.append)
}

// flow takes over the peer's delivery-count, which runs ahead when it gives up credit.
func (r *Receiver) flow(f *flowFrame) {
	c := r.session.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.DeliveryCount.Set {
		if skipped := f.DeliveryCount.Value - r.deliveryCount; skipped <= r.credit {
			r.credit -= skipped
			r.deliveryCount = f.DeliveryCount.Value
		}
	}
	if r.state != linkAttached {
		return
	}
	r.refill()
	if f.Echo {
		r.report()
	}
	c.kick()
}

// transfer adds a frame to the delivery it belongs to, and returns that once it is complete. A
// violation has detached the link when it returns. Only the reader calls it.
func (r *Receiver) transfer(f *transferFrame, bytes []byte) (*Delivery, *Error) {
	c := r.session.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.state > linkAttached {
		return nil, nil // it ended while the frame was on its way
	}
	if r.state == linkPending {
		return nil, r.violation(Errorf(CondTransferLimitExceeded, "transfer before the attach is answered"))
	}
	d := r.partial
	if d == nil {
		switch {
		case !f.DeliveryID.Set || f.DeliveryTag == nil:
			return nil, r.violation(Errorf(CondInvalidField, "first transfer of a delivery without id or tag"))
		case r.credit == 0:
			return nil, r.violation(Errorf(CondTransferLimitExceeded, "transfer without credit"))
		}
		r.credit--
		r.deliveryCount++
		r.outstanding++
		d = r.newDelivery(f, len(bytes))
		r.partial = d
	} else if f.DeliveryID.Set && f.DeliveryID.Value != d.ID {
		return nil, r.violation(Errorf(CondInvalidField, "transfer of delivery %d within delivery %d", f.DeliveryID.Value, d.ID))
	}
	switch {
	case f.Aborted:
		r.drop()
		r.outstanding--
		r.refill()
		c.kick()
		return nil, nil
	case len(bytes) > c.cfg.MaxMessageSize-len(d.Payload):
		return nil, r.violation(Errorf(CondMessageSizeExceeded, "message of more than %d bytes", c.cfg.MaxMessageSize))
	case f.More && c.partialBytes+len(bytes) > maxPartials*c.cfg.MaxMessageSize:
		return nil, r.violation(Errorf(CondResourceLimitExceeded, "more than %d bytes of unfinished messages", maxPartials*c.cfg.MaxMessageSize))
	}
	d.Payload = append(d.Payload, bytes...)
	d.Settled = d.Settled || f.Settled.Value
	d.first = d.first || f.RcvSettleMode.Set && f.RcvSettleMode.Value == uint8(ReceiverFirst)
	c.partialBytes += len(bytes)
	if f.More {
		return nil, nil
	}
	r.drop()
	c.held += len(d.Payload)
	return d, nil
}

// newDelivery makes a delivery with room for the tag and size bytes in one allocation.
func (r *Receiver) newDelivery(f *transferFrame, size int) *Delivery {
	buf := make([]byte, len(f.DeliveryTag), len(f.DeliveryTag)+size)
	n := copy(buf, f.DeliveryTag)
	return &Delivery{
		ID:       f.DeliveryID.Value,
		Tag:      buf[:n:n],
		Format:   f.MessageFormat.Or(0),
		Payload:  buf[n:],
		receiver: r,
	}
}

// drop ends the assembly of the partial delivery.
func (r *Receiver) drop() {
	if r.partial != nil {
		r.session.conn.partialBytes -= len(r.partial.Payload)
		r.partial = nil
	}
}

// violation detaches the link for something the peer has done.
func (r *Receiver) violation(err *Error) *Error {
	if r.state == linkPending {
		r.refuse(err)
	} else {
		r.detach(err)
	}
	return err
}

// forget drops what is kept for a link that has ended.
func (r *Receiver) forget() {
	r.drop()
	r.credit = 0
}
