package local

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/twinhub/twinhub/internal/engine"
)

// settle waits until Pebble has nothing to do in the background.
func settle(db *pebble.DB) {
	for {
		m := db.Metrics()
		if m.Table.InitialStatsCollectionComplete && m.Table.PendingStatsCollectionCount == 0 && m.Compact.NumInProgress == 0 {
			return
		}
		time.Sleep(100 * time.Microsecond)
	}
}

// TestReadFailure lets the reads of tables fail from each one on. Whoever reads must get what is there, or the cause.
func TestReadFailure(t *testing.T) {
	mem := vfs.NewMem()
	e := openSmall(t, mem)
	for i := range 40 { // more than the memory tables hold
		c := engine.Commit{
			Writes:  []engine.Write{{Key: fmt.Sprintf("k%02d", i), Value: make([]byte, 5000), Expect: engine.Any}},
			Appends: []engine.Append{{Log: "log", Records: [][]byte{make([]byte, 10_000)}}},
		}
		if _, err := engine.Do(t.Context(), e, c); err != nil {
			t.Fatalf("commit: %v", err)
		}
	}
	if err := errors.Join(e.store.db.Flush(), e.Close()); err != nil {
		t.Fatal(err)
	}
	later := time.Now().Add(time.Hour)
	for name, read := range map[string]func(*Engine) (any, error){
		"Get":        func(e *Engine) (any, error) { return e.Get(0, "k20") },
		"Scan":       func(e *Engine) (any, error) { return e.Scan(0, "", "", 100) },
		"Read":       func(e *Engine) (any, error) { return e.Read(0, "log", 0, math.MaxInt, math.MaxInt) },
		"SeekOffset": func(e *Engine) (any, error) { return e.SeekOffset(0, "log", 123_456) },
		"SeekTime":   func(e *Engine) (any, error) { return e.SeekTime(0, "log", later) },
		"trimming": func(e *Engine) (any, error) {
			plan, err := e.trimmer.plan(e.logs.find(0, "log"), engine.Retention{Bytes: 123_456})
			if err != nil {
				return nil, err
			}
			return plan.first, nil
		},
		"a commit": func(e *Engine) (any, error) {
			c := engine.Commit{Writes: []engine.Write{{Key: "k20", Value: []byte("v"), Expect: 21}}}
			r, err := engine.Do(t.Context(), e, c)
			return r.Position, err
		},
	} {
		t.Run(name, func(t *testing.T) {
			var results []string
			failed := 0
			for n := int64(0); ; n++ {
				f := &fault{after: n, forever: true, condition: func(op errorfs.Op) bool {
					return op.Kind == errorfs.OpFileReadAt && strings.HasSuffix(op.Path, ".sst")
				}}
				fs := vfs.NewMem()
				if _, err := vfs.Clone(mem, fs, "data", "data"); err != nil {
					t.Fatal(err)
				}
				e, err := Open(Options{Dir: "data", FS: inject(fs, f.MaybeError), memTable: smallMemTable})
				if err != nil {
					t.Fatalf("Open: %v", err)
				}
				settle(e.store.db) // whose own reads are not to fail
				f.armed.Store(true)
				got, err := read(e)
				whole := f.count.Load() <= n
				f.armed.Store(false)
				if err == nil {
					results = append(results, fmt.Sprint(got))
				} else if failed++; whole || !errors.Is(err, errBroken) {
					t.Errorf("read %d fails: %v, want the cause", n, err)
				}
				if err := e.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
				if whole {
					break
				}
			}
			slices.Sort(results)
			if results = slices.Compact(results); len(results) != 1 || failed == 0 {
				t.Errorf("%d failures and %d different results, want some and 1", failed, len(results))
			}
		})
	}
}
