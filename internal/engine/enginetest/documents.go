package enginetest

import (
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/twinhub/twinhub/internal/engine"
)

var documents = []test{
	{"put, change, delete", func(s *suite) {
		s.want(s.e, 0, "a", absent)
		first := s.put(0, "a", "one")
		if d := s.want(s.e, 0, "a", "one"); d.Revision != first.Revision {
			s.Errorf("revision %d, want that of the result, %d", d.Revision, first.Revision)
		}
		second := s.put(0, "a", "two")
		if second.Revision <= first.Revision {
			s.Errorf("second revision %d, want more than %d", second.Revision, first.Revision)
		}
		s.want(s.e, 0, "a", "two")
		s.commit(0, []engine.Write{remove("a")})
		s.want(s.e, 0, "a", absent)
		s.commit(0, []engine.Write{remove("a")})
		if r := s.put(0, "a", "three"); r.Revision <= second.Revision {
			s.Errorf("revision %d after a deletion, want more than %d", r.Revision, second.Revision)
		}
		s.reopen()
		s.want(s.e, 0, "a", "three")
	}},
	{"an empty value is not absence", func(s *suite) {
		s.put(0, "a", "")
		s.want(s.e, 0, "a", "")
		docs, err := s.e.Scan(0, "", "", 10)
		if err != nil || len(docs) != 1 || docs[0].Value == nil {
			s.Errorf("Scan = %+v, %v; want one empty, non-nil value", docs, err)
		}
	}},
	{"partitions are apart", func(s *suite) {
		s.put(0, "a", "zero")
		s.put(1, "a", "one")
		s.put(engine.Hub, "a", "hub")
		s.want(s.e, 0, "a", "zero")
		s.want(s.e, 1, "a", "one")
		s.want(s.e, engine.Hub, "a", "hub")
		if docs, err := s.e.Scan(0, "", "", 10); err != nil || len(docs) != 1 {
			s.Errorf("Scan of partition 0 = %+v, %v; want one document", docs, err)
		}
		if docs, err := s.e.Scan(engine.Hub, "", "", 10); err != nil || len(docs) != 1 {
			s.Errorf("Scan of the hub's partition = %+v, %v; want one document", docs, err)
		}
	}},
	{"scan", scan},
	{"scans and logs do not mix", func(s *suite) {
		s.commit(0, []engine.Write{put("a", "1")}, appendTo("a", "record"), appendTo("a/b", "record"))
		docs, err := s.e.Scan(0, "", "", 10)
		if err != nil || !slices.Equal(keys(docs), []string{"a"}) {
			s.Errorf("Scan = %v, %v; want only a", keys(docs), err)
		}
	}},
	{"expectations", expectations},
	{"conflicts among commits under way", func(s *suite) {
		steps := []struct {
			write    engine.Write
			conflict bool
		}{
			{expect(put("k", "1"), engine.Absent), false},
			{expect(put("k", "2"), engine.Absent), true},
			{put("k", "3"), false},
			{expect(put("k", "4"), engine.Absent), true},
			{remove("k"), false},
			{expect(put("k", "5"), engine.Absent), false},
			{expect(remove("k"), engine.Absent), true},
		}
		var wg sync.WaitGroup
		got := make([]error, len(steps))
		wg.Add(len(steps))
		for i, step := range steps {
			s.e.Submit(engine.Commit{Partition: 1, Writes: []engine.Write{step.write}}, func(_ engine.Result, err error) {
				got[i] = err
				wg.Done()
			})
		}
		wg.Wait()
		for i, step := range steps {
			if errors.Is(got[i], engine.ErrConflict) != step.conflict || !step.conflict && got[i] != nil {
				s.Errorf("step %d: %v, want conflict %t", i+1, got[i], step.conflict)
			}
		}
		s.want(s.e, 1, "k", "5")
	}},
	{"one of eight writers wins", func(s *suite) {
		revision := s.put(0, "k", "0").Revision
		for round := range 50 {
			var wg sync.WaitGroup
			var mu sync.Mutex
			wins := map[int]engine.Result{}
			for writer := range 8 {
				wg.Go(func() {
					value := strings.Repeat("x", writer)
					r, err := s.try(0, []engine.Write{expect(put("k", value), revision)}, appendTo("wins", value))
					mu.Lock()
					defer mu.Unlock()
					if err == nil {
						wins[writer] = r
					} else if !errors.Is(err, engine.ErrConflict) {
						s.Errorf("round %d: %v", round, err)
					}
				})
			}
			wg.Wait()
			if len(wins) != 1 {
				s.Fatalf("round %d: %d writers won, want 1", round, len(wins))
			}
			for writer, r := range wins {
				s.want(s.e, 0, "k", strings.Repeat("x", writer))
				revision = r.Revision
			}
		}
		if h := s.head(0, "wins"); h.Next != 50 {
			s.Errorf("%d records of winners, want 50", h.Next)
		}
	}},
	{"values belong to the caller", func(s *suite) {
		value := []byte("before")
		s.commit(0, []engine.Write{{Key: "k", Value: value, Expect: engine.Any}})
		copy(value, "after!")
		d := s.want(s.e, 0, "k", "before")
		copy(d.Value, "broken")
		s.want(s.e, 0, "k", "before")
	}},
}

