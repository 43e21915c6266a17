package enginetest

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"github.com/twinhub/twinhub/internal/engine"
)

var watching = []test{
	{"changes", func(s *suite) {
		s.put(0, "a", "1")
		n := s.put(0, "b", "1").Position.N
		var got []string
		stop := s.watch(engine.Position{N: n}, func(p engine.Position, changes []engine.Change) {
			for _, c := range changes {
				got = append(got, fmt.Sprintf("%d %s %s>%s", p.N-n, c.Key, text(c.Previous), text(c.Next)))
			}
			if len(changes) == 0 {
				got = append(got, fmt.Sprintf("%d -", p.N-n))
			}
		})
		s.commit(0, []engine.Write{put("a", "2"), remove("b"), put("c", "")})
		s.commit(1, []engine.Write{put("a", "elsewhere")})
		if _, err := s.try(0, []engine.Write{expect(put("a", "conflict"), engine.Absent)}); !errors.Is(err, engine.ErrConflict) {
			s.Errorf("commit: %v, want a conflict", err)
		}
		s.commit(0, nil, appendTo("log", "1"))
		s.commit(0, []engine.Write{remove("never"), remove("c")})
		stop()
		s.put(0, "a", "unseen")
		want := []string{"1 a 1>2", "1 b 1>nil", "1 c nil>", "2 -", "3 never nil>nil", "3 c >nil"}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			s.Errorf("saw %q, want %q", got, want)
		}
	}},
	{"before the acknowledgement, after visibility", func(s *suite) {
		var seen atomic.Uint64
		stop := s.watch(engine.Position{}, func(p engine.Position, _ []engine.Change) { seen.Store(p.N) })
		defer stop()
		var wg sync.WaitGroup
		for g := range 4 {
			wg.Go(func() {
				for range 100 {
					r := s.put(0, numbered(g), "1")
					if n := seen.Load(); n < r.Position.N {
						s.Errorf("commit %d is acknowledged, the watcher is at %d", r.Position.N, n)
					}
				}
			})
		}
		wg.Wait()
	}},
	{"only from a position that is kept", func(s *suite) {
		old := s.put(0, "a", "1").Position
		snapshot, err := s.e.Snapshot()
		if err != nil {
			s.Fatalf("Snapshot: %v", err)
		}
		held := snapshot.Position(0)
		s.put(0, "a", "2")
		newest := s.put(0, "a", "3").Position
		ignore := func(engine.Position, []engine.Change) {}
		try := func(p engine.Position, ok bool) {
			s.Helper()
			stop, err := s.e.Watch(p, ignore)
			if (err == nil) != ok {
				s.Errorf("Watch after %d: %v, want success %t", p.N, err, ok)
			}
			if err == nil {
				stop()
			}
		}
		if held != old {
			s.Fatalf("the snapshot is at %+v, want %+v", held, old)
		}
		try(engine.Position{}, false)
		try(held, true)
		try(engine.Position{N: held.N + 1}, false)
		try(newest, true)
		try(engine.Position{N: newest.N + 1}, false)
		try(engine.Position{Partition: 1}, true)
		if err := snapshot.Close(); err != nil {
			s.Errorf("Close: %v", err)
		}
		try(held, false)
		try(newest, true)
	}},
	{"several snapshots", func(s *suite) {
		const n = 4
		for _, order := range [][]int{{0, 1, 2, 3}, {3, 2, 1, 0}, {1, 3, 0, 2}} {
			var open [n]engine.Snapshot
			for i := range n {
				var err error
				if open[i], err = s.e.Snapshot(); err != nil {
					s.Fatalf("Snapshot: %v", err)
				}
				s.put(0, "k", "1")
				s.put(1, "k", "1")
			}
			newest := s.put(0, "k", "1").Position.N
			for _, closed := range order {
				for i, snapshot := range open {
					if snapshot == nil {
						continue
					}
					after := snapshot.Position(0)
					want, next := "", after.N
					for next < newest {
						next++
						want += fmt.Sprint(next, " ")
					}
					got := ""
					s.watch(after, func(p engine.Position, _ []engine.Change) { got += fmt.Sprint(p.N, " ") })()
					if got != want {
						s.Errorf("closing in the order %v, before %d: a watcher from snapshot %d saw commits %s, want %s", order, closed, i, got, want)
					}
				}
				at := open[closed].Position(0)
				if err := open[closed].Close(); err != nil {
					s.Errorf("Close: %v", err)
				}
				open[closed] = nil
				if stop, err := s.e.Watch(at, func(engine.Position, []engine.Change) {}); err == nil {
					s.Errorf("a watcher from snapshot %d, which is closed: no error", closed)
					stop()
				}
			}
		}
	}},
	{"what a snapshot has not seen", func(s *suite) {
		snapshot, err := s.e.Snapshot()
		if err != nil {
			s.Fatalf("Snapshot: %v", err)
		}
		defer snapshot.Close()
		value := []byte("1")
		for i := range 10 {
			value[0] = byte('0' + i) // the engine must not keep the caller's slice
			s.commit(0, []engine.Write{{Key: "k", Value: value, Expect: engine.Any}})
		}
		var got []string
		stop := s.watch(snapshot.Position(0), func(p engine.Position, c []engine.Change) {
			got = append(got, fmt.Sprintf("%d:%s>%s", p.N, text(c[0].Previous), text(c[0].Next)))
		})
		s.put(0, "k", "new")
		stop()
		want := []string{"1:nil>0", "2:0>1", "3:1>2", "4:2>3", "5:3>4", "6:4>5", "7:5>6", "8:6>7", "9:7>8", "10:8>9", "11:9>new"}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			s.Errorf("saw %q, want %q", got, want)
		}
	}},
	{"an index that is built under load has no gap", withoutGap},
	{"stop returns after the last call", func(s *suite) {
		var wg sync.WaitGroup
		done := make(chan struct{})
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					s.put(0, "k", "1")
				}
			}
		})
		for range 100 {
			snapshot, err := s.e.Snapshot()
			if err != nil {
				s.Fatalf("Snapshot: %v", err)
			}
			calls := 0 // not guarded: the race detector must find nothing
			stop := s.watch(snapshot.Position(0), func(engine.Position, []engine.Change) { calls++ })
			stop()
			calls++
			if err := snapshot.Close(); err != nil {
				s.Errorf("Close: %v", err)
			}
		}
		close(done)
		wg.Wait()
	}},
}

