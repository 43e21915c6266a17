package amqp

// State says what a receiver has made of a delivery: Accepted, Rejected, Released or Modified, which
// are outcomes and final, or Received, which is not. AMQP 3.4.
type State interface{ stateCode() uint64 }

// Accepted says that the message has been processed.
type Accepted struct{}

// Rejected says that the message is invalid, and why; Error may be nil.
type Rejected struct{ Error *Error }

// Released says that the message was not, and will not be, processed by this receiver.
type Released struct{}

// Modified says that the message was not processed, and how it should change for the next attempt.
type Modified struct {
	DeliveryFailed     bool
	UndeliverableHere  bool
	MessageAnnotations Map
}

// Received says how far a partial delivery has been received.
type Received struct {
	SectionNumber uint32
	SectionOffset uint64
}

func (Accepted) stateCode() uint64 { return descAccepted }
func (Rejected) stateCode() uint64 { return descRejected }
func (Released) stateCode() uint64 { return descReleased }
func (Modified) stateCode() uint64 { return descModified }
func (Received) stateCode() uint64 { return descReceived }

// state writes s, or null for nil.
func (w *fieldWriter) state(s State) {
	if s == nil {
		w.null()
		return
	}
	c := openComposite(w.b, s.stateCode())
	switch s := s.(type) {
	case Rejected:
		c.error(s.Error)
	case Modified:
		c.flag(s.DeliveryFailed)
		c.flag(s.UndeliverableHere)
		_ = c.mapping(s.MessageAnnotations) // what cannot be encoded is left out; the outcome matters more
	case Received:
		c.uint(s.SectionNumber)
		c.ulong(s.SectionOffset)
	}
	w.b = c.close()
	w.wrote()
}

func (r *fieldReader) state(field string) State {
	descriptor, ok := r.described()
	if !ok {
		return nil
	}
	f := r.d.openFields()
	var s State
	switch descriptor {
	case descAccepted:
		s = Accepted{}
	case descRejected:
		s = Rejected{Error: f.error("error")}
	case descReleased:
		s = Released{}
	case descModified:
		s = Modified{
			DeliveryFailed:     f.bool("delivery-failed", false),
			UndeliverableHere:  f.bool("undeliverable-here", false),
			MessageAnnotations: f.mapping("message-annotations"),
		}
	case descReceived:
		s = Received{SectionNumber: f.uint("section-number").Or(0), SectionOffset: f.ulong("section-offset").Or(0)}
	default: // transactional states, for one: this server offers no transactions
		r.fail(field, codeDescribed)
	}
	r.keep(f.close())
	return s
}
