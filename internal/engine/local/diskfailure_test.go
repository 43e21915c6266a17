package local

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"go.uber.org/goleak"

	"github.com/twinhub/twinhub/internal/engine"
)

var errBroken = errors.New("the disk is broken")

// fault makes operations fail that satisfy a condition: after a number of them once, or from then on.
type fault struct {
	condition func(errorfs.Op) bool
	after     int64
	forever   bool

	armed atomic.Bool
	count atomic.Int64
}

// MaybeError implements errorfs.Injector.
func (f *fault) MaybeError(op errorfs.Op) error {
	if !f.armed.Load() || !f.condition(op) {
		return nil
	}
	if n := f.count.Add(1) - 1; n == f.after || f.forever && n > f.after {
		return errBroken
	}
	return nil
}

// String implements errorfs.Injector.
func (f *fault) String() string { return "fault" }

// changes says whether the engine must take an error of the operation for a failure.
func changes(op errorfs.Op) bool {
	switch op.Kind {
	case errorfs.OpFilePreallocate, errorfs.OpRemove, errorfs.OpRemoveAll, errorfs.OpLock:
		return false
	}
	return op.Kind.ReadOrWrite() == errorfs.OpIsWrite
}

func isSync(op errorfs.Op) bool {
	return op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData
}

// isRotation is true of the sync that ends a log file. An error of it would make Pebble end the process.
func isRotation(op errorfs.Op) bool {
	if !isSync(op) {
		return false
	}
	stack := make([]byte, 64<<10)
	return bytes.Contains(stack[:runtime.Stack(stack, false)], []byte(".rotateWAL("))
}

// inOldLog narrows a condition to the time when logs are written into old files.
func inOldLog(condition func(errorfs.Op) bool) func(errorfs.Op) bool {
	var reused atomic.Bool
	return func(op errorfs.Op) bool {
		if op.Kind == errorfs.OpReuseForWrite {
			reused.Store(true)
		}
		return reused.Load() && condition(op)
	}
}

// TestDiskFailure breaks the disk at certain operations of a load.
func TestDiskFailure(t *testing.T) {
	kind := func(kinds ...errorfs.OpKind) func(errorfs.Op) bool {
		return func(op errorfs.Op) bool {
			for _, k := range kinds {
				if op.Kind == k {
					return true
				}
			}
			return false
		}
	}
	for _, tt := range []struct {
		name, path string
		condition  func(errorfs.Op) bool
		after      int64
		oldLog     bool // once logs are written into old files
	}{
		{"log sync", ".log", isSync, 20, false},
		{"log sync before the next log", ".log", isRotation, 1, false},
		{"log write", ".log", kind(errorfs.OpFileWrite), 30, false},
		{"log creation", ".log", kind(errorfs.OpCreate, errorfs.OpReuseForWrite), 2, false},
		{"reuse of an old log", ".log", kind(errorfs.OpReuseForWrite), 1, false},
		{"sync of an old log", ".log", isSync, 20, true},
		{"write to an old log", ".log", kind(errorfs.OpFileWrite), 30, true},
		{"table creation", ".sst", kind(errorfs.OpCreate), 1, false},
		{"table write", ".sst", kind(errorfs.OpFileWrite), 3, false},
		{"table sync", ".sst", isSync, 2, false},
		{"manifest write", "MANIFEST-", kind(errorfs.OpFileWrite), 2, false},
		{"manifest sync", "MANIFEST-", isSync, 2, false},
		{"folder sync", "data", isSync, 3, false},
	} {
		for _, forever := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/forever=%t", tt.name, forever), func(t *testing.T) {
				condition := tt.condition
				if tt.oldLog {
					condition = inOldLog(condition)
				}
				breakDisk(t, 1, &fault{after: tt.after, forever: forever, condition: func(op errorfs.Op) bool {
					return condition(op) && (strings.HasSuffix(op.Path, tt.path) || strings.Contains(op.Path, "/"+tt.path))
				}})
			})
		}
	}
}

// TestDiskFailureAnywhere breaks it at random operations.
func TestDiskFailureAnywhere(t *testing.T) {
	random := rand.New(rand.NewPCG(4, 2))
	runs := 50
	if raceDetector {
		runs = 10
	}
	for i := range runs {
		f := &fault{condition: changes, after: random.Int64N(1000), forever: i%2 == 0}
		t.Run(fmt.Sprintf("operation %d, forever=%t", f.after, f.forever), func(t *testing.T) {
			breakDisk(t, uint64(i), f)
		})
	}
}

