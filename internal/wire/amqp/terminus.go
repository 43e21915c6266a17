package amqp

// Source is where the messages of a link come from. AMQP 3.5.3.
type Source struct {
	Address               string // "" when absent
	Durable               uint32
	ExpiryPolicy          Symbol // "" when absent
	Timeout               uint32 // seconds
	Dynamic               bool
	DynamicNodeProperties Map
	DistributionMode      Symbol // "" when absent
	Filter                Map    // symbol keys, described values
	DefaultOutcome        any    // a Described, nil when absent
	Outcomes              []Symbol
	Capabilities          []Symbol
}

// Target is where the messages of a link go. AMQP 3.5.4.
type Target struct {
	Address               string // "" when absent
	Durable               uint32
	ExpiryPolicy          Symbol // "" when absent
	Timeout               uint32 // seconds
	Dynamic               bool
	DynamicNodeProperties Map
	Capabilities          []Symbol
}

// source writes all fields of s, absent ones as null: the Event Hubs client for Python takes an empty list for no source.
func (w *fieldWriter) source(s *Source) error {
	if s == nil {
		w.null()
		return nil
	}
	c := openComposite(w.b, descSource)
	c.string(s.Address)
	c.terminus(s.Durable, s.ExpiryPolicy, s.Timeout, s.Dynamic)
	err := c.mapping(s.DynamicNodeProperties)
	c.symbol(s.DistributionMode)
	if e := c.mapping(s.Filter); err == nil {
		err = e
	}
	if e := c.value(s.DefaultOutcome); err == nil {
		err = e
	}
	c.symbols(s.Outcomes)
	c.symbols(s.Capabilities)
	w.b = c.closeFull()
	w.wrote()
	return err
}

// target writes all fields of t, as source does.
func (w *fieldWriter) target(t *Target) error {
	if t == nil {
		w.null()
		return nil
	}
	c := openComposite(w.b, descTarget)
	c.string(t.Address)
	c.terminus(t.Durable, t.ExpiryPolicy, t.Timeout, t.Dynamic)
	err := c.mapping(t.DynamicNodeProperties)
	c.symbols(t.Capabilities)
	w.b = c.closeFull()
	w.wrote()
	return err
}

// terminus writes the fields durable to dynamic, which are null when they have their default.
func (w *fieldWriter) terminus(durable uint32, expiry Symbol, timeout uint32, dynamic bool) {
	w.optUint(Optional[uint32]{Value: durable, Set: durable != 0})
	w.symbol(expiry)
	w.optUint(Optional[uint32]{Value: timeout, Set: timeout != 0})
	w.flag(dynamic)
}

func (r *fieldReader) source(field string) *Source {
	descriptor, ok := r.described()
	if !ok {
		return nil
	}
	if descriptor != descSource {
		r.fail(field, codeDescribed)
		return nil
	}
	f := r.d.openFields()
	s := &Source{
		Address:               f.string("address"),
		Durable:               f.uint("durable").Or(0),
		ExpiryPolicy:          f.symbol("expiry-policy"),
		Timeout:               f.uint("timeout").Or(0),
		Dynamic:               f.bool("dynamic", false),
		DynamicNodeProperties: f.mapping("dynamic-node-properties"),
		DistributionMode:      f.symbol("distribution-mode"),
		Filter:                f.mapping("filter"),
		DefaultOutcome:        f.value(),
		Outcomes:              f.symbols("outcomes"),
		Capabilities:          f.symbols("capabilities"),
	}
	r.keep(f.close())
	return s
}

// target reads a target; coordinator says that it is a transaction coordinator, of which only that is kept.
func (r *fieldReader) target(field string) (t *Target, coordinator bool) {
	descriptor, ok := r.described()
	if !ok {
		return nil, false
	}
	f := r.d.openFields()
	switch descriptor {
	case descCoordinator:
		r.keep(f.close())
		return nil, true
	case descTarget:
	default:
		r.fail(field, codeDescribed)
		return nil, false
	}
	t = &Target{
		Address:               f.string("address"),
		Durable:               f.uint("durable").Or(0),
		ExpiryPolicy:          f.symbol("expiry-policy"),
		Timeout:               f.uint("timeout").Or(0),
		Dynamic:               f.bool("dynamic", false),
		DynamicNodeProperties: f.mapping("dynamic-node-properties"),
		Capabilities:          f.symbols("capabilities"),
	}
	r.keep(f.close())
	return t, false
}
