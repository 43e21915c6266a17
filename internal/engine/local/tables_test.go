package local

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/twinhub/twinhub/internal/engine"
)

// TestTables expects that no table holds records of a log beside anything else.
func TestTables(t *testing.T) {
	e := openSmall(t, vfs.NewMem())
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	tables := map[string]int{} // by the span they belong to
	for round := range 20 {
		for p := range engine.Partition(2) {
			for _, log := range []string{"a", "ab", "b"} {
				c := engine.Commit{
					Partition: p,
					Writes:    []engine.Write{{Key: fmt.Sprintf("%s%d", log, round), Value: []byte("v"), Expect: engine.Any}},
					Appends:   []engine.Append{{Log: log, Records: [][]byte{make([]byte, 1000)}}},
				}
				if _, err := engine.Do(t.Context(), e, c); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := e.store.db.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	levels, err := e.store.db.SSTables()
	if err != nil {
		t.Fatal(err)
	}
	for _, level := range levels {
		for _, table := range level {
			first, last := table.Smallest.UserKey, table.Largest.UserKey
			end := endOfSpan(first)
			if end != nil && bytes.Compare(last, end) >= 0 {
				t.Errorf("a table holds %q to %q, beyond %q", first, last, end)
			}
			tables[string(end)]++
		}
	}
	if len(tables) < 2*3+2 { // logs, and what is before them in each partition
		t.Errorf("there are tables of %d spans, want 8", len(tables))
	}
}

func TestEndOfSpan(t *testing.T) {
	for name, tc := range map[string]struct{ key, want []byte }{
		"documents":             {documentKey(1, "d"), []byte{0, 1, spaceRecord}},
		"position":              {positionKey(1), []byte{0, 1, spaceRecord}},
		"documents of the hub":  {documentKey(engine.Hub, "d"), []byte{0xff, 0xff, spaceRecord}},
		"records":               {recordKey(1, "events", 7), []byte("\x00\x01\x04events\x01")},
		"the last record":       {recordKey(1, "events", 1<<64-1), []byte("\x00\x01\x04events\x01")},
		"no key of this format": {[]byte("\x00\x01\x04events"), nil},
		"a short key":           {[]byte{0}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := endOfSpan(tc.key)
			if !bytes.Equal(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
			if got != nil && bytes.Compare(got, tc.key) <= 0 {
				t.Errorf("%q does not lie behind the key %q", got, tc.key)
			}
		})
	}
}
