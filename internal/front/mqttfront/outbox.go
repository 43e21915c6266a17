package mqttfront

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/twinhub/twinhub/internal/wire/mqtt"
	"github.com/twinhub/twinhub/internal/wire/poll"
)

// Bounds of an outbox.
const (
	// outboxSoft is how many bytes may wait before the connection stops reading.
	outboxSoft = 64 << 10
	// outboxHard is how many may wait at all: pushes from elsewhere are not held back by a reader that stopped. It
	// has room for several of the largest method calls.
	outboxHard = 2 << 20
	// outboxCalls is how many may wait when another method call is let in. Who sends it can be told to come again, so it
	// does not cost a slow device its connection.
	outboxCalls = outboxHard / 2
	// writeTime is how long a peer may take no output before it is given up.
	writeTime = 10 * time.Second
	// writeChunk is how much of it must then have been taken: a slow peer gets a long queue in several.
	writeChunk = 64 << 10
)

var (
	errSlow  = errors.New("the client does not read what it is sent")
	errStuck = fmt.Errorf("%w: nothing was taken for %v", errSlow, writeTime)
)

// outbox queues output of one connection. Adding never blocks, so the committer may do it. Output is sent by the Loop
// that has the socket, or else by a goroutine that exists only while there is some. What is added before release is held
// back.
type outbox struct {
	nc      net.Conn
	writers *sync.WaitGroup
	socket  *poll.Socket // set before release, if a Loop sends

	mu      sync.Mutex
	room    sync.Cond // the queue became short, or closed
	queue   []byte
	spare   []byte // the buffer being written, kept for the next round
	held    bool
	writing bool
	chunk   uint64 // counts what was given to the socket
	pending bool   // the socket may not have sent all of it
	timed   bool   // somebody looks whether it does
	err     error
}

func newOutbox(nc net.Conn, writers *sync.WaitGroup) *outbox {
	o := &outbox{nc: nc, writers: writers, held: true}
	o.room.L = &o.mu
	return o
}

// release lets out what was added.
func (o *outbox) release() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.held = false
	o.start()
}

// add queues a packet. It returns why the outbox is closed, if it is, or what is wrong with the packet.
func (o *outbox) add(p mqtt.Packet) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return o.err
	}
	before := len(o.queue)
	if o.queue = p.AppendTo(o.queue); len(o.queue) == before {
		return p.Validate()
	}
	if len(o.queue) > outboxHard {
		o.fail(errSlow)
		hangUp(o.nc)
		return o.err
	}
	o.start()
	return nil
}

// start has the queue sent unless that is under way. o.mu is held.
func (o *outbox) start() {
	if o.writing || o.held || len(o.queue) == 0 || o.err != nil {
		return
	}
	o.writing = true
	if o.socket != nil {
		o.socket.Wake()
		return
	}
	o.writers.Go(o.write)
}

// pump sends the queue as far as the socket takes it. The Loop calls it after Wake, and when the socket has sent what it
// had taken.
func (o *outbox) pump() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.writing {
		return
	}
	for o.err == nil {
		if o.pending {
			n, err := o.socket.Pending()
			if err == nil && n > 0 {
				o.watch()
				return
			}
			o.fail(err)
			o.pending, o.timed = false, false
		}
		if len(o.queue) == 0 || o.err != nil {
			break
		}
		n := min(len(o.queue), writeChunk)
		_, err := o.nc.Write(o.queue[:n])
		o.fail(err)
		o.queue = o.queue[n:]
		o.pending = true
		o.chunk++
	}
	if o.err != nil {
		hangUp(o.nc)
	}
	o.idle()
}

// watch gives up the peer unless it takes the chunk in time. o.mu is held.
func (o *outbox) watch() {
	if o.timed {
		return
	}
	o.timed = true
	chunk := o.chunk
	time.AfterFunc(writeTime, func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		if pending, _ := o.socket.Pending(); o.chunk == chunk && pending > 0 && o.err == nil {
			o.fail(errStuck)
			hangUp(o.nc)
		}
	})
}

// idle notes that nothing is being sent. o.mu is held.
func (o *outbox) idle() {
	o.writing = false
	o.queue, o.spare = nil, nil // an idle connection keeps no buffer
	o.room.Broadcast()
}

// write sends the queue until it is empty.
func (o *outbox) write() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.err == nil && len(o.queue) > 0 {
		out := o.queue
		o.queue = o.spare[:0]
		o.mu.Unlock()
		err := o.send(out)
		o.mu.Lock()
		o.spare = out
		if err != nil {
			o.fail(err)
			hangUp(o.nc)
		}
		o.room.Broadcast()
	}
	o.idle()
}

func (o *outbox) send(out []byte) error {
	for len(out) > 0 {
		n := min(len(out), writeChunk)
		o.nc.SetWriteDeadline(time.Now().Add(writeTime))
		_, err := o.nc.Write(out[:n])
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return errStuck
		}
		if err != nil {
			return err
		}
		out = out[n:]
	}
	return nil
}

// await blocks while more than outboxSoft bytes wait. It returns why the outbox is closed, if it is.
func (o *outbox) await() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.queue) > outboxSoft && o.err == nil {
		o.room.Wait()
	}
	return o.err
}

// full reports whether await would block.
func (o *outbox) full() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.queue) > outboxSoft
}

// fits reports whether a method call with n bytes of payload may be added.
func (o *outbox) fits(n int) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.queue) == 0 || len(o.queue)+n <= outboxCalls
}

// flush waits until everything is written, or writing failed.
func (o *outbox) flush() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.writing && o.err == nil {
		o.room.Wait()
	}
}

// close lets nothing more in.
func (o *outbox) close(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.fail(err)
}

// failure returns why the outbox is closed, if it is.
func (o *outbox) failure() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

// fail notes the first error, if it is one. o.mu is held.
func (o *outbox) fail(err error) {
	if o.err == nil {
		o.err = err
	}
	o.room.Broadcast()
}

// hangUp closes a connection without blocking: the socket, not the TLS connection on it, whose farewell would wait for
// a peer that may not read.
func hangUp(nc net.Conn) {
	if t, ok := nc.(interface{ NetConn() net.Conn }); ok {
		nc = t.NetConn()
	}
	nc.Close()
}
