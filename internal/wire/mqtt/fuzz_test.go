package mqtt

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

// FuzzReader gives a Reader any bytes, cut in any way, under any limit. Whatever they are:
//
//   - it does not panic, and it ends: with a refusal or with the end of the stream;
//   - while it waits it holds no more than the smallest buffer or twice the longest packet it would accept,
//     and while it waits between packets it holds nothing;
//   - how the bytes were cut changes neither the packets nor the error;
//   - what it returns is valid, was sent by the right side and is no longer than the limit;
//   - a packet written again is read again as the same packet, and written the same way once more;
//   - Buffered is true exactly when the next ReadPacket does not read.
//
// The committed seeds in testdata/fuzz/FuzzReader are named for what they contain.
func FuzzReader(f *testing.F) {
	for _, c := range packets {
		f.Add(wire(f, c.bytes), c.from == Server, uint16(0), byte(3))
	}
	f.Fuzz(func(t *testing.T, stream []byte, fromServer bool, limit uint16, cut byte) {
		o := Options{Limit: int(limit)}
		if fromServer {
			o.From = Server
		}
		whole, wholeErr := readAll(t, stream, o, len(stream))
		parts, partsErr := readAll(t, stream, o, 1+int(cut))
		if wholeErr.Error() != partsErr.Error() {
			t.Errorf("at once it ends with %q, in parts with %q", wholeErr, partsErr)
		}
		if !bytes.Equal(whole, parts) {
			t.Errorf("at once it reads\n% x, in parts\n% x", whole, parts)
		}
	})
}

// readAll reads a stream to its end in reads of at most cut bytes, checks the invariants of FuzzReader on
// the way, and returns the packets written again and the error at the end.
func readAll(t *testing.T, stream []byte, o Options, cut int) ([]byte, error) {
	t.Helper()
	var r *Reader
	reads := 0
	r = NewReader(sourceFunc(func(b []byte) (int, error) {
		reads++
		if allowed := max(smallestBuffer, 2*(maxHeader+r.limit)); held(r) > allowed {
			t.Errorf("holds %d bytes, want at most %d", held(r), allowed)
		}
		if len(r.unread) == 0 && held(r) != 0 {
			t.Errorf("holds %d bytes between packets", held(r))
		}
		if len(stream) == 0 {
			return 0, io.EOF
		}
		n := copy(b, stream[:min(cut, len(stream))])
		stream = stream[n:]
		return n, nil
	}), o)
	var again []byte
	for {
		buffered, before := r.Buffered(), reads
		p, err := r.ReadPacket()
		if buffered != (reads == before) {
			t.Errorf("Buffered was %v, but ReadPacket read %d times", buffered, reads-before)
		}
		if err != nil {
			if held(r) != 0 {
				t.Errorf("holds %d bytes after the end", held(r))
			}
			checkEnd(t, err)
			return again, err
		}
		if err := p.Validate(); err != nil {
			t.Fatalf("decoded %#v, which is not valid: %v", p, err)
		}
		if kinds[p.Type()].sentBy&(1<<o.From) == 0 {
			t.Errorf("a %v from the %v", p.Type(), o.From)
		}
		b := p.AppendTo(nil)
		if len(b) > maxHeader+r.limit {
			t.Errorf("a %v of %d bytes passed the limit of %d", p.Type(), len(b), r.limit)
		}
		same, err := NewReader(bytes.NewReader(b), Options{From: o.From, Limit: MaxRemainingLength}).ReadPacket()
		if err != nil || !equal(same, p) {
			t.Errorf("written and read again:\n got %#v, %v\nwant %#v", same, err, p)
		} else if twice := same.AppendTo(nil); !bytes.Equal(twice, b) {
			t.Errorf("written twice:\n got % x\nwant % x", twice, b)
		}
		again = append(again, b...)
	}
}

// checkEnd fails unless err is one that ReadPacket documents for a source that only ever ends.
func checkEnd(t *testing.T, err error) {
	t.Helper()
	for _, known := range []error{io.EOF, io.ErrUnexpectedEOF, ErrMalformed, ErrTooLarge, ErrProtocolVersion, ErrClientID, ErrQoS2, ErrWrongSide} {
		if errors.Is(err, known) {
			return
		}
	}
	t.Errorf("ends with %v, which is not documented", err)
}
