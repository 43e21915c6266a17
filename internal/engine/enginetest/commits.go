package enginetest

import (
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/twinhub/twinhub/internal/engine"
)

var commits = []test{
	{"results", func(s *suite) {
		for _, p := range []engine.Partition{0, 1, engine.Hub} {
			for n := uint64(1); n <= 3; n++ {
				r := s.commit(p, []engine.Write{put("a", "1"), put("b", "1")}, appendTo("x", "1", "2"), appendTo("y"), appendTo("y", "3"))
				if r.Position != (engine.Position{Partition: p, N: n}) {
					s.Errorf("position %+v, want commit %d of partition %d", r.Position, n, p)
				}
				if want := []uint64{(n - 1) * 2, n - 1, n - 1}; !slices.Equal(r.First, want) {
					s.Errorf("first numbers %v, want %v", r.First, want)
				}
				for _, key := range []string{"a", "b"} {
					if d := s.want(s.e, p, key, "1"); d.Revision != r.Revision {
						s.Errorf("revision of %s is %d, the result has %d", key, d.Revision, r.Revision)
					}
				}
			}
		}
		s.reopen()
		if r := s.put(1, "a", "2"); r.Position.N != 4 {
			s.Errorf("position %d after reopening, want 4", r.Position.N)
		}
	}},
	{"form", form},
	{"the largest commit of a record each", func(s *suite) {
		value := strings.Repeat("v", engine.MaxValue)
		s.commit(0, []engine.Write{put(strings.Repeat("k", engine.MaxKey), value)}, appendTo("log", value))
		s.want(s.e, 0, strings.Repeat("k", engine.MaxKey), value)
		if r := s.read(0, "log", 0, 10, 1); len(r) != 1 || string(r[0].Value) != value {
			s.Errorf("Read returned %d records, want the large one", len(r))
		}
	}},
	{"a commit of many megabytes", func(s *suite) {
		value := strings.Repeat("v", engine.MaxValue)
		a := engine.Append{Log: "log"}
		for range 20 {
			a.Records = append(a.Records, []byte(value))
		}
		s.commit(0, []engine.Write{put("k", value)}, a)
		s.commit(0, []engine.Write{put("k", "small")}, appendTo("log", "small"))
		s.want(s.e, 0, "k", "small")
		if h := s.head(0, "log"); h.Next != 21 || h.NextOffset != 20*engine.MaxValue+5 {
			s.Errorf("head %+v, want 21 records", h)
		}
		s.reopen()
		if r := s.read(0, "log", 19, 10, engine.MaxValue*2); len(r) != 2 || string(r[1].Value) != "small" {
			s.Errorf("Read at the end returned %d records, want 2", len(r))
		}
	}},
	{"order of one goroutine", func(s *suite) {
		const n = 3000
		var mu sync.Mutex
		var order []int
		var positions, firsts []uint64
		var wg sync.WaitGroup
		wg.Add(n)
		for i := range n {
			c := engine.Commit{Appends: []engine.Append{appendTo("log", numbered(i))}}
			if i%10 == 9 {
				c.Writes = []engine.Write{expect(put("k", "never"), 1<<40)} // a conflict keeps its place, too
			}
			s.e.Submit(c, func(r engine.Result, err error) {
				defer wg.Done()
				mu.Lock()
				defer mu.Unlock()
				order = append(order, i)
				if err == nil {
					positions, firsts = append(positions, r.Position.N), append(firsts, r.First[0])
				} else if !errors.Is(err, engine.ErrConflict) {
					s.Errorf("commit %d: %v", i, err)
				}
			})
		}
		wg.Wait()
		if !slices.IsSorted(order) || len(order) != n {
			s.Errorf("%d callbacks, sorted %t; want %d in order", len(order), slices.IsSorted(order), n)
		}
		for i := range positions {
			if positions[i] != uint64(i+1) || firsts[i] != uint64(i) {
				s.Fatalf("success %d: position %d, record %d", i, positions[i], firsts[i])
			}
		}
		records := s.read(0, "log", 0, n, 1<<30)
		for i, r := range records {
			if want := numbered(i + i/9); string(r.Value) != want {
				s.Fatalf("record %d is %s, want %s", i, r.Value, want)
			}
		}
		if len(records) != n*9/10 {
			s.Errorf("%d records, want %d", len(records), n*9/10)
		}
	}},
	{"callbacks run one at a time, and see the commit", func(s *suite) {
		const goroutines, each = 8, 200
		running := 0 // not guarded: the race detector must find nothing
		var all, submitters sync.WaitGroup
		all.Add(goroutines * each)
		for g := range goroutines {
			p := engine.Partition(g % 2)
			submitters.Go(func() {
				for i := range each {
					key := numbered(g*each + i)
					s.e.Submit(engine.Commit{Partition: p, Writes: []engine.Write{put(key, key)}}, func(r engine.Result, err error) {
						defer all.Done()
						if running++; running != 1 {
							s.Errorf("%d callbacks at a time", running)
						}
						if err != nil {
							s.Errorf("commit: %v", err)
						}
						if d := s.want(s.e, p, key, key); d.Revision != r.Revision {
							s.Errorf("revision %d when acknowledged, want %d", d.Revision, r.Revision)
						}
						running--
					})
				}
			})
		}
		submitters.Wait()
		all.Wait()
	}},
	{"barrier", func(s *suite) {
		s.put(0, "a", "1")
		if err := s.e.Barrier(s.Context()); err != nil {
			s.Errorf("Barrier: %v", err)
		}
		s.want(s.e, 0, "a", "1")
	}},
}

