package eventlog

import (
	"fmt"
	"math"
	"runtime"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/twinhub/twinhub/internal/engine"
	"github.com/twinhub/twinhub/internal/engine/enginetest"
	"github.com/twinhub/twinhub/internal/engine/local"
)

// began is the time of the first record of test logs; each later one is a second after the one before.
var began = time.UnixMilli(1_700_000_000_000).UTC()

const recordSize = 100

// openLog makes an engine whose partition 1 has a log of n records.
func openLog(t *testing.T, n int) (*local.Engine, *enginetest.Clock) {
	t.Helper()
	clock := enginetest.NewClock(began)
	e, err := local.Open(local.Options{Dir: "data", FS: vfs.NewMem(), Clock: clock})
	if err != nil {
		t.Fatalf("open engine: %v", err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Errorf("close engine: %v", err)
		}
	})
	for range n {
		c := engine.Commit{Partition: 1, Appends: []engine.Append{{Log: Name, Records: [][]byte{make([]byte, recordSize)}}}}
		if _, err := engine.Do(t.Context(), e, c); err != nil {
			t.Fatalf("commit: %v", err)
		}
		clock.Move(time.Second)
	}
	return e, clock
}

func (s Start) name() string {
	return fmt.Sprintf("%d offset %d number %d time %d inclusive %v", s.From, s.Offset, s.Number, s.Time.UnixMilli(), s.Inclusive)
}

func TestResolve(t *testing.T) {
	second := func(n float64) time.Time { return began.Add(time.Duration(n * float64(time.Second))) }
	for _, log := range []struct {
		name    string
		records int
		trim    uint64 // records before this number are trimmed
		cases   []struct {
			start Start
			want  uint64
		}
	}{
		{"never written", 0, 0, []struct {
			start Start
			want  uint64
		}{
			{Start{}, 0},
			{Start{From: Latest}, 0},
			{Start{From: Latest, Inclusive: true}, 0},
			{Start{From: AtNumber, Number: 5}, 0},
			{Start{From: AtOffset, Offset: 5}, 0},
			{Start{From: AtTime, Time: second(5)}, 0},
		}},
		{"ten records", 10, 0, []struct {
			start Start
			want  uint64
		}{
			{Start{}, 0},
			{Start{Inclusive: true}, 0},
			{Start{From: Latest}, 10},
			{Start{From: Latest, Inclusive: true}, 9},
			{Start{From: AtNumber, Number: 0}, 1},
			{Start{From: AtNumber, Number: 0, Inclusive: true}, 0},
			{Start{From: AtNumber, Number: 4}, 5},
			{Start{From: AtNumber, Number: 9}, 10},
			{Start{From: AtNumber, Number: 9, Inclusive: true}, 9},
			{Start{From: AtNumber, Number: 10, Inclusive: true}, 10},
			{Start{From: AtNumber, Number: 11}, 10},
			{Start{From: AtNumber, Number: math.MaxUint64}, 10},
			{Start{From: AtOffset, Offset: 0}, 1},
			{Start{From: AtOffset, Offset: 0, Inclusive: true}, 0},
			{Start{From: AtOffset, Offset: 399}, 4},
			{Start{From: AtOffset, Offset: 400}, 5},
			{Start{From: AtOffset, Offset: 400, Inclusive: true}, 4},
			{Start{From: AtOffset, Offset: 401, Inclusive: true}, 5},
			{Start{From: AtOffset, Offset: 900}, 10},
			{Start{From: AtOffset, Offset: 1 << 40}, 10},
			{Start{From: AtOffset, Offset: math.MaxUint64}, 10},
			{Start{From: AtTime, Time: time.Time{}}, 0},
			{Start{From: AtTime, Time: second(-1)}, 0},
			{Start{From: AtTime, Time: second(0)}, 1},
			{Start{From: AtTime, Time: second(0), Inclusive: true}, 0},
			{Start{From: AtTime, Time: second(3.5)}, 4},
			{Start{From: AtTime, Time: second(3.5), Inclusive: true}, 4},
			{Start{From: AtTime, Time: second(4)}, 5},
			{Start{From: AtTime, Time: second(4), Inclusive: true}, 4},
			{Start{From: AtTime, Time: second(9)}, 10},
			{Start{From: AtTime, Time: second(1e6)}, 10},
		}},
		{"ten records, six of them trimmed", 10, 6, []struct {
			start Start
			want  uint64
		}{
			{Start{}, 6},
			{Start{From: Latest}, 10},
			{Start{From: Latest, Inclusive: true}, 9},
			{Start{From: AtNumber, Number: 2}, 6},
			{Start{From: AtNumber, Number: 5}, 6},
			{Start{From: AtNumber, Number: 6}, 7},
			{Start{From: AtOffset, Offset: 0, Inclusive: true}, 6},
			{Start{From: AtOffset, Offset: 599}, 6},
			{Start{From: AtOffset, Offset: 600}, 7},
			{Start{From: AtTime, Time: second(1)}, 6},
			{Start{From: AtTime, Time: second(6)}, 7},
		}},
		{"ten records, all trimmed", 10, 10, []struct {
			start Start
			want  uint64
		}{
			{Start{}, 10},
			{Start{From: Latest}, 10},
			{Start{From: Latest, Inclusive: true}, 10},
			{Start{From: AtNumber, Number: 2, Inclusive: true}, 10},
			{Start{From: AtOffset, Offset: 0, Inclusive: true}, 10},
			{Start{From: AtTime, Time: second(1)}, 10},
		}},
	} {
		t.Run(log.name, func(t *testing.T) {
			e, clock := openLog(t, log.records)
			if log.trim > 0 {
				trim(t, e, clock, log.trim)
			}
			for _, c := range log.cases {
				t.Run(c.start.name(), func(t *testing.T) {
					got, err := c.start.Resolve(e, 1)
					if err != nil || got != c.want {
						t.Errorf("got %d, %v; want %d", got, err, c.want)
					}
				})
			}
			if got, err := (Start{From: Latest}).Resolve(e, 0); err != nil || got != 0 {
				t.Errorf("in a partition without records: got %d, %v; want 0", got, err)
			}
		})
	}
}

// trim removes the records before first, and returns when that is done.
func trim(t *testing.T, e *local.Engine, clock *enginetest.Clock, first uint64) {
	t.Helper()
	// Record n is n seconds younger than the first, and the clock stands one second after the last.
	e.SetRetention(Name, engine.Retention{Age: clock.Now().Sub(began) - time.Duration(first)*time.Second + time.Millisecond})
	for deadline := time.Now().Add(10 * time.Second); ; runtime.Gosched() {
		head, err := e.Head(1, Name)
		if err != nil {
			t.Fatalf("head: %v", err)
		}
		if head.First == first {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the log begins at %d, want %d", head.First, first)
		}
	}
}

func TestResolveFails(t *testing.T) {
	e, _ := openLog(t, 1)
	if _, err := (Start{}).Resolve(e, 99); err == nil {
		t.Error("a partition that does not exist has a start")
	}
}
