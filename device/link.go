package device

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twinhub/twinhub/internal/wire/mqtt"
)

const (
	// packetLimit bounds a packet from the hub. The largest honest ones, a method call of 128 KiB and a twin with both
	// sections full, stay below.
	packetLimit = 1 << 20
	// queued is how many packets may wait to be written, in each direction; more make their senders wait.
	queued = 64
	// writeTimeout ends a connection to a hub that does not read.
	writeTimeout = 20 * time.Second
	// pingReply is the longest wait for a sign of life; half of the keep alive if that is less.
	pingReply = 30 * time.Second
	// writeBuffer is how many bytes of small packets go out together.
	writeBuffer = 16 << 10
)

// errLost says that a connection ended before the hub had answered. Calls repeat themselves on the next one.
var errLost = errors.New("connection lost")

// errUnsent is errLost for a packet of which not a byte was sent.
var errUnsent = fmt.Errorf("not sent: %w", errLost)

// errFilter says that the hub does not grant a subscription.
var errFilter = errors.New("the hub refuses the subscription")

// errSilent ends a connection on which the hub has said nothing.
var errSilent = errors.New("the hub does not answer")

// errDone ends a connection in good order.
var errDone = errors.New("connection ended by the client")

// link is one connection, from CONNACK to its end. A reader, a writer and a watchman of the keep alive work on it.
type link struct {
	c    *Client
	conn net.Conn
	raw  net.Conn // below TLS
	wg   sync.WaitGroup
	done chan struct{} // closed when the connection has ended
	err  error         // why; to be read after done
	end  sync.Once

	out    chan outgoing
	acks   chan uint16 // PUBACKs to write
	heard  atomic.Uint64
	filter sync.Mutex // held by one subscribe at a time

	// mu guards what follows.
	mu      sync.Mutex
	pending map[uint16]*pending
	drained chan struct{} // if not nil, closed when pending is empty
	filters map[string]bool
}

// outgoing is a packet in bytes; after the last the connection is closed.
type outgoing struct {
	packet []byte
	last   bool
}

// pending is a packet that awaits its acknowledgement.
type pending struct {
	answer    chan []byte // gets a SUBACK's codes, or nil for a PUBACK
	counted   bool        // its number came from ids.take
	abandoned bool        // nobody waits; the number is freed here
}

// ended reports whether the connection has ended.
func (l *link) ended() bool {
	select {
	case <-l.done:
		return true
	default:
		return false
	}
}

// fail ends the link, the first time with err as its reason.
func (l *link) fail(err error) {
	l.end.Do(func() {
		l.err = err
		close(l.done)
		if errors.Is(err, errDone) {
			l.conn.Close() // says so to the hub
		}
		l.raw.Close() // a peer that does not read would hold up TLS's last words
		l.mu.Lock()
		defer l.mu.Unlock()
		for id, p := range l.pending {
			if p.abandoned {
				l.release(id, p)
			}
		}
		l.pending = nil
	})
}

func (l *link) release(id uint16, p *pending) {
	if p.counted {
		l.c.ids.put(id)
	} else {
		l.c.ids.drop(id)
	}
}

// finish waits until everything is acknowledged or ctx ends, says DISCONNECT, and returns when the link has ended.
func (l *link) finish(ctx context.Context) {
	l.mu.Lock()
	drained := make(chan struct{})
	if len(l.pending) == 0 {
		close(drained)
	} else {
		l.drained = drained
	}
	l.mu.Unlock()
	select {
	case <-drained:
	case <-ctx.Done():
	case <-l.done:
	}
	select {
	case l.out <- outgoing{(&mqtt.Disconnect{}).AppendTo(nil), true}:
		select {
		case <-l.done:
		case <-ctx.Done():
			l.fail(errDone)
		}
	case <-l.done:
	case <-ctx.Done():
		l.fail(errDone)
	}
	l.wg.Wait()
}

// await enters a packet that is to be acknowledged. Fails if the link has ended.
func (l *link) await(id uint16, counted bool) (*pending, error) {
	p := &pending{answer: make(chan []byte, 1), counted: counted}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.pending == nil {
		return nil, errUnsent
	}
	l.pending[id] = p
	return p, nil
}

// answered takes an acknowledgement.
func (l *link) answered(id uint16, codes []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.pending[id]
	if p == nil {
		return
	}
	l.forget(id)
	if p.abandoned {
		l.release(id, p)
		return
	}
	p.answer <- codes
}

// forget removes a packet. l.mu is held.
func (l *link) forget(id uint16) {
	delete(l.pending, id)
	if len(l.pending) == 0 && l.drained != nil {
		close(l.drained)
		l.drained = nil
	}
}

