package mqtt

import (
	"fmt"
	"io"
)

// DefaultLimit is the limit of a Reader that was given none, in bytes of remaining length. It suits a
// connection that has not been authenticated: a CONNECT with a long token and a will stays below, and a
// stranger cannot make the server hold a buffer of more than twice as much.
const DefaultLimit = 16 << 10

// Options says what a Reader accepts. The zero value is for a server before authentication.
type Options struct {
	From  Side // the sender of the packets: Client, for a server, or Server, for a client
	Limit int  // largest remaining length in bytes, up to MaxRemainingLength; 0 means DefaultLimit
}

// Reader takes packets off one connection. It is not safe for concurrent use.
//
// While it waits for the first byte of a packet it holds no buffer. Then it takes one from a pool and fills
// it with whatever Read returns; the buffer never grows past 4 KiB, or twice what has arrived of the packets
// in it if that is more, and goes back when every byte has been decoded.
//
// The first error is final: the Reader gives its buffer back and returns the same error from then on. Only a temporary
// error of the source that is no time-out, such as poll.ErrAgain, is not: ReadPacket passes it on as it is, keeps what
// it has of a packet, and goes on when it is called again.
type Reader struct {
	source io.Reader
	limit  int
	from   Side
	prompt bool

	err     error   // what ended it
	pending error   // came with the bytes in unread, to be returned after them
	unread  []byte  // in head or in buf
	buf     *buffer // nil while nothing but head is in use
	head    [2]byte // where the wait for a packet takes place; a whole PINGREQ fits

	publish Publish // returned again and again, so that a packet costs no allocation
	puback  Puback
}

// NewReader returns a Reader of the packets that o.From sends over source. It reads nothing yet. It reads
// ahead, so source must have no other reader from then on.
func NewReader(source io.Reader, o Options) *Reader {
	r := &Reader{source: source, from: o.From}
	r.SetLimit(o.Limit)
	return r
}

// SetLimit changes the largest remaining length, in bytes, of the packets not yet returned, those already
// read ahead included. 0 means DefaultLimit; more than MaxRemainingLength means MaxRemainingLength.
func (r *Reader) SetLimit(limit int) {
	if limit <= 0 {
		limit = DefaultLimit
	}
	r.limit = min(limit, MaxRemainingLength)
}

// Prompt says that the source does not wait for bytes any more, but returns a temporary error when there are none: the
// Reader may then take a buffer before it knows of any.
func (r *Reader) Prompt() { r.prompt = true }

// Buffered reports whether ReadPacket can return without reading from the source. A server that has answers
// to write can wait for false, so that one write carries them all.
func (r *Reader) Buffered() bool {
	if r.err != nil {
		return true
	}
	h, err := r.parseHeader(r.unread)
	return err != nil || r.pending != nil || h.size > 0 && len(r.unread) >= h.size+h.length
}

// ReadPacket returns the next packet, waiting for it as long as the source does. The packet is valid, and is
// one that the other side may send. It belongs to the Reader until the next call: a *Publish, its Payload
// and a *Puback are used again then. Strings, and all of the other packets, may be kept.
//
// Fails with io.EOF if the source ends between packets and io.ErrUnexpectedEOF if it ends inside one; with
// the source's own error, wrapped unless it is temporary; with ErrMalformed, ErrTooLarge, ErrProtocolVersion, ErrClientID, ErrQoS2
// or ErrWrongSide if the packet is refused, most of them before its body has been read.
func (r *Reader) ReadPacket() (Packet, error) {
	if r.err != nil {
		return nil, r.err
	}
	r.publish = Publish{} // drops what the last packet held
	p, err := r.next()
	if isTemporary(err) {
		return nil, err
	}
	if err != nil {
		r.err = err
		r.publish = Publish{}
		r.release()
		return nil, err
	}
	return p, nil
}

