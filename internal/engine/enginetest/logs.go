package enginetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/twinhub/twinhub/internal/engine"
)

var logs = []test{
	{"numbers, offsets, times", func(s *suite) {
		if h := s.head(0, "log"); h != (engine.Head{}) {
			s.Errorf("head of an unknown log %+v, want zero", h)
		}
		var want []engine.Record
		var offset uint64
		for i := range 30 {
			s.clock.Move(time.Millisecond)
			values := []string{strings.Repeat("x", i), "y", ""}
			r := s.commit(0, nil, appendTo("log", values[:1+i%3]...), appendTo("log2", "other"))
			if !r.Time.Equal(s.clock.Now()) || r.Time.Location() != time.UTC {
				s.Errorf("commit time %v, want %v", r.Time, s.clock.Now())
			}
			for _, v := range values[:1+i%3] {
				want = append(want, engine.Record{Number: uint64(len(want)), Offset: offset, Time: r.Time, Value: []byte(v)})
				offset += uint64(len(v))
			}
		}
		check := func() {
			s.Helper()
			s.sameRecords("all", s.read(0, "log", 0, 1000, 1<<20), want)
			last := want[len(want)-1]
			wantHead := engine.Head{Next: uint64(len(want)), NextOffset: offset, Last: last.Offset, Time: last.Time}
			if h := s.head(0, "log"); h != wantHead {
				s.Errorf("head %+v, want %+v", h, wantHead)
			}
			if h := s.head(1, "log"); h != (engine.Head{}) {
				s.Errorf("head in the other partition %+v, want zero", h)
			}
		}
		check()
		s.reopen()
		check()
		r := s.commit(0, nil, appendTo("log", "more"))
		if r.First[0] != uint64(len(want)) {
			s.Errorf("first number after reopening %d, want %d", r.First[0], len(want))
		}
	}},
	{"time", func(s *suite) {
		s.clock.Move(1500 * time.Microsecond)
		first := s.commit(0, nil, appendTo("log", "1")).Time
		if want := start.Add(2 * time.Millisecond); !first.Equal(want) {
			s.Errorf("time %v, want the whole millisecond after the submission, %v", first, want)
		}
		s.clock.Move(-time.Hour)
		if r := s.commit(0, nil, appendTo("log", "2")); r.Time.Before(first) {
			s.Errorf("time %v after the clock went back, want %v or later", r.Time, first)
		}
		s.reopen()
		if r := s.commit(0, nil, appendTo("log", "3")); r.Time.Before(first) {
			s.Errorf("time %v after reopening, want %v or later", r.Time, first)
		}
		s.clock.Move(2 * time.Hour)
		if r := s.commit(0, nil, appendTo("log", "4")); r.Time.Before(s.clock.Now()) {
			s.Errorf("time %v, want %v or later", r.Time, s.clock.Now())
		}
	}},
	{"reading", reading},
	{"seeking", seeking},
	{"many records in a commit", func(s *suite) {
		var values []string
		for i := range 2000 {
			values = append(values, strings.Repeat(string(rune('a'+i%26)), i%97))
		}
		values = append(values, strings.Repeat("z", engine.MaxValue), "last")
		s.commit(0, nil, appendTo("log", values[:1000]...), appendTo("other", "x"), appendTo("log", values[1000:]...))
		for range 2 {
			var offset, number uint64
			for number < uint64(len(values)) {
				for _, r := range s.read(0, "log", number, 70, 1<<14) {
					if r.Number != number || r.Offset != offset || string(r.Value) != values[number] {
						s.Fatalf("record %d at offset %d with %d bytes, want %d at %d with %d", r.Number, r.Offset, len(r.Value), number, offset, len(values[number]))
					}
					if n, err := s.e.SeekOffset(0, "log", offset); number%50 == 1 && (err != nil || n > number) {
						s.Fatalf("SeekOffset(%d) = %d, %v; want at most %d", offset, n, err, number)
					}
					offset += uint64(len(r.Value))
					number++
				}
			}
			s.reopen()
		}
	}},
	{"names that resemble each other", func(s *suite) {
		names := []string{"a", "a/b", "ab", "a\x01", "b", "\xff", "\xff\xff"}
		for i, name := range names {
			for range i + 1 {
				s.commit(1, nil, appendTo(name, name))
			}
		}
		for i, name := range names {
			r := s.read(1, name, 0, 100, 1<<20)
			if len(r) != i+1 {
				s.Errorf("log %q has %d records, want %d", name, len(r), i+1)
			}
			for _, r := range r {
				if string(r.Value) != name {
					s.Errorf("log %q has a record of log %q", name, r.Value)
				}
			}
		}
	}},
	{"awaiting", awaiting},
	{"a reader follows writers", func(s *suite) {
		const writers, each = 4, 250
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for i := range each {
					s.commit(0, nil, appendTo("log", fmt.Sprintf("%d/%d", w, i)))
				}
			})
		}
		next := [writers]int{}
		for n := uint64(0); n < writers*each; {
			if err := s.e.Await(s.Context(), 0, "log", n); err != nil {
				s.Fatalf("Await: %v", err)
			}
			records := s.read(0, "log", n, 100, 1<<20)
			if len(records) == 0 {
				s.Fatalf("Read from %d found nothing after Await", n)
			}
			for _, r := range records {
				var w, i int
				if _, err := fmt.Sscanf(string(r.Value), "%d/%d", &w, &i); err != nil || r.Number != n || i != next[w] {
					s.Fatalf("record %d is %q at number %d, want commit %d of writer %d", n, r.Value, r.Number, next[w], w)
				}
				next[w]++
				n++
			}
		}
		wg.Wait()
	}},
}

