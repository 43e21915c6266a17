package amqp

import "sync"

const (
	smallBuffer = 16 << 10 // holds many small frames
	largeBuffer = 64 << 10 // holds a frame of the default size
)

// Buffers lends byte buffers to connections while they have input or output, so that idle ones hold
// none. The zero Buffers is ready; it is safe for concurrent use.
type Buffers struct {
	small, large sync.Pool // of *[smallBuffer]byte and *[largeBuffer]byte
}

// get returns a buffer of at least n bytes.
func (p *Buffers) get(n int) []byte {
	switch {
	case n <= smallBuffer:
		if b, ok := p.small.Get().(*[smallBuffer]byte); ok {
			return b[:]
		}
		return new([smallBuffer]byte)[:]
	case n <= largeBuffer:
		if b, ok := p.large.Get().(*[largeBuffer]byte); ok {
			return b[:]
		}
		return new([largeBuffer]byte)[:]
	}
	return make([]byte, n)
}

// put takes back a buffer, also one that append has replaced by a larger one.
func (p *Buffers) put(b []byte) {
	switch n := cap(b); {
	case n >= 4*largeBuffer: // too large to keep
	case n >= largeBuffer:
		p.large.Put((*[largeBuffer]byte)(b[:largeBuffer]))
	case n >= smallBuffer:
		p.small.Put((*[smallBuffer]byte)(b[:smallBuffer]))
	}
}
