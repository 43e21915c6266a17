package mqtt

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
)

// sourceFunc is a source whose Read is a function.
type sourceFunc func(b []byte) (int, error)

func (f sourceFunc) Read(b []byte) (int, error) { return f(b) }

// pieces is a source that returns one piece at each Read, then end.
func pieces(end error, all ...[]byte) io.Reader {
	return sourceFunc(func(b []byte) (int, error) {
		if len(all) == 0 {
			return 0, end
		}
		n := copy(b, all[0])
		if all[0] = all[0][n:]; len(all[0]) == 0 {
			all = all[1:]
		}
		return n, nil
	})
}

// expect fails unless r returns want, checked before the next call may reuse it.
func expect(t *testing.T, r *Reader, want ...Packet) {
	t.Helper()
	for i, w := range want {
		got, err := r.ReadPacket()
		if err != nil {
			t.Fatalf("packet %d: %v, want %#v", i, err, w)
		}
		if !equal(got, w) {
			t.Errorf("packet %d:\n got %#v\nwant %#v", i, got, w)
		}
	}
}

// expectEnd fails unless r returns want, and returns it again and holds nothing afterwards.
func expectEnd(t *testing.T, r *Reader, want error) {
	t.Helper()
	for range 2 {
		if p, err := r.ReadPacket(); !errors.Is(err, want) || p != nil {
			t.Fatalf("ReadPacket = %#v, %v; want the error %v", p, err, want)
		}
	}
	if held(r) != 0 {
		t.Errorf("after the end the Reader holds %d bytes", held(r))
	}
	if !r.Buffered() {
		t.Error("Buffered is false, but ReadPacket would not read again")
	}
}

// held is how many bytes of buffer r has taken from the pool.
func held(r *Reader) int {
	if r.buf == nil {
		return 0
	}
	return len(r.buf.data)
}

func TestReadPacket(t *testing.T) {
	for _, c := range packets {
		b := wire(t, c.bytes)
		t.Run(c.name, func(t *testing.T) {
			for _, s := range []struct {
				name   string
				source io.Reader
			}{
				{"at once", bytes.NewReader(b)},
				{"byte by byte", iotest.OneByteReader(bytes.NewReader(b))},
				{"with the end in the last read", iotest.DataErrReader(bytes.NewReader(b))},
			} {
				r := NewReader(s.source, Options{From: c.from})
				expect(t, r, c.packet)
				expectEnd(t, r, io.EOF)
				if t.Failed() {
					t.Fatalf("read %s", s.name)
				}
			}
		})
		t.Run(c.name+", split", func(t *testing.T) {
			for cut := 1; cut < len(b); cut++ {
				r := NewReader(pieces(io.EOF, b[:cut], b[cut:]), Options{From: c.from})
				expect(t, r, c.packet)
				expectEnd(t, r, io.EOF)
				r = NewReader(pieces(io.EOF, b[:cut]), Options{From: c.from})
				expectEnd(t, r, io.ErrUnexpectedEOF)
				if t.Failed() {
					t.Fatalf("split after byte %d of % x", cut, b)
				}
			}
		})
	}
}

// TestSeveralPacketsInOneRead reads everything a side can say from one stream, several times over, so that
// packets begin at every place in the buffer and some lie across its end.
func TestSeveralPacketsInOneRead(t *testing.T) {
	for _, from := range []Side{Client, Server} {
		var stream []byte
		var want []Packet
		for len(stream) < 3*smallestBuffer {
			for _, c := range packets {
				if c.from == from {
					stream, want = append(stream, wire(t, c.bytes)...), append(want, c.packet)
				}
			}
		}
		r := NewReader(bytes.NewReader(stream), Options{From: from})
		expect(t, r, want...)
		expectEnd(t, r, io.EOF)
	}
}

