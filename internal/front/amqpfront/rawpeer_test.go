package amqpfront

import (
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	"github.com/twinhub/twinhub/internal/wire/amqp"
)

// A rawPeer is a client frame by frame, to do what no good client would. What the hub says it throws away, unless it
// stops reading.
type rawPeer struct {
	t    *testing.T
	nc   net.Conn
	read chan struct{} // closed when reading has ended
}

// The performatives that a rawPeer says, and the termini. AMQP 2.7, 3.5.
const (
	codeOpen     = 0x10
	codeBegin    = 0x11
	codeAttach   = 0x12
	codeFlow     = 0x13
	codeTransfer = 0x14
	codeSource   = 0x28
	codeTarget   = 0x29
)

// rawPeer connects without SASL and begins a session on channel 1.
func (h *testFront) rawPeer() *rawPeer {
	h.t.Helper()
	p := &rawPeer{t: h.t, nc: h.pipe(), read: make(chan struct{})}
	go func() {
		defer close(p.read)
		_, _ = io.Copy(io.Discard, p.nc)
	}()
	h.t.Cleanup(func() { p.nc.Close(); <-p.read })
	p.write([]byte("AMQP\x00\x01\x00\x00"))
	p.send(0, codeOpen, amqp.List{"raw peer", hubHost})
	p.send(1, codeBegin, amqp.List{nil, uint32(0), uint32(1000), uint32(1000)})
	return p
}

// stop ends reading: what the hub writes from now on waits.
func (p *rawPeer) stop() {
	if err := p.nc.SetReadDeadline(time.Now()); err != nil {
		p.t.Fatal(err)
	}
	<-p.read
}

func (p *rawPeer) write(b []byte) {
	p.t.Helper()
	if _, err := p.nc.Write(b); err != nil {
		p.t.Fatalf("write: %v", err)
	}
}

// send sends a performative with a payload.
func (p *rawPeer) send(channel uint16, code uint64, fields amqp.List, payload ...byte) {
	p.t.Helper()
	frame := []byte{0, 0, 0, 0, 2, 0, byte(channel >> 8), byte(channel)}
	frame, err := amqp.AppendValue(frame, amqp.Described{Descriptor: code, Value: fields})
	if err != nil {
		p.t.Fatal(err)
	}
	frame = append(frame, payload...)
	binary.BigEndian.PutUint32(frame, uint32(len(frame)))
	p.write(frame)
}

// put puts a token; the answer goes nowhere.
func (p *rawPeer) put(token string) {
	p.t.Helper()
	target := amqp.Described{Descriptor: uint64(codeTarget), Value: amqp.List{"$cbs"}}
	p.send(1, codeAttach, amqp.List{"cbs", uint32(0), false, nil, nil, nil, target, nil, nil, uint32(0)})
	message, err := amqp.AppendMessage(nil, &amqp.Message{
		ApplicationProperties: amqp.Map{{Key: "operation", Value: "put-token"}}, Body: amqp.ValueBody(token),
	})
	if err != nil {
		p.t.Fatal(err)
	}
	p.send(1, codeTransfer, amqp.List{uint32(0), uint32(0), []byte{1}, uint32(0), true}, message...)
}

// attachReader attaches a reader of the newest events with a handle and some credit.
func (p *rawPeer) attachReader(handle uint32, address string) {
	p.t.Helper()
	filters := amqp.Map{{Key: amqp.Symbol(selectorFilter), Value: amqp.Described{Descriptor: amqp.Symbol(selectorFilter), Value: latest}}}
	source := amqp.Described{Descriptor: uint64(codeSource), Value: amqp.List{address, nil, nil, nil, nil, nil, nil, filters}}
	p.send(1, codeAttach, amqp.List{"reader", handle, true, nil, nil, source})
	p.send(1, codeFlow, amqp.List{uint32(0), uint32(1000), uint32(1), uint32(1000), handle, uint32(0), uint32(100)})
}
