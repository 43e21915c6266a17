package amqp

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Types of frames, AMQP 2.3.1 and 5.3.1.
const (
	frameAMQP = 0
	frameSASL = 1
)

// frameHeader is drawn in AMQP 2.3.1:
//
//	byte 0..3  size of the frame, itself included
//	byte 4     doff: where the body begins, in words of four bytes, at least 2
//	byte 5     type
//	byte 6..7  channel (nothing in SASL frames)
const frameHeader = 8

// frame is one frame; its body is valid until the next is read, and empty for a heartbeat.
type frame struct {
	kind    byte
	channel uint16
	size    int
	body    []byte
}

// frameReader cuts a byte stream into frames. While it waits for a frame it holds only the eight bytes
// of its header; the buffer is borrowed when these have come, and returned when it is used up.
type frameReader struct {
	src     io.Reader
	before  func() error // called before it waits for bytes
	buffers *Buffers
	header  [frameHeader]byte
	buf     []byte // nil, or borrowed: buf[r:w] has been read and not been used
	r, w    int
}

// next reads one frame of at most limit bytes. Errors of frames that break the rules wrap ErrMalformed.
func (f *frameReader) next(limit int) (frame, error) {
	if f.buf != nil && f.r == f.w {
		f.release()
	}
	head, err := f.take(frameHeader)
	if err != nil {
		return frame{}, err
	}
	size, doff := binary.BigEndian.Uint32(head), int(head[4])
	out := frame{kind: head[5], channel: binary.BigEndian.Uint16(head[6:]), size: int(size)}
	switch {
	case size > uint32(limit):
		return frame{}, fmt.Errorf("%w: frame of %d bytes, limit %d", ErrMalformed, size, limit)
	case doff < 2 || uint32(doff)*4 > size:
		return frame{}, fmt.Errorf("%w: data offset %d in a frame of %d bytes", ErrMalformed, doff, size)
	case out.kind != frameAMQP && out.kind != frameSASL:
		return frame{}, fmt.Errorf("%w: frame type %d", ErrMalformed, out.kind)
	}
	if size == frameHeader {
		return out, nil
	}
	body, err := f.take(int(size) - frameHeader)
	if err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return frame{}, err
	}
	out.body = body[doff*4-frameHeader:] // an extended header, if any, means nothing to us
	return out, nil
}

// take returns the next n bytes, valid until the next call.
func (f *frameReader) take(n int) ([]byte, error) {
	if f.buf == nil {
		if n == frameHeader {
			if err := f.before(); err != nil {
				return nil, err
			}
			_, err := io.ReadFull(f.src, f.header[:])
			return f.header[:], err
		}
		f.buf = f.buffers.get(n)
	}
	if n > len(f.buf)-f.r {
		old := f.buf
		if n > len(old) {
			f.buf = f.buffers.get(n)
		}
		f.w = copy(f.buf, old[f.r:f.w])
		f.r = 0
		if n > len(old) {
			f.buffers.put(old)
		}
	}
	if have := f.w - f.r; have < n {
		if err := f.before(); err != nil {
			return nil, err
		}
		k, err := io.ReadAtLeast(f.src, f.buf[f.w:], n-have)
		f.w += k
		if err != nil {
			return nil, err
		}
	}
	p := f.buf[f.r : f.r+n]
	f.r += n
	return p, nil
}

// release returns the buffer. What it held is lost, so that it is for the end, and for empty buffers.
func (f *frameReader) release() {
	if f.buf != nil {
		f.buffers.put(f.buf)
		f.buf, f.r, f.w = nil, 0, 0
	}
}
