package enginetest

import (
	"errors"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/twinhub/twinhub/internal/engine"
)

var lifetime = []test{
	{"close waits for what is queued", func(s *suite) {
		const n = 500
		var mu sync.Mutex
		answered := 0
		for i := range n {
			s.e.Submit(engine.Commit{Appends: []engine.Append{appendTo("log", numbered(i))}}, func(_ engine.Result, err error) {
				mu.Lock()
				defer mu.Unlock()
				if answered++; err != nil {
					s.Errorf("commit %d: %v", i, err)
				}
			})
		}
		s.close()
		mu.Lock()
		if answered != n {
			s.Errorf("%d answers when Close returned, want %d", answered, n)
		}
		mu.Unlock()
		s.open()
		if h := s.head(0, "log"); h.Next != n {
			s.Errorf("%d records after reopening, want %d", h.Next, n)
		}
	}},
	{"after close", func(s *suite) {
		s.put(0, "a", "1")
		snapshot, err := s.e.Snapshot()
		if err != nil {
			s.Fatalf("Snapshot: %v", err)
		}
		s.watch(snapshot.Position(0), func(engine.Position, []engine.Change) {})
		awaiting := make(chan error, 1)
		go func() { awaiting <- s.e.Await(s.Context(), 0, "log", 0) }()
		e := s.e
		s.close()
		for name, call := range map[string]func() error{
			"Await, begun before": func() error { return <-awaiting },
			"Await":               func() error { return e.Await(s.Context(), 0, "log", 0) },
			"Get":                 func() error { _, err := e.Get(0, "a"); return err },
			"Scan":                func() error { _, err := e.Scan(0, "", "", 1); return err },
			"Head":                func() error { _, err := e.Head(0, "log"); return err },
			"Read":                func() error { _, err := e.Read(0, "log", 0, 1, 1); return err },
			"SeekOffset":          func() error { _, err := e.SeekOffset(0, "log", 0); return err },
			"SeekTime":            func() error { _, err := e.SeekTime(0, "log", start); return err },
			"Snapshot":            func() error { _, err := e.Snapshot(); return err },
			"Barrier":             func() error { return e.Barrier(s.Context()) },
			"Close":               e.Close,
			"Get of a snapshot":   func() error { _, err := snapshot.Get(0, "a"); return err },
			"Scan of a snapshot":  func() error { _, err := snapshot.Scan(0, "", "", 1); return err },
			"Submit": func() error {
				_, err := engine.Do(s.Context(), e, engine.Commit{Writes: []engine.Write{put("a", "2")}})
				return err
			},
			"Watch": func() error {
				_, err := e.Watch(engine.Position{N: 1}, func(engine.Position, []engine.Change) {})
				return err
			},
		} {
			if err := call(); !errors.Is(err, engine.ErrClosed) {
				s.Errorf("%s: %v, want ErrClosed", name, err)
			}
		}
		if err := e.Err(); err != nil {
			s.Errorf("Err() = %v, want nil: closing is no failure", err)
		}
		select {
		case <-e.Failed():
			s.Error("Failed is closed: closing is no failure")
		default:
		}
		e.SetRetention("log", engine.Retention{Bytes: 1})
	}},
	{"close under load", func(s *suite) {
		const goroutines = 8
		var wg sync.WaitGroup
		acknowledged := make([]uint64, goroutines)
		for g := range goroutines {
			wg.Go(func() {
				for {
					r, err := engine.Do(s.Context(), s.e, engine.Commit{Appends: []engine.Append{appendTo("log", numbered(g))}})
					if err == nil {
						acknowledged[g] = r.First[0] + 1
						_, err = s.e.Read(0, "log", r.First[0], 1, 100)
					}
					if errors.Is(err, engine.ErrClosed) {
						return
					}
					if err != nil {
						s.Errorf("under load: %v", err)
						return
					}
				}
			})
		}
		if err := s.e.Await(s.Context(), 0, "log", 200); err != nil {
			s.Errorf("Await: %v", err)
		}
		if err := s.e.Close(); err != nil {
			s.Errorf("Close: %v", err)
		}
		wg.Wait()
		s.open()
		h := s.head(0, "log")
		for g, n := range acknowledged {
			if h.Next < n {
				s.Errorf("goroutine %d had %d records acknowledged, %d are there", g, n, h.Next)
			}
		}
	}},
	{"callbacks run one at a time while it closes", func(s *suite) {
		const goroutines, inFlight = 8, 16
		running, closed := 0, 0 // not guarded: the race detector must find nothing
		var busy atomic.Int32
		var over atomic.Bool
		var wg sync.WaitGroup
		for range goroutines {
			wg.Go(func() {
				slots := make(chan struct{}, inFlight)
				for !over.Load() {
					slots <- struct{}{}
					s.e.Submit(engine.Commit{Appends: []engine.Append{appendTo("log", "1")}}, func(_ engine.Result, err error) {
						if n := busy.Add(1); n != 1 {
							s.Errorf("%d callbacks at a time", n)
						}
						running++
						if errors.Is(err, engine.ErrClosed) {
							closed++
							over.Store(true)
						} else if err != nil || closed > 0 {
							s.Errorf("commit: %v, after %d that were refused", err, closed)
						}
						runtime.Gosched() // so that two would meet
						busy.Add(-1)
						<-slots
					})
				}
				for range inFlight {
					slots <- struct{}{}
				}
			})
		}
		if err := s.e.Await(s.Context(), 0, "log", 200); err != nil {
			s.Errorf("Await: %v", err)
		}
		if err := s.e.Close(); err != nil {
			s.Errorf("Close: %v", err)
		}
		wg.Wait()
		s.e = nil
		if closed == 0 || running == closed {
			s.Errorf("%d callbacks, %d of them with ErrClosed; want some of both", running, closed)
		}
	}},
	{"callbacks after close", func(s *suite) {
		e := s.e
		s.close()
		// A callback that submits again must neither recurse without end nor block.
		left := 1000
		var done func(engine.Result, error)
		done = func(_ engine.Result, err error) {
			if !errors.Is(err, engine.ErrClosed) {
				s.Errorf("commit: %v, want ErrClosed", err)
			}
			if left--; left > 0 {
				e.Submit(engine.Commit{Writes: []engine.Write{put("a", "1")}}, done)
			}
		}
		e.Submit(engine.Commit{Writes: []engine.Write{put("a", "1")}}, done)
		if left != 0 {
			s.Errorf("%d callbacks are missing", left)
		}
	}},
}
