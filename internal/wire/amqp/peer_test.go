package amqp

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// peer is the client end of a connection, frame by frame, to say what no good client would.
type peer struct {
	t  testing.TB
	nc net.Conn
	in frameReader
}

func newPeer(t testing.TB, nc net.Conn) *peer {
	return &peer{t: t, nc: nc, in: frameReader{src: nc, before: func() error { return nil }, buffers: new(Buffers)}}
}

func (p *peer) write(b []byte) {
	p.t.Helper()
	if _, err := p.nc.Write(b); err != nil {
		p.t.Fatalf("peer writes: %v", err)
	}
}

func frameOf(kind byte, channel uint16, body []byte) []byte {
	return finishFrame(append(startFrame(nil, kind, channel), body...), 0)
}

func (p *peer) send(channel uint16, f performative, payload ...byte) {
	p.t.Helper()
	p.write(frameOf(frameAMQP, channel, append(encodePerformative(p.t, f), payload...)))
}

// read returns the next frame that is no heartbeat, its performative and what follows it.
func (p *peer) read() (f frame, body performative, payload []byte) {
	p.t.Helper()
	for {
		f, err := p.in.next(maxMaxFrame)
		if err != nil {
			p.t.Fatalf("peer reads: %v", err)
		}
		if len(f.body) == 0 {
			continue
		}
		d := newDecoder(f.body)
		code, err := d.descriptor()
		if err != nil {
			p.t.Fatalf("peer reads a frame: %v", err)
		}
		body := newPerformative(code)
		if body == nil {
			p.t.Fatalf("peer reads performative 0x%x", code)
		}
		if err := readPerformative(&d, body); err != nil {
			p.t.Fatalf("peer reads: %v", err)
		}
		return f, body, append([]byte(nil), f.body[d.off:]...)
	}
}

func newPerformative(code uint64) performative {
	switch code {
	case descOpen:
		return new(openFrame)
	case descBegin:
		return new(beginFrame)
	case descAttach:
		return new(attachFrame)
	case descFlow:
		return new(flowFrame)
	case descTransfer:
		return new(transferFrame)
	case descDisposition:
		return new(dispositionFrame)
	case descDetach:
		return new(detachFrame)
	case descEnd:
		return new(endFrame)
	case descClose:
		return new(closeFrame)
	case descSASLMechanisms:
		return new(saslMechanisms)
	case descSASLInit:
		return new(saslInit)
	case descSASLOutcome:
		return new(saslOutcome)
	}
	return nil
}

// expect reads a frame whose performative is a T.
func expect[T any](p *peer) *T {
	p.t.Helper()
	_, body, _ := p.read()
	f, ok := body.(any).(*T)
	if !ok {
		p.t.Fatalf("peer reads %T %+v, wanted %T", body, body, f)
	}
	return f
}

func (p *peer) expectHeader(id byte) {
	p.t.Helper()
	var got [8]byte
	if _, err := io.ReadFull(p.nc, got[:]); err != nil || got != protocolHeader(id) {
		p.t.Fatalf("peer reads protocol header % x, %v; wanted id %d", got, err, id)
	}
}

// expectEOF reads until the server has closed the connection.
func (p *peer) expectEOF() {
	p.t.Helper()
	if n, err := io.Copy(io.Discard, p.nc); err != nil && !errors.Is(err, net.ErrClosed) {
		p.t.Fatalf("peer reads %d bytes, then %v; wanted the end", n, err)
	}
}

// open exchanges headers and OPEN.
func (p *peer) open(f openFrame) *openFrame {
	p.t.Helper()
	h := protocolHeader(protoAMQP)
	p.write(h[:])
	p.expectHeader(protoAMQP)
	p.send(0, &f)
	return expect[openFrame](p)
}

var plainOpen = openFrame{ContainerID: "peer", MaxFrameSize: 65536, ChannelMax: 65535}

// begin opens, and begins a session on channel 0.
func (p *peer) begin() {
	p.t.Helper()
	p.open(plainOpen)
	p.beginOn(0, 1000)
}

func (p *peer) beginOn(channel uint16, window uint32) {
	p.t.Helper()
	p.send(channel, &beginFrame{IncomingWindow: window, OutgoingWindow: 1000, HandleMax: 1<<32 - 1})
	if b := expect[beginFrame](p); b.RemoteChannel != Some(channel) {
		p.t.Fatalf("begin answers channel %+v, wanted %d", b.RemoteChannel, channel)
	}
}

// attachSender attaches a link on which the peer sends, and reads the answer and its credit.
func (p *peer) attachSender(handle uint32) *flowFrame {
	p.t.Helper()
	p.send(0, &attachFrame{Name: "in", Handle: handle, Role: roleSender, Source: &Source{}, Target: &Target{Address: "a"}, InitialDeliveryCount: Some(uint32(0))})
	if a := expect[attachFrame](p); a.Role != roleReceiver || a.Target == nil || a.Target.Address != "a" {
		p.t.Fatalf("attach answered by %+v", a)
	}
	return expect[flowFrame](p)
}

// attachReceiver attaches a link on which the peer receives.
func (p *peer) attachReceiver(handle uint32, mode ReceiverSettleMode) {
	p.t.Helper()
	p.send(0, &attachFrame{Name: "out", Handle: handle, Role: roleReceiver, RcvSettleMode: Some(uint8(mode)), Source: &Source{Address: "a"}, Target: &Target{}})
	if a := expect[attachFrame](p); a.Role != roleSender || a.InitialDeliveryCount != Some(uint32(0)) || a.Source == nil || a.RcvSettleMode != Some(uint8(mode)) {
		p.t.Fatalf("attach answered by %+v", a)
	}
}

// credit gives link credit, and as much session window as there is.
func (p *peer) credit(handle, count, credit uint32) {
	p.t.Helper()
	p.send(0, &flowFrame{NextIncomingID: Some(uint32(0)), IncomingWindow: 1 << 20, OutgoingWindow: 1000, Handle: Some(handle), DeliveryCount: Some(count), LinkCredit: Some(credit)})
}

func message(id uint32) *transferFrame {
	return &transferFrame{DeliveryID: Some(id), DeliveryTag: []byte{byte(id)}, MessageFormat: Some(uint32(0))}
}

// deadline makes the test fail rather than hang when the server says nothing.
func (p *peer) deadline() { _ = p.nc.SetDeadline(time.Now().Add(20 * time.Second)) }

// condition returns the condition of an error, "" for none.
func condition(e *Error) Symbol {
	if e == nil {
		return ""
	}
	return e.Condition
}