// TestIdleHoldsNothing has the Reader wait at the end of packets and inside them, and looks at what it holds
// at each wait.
func TestIdleHoldsNothing(t *testing.T) {
	big := &Publish{QoS: QoS1, Topic: "t", ID: 1, Payload: make([]byte, 5000)}
	bytesOfBig := big.AppendTo(nil)
	parts := []struct {
		idle  bool // everything before has been decoded
		bytes []byte
	}{
		{true, (&Puback{ID: 2}).AppendTo(big.AppendTo(nil))},
		{true, wire(t, "c0 00")},
		{true, bytesOfBig[:1]},
		{false, bytesOfBig[1:]},
		{true, wire(t, "c0")},
		{false, wire(t, "00 40")},
		{false, wire(t, "02 00 03")},
		{true, nil},
	}
	next, rest := 0, []byte(nil)
	var r *Reader
	r = NewReader(sourceFunc(func(b []byte) (int, error) {
		if len(rest) == 0 {
			if part := parts[next]; part.idle && (held(r) != 0 || len(b) > 2) {
				t.Errorf("part %d: waits holding %d bytes for %d more, want 0 for 1 or 2", next, held(r), len(b))
			} else if part.idle && !equal(&r.publish, &Publish{}) {
				t.Errorf("part %d: waits holding the topic or payload of the last publish", next)
			} else if !part.idle && held(r) == 0 {
				t.Errorf("part %d: inside a packet, but holds nothing", next)
			}
			rest, next = parts[next].bytes, next+1
			if rest == nil {
				return 0, io.EOF
			}
		}
		n := copy(b, rest)
		rest = rest[n:]
		return n, nil
	}), Options{})
	expect(t, r, big, &Puback{ID: 2}, &Pingreq{}, big, &Pingreq{}, &Puback{ID: 3})
	expectEnd(t, r, io.EOF)
	if next != len(parts) {
		t.Errorf("%d parts were read, want %d", next, len(parts))
	}
}

// TestHoldsWhatHasArrived announces a large packet and sends it slowly: the buffer grows with what has
// arrived and not with what was announced, and shrinks again for the next packet.
func TestHoldsWhatHasArrived(t *testing.T) {
	const limit = 1 << 20
	big := &Publish{Topic: "t", Payload: bytes.Repeat([]byte("0123456789abcdef"), 40000)} // more than a pooled buffer holds
	stream := big.AppendTo(nil)
	length := len(stream)
	stream = append(stream, wire(t, "c0")...)
	arrived, largest := 0, 0
	var r *Reader
	r = NewReader(sourceFunc(func(b []byte) (int, error) {
		if allowed := max(smallestBuffer, 2*arrived); held(r) > allowed {
			t.Errorf("after %d bytes it holds %d, want at most %d", arrived, held(r), allowed)
		}
		if arrived == len(stream) {
			if held(r) != smallestBuffer {
				t.Errorf("for one byte of the next packet it holds %d, want %d", held(r), smallestBuffer)
			}
			return 0, io.EOF
		}
		largest = max(largest, held(r))
		end := min(len(stream), arrived+777)
		if arrived < length {
			end = min(end, length)
		}
		if arrived+len(b) > length && end == length { // the first byte of the next packet comes with the last of this
			end = len(stream)
		}
		n := copy(b, stream[arrived:end])
		arrived += n
		return n, nil
	}), Options{Limit: limit})
	expect(t, r, big)
	expectEnd(t, r, io.ErrUnexpectedEOF)
	if largest < length {
		t.Errorf("it never held more than %d bytes of a packet of %d", largest, length)
	}
}

// TestAppendToPayload appends to a decoded payload: the packet behind it in the buffer is not touched.
func TestAppendToPayload(t *testing.T) {
	first, second := &Publish{Topic: "t", Payload: []byte("one")}, &Publish{Topic: "t", Payload: []byte("two")}
	r := NewReader(bytes.NewReader(second.AppendTo(first.AppendTo(nil))), Options{})
	p, err := r.ReadPacket()
	if err != nil {
		t.Fatal(err)
	}
	_ = append(p.(*Publish).Payload, "overwritten"...)
	expect(t, r, second)
}

// TestKept reads packets that may be kept, then overwrites the buffer they came in.
func TestKept(t *testing.T) {
	for _, c := range packets {
		filler := &Publish{Topic: strings.Repeat("z", 100), Payload: bytes.Repeat([]byte{'z'}, 100)}
		stream := wire(t, c.bytes)
		for range 50 {
			stream = filler.AppendTo(stream)
		}
		r := NewReader(bytes.NewReader(stream), Options{From: c.from})
		kept, err := r.ReadPacket()
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		topic := ""
		if p, ok := kept.(*Publish); ok {
			topic = p.Topic
		}
		for range 50 {
			expect(t, r, filler)
		}
		switch p := c.packet.(type) {
		case *Publish:
			if topic != p.Topic {
				t.Errorf("%s: topic became %q", c.name, topic)
			}
		case *Puback: // may not be kept
		default:
			if !equal(kept, c.packet) {
				t.Errorf("%s: became %#v", c.name, kept)
			}
		}
	}
}