// next decodes the next packet, reading until it is whole.
func (r *Reader) next() (Packet, error) {
	if len(r.unread) == 0 {
		if err := r.begin(); err != nil {
			return nil, err
		}
	}
	for {
		h, err := r.parseHeader(r.unread)
		if err != nil {
			return nil, err
		}
		if end := h.size + h.length; h.size > 0 && len(r.unread) >= end {
			body := r.unread[h.size:end]
			r.unread = r.unread[end:]
			return r.decode(h, body)
		}
		if err := r.fill(); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
}

// begin reads the first bytes of a packet.
func (r *Reader) begin() error {
	into := r.head[:]
	if r.prompt {
		if r.buf == nil {
			r.buf = takeBuffer(0)
		}
		into = r.buf.data
	} else {
		r.release()
	}
	n, err := r.read(into)
	if err != nil {
		r.release()
		return err
	}
	r.unread = into[:n]
	return nil
}

// release gives the buffer back, with whatever is in it.
func (r *Reader) release() {
	if r.buf != nil {
		giveBuffer(r.buf)
		r.buf = nil
	}
	r.unread = nil
}

// fill reads at least one more byte behind those unread, after moving them to the front of the smallest
// buffer that has room for another.
func (r *Reader) fill() error {
	if class := classFor(len(r.unread) + 1); r.buf == nil || r.buf.class != class {
		b := takeBuffer(class)
		n := copy(b.data, r.unread)
		r.release()
		r.buf, r.unread = b, b.data[:n]
	} else {
		n := copy(r.buf.data, r.unread)
		r.unread = r.buf.data[:n]
	}
	n, err := r.read(r.buf.data[len(r.unread):])
	if err != nil {
		return err
	}
	r.unread = r.buf.data[:len(r.unread)+n]
	return nil
}

// maxEmptyReads is how often in a row a source may return no byte and no error, as in bufio.
const maxEmptyReads = 100

// read reads at least one byte into b. An error that comes with bytes is kept for the next call.
func (r *Reader) read(b []byte) (int, error) {
	if r.pending != nil {
		return 0, r.pending
	}
	for range maxEmptyReads {
		n, err := r.source.Read(b)
		if n == 0 && isTemporary(err) {
			return 0, err
		}
		if err != nil && err != io.EOF {
			err = fmt.Errorf("mqtt: read: %w", err)
		}
		if n > 0 {
			r.pending = err
			return n, nil
		}
		if err != nil {
			return 0, err
		}
	}
	return 0, fmt.Errorf("mqtt: read: %w", io.ErrNoProgress)
}

// isTemporary reports whether the source can be read again after err.
func isTemporary(err error) bool {
	t, ok := err.(interface {
		Temporary() bool
		Timeout() bool
	})
	return ok && t.Temporary() && !t.Timeout()
}

// header is a fixed header (section 2.2).
type header struct {
	kind   Type
	flags  byte
	length int // remaining length
	size   int // bytes of the header itself; 0: not all of it is there
}

// parseHeader reads the header at the front of b and refuses, as early as the bytes allow, what no body
// could put right.
func (r *Reader) parseHeader(b []byte) (header, error) {
	if len(b) == 0 {
		return header{}, nil
	}
	h := header{kind: Type(b[0] >> 4), flags: b[0] & 0x0f}
	k := kinds[h.kind]
	switch {
	case k.sentBy == byNobody:
		return header{}, &MalformedError{Type: h.kind, Clause: "section 2.2.1", Reason: "reserved packet type"}
	case k.sentBy&(1<<r.from) == 0:
		return header{}, fmt.Errorf("%w: %v from the %v", ErrWrongSide, h.kind, r.from)
	case h.kind == TypePublish && h.flags&publishMask == publishMask:
		return header{}, &MalformedError{Type: h.kind, Clause: "MQTT-3.3.1-4", Reason: "QoS is 3"}
	case h.kind != TypePublish && h.flags != k.flags: // [MQTT-2.2.2-1] [MQTT-2.2.2-2]
		return header{}, &MalformedError{Type: h.kind, Clause: flagsClause(h.kind), Reason: "reserved flags are wrong"}
	case k.qos2 || h.kind == TypePublish && QoS(h.flags&publishMask/publishQoS) == QoS2:
		return header{}, fmt.Errorf("%w: %v", ErrQoS2, h.kind)
	}
	for i := 1; ; i++ {
		if i == maxHeader {
			return header{}, &MalformedError{Type: h.kind, Clause: "section 2.2.3", Reason: "remaining length has more than four bytes"}
		}
		if i == len(b) {
			return header{}, nil
		}
		h.length |= int(b[i]&0x7f) << (7 * (i - 1))
		if b[i]&0x80 == 0 {
			h.size = i + 1
			break
		}
	}
	switch {
	case h.length > r.limit:
		return header{}, &TooLargeError{Type: h.kind, Unit: "bytes", Size: h.length, Limit: r.limit}
	case k.length != anyLength && h.length != k.length:
		return header{}, &MalformedError{Type: h.kind, Clause: "MQTT-4.8.0-1", Reason: "remaining length is wrong"}
	}
	return h, nil
}

// decode decodes a whole packet of a kind that parseHeader let through.
func (r *Reader) decode(h header, body []byte) (Packet, error) {
	switch h.kind {
	case TypeConnect:
		return decodeConnect(body)
	case TypeConnack:
		return decodeConnack(body)
	case TypePublish:
		return &r.publish, r.publish.decode(h.flags, body)
	case TypePuback:
		return &r.puback, r.puback.decode(body)
	case TypeSubscribe:
		return decodeSubscribe(body)
	case TypeSuback:
		return decodeSuback(body)
	case TypeUnsubscribe:
		return decodeUnsubscribe(body)
	case TypeUnsuback:
		return decodeUnsuback(body)
	case TypePingreq:
		return &Pingreq{}, nil
	case TypePingresp:
		return &Pingresp{}, nil
	default: // TypeDisconnect: the others have been refused
		return &Disconnect{}, nil
	}
}
