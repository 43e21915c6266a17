package enginetest

import (
	"strings"
	"time"

	"github.com/twinhub/twinhub/internal/engine"
)

var trimming = []test{
	{"by age", func(s *suite) {
		for range 10 {
			s.commit(0, nil, appendTo("log", "0123456789"), appendTo("kept", "0123456789"))
			s.commit(1, nil, appendTo("log", "0123456789"))
			s.clock.Move(time.Minute)
		}
		s.e.SetRetention("log", engine.Retention{Age: 150 * time.Second})
		s.trimmed(0, "log", 8)
		s.trimmed(1, "log", 8)
		if r := s.read(0, "log", 0, 100, 1<<20); len(r) != 2 || r[0].Number != 8 || r[0].Offset != 80 {
			s.Errorf("after trimming %+v, want records 8 and 9", r)
		}
		if r := s.read(0, "log", 5, 1, 1<<20); len(r) != 1 || r[0].Number != 8 {
			s.Errorf("Read from a trimmed number = %+v, want record 8", r)
		}
		if n, err := s.e.SeekOffset(0, "log", 0); err != nil || n != 8 {
			s.Errorf("SeekOffset(0) = %d, %v; want 8", n, err)
		}
		if n, err := s.e.SeekTime(0, "log", start); err != nil || n != 8 {
			s.Errorf("SeekTime(start) = %d, %v; want 8", n, err)
		}
		if h := s.head(0, "kept"); h.First != 0 {
			s.Errorf("a log without bounds begins at %d, want 0", h.First)
		}
	}},
	{"in the background, as time passes", func(s *suite) {
		s.e.SetRetention("log", engine.Retention{Age: time.Hour})
		s.commit(0, nil, appendTo("log", "1"))
		s.clock.Move(time.Hour / 2)
		s.commit(0, nil, appendTo("log", "2"))
		s.clock.Move(time.Hour/2 + time.Minute)
		s.trimmed(0, "log", 1)
	}},
	{"by bytes", func(s *suite) {
		for range 10 {
			s.commit(0, nil, appendTo("log", "0123456789"))
		}
		s.e.SetRetention("log", engine.Retention{Bytes: 35, Age: time.Hour})
		s.trimmed(0, "log", 7)
		s.commit(0, nil, appendTo("log", strings.Repeat("x", 30)))
		s.e.SetRetention("log", engine.Retention{Bytes: 30})
		s.trimmed(0, "log", 10)
	}},
	{"in the middle of a commit", func(s *suite) {
		values := make([]string, 10)
		for i := range values {
			values[i] = strings.Repeat("x", 10)
		}
		s.commit(0, nil, appendTo("log", values...))
		for _, left := range []uint64{7, 5, 1} {
			s.e.SetRetention("log", engine.Retention{Bytes: 10 * left})
			s.trimmed(0, "log", 10-left)
			for range 2 {
				r := s.read(0, "log", 0, 100, 1<<20)
				if uint64(len(r)) != left || r[0].Number != 10-left || r[0].Offset != 10*(10-left) {
					s.Errorf("%d records left, want %d: %+v", len(r), left, r)
				}
				if n, err := s.e.SeekOffset(0, "log", 0); err != nil || n != 10-left {
					s.Errorf("SeekOffset(0) = %d, %v; want %d", n, err, 10-left)
				}
				s.reopen()
			}
		}
		s.commit(0, nil, appendTo("log", values...))
		s.e.SetRetention("log", engine.Retention{Bytes: 95})
		s.trimmed(0, "log", 11)
		if r := s.read(0, "log", 0, 100, 1<<20); len(r) != 9 || r[0].Number != 11 || r[8].Offset != 190 {
			s.Errorf("after trimming %+v, want records 11 to 19", r)
		}
	}},
	{"the head outlives the records", func(s *suite) {
		var last engine.Result
		for range 5 {
			last = s.commit(0, nil, appendTo("log", "0123456789"))
			s.clock.Move(time.Second)
		}
		s.clock.Move(time.Hour)
		s.e.SetRetention("log", engine.Retention{Age: time.Minute})
		s.trimmed(0, "log", 5)
		want := engine.Head{First: 5, Next: 5, NextOffset: 50, Last: 40, Time: last.Time}
		for range 2 {
			if h := s.head(0, "log"); h != want {
				s.Errorf("head %+v, want %+v", h, want)
			}
			if r := s.read(0, "log", 0, 10, 1000); len(r) != 0 {
				s.Errorf("%d records, want none", len(r))
			}
			if n, err := s.e.SeekTime(0, "log", start); err != nil || n != 5 {
				s.Errorf("SeekTime = %d, %v; want 5", n, err)
			}
			s.reopen()
		}
		r := s.commit(0, nil, appendTo("log", "next"))
		if r.First[0] != 5 {
			s.Errorf("the next number is %d, want 5", r.First[0])
		}
		if got := s.read(0, "log", 0, 10, 1000); len(got) != 1 || got[0].Number != 5 || got[0].Offset != 50 {
			s.Errorf("Read = %+v, want record 5 at offset 50", got)
		}
	}},
	{"takes no position and shows no change", func(s *suite) {
		n := s.commit(0, nil, appendTo("log", "1")).Position.N
		seen := make(chan uint64, 10)
		stop, err := s.e.Watch(engine.Position{N: n}, func(p engine.Position, _ []engine.Change) { seen <- p.N })
		if err != nil {
			s.Fatalf("Watch: %v", err)
		}
		defer stop()
		s.clock.Move(time.Hour)
		s.e.SetRetention("log", engine.Retention{Age: time.Minute})
		s.trimmed(0, "log", 1)
		if r := s.put(0, "a", "1"); r.Position.N != n+1 {
			s.Errorf("position %d after trimming, want %d", r.Position.N, n+1)
		}
		if got := <-seen; got != n+1 {
			s.Errorf("the watcher saw commit %d, want %d", got, n+1)
		}
	}},
	{"while it is written and read", func(s *suite) {
		s.e.SetRetention("log", engine.Retention{Bytes: 500})
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range 500 {
				s.commit(0, nil, appendTo("log", "0123456789"))
				s.clock.Move(time.Minute)
			}
		}()
		next := uint64(0)
		for next < 500 {
			if err := s.e.Await(s.Context(), 0, "log", next); err != nil {
				s.Fatalf("Await: %v", err)
			}
			for _, r := range s.read(0, "log", next, 7, 1<<20) {
				if r.Number < next || r.Offset != r.Number*10 {
					s.Fatalf("record %d at offset %d, want %d or later", r.Number, r.Offset, next)
				}
				next = r.Number + 1
			}
		}
		<-done
		s.clock.Move(time.Minute)
		s.trimmed(0, "log", 450)
	}},
}

// trimmed waits until the log begins at first.
func (s *suite) trimmed(p engine.Partition, log string, first uint64) {
	s.Helper()
	var h engine.Head
	s.eventually("trimming", func() bool {
		h = s.head(p, log)
		return h.First >= first
	})
	if h.First != first {
		s.Fatalf("log %s begins at %d, want %d", log, h.First, first)
	}
}
