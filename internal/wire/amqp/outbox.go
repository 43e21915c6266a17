package amqp

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"time"
)

// The outbox is conn.out: bytes of whole frames in the order they will be written. Whoever has
// something to say appends to it under conn.mu and kicks; the writer goroutine exists only while there
// is something in it. What is appended while one write runs goes out together in the next.

// startFrame begins a frame; finishFrame completes it with its size.
func startFrame(dst []byte, kind byte, channel uint16) []byte {
	return append(dst, 0, 0, 0, 0, 2, kind, byte(channel>>8), byte(channel))
}

func finishFrame(dst []byte, start int) []byte {
	binary.BigEndian.PutUint32(dst[start:], uint32(len(dst)-start))
	return dst
}

// append puts a frame into the outbox. It and all others below need conn.mu.
func (c *Conn) append(channel uint16, body func([]byte) []byte) {
	if !c.writable() {
		return
	}
	start := len(c.out)
	c.out = finishFrame(body(startFrame(c.out, frameAMQP, channel)), start)
}

// writable says whether output is still taken, and makes sure that there is a buffer for it.
func (c *Conn) writable() bool {
	if c.phase > phaseOpen || c.writeErr != nil {
		return false
	}
	if c.out == nil {
		c.out = c.cfg.Buffers.get(smallBuffer)[:0]
	}
	return true
}

// appendChecked is append for a frame that may be impossible to encode or too large for the peer: then
// nothing is appended, and the error says so.
func (c *Conn) appendChecked(channel uint16, body func([]byte) ([]byte, error)) error {
	if !c.writable() {
		return nil
	}
	start := len(c.out)
	out, err := body(startFrame(c.out, frameAMQP, channel))
	if size := len(out) - start; err == nil && size > c.peerMaxFrame {
		err = fmt.Errorf("frame of %d bytes, the peer takes %d", size, c.peerMaxFrame)
	}
	if err != nil {
		return err
	}
	c.out = finishFrame(out, start)
	return nil
}

func (c *Conn) appendAttach(channel uint16, f *attachFrame) error {
	return c.appendChecked(channel, f.append)
}

// cut makes what is appended next leave in a write of its own, so that a client is likely to act on what came before it
// first.
func (c *Conn) cut() {
	if n := len(c.out); n > 0 {
		c.cuts = append(c.cuts, n)
	}
}

// fit returns e, shortened if need be so that a frame with it is not too large for the peer.
func (c *Conn) fit(e *Error) *Error {
	const frame = 64 // header and the other fields of a detach, disposition, end or close
	if e == nil || len(appendError(nil, e))+frame <= c.peerMaxFrame {
		return e
	}
	const text, condition = 256, 100
	short := &Error{Condition: e.Condition, Description: e.Description}
	if len(short.Description) > text {
		short.Description = validPrefix(short.Description, text)
	}
	if len(short.Condition) > condition {
		short.Condition = CondInternalError
	}
	return short
}

// validPrefix cuts s to at most n bytes without cutting a character in two.
func validPrefix(s string, n int) string {
	for n > 0 && s[n]&0xc0 == 0x80 {
		n--
	}
	return s[:n]
}

// full says whether senders and the reader should wait for the peer to read.
func (c *Conn) full() bool { return len(c.out) >= outboxLimit }

// kick starts the writer if there is output and none is at work.
func (c *Conn) kick() {
	if c.writing || c.phase == phaseDone || c.writeErr != nil || (len(c.out) == 0 && len(c.dispositions) == 0) {
		return
	}
	c.writing = true
	c.tasks.Add(1)
	go c.write()
}

// write is the writer goroutine.
func (c *Conn) write() {
	defer c.tasks.Done()
	var spare []byte
	for {
		// Let those who are about to append more do so first: it costs nothing when nobody is.
		runtime.Gosched()
		c.mu.Lock()
		c.flushDispositions()
		out := c.out
		if len(out) == 0 || c.writeErr != nil {
			c.out = nil
			c.writing = false
			c.room.Broadcast()
			c.mu.Unlock()
			c.cfg.Buffers.put(out)
			c.cfg.Buffers.put(spare)
			return
		}
		cuts := c.cuts
		c.out, c.cuts = spare, nil
		c.wakeBlocked()
		c.mu.Unlock()

		if err := c.writeAll(out, cuts); err != nil {
			c.broken(fmt.Errorf("write: %w", err))
		}
		spare = out[:0]
	}
}