func (s *suite) watch(after engine.Position, fn func(engine.Position, []engine.Change)) (stop func()) {
	s.Helper()
	stop, err := s.e.Watch(after, fn)
	if err != nil {
		s.Fatalf("Watch after %+v: %v", after, err)
	}
	return stop
}

func text(b []byte) string {
	if b == nil {
		return "nil"
	}
	return string(b)
}

// withoutGap builds an index as the hub does, from a snapshot and the changes after it, while writers go on.
func withoutGap(s *suite) {
	const writers, each, indexes, documents = 4, 300, 8, 40
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(w), 1))
			for i := range each {
				p := engine.Partition(i % 2)
				a, b := random.IntN(documents), random.IntN(documents-1)
				if b >= a {
					b++
				}
				writes := []engine.Write{put(numbered(a), fmt.Sprint(w, i)), remove(numbered(b))}
				s.commit(p, writes, appendTo("log", "1"))
			}
		})
	}
	type index struct {
		partition engine.Partition
		content   map[string]string
		n         uint64
		stop      func()
	}
	var built []*index
	for i := range indexes {
		snapshot, err := s.e.Snapshot()
		if err != nil {
			s.Fatalf("Snapshot: %v", err)
		}
		x := &index{partition: engine.Partition(i % 2), content: map[string]string{}}
		for after := ""; ; {
			docs, err := snapshot.Scan(x.partition, "", after, 7)
			if err != nil {
				s.Fatalf("Scan: %v", err)
			}
			if len(docs) == 0 {
				break
			}
			for _, d := range docs {
				x.content[d.Key] = string(d.Value)
				after = d.Key
			}
		}
		x.n = snapshot.Position(x.partition).N
		x.stop = s.watch(snapshot.Position(x.partition), func(p engine.Position, changes []engine.Change) {
			if x.n++; p.N != x.n || p.Partition != x.partition {
				s.Errorf("saw commit %+v, want commit %d of partition %d", p, x.n, x.partition)
			}
			for _, c := range changes {
				if old, ok := x.content[c.Key]; ok != (c.Previous != nil) || old != string(c.Previous) {
					s.Errorf("commit %d: previous %s of %s, the index has %q", p.N, text(c.Previous), c.Key, old)
				}
				if c.Next == nil {
					delete(x.content, c.Key)
				} else {
					x.content[c.Key] = string(c.Next)
				}
			}
		})
		if err := snapshot.Close(); err != nil {
			s.Errorf("Close: %v", err)
		}
		built = append(built, x)
	}
	wg.Wait()
	for i, x := range built {
		x.stop()
		docs, err := s.e.Scan(x.partition, "", "", 1000)
		if err != nil {
			s.Fatalf("Scan: %v", err)
		}
		want := map[string]string{}
		for _, d := range docs {
			want[d.Key] = string(d.Value)
		}
		if !maps.Equal(x.content, want) {
			s.Errorf("index %d has %v, the engine %v", i, x.content, want)
		}
		if x.n != writers*each/2 {
			s.Errorf("index %d is at commit %d, want %d", i, x.n, writers*each/2)
		}
	}
}