func TestSetLimit(t *testing.T) {
	publish := func(length int) *Publish { return &Publish{Topic: "t", Payload: make([]byte, length-3)} }
	refused := func(t *testing.T, r *Reader, size, limit int) {
		t.Helper()
		_, err := r.ReadPacket()
		var got *TooLargeError
		if want := (TooLargeError{TypePublish, "bytes", size, limit}); !errors.As(err, &got) || *got != want {
			t.Errorf("error %v, want %v", err, &want)
		}
	}
	t.Run("default", func(t *testing.T) {
		r := NewReader(bytes.NewReader(publish(DefaultLimit).AppendTo(nil)), Options{})
		expect(t, r, publish(DefaultLimit))
		r = NewReader(bytes.NewReader(publish(DefaultLimit+1).AppendTo(nil)), Options{})
		refused(t, r, DefaultLimit+1, DefaultLimit)
	})
	t.Run("raised after the connect, for what came with it", func(t *testing.T) {
		connect := &Connect{ClientID: "c"}
		stream := publish(5000).AppendTo(connect.AppendTo(nil))
		r := NewReader(bytes.NewReader(stream), Options{Limit: 100})
		expect(t, r, connect)
		r.SetLimit(5000)
		expect(t, r, publish(5000))
	})
	t.Run("lowered", func(t *testing.T) {
		r := NewReader(bytes.NewReader(publish(100).AppendTo(publish(100).AppendTo(nil))), Options{Limit: 100})
		expect(t, r, publish(100))
		r.SetLimit(99)
		refused(t, r, 100, 99)
	})
	t.Run("bounds", func(t *testing.T) {
		r := NewReader(nil, Options{})
		for limit, want := range map[int]int{0: DefaultLimit, -1: DefaultLimit, 1: 1, MaxRemainingLength + 1: MaxRemainingLength} {
			if r.SetLimit(limit); r.limit != want {
				t.Errorf("SetLimit(%d) sets %d, want %d", limit, r.limit, want)
			}
		}
	})
}

func TestBuffered(t *testing.T) {
	ping, puback := wire(t, "c0 00"), wire(t, "40 02 00 01")
	for _, c := range []struct {
		name   string
		behind []byte // in the read that completes a first PUBACK
		end    error  // comes with that read
		want   bool
	}{
		{"nothing", nil, nil, false},
		{"a whole packet", puback, nil, true},
		{"the shortest packet", ping, nil, true},
		{"a header", puback[:2], nil, false},
		{"half a header", puback[:1], nil, false},
		{"an unfinished length", wire(t, "30 ff"), nil, false},
		{"all but a byte", puback[:3], nil, false},
		{"a refusal", wire(t, "00"), nil, true},
		{"a refusal by size", wire(t, "30 ff ff 7f"), nil, true},
		{"the end", nil, io.EOF, true},
		{"a broken packet and the end", puback[:3], io.EOF, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			stream := slices.Concat(puback, c.behind)
			reads, at := 0, 0
			r := NewReader(sourceFunc(func(b []byte) (int, error) {
				reads++
				if at == len(stream) {
					return 0, io.EOF
				}
				n := copy(b, stream[at:])
				if at += n; at == len(stream) {
					return n, c.end
				}
				return n, nil
			}), Options{})
			if r.Buffered() {
				t.Error("before the first read: Buffered is true")
			}
			expect(t, r, &Puback{ID: 1})
			if got := r.Buffered(); got != c.want {
				t.Errorf("Buffered = %v, want %v", got, c.want)
			}
			before := reads
			_, _ = r.ReadPacket()
			if read := reads > before; read == c.want {
				t.Errorf("ReadPacket read from the source: %v, though Buffered was %v", read, c.want)
			}
		})
	}
}