func form(s *suite) {
	long := strings.Repeat("k", engine.MaxKey+1)
	large := strings.Repeat("v", engine.MaxValue+1)
	n := engine.Partition(s.e.Partitions())
	for _, tt := range []struct {
		name   string
		commit engine.Commit
	}{
		{"unknown partition", engine.Commit{Partition: n, Writes: []engine.Write{put("a", "1")}}},
		{"the partition before the hub's", engine.Commit{Partition: engine.Hub - 1, Writes: []engine.Write{put("a", "1")}}},
		{"empty key", engine.Commit{Writes: []engine.Write{put("", "1")}}},
		{"long key", engine.Commit{Writes: []engine.Write{put(long, "1")}}},
		{"large value", engine.Commit{Writes: []engine.Write{put("a", large)}}},
		{"a key twice", engine.Commit{Writes: []engine.Write{put("a", "1"), put("b", "1"), remove("a")}}},
		{"empty log name", engine.Commit{Appends: []engine.Append{appendTo("", "1")}}},
		{"long log name", engine.Commit{Appends: []engine.Append{appendTo(long, "1")}}},
		{"log name with a zero byte", engine.Commit{Appends: []engine.Append{appendTo("a\x00b", "1")}}},
		{"large record", engine.Commit{Writes: []engine.Write{put("a", "1")}, Appends: []engine.Append{appendTo("a", large)}}},
	} {
		_, err := engine.Do(s.Context(), s.e, tt.commit)
		if err == nil || errors.Is(err, engine.ErrConflict) || errors.Is(err, engine.ErrFailed) || errors.Is(err, engine.ErrClosed) {
			s.Errorf("%s: %v, want an error about the form", tt.name, err)
		}
	}
	many := make([]engine.Write, 100)
	for i := range many {
		many[i] = put(numbered(i), "1")
	}
	many[99].Key = numbered(3)
	if _, err := s.try(0, many); err == nil {
		s.Error("one of a hundred keys twice: no error")
	}
	if r := s.put(0, "b", "1"); r.Position.N != 1 {
		s.Errorf("position %d after commits that were malformed, want 1", r.Position.N)
	}
	s.want(s.e, 0, "a", absent)
	for name, call := range map[string]func() error{
		"Get":        func() error { _, err := s.e.Get(n, "a"); return err },
		"Scan":       func() error { _, err := s.e.Scan(n, "", "", 1); return err },
		"Head":       func() error { _, err := s.e.Head(n, "a"); return err },
		"Read":       func() error { _, err := s.e.Read(n, "a", 0, 1, 1); return err },
		"SeekOffset": func() error { _, err := s.e.SeekOffset(n, "a", 0); return err },
		"SeekTime":   func() error { _, err := s.e.SeekTime(n, "a", start); return err },
		"Await":      func() error { return s.e.Await(s.Context(), n, "a", 0) },
		"Watch": func() error {
			_, err := s.e.Watch(engine.Position{Partition: n}, func(engine.Position, []engine.Change) {})
			return err
		},
	} {
		if err := call(); err == nil || errors.Is(err, engine.ErrNotFound) {
			s.Errorf("%s of an unknown partition: %v, want an error about the partition", name, err)
		}
	}
}