func breakDisk(t *testing.T, seed uint64, f *fault) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	disk := vfs.NewCrashableMem()
	e := openSmall(t, inject(disk, f.MaybeError))
	h := newHistory()
	l := startLoad(t, e, h, seed)
	f.armed.Store(true)
	<-e.Failed()
	l.end()
	failed(t, e)

	// What was seen is there still, and can be read: each document that is visible is the newest that was.
	visible := h.sight()
	for slot := range e.partitions + 1 {
		p := e.partitionAt(slot)
		docs, err := e.Scan(p, "", "", 1000)
		if err != nil {
			t.Errorf("Scan after the failure: %v", err)
		}
		for _, d := range docs {
			if n := l.position(p).N; uint64(d.Revision) > n {
				t.Errorf("document of commit %d, the snapshot is at %d", d.Revision, n)
			}
		}
		for how, m := range visible.positions {
			if n := l.position(p).N; n < m[p] {
				t.Errorf("commit %d of partition %d is visible, %d was seen: %s", n, p, m[p], how)
			}
		}
	}
	if err := e.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	for name, rest := range map[string]*vfs.MemFS{
		"the disk":                      disk,
		"the disk after a power cut":    disk.CrashClone(vfs.CrashCloneCfg{}),
		"the disk after half of a sync": disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rand.New(rand.NewPCG(seed, 3))}),
	} {
		if err := verifyCut(t, h, rest, visible); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// failed checks that e says it has failed wherever it must.
func failed(t *testing.T, e *Engine) {
	t.Helper()
	if !errors.Is(e.Err(), errBroken) {
		t.Errorf("Err() = %v, want the cause", e.Err())
	}
	for name, call := range map[string]func() error{
		"Submit": func() error {
			_, err := engine.Do(t.Context(), e, engine.Commit{Writes: []engine.Write{{Key: "late", Value: []byte{}, Expect: engine.Any}}})
			return err
		},
		"Watch": func() error {
			_, err := e.Watch(engine.Position{}, func(engine.Position, []engine.Change) {})
			return err
		},
		"Await": func() error { return e.Await(t.Context(), 0, "events", 1<<40) },
	} {
		if err := call(); !errors.Is(err, engine.ErrFailed) || !errors.Is(err, errBroken) {
			t.Errorf("%s after the failure: %v, want ErrFailed and the cause", name, err)
		}
	}
	if _, err := e.Get(0, "late"); !errors.Is(err, engine.ErrNotFound) {
		t.Errorf("Get after the failure: %v, want ErrNotFound", err)
	}
}

// TestFailedSyncIsNoSuccess lets the sync of a group fail while the committer is busy, so that it hears of the failure
// and of the end of the write at the same time.
func TestFailedSyncIsNoSuccess(t *testing.T) {
	for range 20 {
		begun, outcomes := make(chan struct{}), make(chan error) // of the syncs of the log
		var armed atomic.Bool
		e := openSmall(t, inject(vfs.NewMem(), func(op errorfs.Op) error {
			if armed.Load() && isSync(op) && strings.HasSuffix(op.Path, ".log") {
				begun <- struct{}{}
				return <-outcomes
			}
			return nil
		}))
		armed.Store(true)
		commit := engine.Commit{Appends: []engine.Append{{Log: "log", Records: [][]byte{{1}}}}}
		release := make(chan struct{})
		e.Submit(commit, func(engine.Result, error) { <-release })
		<-begun
		outcome := make(chan error, 1)
		e.Submit(commit, func(_ engine.Result, err error) { outcome <- err })
		outcomes <- nil
		<-begun // the second is written while the callback of the first runs
		outcomes <- errBroken
		armed.Store(false)
		<-e.Failed()
		for range 1000 {
			runtime.Gosched()
		}
		close(release)
		if err := <-outcome; !errors.Is(err, engine.ErrFailed) {
			t.Errorf("commit whose sync failed: %v, want ErrFailed", err)
		}
		if h, err := e.Head(0, "log"); err != nil || h.Next != 1 {
			t.Errorf("Head = %+v, %v; want the first record only", h, err)
		}
		if err := e.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
}

// TestFatal lets Pebble call what ends the process by default.
func TestFatal(t *testing.T) {
	e := openSmall(t, vfs.NewMem())
	defer e.Close()
	pebbleLogger{slog.New(slog.DiscardHandler), e.store.disk}.Fatalf("cannot go on: %d", 7)
	<-e.Failed()
	_, err := engine.Do(t.Context(), e, engine.Commit{Writes: []engine.Write{{Key: "k", Value: []byte("v"), Expect: engine.Any}}})
	if !errors.Is(err, engine.ErrFailed) || !strings.Contains(err.Error(), "cannot go on: 7") {
		t.Errorf("commit: %v, want ErrFailed with the cause", err)
	}
}

// TestFailureDuringStall breaks the disk while writing waits for a flush that does not end.
func TestFailureDuringStall(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	held := make(chan struct{})
	var armed atomic.Bool
	disk := inject(vfs.NewMem(), func(op errorfs.Op) error {
		if armed.Load() && op.Kind == errorfs.OpCreate && strings.HasSuffix(op.Path, ".sst") {
			<-held
			return errBroken
		}
		return nil
	})
	e := openSmall(t, disk)
	armed.Store(true)
	const commits = 1000
	var wg sync.WaitGroup
	var mu sync.Mutex
	outcomes := map[bool]int{}
	wg.Add(commits)
	for range commits {
		c := engine.Commit{Appends: []engine.Append{{Log: "log", Records: [][]byte{make([]byte, 10_000)}}}}
		e.Submit(c, func(_ engine.Result, err error) {
			mu.Lock()
			outcomes[err == nil]++
			if err != nil && !errors.Is(err, engine.ErrFailed) {
				t.Errorf("commit: %v, want ErrFailed", err)
			}
			mu.Unlock()
			wg.Done()
		})
	}
	for !e.store.waiting.Load() {
		runtime.Gosched()
	}
	close(held)
	wg.Wait()
	if outcomes[true] == 0 || outcomes[false] == 0 {
		t.Errorf("%d commits succeeded, %d failed; want some of both", outcomes[true], outcomes[false])
	}
	if h, err := e.Head(0, "log"); err != nil || h.Next != uint64(outcomes[true]) {
		t.Errorf("Head = %+v, %v; want %d records", h, err, outcomes[true])
	}
	if err := e.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// openings are disks to open.
var openings = []struct {
	name    string
	disk    func(*testing.T) *vfs.MemFS
	records uint64
}{
	{"new data", func(*testing.T) *vfs.MemFS { return vfs.NewCrashableMem() }, 0},
	{"old data", func(t *testing.T) *vfs.MemFS {
		disk, e := oldDisk(t)
		if err := e.Close(); err != nil {
			t.Fatalf("Close: %v", err)
		}
		return disk
	}, oldRecords},
	{"old data after a power cut", func(t *testing.T) *vfs.MemFS { // the log has no proper end
		disk, e := oldDisk(t)
		defer e.Close()
		return disk.CrashClone(vfs.CrashCloneCfg{})
	}, oldRecords},
}

const oldRecords = 15 // enough to be flushed when the log is replayed

func oldDisk(t *testing.T) (*vfs.MemFS, *Engine) {
	disk := vfs.NewCrashableMem()
	e := openSmall(t, disk)
	for range oldRecords {
		c := engine.Commit{Appends: []engine.Append{{Log: "log", Records: [][]byte{make([]byte, 10_000)}}}}
		if _, err := engine.Do(t.Context(), e, c); err != nil {
			t.Fatalf("commit: %v", err)
		}
	}
	return disk, e
}

// TestFailureWhileOpening breaks the disk at each operation of opening new and old data. Open must say so, and what
// is left must open when the disk is well again.
func TestFailureWhileOpening(t *testing.T) {
	for _, tt := range openings {
		t.Run(tt.name, func(t *testing.T) {
			for n := int64(0); ; n++ {
				disk := tt.disk(t)
				f := &fault{condition: changes, after: n, forever: true}
				f.armed.Store(true)
				e, err := Open(Options{Dir: "data", FS: inject(disk, f.MaybeError), memTable: smallMemTable})
				whole := f.count.Load() <= n
				if err == nil {
					_ = e.Close()
				} else if !errors.Is(err, errBroken) {
					t.Errorf("operation %d: %v, want the cause", n, err)
				}
				// A copy, because what could not be opened may still be locked.
				e, err = Open(Options{Dir: "data", FS: disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(0, 0))})})
				if err != nil {
					t.Fatalf("operation %d: the disk is well again: %v", n, err)
				}
				if h, err := e.Head(0, "log"); err != nil || h.Next != tt.records {
					t.Errorf("operation %d: Head = %+v, %v; want %d records", n, h, err, tt.records)
				}
				if err := e.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
				if whole {
					return
				}
			}
		})
	}
}