func scan(s *suite) {
	for _, key := range []string{"a", "b/", "b/1", "b/10", "b/2", "b0", "b\xff", "b\xff\xff", "c", "\xff", "\xff\xff1"} {
		s.put(1, key, key)
	}
	s.put(1, "b/3", "deleted")
	s.commit(1, []engine.Write{remove("b/3")})
	for _, tt := range []struct {
		name, prefix, after string
		limit               int
		want                []string
	}{
		{"all, bytewise", "", "", 100, []string{"a", "b/", "b/1", "b/10", "b/2", "b0", "b\xff", "b\xff\xff", "c", "\xff", "\xff\xff1"}},
		{"a prefix", "b/", "", 100, []string{"b/", "b/1", "b/10", "b/2"}},
		{"a page", "b/", "", 2, []string{"b/", "b/1"}},
		{"the next page", "b/", "b/1", 2, []string{"b/10", "b/2"}},
		{"past the end", "b/", "b/2", 2, []string{}},
		{"after what does not exist", "b/", "b/11", 2, []string{"b/2"}},
		{"after what is before the prefix", "b/", "a", 1, []string{"b/"}},
		{"after what is behind the prefix", "b/", "c", 1, []string{}},
		{"a prefix of 0xff", "\xff", "", 100, []string{"\xff", "\xff\xff1"}},
		{"a prefix that ends in 0xff", "b\xff", "", 100, []string{"b\xff", "b\xff\xff"}},
		{"an unknown prefix", "x", "", 100, []string{}},
		{"no limit left", "", "", 0, []string{}},
	} {
		docs, err := s.e.Scan(1, tt.prefix, tt.after, tt.limit)
		if err != nil || !slices.Equal(keys(docs), tt.want) {
			s.Errorf("%s: Scan(%q, %q, %d) = %q, %v; want %q", tt.name, tt.prefix, tt.after, tt.limit, keys(docs), err, tt.want)
		}
		for _, d := range docs {
			if string(d.Value) != d.Key || d.Revision == 0 {
				s.Errorf("%s: Scan found %+v", tt.name, d)
			}
		}
	}
}

func expectations(s *suite) {
	old := s.put(0, "present", "1").Revision
	now := s.put(0, "present", "2").Revision
	for _, tt := range []struct {
		name     string
		write    engine.Write
		conflict bool
	}{
		{"absent, but present", expect(put("present", "x"), engine.Absent), true},
		{"an older revision", expect(put("present", "x"), old), true},
		{"a later revision", expect(put("present", "x"), now+1000), true},
		{"deleting an older revision", expect(remove("present"), old), true},
		{"a revision of what is absent", expect(put("new", "x"), now), true},
		{"deleting a revision of what is absent", expect(remove("new"), now), true},
		{"absent", expect(put("new", "1"), engine.Absent), false},
		{"deleting what is expected absent", expect(remove("never"), engine.Absent), false},
		{"the right revision", expect(put("present", "3"), now), false},
	} {
		before := s.put(0, "other", tt.name+" before").Position.N
		head := s.head(0, "log")
		r, err := s.try(0, []engine.Write{put("other", tt.name), tt.write}, appendTo("log", tt.name))
		if errors.Is(err, engine.ErrConflict) != tt.conflict || !tt.conflict && err != nil {
			s.Errorf("%s: %v, want conflict %t", tt.name, err, tt.conflict)
			continue
		}
		if !tt.conflict {
			if r.Position.N != before+1 {
				s.Errorf("%s: position %d, want %d", tt.name, r.Position.N, before+1)
			}
			continue
		}
		s.want(s.e, 0, "other", tt.name+" before")
		if h := s.head(0, "log"); h != head {
			s.Errorf("%s: the log went from %+v to %+v", tt.name, head, h)
		}
		if n := s.put(0, "other", "").Position.N; n != before+1 {
			s.Errorf("%s: the next position is %d, want %d: a conflict takes none", tt.name, n, before+1)
		}
	}
	s.want(s.e, 0, "present", "3")
	s.want(s.e, 0, "new", "1")
}
