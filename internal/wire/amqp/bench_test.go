package amqp

import (
	"io"
	"net"
	"testing"
)

// A 300 byte event out: the cost of Send, with the peer's reading on the same machine.
func BenchmarkSend300(b *testing.B) {
	senders := make(chan *Sender, 1)
	credited := make(chan struct{})
	var once bool
	h := &testHandler{
		attach: func(l Link) { _ = l.Accept(Accept{}); senders <- l.(*Sender) },
		flow: func(*Sender) {
			if !once {
				once = true
				close(credited)
			}
		},
	}
	nc, _ := serveTCP(b, Config{}, h)
	p := newPeer(b, nc)
	p.begin()
	p.attachReceiver(0, 0)
	p.send(0, &flowFrame{NextIncomingID: Some(uint32(0)), IncomingWindow: 1<<31 - 1, OutgoingWindow: 1, Handle: Some(uint32(0)),
		DeliveryCount: Some(uint32(0)), LinkCredit: Some(uint32(1<<31 - 1))})
	s := <-senders
	<-credited
	go discard(nc)
	o := Outgoing{Tag: []byte{1, 2, 3, 4}, Payload: [][]byte{make([]byte, 60), make([]byte, 240)}, Settled: true}
	ctx := b.Context()
	b.ReportAllocs()
	b.SetBytes(300)
	for b.Loop() {
		if _, err := s.Send(ctx, o); err != nil {
			b.Fatal(err)
		}
	}
}

func discard(nc net.Conn) {
	buf := make([]byte, 64<<10)
	for {
		if _, err := nc.Read(buf); err != nil {
			return
		}
	}
}

// A 300 byte message in, accepted at once: reading, assembling, settling.
func BenchmarkReceive300(b *testing.B) {
	nc, _ := serveTCP(b, Config{}, &testHandler{attach: func(l Link) { _ = l.Accept(Accept{Credit: 1 << 31}) }})
	p := newPeer(b, nc)
	p.begin()
	p.attachSender(0)
	go discard(nc)
	var batch []byte
	f := message(0)
	for range 100 {
		batch = append(batch, frameOf(0, 0, append(f.append(nil), make([]byte, 300)...))...)
	}
	b.ReportAllocs()
	b.SetBytes(300)
	n := 0
	for b.Loop() {
		if n%100 == 0 {
			p.write(batch)
		}
		n++
	}
}

func BenchmarkDecodeMessage(b *testing.B) {
	data, err := AppendMessage(nil, event())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, err := DecodeMessage(data); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendMessage(b *testing.B) {
	m := event()
	dst := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if dst, err = AppendMessage(dst[:0], m); err != nil {
			b.Fatal(err)
		}
	}
	_, _ = io.Discard.Write(dst)
}