func (s *suite) sameRecords(name string, got, want []engine.Record) {
	s.Helper()
	if len(got) != len(want) {
		s.Errorf("%s: %d records, want %d", name, len(got), len(want))
		return
	}
	for i := range got {
		g, w := got[i], want[i]
		if g.Number != w.Number || g.Offset != w.Offset || !g.Time.Equal(w.Time) || string(g.Value) != string(w.Value) {
			s.Errorf("%s: record %d is %+v, want %+v", name, i, g, w)
		}
	}
}

func reading(s *suite) {
	for i := range 10 {
		s.commit(0, nil, appendTo("log", strings.Repeat("x", 10*(i%3)))) // sizes 0, 10, 20, 0, ...
	}
	for _, tt := range []struct {
		name         string
		from         uint64
		limit, bytes int
		first, count int
	}{
		{"all", 0, 100, 1000, 0, 10},
		{"from the middle", 4, 100, 1000, 4, 6},
		{"limited", 4, 2, 1000, 4, 2},
		{"exactly the bytes", 0, 100, 30, 0, 4},
		{"fewer bytes", 0, 100, 29, 0, 2},
		{"the first is always returned", 2, 100, 1, 2, 1},
		{"no bytes", 0, 100, 0, 0, 1},
		{"at the end", 10, 100, 1000, 0, 0},
		{"past the end", 1 << 40, 100, 1000, 0, 0},
		{"no limit left", 0, 0, 1000, 0, 0},
	} {
		got := s.read(0, "log", tt.from, tt.limit, tt.bytes)
		if len(got) != tt.count || tt.count > 0 && got[0].Number != uint64(tt.first) {
			s.Errorf("%s: Read(%d, %d, %d) = %d records, want %d from %d", tt.name, tt.from, tt.limit, tt.bytes, len(got), tt.count, tt.first)
		}
	}
	if r := s.read(0, "unknown", 0, 1, 1); len(r) != 0 {
		s.Errorf("an unknown log has %d records", len(r))
	}
}

func seeking(s *suite) {
	// Record n has time start + n/2 s and offset 10 n.
	for i := range 10 {
		s.commit(0, nil, appendTo("log", "0123456789"))
		if i%2 == 1 {
			s.clock.Move(time.Second)
		}
	}
	for _, tt := range []struct{ offset, want uint64 }{{0, 0}, {1, 1}, {10, 1}, {11, 2}, {90, 9}, {91, 10}, {100, 10}, {1 << 60, 10}} {
		if n, err := s.e.SeekOffset(0, "log", tt.offset); err != nil || n != tt.want {
			s.Errorf("SeekOffset(%d) = %d, %v; want %d", tt.offset, n, err, tt.want)
		}
	}
	for _, tt := range []struct {
		after time.Duration
		want  uint64
	}{{-time.Hour, 0}, {0, 0}, {1, 2}, {time.Second, 2}, {time.Second + 1, 4}, {4 * time.Second, 8}, {4*time.Second + 1, 10}, {time.Hour, 10}} {
		if n, err := s.e.SeekTime(0, "log", start.Add(tt.after)); err != nil || n != tt.want {
			s.Errorf("SeekTime(start + %v) = %d, %v; want %d", tt.after, n, err, tt.want)
		}
	}
	for _, zero := range []func() (uint64, error){
		func() (uint64, error) { return s.e.SeekOffset(0, "unknown", 5) },
		func() (uint64, error) { return s.e.SeekTime(0, "unknown", start) },
	} {
		if n, err := zero(); err != nil || n != 0 {
			s.Errorf("seeking in an unknown log = %d, %v; want 0", n, err)
		}
	}
}

func awaiting(s *suite) {
	s.commit(0, nil, appendTo("log", "0"))
	if err := s.e.Await(s.Context(), 0, "log", 0); err != nil {
		s.Errorf("Await of what is there: %v", err)
	}
	ctx, cancel := context.WithCancel(s.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.e.Await(ctx, 0, "log", 1) }()
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		s.Errorf("Await with a context that ends: %v", err)
	}
	var wg sync.WaitGroup
	for n := range uint64(20) {
		for _, log := range []string{"log", "new"} {
			wg.Go(func() {
				if err := s.e.Await(s.Context(), 1, log, n); err != nil {
					s.Errorf("Await(%s, %d): %v", log, n, err)
				}
				if h := s.head(1, log); h.Next <= n {
					s.Errorf("Await(%s, %d) returned at %d", log, n, h.Next)
				}
			})
		}
	}
	for range 10 {
		s.commit(1, nil, appendTo("log", "1", "2"), appendTo("new", "1", "2"))
	}
	wg.Wait()
}
