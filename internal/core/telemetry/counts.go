package telemetry

import "sync/atomic"

// Counts say what became of the messages that were sent since the Service was made.
type Counts struct {
	// Messages were acknowledged; Bytes is the size of their bodies, without properties.
	Messages, Bytes uint64
	// Unrouted is how many of Messages no route took: acknowledged and dropped.
	Unrouted uint64
	// TooLarge and Failed were refused: for exceeding MaxMessage, and by the engine.
	TooLarge, Failed uint64
}

// counters are the Counts as they grow, one addition for each that a message changes.
type counters struct {
	messages, bytes, unrouted, tooLarge, failed atomic.Uint64
}

// settled notes how a message with a body of so many bytes ended; err is the engine's, or nil.
func (c *counters) settled(body int, err error) {
	if err != nil {
		c.failed.Add(1)
		return
	}
	c.messages.Add(1)
	c.bytes.Add(uint64(body))
}

// Counts returns what became of messages so far. A message is counted just before its done is called.
func (s *Service) Counts() Counts {
	c := &s.counters
	return Counts{
		Messages: c.messages.Load(), Bytes: c.bytes.Load(), Unrouted: c.unrouted.Load(),
		TooLarge: c.tooLarge.Load(), Failed: c.failed.Load(),
	}
}
