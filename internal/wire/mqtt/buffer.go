package mqtt

import (
	"math/bits"
	"sync"
)

// Buffers come in powers of two. The smallest holds a usual telemetry packet several times over; a stalled
// client costs no more than that until it has sent as much. Past the largest pooled class a buffer is left
// to the garbage collector, so that a rare giant does not stay.
const (
	smallestBuffer = 4 << 10
	pooledClasses  = 8 // 4 KiB, 8 KiB, ... 512 KiB
)

// buffer is a slice of one of the sizes. It is a struct so that putting it into a pool does not allocate.
type buffer struct {
	data  []byte
	class int
}

// buffers holds idle ones by class, for every Reader of the process. It caches memory and nothing else.
var buffers [pooledClasses]sync.Pool

// classFor returns the smallest class that holds n bytes.
func classFor(n int) int {
	if n <= smallestBuffer {
		return 0
	}
	return bits.Len(uint((n - 1) / smallestBuffer))
}

func takeBuffer(class int) *buffer {
	if class < pooledClasses {
		if b, ok := buffers[class].Get().(*buffer); ok {
			return b
		}
	}
	return &buffer{data: make([]byte, smallestBuffer<<class), class: class}
}

func giveBuffer(b *buffer) {
	if b.class < pooledClasses {
		buffers[b.class].Put(b)
	}
}
