package mqtt

import "testing"

func TestClassFor(t *testing.T) {
	for _, c := range []struct{ n, class int }{
		{0, 0}, {1, 0}, {4096, 0},
		{4097, 1}, {8192, 1},
		{8193, 2},
		{512 << 10, pooledClasses - 1}, {512<<10 + 1, pooledClasses},
		{MaxRemainingLength + maxHeader, 17},
	} {
		if got := classFor(c.n); got != c.class {
			t.Errorf("classFor(%d) = %d, want %d", c.n, got, c.class)
		}
	}
}

// TestBufferSizes takes a buffer of each class, gives it back and takes another: its size and class agree.
func TestBufferSizes(t *testing.T) {
	for class := range pooledClasses + 1 {
		for range 2 {
			b := takeBuffer(class)
			if b.class != class || len(b.data) != smallestBuffer<<class {
				t.Errorf("takeBuffer(%d) has class %d and %d bytes", class, b.class, len(b.data))
			}
			giveBuffer(b)
		}
	}
}