// writeAll writes in pieces, each of which has its own time: a peer that is slow is not stuck.
func (c *Conn) writeAll(out []byte, cuts []int) error {
	for at := 0; at < len(out); {
		end := min(at+writePiece, len(out))
		if len(cuts) > 0 && cuts[0] <= end {
			end, cuts = cuts[0], cuts[1:]
		}
		if err := c.startWrite(); err != nil {
			return err
		}
		if _, err := c.nc.Write(out[at:end]); err != nil {
			return err
		}
		at = end
	}
	return nil
}

// startWrite sets the time by which the next piece must be written.
func (c *Conn) startWrite() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lastWrite = time.Now()
	deadline := c.lastWrite.Add(writeTimeout)
	if c.phase > phaseOpen && c.closeAt.Before(deadline) {
		deadline = c.closeAt
	}
	return c.nc.SetWriteDeadline(deadline)
}

// broken ends the connection because nothing can be written any more, not even a close.
func (c *Conn) broken(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writeErr = err
	if c.cause == nil {
		c.cause = err
	}
	if c.phase < phaseClosing {
		c.phase, c.closeAt = phaseClosing, time.Now()
		c.endLinks()
	}
	c.wakeBlocked()
	_ = c.nc.SetReadDeadline(time.Now()) // ends the reader; a failure means that it has ended
}

// wakeBlocked lets those go on who waited for room in the outbox.
func (c *Conn) wakeBlocked() {
	c.room.Broadcast()
	for i, s := range c.blocked {
		s.blocked = false
		s.signal()
		c.blocked[i] = nil
	}
	c.blocked = c.blocked[:0]
}

// dispose queues a disposition. Neighbours with the same plain outcome become one frame, which is
// appended when the writer comes, or before a frame that must not overtake it.
func (s *Session) dispose(role bool, id uint32, settled bool, state State) {
	c := s.conn
	d := &s.pending
	if s.hasPending && d.Role == role && d.Settled == settled && id == d.Last+1 && joins(d.State, state) {
		d.Last = id
		return
	}
	if s.hasPending {
		c.append(s.channel, s.pending.append)
	} else {
		c.dispositions = append(c.dispositions, s)
		s.hasPending = true
	}
	if r, ok := state.(Rejected); ok {
		state = Rejected{Error: c.fit(r.Error)}
	}
	*d = dispositionFrame{Role: role, First: id, Last: id, Settled: settled, State: state}
}

// joins says whether deliveries of these two states may share a disposition.
func joins(a, b State) bool {
	switch a.(type) {
	case Accepted:
		_, ok := b.(Accepted)
		return ok
	case Released:
		_, ok := b.(Released)
		return ok
	}
	return false
}

// flushDispositions appends what dispose has queued, for all sessions.
func (c *Conn) flushDispositions() {
	for i, s := range c.dispositions {
		if !s.ended {
			c.append(s.channel, s.pending.append)
		}
		s.hasPending, s.pending = false, dispositionFrame{}
		c.dispositions[i] = nil
	}
	c.dispositions = c.dispositions[:0]
}

// heartbeat sends an empty frame when nothing else has gone out for a period, and sets the next alarm.
func (c *Conn) heartbeat() {
	defer c.tasks.Done()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase != phaseOpen {
		return
	}
	wait := c.heartbeatEvery - time.Since(c.lastWrite)
	if wait <= 0 {
		if !c.writing { // a stuck writer has enough to write
			c.append(0, func(b []byte) []byte { return b })
			c.kick()
		}
		wait = c.heartbeatEvery
	}
	c.tasks.Add(1)
	c.alarm.Reset(wait)
}

// startHeartbeat arms the alarm for a peer with an idle time-out.
func (c *Conn) startHeartbeat(idle time.Duration) {
	c.heartbeatEvery = max(idle/2, min(heartbeatFloor, idle*3/4))
	c.lastWrite = time.Now()
	c.tasks.Add(1)
	c.alarm = time.AfterFunc(c.heartbeatEvery, c.heartbeat)
}