// send queues packet, whose number is id, and waits for the answer. It frees the number, except when it returns errLost
// for a counted one.
func (l *link) send(ctx context.Context, id uint16, counted bool, packet []byte) ([]byte, error) {
	p, err := l.await(id, counted)
	if err == nil {
		select {
		case l.out <- outgoing{packet: packet}:
			select {
			case codes := <-p.answer:
				l.release(id, p)
				return codes, nil
			case <-l.done:
				err = errLost
			case <-ctx.Done():
				err = ctx.Err()
			}
		case <-l.done:
			err = errUnsent
		case <-ctx.Done():
			l.mu.Lock()
			if l.pending != nil {
				l.forget(id)
			}
			l.mu.Unlock()
			l.release(id, p)
			return nil, ctx.Err()
		}
	} else {
		p = &pending{counted: counted}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case codes := <-p.answer: // it came at the last moment
		l.release(id, p)
		return codes, nil
	default:
	}
	if errors.Is(err, errLost) {
		if !counted {
			l.release(id, p)
		}
		return nil, err
	}
	if l.pending == nil {
		l.release(id, p)
	} else {
		p.abandoned = true // the hub may still answer, so the number is not free
	}
	return nil, err
}

// publish sends with QoS 1 and returns when the hub has acknowledged. The number id is then free, and after every error
// but errLost it is no longer the caller's.
func (l *link) publish(ctx context.Context, id uint16, topic string, payload []byte, dup bool) error {
	p := &mqtt.Publish{Dup: dup, QoS: mqtt.QoS1, Topic: topic, ID: id, Payload: payload}
	if err := p.Validate(); err != nil {
		l.c.ids.put(id)
		return err
	}
	_, err := l.send(ctx, id, true, p.AppendTo(make([]byte, 0, len(topic)+len(payload)+16)))
	return err
}

// subscribe asks for what filter selects, unless it has already, and returns when the hub has agreed.
func (l *link) subscribe(ctx context.Context, filter string) error {
	l.filter.Lock()
	defer l.filter.Unlock()
	if l.filters[filter] {
		return nil
	}
	id := l.c.ids.free()
	p := &mqtt.Subscribe{ID: id, Subscriptions: []mqtt.Subscription{{Filter: filter, QoS: mqtt.QoS1}}}
	codes, err := l.send(ctx, id, false, p.AppendTo(nil))
	if err != nil {
		return err
	}
	if len(codes) != 1 || codes[0] == mqtt.SubackFailure {
		return errFilter
	}
	l.filters[filter] = true
	return nil
}

// write writes queued packets, as many as there are at a time, until the link ends.
func (l *link) write() error {
	w := bufio.NewWriterSize(l.conn, writeBuffer)
	for {
		var next outgoing
		select {
		case next = <-l.out:
		case id := <-l.acks:
			next.packet = (&mqtt.Puback{ID: id}).AppendTo(nil)
		case <-l.done:
			return errDone
		}
		l.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
		for more := true; more; {
			if _, err := w.Write(next.packet); err != nil {
				return fmt.Errorf("write: %w", err)
			}
			if next.last {
				break
			}
			next = outgoing{}
			select {
			case next = <-l.out:
			case id := <-l.acks:
				next.packet = (&mqtt.Puback{ID: id}).AppendTo(nil)
			default:
				more = false
			}
		}
		if err := w.Flush(); err != nil {
			return fmt.Errorf("write: %w", err)
		}
		if next.last {
			return errDone
		}
	}
}

// read takes what the hub sends until the connection ends.
func (l *link) read(r *mqtt.Reader) error {
	for {
		packet, err := r.ReadPacket()
		if err != nil {
			return inWords(err)
		}
		l.heard.Add(1)
		switch p := packet.(type) {
		case *mqtt.Puback:
			l.answered(p.ID, nil)
		case *mqtt.Suback:
			l.answered(p.ID, p.Codes)
		case *mqtt.Publish:
			if taken := l.c.dispatch(p); taken && p.QoS == mqtt.QoS1 {
				select {
				case l.acks <- p.ID:
				case <-l.done:
					return errDone
				}
			}
		case *mqtt.Pingresp:
		default:
			return fmt.Errorf("the hub sent %v", packet.Type())
		}
	}
}

// keepAlive asks for a sign of life at three quarters of the keep alive, and ends the link if none comes.
func (l *link) keepAlive() error {
	interval := l.c.s.KeepAlive * 3 / 4
	reply := min(pingReply, l.c.s.KeepAlive/2)
	timer := time.NewTimer(interval)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-l.done:
			return errDone
		}
		timer.Reset(reply)
		heard := l.heard.Load()
		select {
		case l.out <- outgoing{packet: (&mqtt.Pingreq{}).AppendTo(nil)}:
		case <-timer.C:
			return errSilent
		case <-l.done:
			return errDone
		}
		select {
		case <-timer.C:
		case <-l.done:
			return errDone
		}
		if l.heard.Load() == heard {
			return errSilent
		}
		timer.Reset(interval - reply)
	}
}
