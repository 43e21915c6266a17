package main

import (
	"math"
	"math/bits"
	"sync/atomic"
	"time"
)

// A histogram counts durations in buckets that grow by a sixteenth, without locks.
type histogram struct{ buckets [64 * 16]atomic.Int64 }

func (h *histogram) add(d time.Duration) {
	n := uint64(max(d.Microseconds(), 1))
	power := bits.Len64(n) - 1
	part := 0
	if power >= 4 {
		part = int(n>>(power-4)) & 15
	}
	h.buckets[power*16+part].Add(1)
}

// quantile returns an upper bound of the q-quantile.
func (h *histogram) quantile(q float64) time.Duration {
	var total int64
	for i := range h.buckets {
		total += h.buckets[i].Load()
	}
	rank := int64(math.Ceil(q * float64(total)))
	var seen int64
	for i := range h.buckets {
		if seen += h.buckets[i].Load(); seen >= rank && total > 0 {
			power, part := i/16, i%16
			return time.Duration(math.Exp2(float64(power))*(1+float64(part+1)/16)) * time.Microsecond
		}
	}
	return 0
}

// into adds the quantiles to a result, in milliseconds.
func (h *histogram) into(r result) {
	for name, q := range map[string]float64{"p50ms": 0.5, "p90ms": 0.9, "p99ms": 0.99, "p999ms": 0.999} {
		r[name] = h.millis(q)
	}
}

// millis returns an upper bound of the q-quantile in milliseconds.
func (h *histogram) millis(q float64) float64 { return float64(h.quantile(q).Microseconds()) / 1000 }
