// Package enginetest is the contract of internal/engine as a test suite. Every implementation must pass it.
package enginetest

import (
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/twinhub/twinhub/internal/clock"
	"github.com/twinhub/twinhub/internal/engine"
)

// An Opener opens the data of one place: new data at first, and after a Close those that are there. The suite closes
// what it opens. The engine must tell time by c and have at least two partitions.
type Opener func(t *testing.T, c clock.Clock) engine.Engine

// Run runs the suite. place is called for every test and returns an Opener for an empty place.
func Run(t *testing.T, place func(t *testing.T) Opener) {
	for _, group := range []struct {
		name  string
		tests []test
	}{
		{"Documents", documents},
		{"Commits", commits},
		{"Logs", logs},
		{"Trimming", trimming},
		{"Watching", watching},
		{"Snapshots", snapshots},
		{"Lifetime", lifetime},
		{"Models", models},
	} {
		t.Run(group.name, func(t *testing.T) {
			for _, tt := range group.tests {
				t.Run(tt.name, func(t *testing.T) {
					defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
					s := &suite{T: t, clock: NewClock(start), opener: place(t)}
					s.open()
					defer s.close()
					tt.run(s)
				})
			}
		})
	}
}

var start = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

type test struct {
	name string
	run  func(*suite)
}

// suite is one test with its engine.
type suite struct {
	*testing.T
	clock  *Clock
	opener Opener
	e      engine.Engine // nil when closed
}

func (s *suite) open() {
	s.Helper()
	s.e = s.opener(s.T, s.clock)
	if n := s.e.Partitions(); n < 2 {
		s.Fatalf("Partitions() = %d, want at least 2", n)
	}
}

func (s *suite) close() {
	s.Helper()
	if s.e == nil {
		return
	}
	if err := s.e.Close(); err != nil {
		s.Errorf("Close: %v", err)
	}
	s.e = nil
}

func (s *suite) reopen() {
	s.Helper()
	s.close()
	s.open()
}

// try commits and returns the outcome.
func (s *suite) try(p engine.Partition, writes []engine.Write, appends ...engine.Append) (engine.Result, error) {
	s.Helper()
	return engine.Do(s.Context(), s.e, engine.Commit{Partition: p, Writes: writes, Appends: appends})
}

// commit is try that must succeed.
func (s *suite) commit(p engine.Partition, writes []engine.Write, appends ...engine.Append) engine.Result {
	s.Helper()
	r, err := s.try(p, writes, appends...)
	if err != nil {
		s.Fatalf("commit to partition %d: %v", p, err)
	}
	return r
}

func (s *suite) put(p engine.Partition, key, value string) engine.Result {
	s.Helper()
	return s.commit(p, []engine.Write{put(key, value)})
}

func put(key, value string) engine.Write {
	return engine.Write{Key: key, Value: []byte(value), Expect: engine.Any}
}

func remove(key string) engine.Write { return engine.Write{Key: key, Expect: engine.Any} }

func expect(w engine.Write, r engine.Revision) engine.Write {
	w.Expect = r
	return w
}

func appendTo(log string, values ...string) engine.Append {
	a := engine.Append{Log: log}
	for _, v := range values {
		a.Records = append(a.Records, []byte(v))
	}
	return a
}

// want checks the content of a document; "absent" in place of a value stands for none.
func (s *suite) want(r engine.Reader, p engine.Partition, key, value string) engine.Document {
	s.Helper()
	d, err := r.Get(p, key)
	switch {
	case errors.Is(err, engine.ErrNotFound):
		if value != absent {
			s.Errorf("Get(%d, %q) = ErrNotFound, want %q", p, key, value)
		}
	case err != nil:
		s.Errorf("Get(%d, %q): %v", p, key, err)
	case string(d.Value) != value || d.Key != key || d.Value == nil || d.Revision == 0:
		s.Errorf("Get(%d, %q) = %+v, want the value %q", p, key, d, value)
	}
	return d
}

const absent = "\x00absent"

func (s *suite) head(p engine.Partition, log string) engine.Head {
	s.Helper()
	h, err := s.e.Head(p, log)
	if err != nil {
		s.Fatalf("Head(%d, %q): %v", p, log, err)
	}
	return h
}

func (s *suite) read(p engine.Partition, log string, from uint64, limit, bytes int) []engine.Record {
	s.Helper()
	r, err := s.e.Read(p, log, from, limit, bytes)
	if err != nil {
		s.Fatalf("Read(%d, %q, %d): %v", p, log, from, err)
	}
	return r
}

// eventually waits for something that the engine does in the background.
func (s *suite) eventually(what string, done func() bool) {
	s.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); {
		if time.Now().After(deadline) {
			s.Fatalf("%s: not within 20 s", what)
		}
		runtime.Gosched()
	}
}

func keys(docs []engine.Document) []string {
	list := []string{}
	for _, d := range docs {
		list = append(list, d.Key)
	}
	return list
}

func numbered(n int) string { return fmt.Sprintf("%04d", n) }
