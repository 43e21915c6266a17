package eventlog

import (
	"fmt"
	"math"
	"time"

	"github.com/twinhub/twinhub/internal/engine"
)

// A Start says where in a partition a reader begins. The zero value is the oldest event.
type Start struct {
	From From
	// Offset, Number or Time, by From, is the event to begin after. Offset is the record's, which is FirstOffset less
	// than what readers see.
	Offset uint64
	Number uint64
	Time   time.Time
	// Inclusive begins at that event instead; with Latest, at the newest event there is.
	Inclusive bool
}

// From is what a Start refers to.
type From int

// The references.
const (
	Earliest From = iota
	Latest
	AtOffset
	AtNumber
	AtTime
)

// Resolve returns the number of the first record for a reader of partition p of e. A start before the oldest event
// means the oldest; one past the end means the end.
func (s Start) Resolve(e engine.Engine, p engine.Partition) (uint64, error) {
	head, err := e.Head(p, Name)
	if err != nil {
		return 0, fmt.Errorf("read log head: %w", err)
	}
	n := head.First
	switch s.From {
	case Latest:
		n = head.Next
		if s.Inclusive && head.Next > head.First {
			n--
		}
	case AtNumber:
		n = s.Number
		if !s.Inclusive && n < math.MaxUint64 {
			n++
		}
	case AtOffset:
		offset := s.Offset
		if !s.Inclusive && offset < math.MaxUint64 {
			offset++
		}
		n, err = e.SeekOffset(p, Name, offset)
	case AtTime:
		t := s.Time
		if !s.Inclusive {
			t = t.Add(time.Millisecond) // the resolution of record times
		}
		n, err = e.SeekTime(p, Name, t)
	}
	if err != nil {
		return 0, fmt.Errorf("seek in log: %w", err)
	}
	return min(max(n, head.First), head.Next), nil
}
