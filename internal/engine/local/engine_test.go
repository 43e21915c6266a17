package local

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/twinhub/twinhub/internal/engine"
)

func TestBacklogIsBounded(t *testing.T) {
	e, err := Open(Options{Dir: "data", FS: vfs.NewMem()})
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	defer e.Close()
	snapshot, err := e.Snapshot()
	if err != nil {
		t.Fatalf("Snapshot: %v", err)
	}
	defer snapshot.Close()
	put := func(p engine.Partition, size int) {
		t.Helper()
		c := engine.Commit{Partition: p, Writes: []engine.Write{{Key: "k", Value: make([]byte, size), Expect: engine.Any}}}
		if _, err := engine.Do(t.Context(), e, c); err != nil {
			t.Fatalf("commit: %v", err)
		}
	}
	put(1, 1)
	for range maxBacklog/(2*engine.MaxValue) + 2 { // each change has the previous value, too
		put(0, engine.MaxValue)
	}
	if e.backlog.bytes > maxBacklog {
		t.Errorf("the backlog holds %d bytes, want at most %d", e.backlog.bytes, maxBacklog)
	}
	ignore := func(engine.Position, []engine.Change) {}
	for _, p := range []engine.Partition{0, 1} {
		if _, err := e.Watch(snapshot.Position(p), ignore); err == nil || !strings.Contains(err.Error(), "are not kept") {
			t.Errorf("Watch of partition %d from a snapshot that is too old: %v", p, err)
		}
	}
	later, err := e.Snapshot()
	if err != nil {
		t.Fatalf("Snapshot: %v", err)
	}
	defer later.Close()
	put(0, 1)
	seen := 0
	stop, err := e.Watch(later.Position(0), func(engine.Position, []engine.Change) { seen++ })
	if err != nil {
		t.Fatalf("Watch from a later snapshot: %v", err)
	}
	stop()
	if seen != 1 {
		t.Errorf("saw %d commits, want 1", seen)
	}
}

// TestBacklogCountsCommits opens a snapshot while commits change no document, as those of telemetry do: what is kept
// of them must count, too, or a snapshot that was forgotten takes memory without end.
func TestBacklogCountsCommits(t *testing.T) {
	e, err := Open(Options{Dir: "data", FS: vfs.NewMem()})
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	defer e.Close()
	snapshot, err := e.Snapshot()
	if err != nil {
		t.Fatalf("Snapshot: %v", err)
	}
	defer snapshot.Close()
	const commits = 100
	for range commits {
		c := engine.Commit{Appends: []engine.Append{{Log: "log", Records: [][]byte{{1}}}}}
		if _, err := engine.Do(t.Context(), e, c); err != nil {
			t.Fatalf("commit: %v", err)
		}
	}
	if n, size := len(e.backlog.kept), int(unsafe.Sizeof(commitChanges{})); n != commits || e.backlog.bytes < n*size {
		t.Errorf("%d commits are kept, which count as %d bytes; want %d, of %d bytes each or more", n, e.backlog.bytes, commits, size)
	}
}

func TestObserve(t *testing.T) {
	var groups []Group
	fs := vfs.NewMem()
	e, err := Open(Options{Dir: "data", FS: fs, Observe: func(g Group) { groups = append(groups, g) }})
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	const commits = 500
	var wg sync.WaitGroup
	wg.Add(commits)
	for i := range commits {
		c := engine.Commit{Writes: []engine.Write{{Key: fmt.Sprint(i), Value: make([]byte, 100), Expect: engine.Absent}}}
		e.Submit(c, func(engine.Result, error) { wg.Done() })
	}
	wg.Wait()
	if err := e.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	sum := Group{}
	for _, g := range groups {
		sum.Commits += g.Commits
		sum.Bytes += g.Bytes
		if g.Commits == 0 || g.Write <= 0 || g.Longest < g.Write {
			t.Errorf("group %+v", g)
		}
	}
	if sum.Commits != commits || sum.Bytes < commits*100 {
		t.Errorf("all groups have %d commits of %d bytes, want %d of at least %d", sum.Commits, sum.Bytes, commits, commits*100)
	}
}

// TestQueueIsBounded stops the committer and fills the queue.
func TestQueueIsBounded(t *testing.T) {
	for name, o := range map[string]Options{
		"by number": {QueueSize: 4},
		"by bytes":  {QueueBytes: 4 * (1000 + 200)},
	} {
		t.Run(name, func(t *testing.T) {
			o.Dir, o.FS = "data", vfs.NewMem()
			e, err := Open(o)
			if err != nil {
				t.Fatalf("Open: %v", err)
			}
			defer e.Close()
			commit := engine.Commit{Writes: []engine.Write{{Key: "k", Value: make([]byte, 1000), Expect: engine.Any}}}
			stopped, release := make(chan struct{}), make(chan struct{})
			e.Submit(commit, func(engine.Result, error) {
				close(stopped)
				<-release
			})
			<-stopped
			var wg sync.WaitGroup
			wg.Add(20)
			submitted := make(chan int, 20)
			go func() {
				for i := range 20 {
					e.Submit(commit, func(engine.Result, error) { wg.Done() })
					submitted <- i
				}
				close(submitted)
			}()
			for range 4 {
				<-submitted
			}
			for e.queue.room.L.Lock(); len(e.queue.items) < 4; e.queue.room.L.Lock() {
				e.queue.room.L.Unlock()
			}
			if n := len(e.queue.items); n > 4 {
				t.Errorf("%d commits are queued, want 4", n)
			}
			e.queue.room.L.Unlock()
			close(release)
			for range submitted {
			}
			wg.Wait()
		})
	}
}