func TestSourceErrors(t *testing.T) {
	broken := errors.New("cable cut")
	t.Run("wrapped", func(t *testing.T) {
		expectEnd(t, NewReader(iotest.ErrReader(broken), Options{}), broken)
	})
	t.Run("inside a packet", func(t *testing.T) {
		expectEnd(t, NewReader(pieces(broken, wire(t, "40 02 00")), Options{}), broken)
	})
	t.Run("with bytes, after the packets in them", func(t *testing.T) {
		stream := wire(t, "40 02 00 01 40 02 00 02")
		r := NewReader(iotest.DataErrReader(pieces(broken, stream)), Options{})
		expect(t, r, &Puback{ID: 1}, &Puback{ID: 2})
		expectEnd(t, r, broken)
	})
	t.Run("neither bytes nor error", func(t *testing.T) {
		silent := sourceFunc(func([]byte) (int, error) { return 0, nil })
		expectEnd(t, NewReader(silent, Options{}), io.ErrNoProgress)
	})
	t.Run("a pause", func(t *testing.T) {
		calls := 0
		stream := bytes.NewReader(wire(t, "40 02 00 01"))
		r := NewReader(sourceFunc(func(b []byte) (int, error) {
			if calls++; calls%2 == 1 {
				return 0, nil
			}
			return stream.Read(b)
		}), Options{})
		expect(t, r, &Puback{ID: 1})
	})
}

// TestSharedPool has several Readers trade buffers at the same time; each must see only its own bytes. It
// says most under the race detector.
func TestSharedPool(t *testing.T) {
	var readers sync.WaitGroup
	for id := range 4 {
		readers.Go(func() {
			want := &Publish{Topic: "t", Payload: bytes.Repeat([]byte{byte('a' + id)}, 3000*(id+1))}
			stream := want.AppendTo(nil)
			for range 200 {
				r := NewReader(bytes.NewReader(stream), Options{})
				p, err := r.ReadPacket()
				if err != nil || !equal(p, want) {
					t.Errorf("reader %d got %.60v, %v", id, p, err)
					return
				}
				if _, err := r.ReadPacket(); err != io.EOF {
					t.Errorf("reader %d: %v, want the end", id, err)
				}
			}
		})
	}
	readers.Wait()
}

// hesitant returns its bytes one by one, and before each that there is none yet.
type hesitant struct {
	bytes []byte
	asked bool
}

func (h *hesitant) Read(b []byte) (int, error) {
	if h.asked = !h.asked; h.asked {
		return 0, errLater{}
	}
	if len(h.bytes) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:1], h.bytes)
	h.bytes = h.bytes[n:]
	return n, nil
}

type errLater struct{}

func (errLater) Error() string   { return "later" }
func (errLater) Temporary() bool { return true }
func (errLater) Timeout() bool   { return false }

func TestReaderGoesOnAfterTemporaryErrors(t *testing.T) {
	for _, prompt := range []bool{false, true} {
		goesOn(t, prompt)
	}
}

func goesOn(t *testing.T, prompt bool) {
	t.Helper()
	publish := &Publish{QoS: QoS1, ID: 7, Topic: "devices/d/messages/events/", Payload: bytes.Repeat([]byte("x"), 300)}
	source := &hesitant{bytes: (&Pingreq{}).AppendTo(publish.AppendTo((&Pingreq{}).AppendTo(nil)))}
	size := len(source.bytes)
	r := NewReader(source, Options{From: Client})
	if prompt {
		r.Prompt()
	}
	var got []Type
	later := 0
	for {
		p, err := r.ReadPacket()
		if err == (errLater{}) {
			if later++; len(r.unread) == 0 && r.buf != nil {
				t.Error("a buffer is held while nothing has come")
			}
			continue
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("after %v: %v", got, err)
		}
		if p, ok := p.(*Publish); ok && (p.ID != 7 || !bytes.Equal(p.Payload, publish.Payload)) {
			t.Errorf("got %+v", p)
		}
		got = append(got, p.Type())
	}
	if want := []Type{TypePingreq, TypePublish, TypePingreq}; !slices.Equal(got, want) || later != size+1 {
		t.Errorf("got %v after %d temporary errors, want %v after %d", got, later, want, size+1)
	}
	if _, err := r.ReadPacket(); err != io.EOF || r.buf != nil {
		t.Errorf("then %v, holding a buffer: %t, want EOF and none", err, r.buf != nil)
	}
}
