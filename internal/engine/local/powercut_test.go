package local

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/twinhub/twinhub/internal/engine"
)

// TestPowerCut takes the power away 1,000 times at random moments of a load, opens what the disk would have kept, and
// checks that it is a whole number of commits, in order, among them everything that was acknowledged or that any
// method has shown before.
func TestPowerCut(t *testing.T) {
	lives, cuts := 10, 100
	if testing.Short() || raceDetector {
		lives = 1 // the detector makes it ten times slower
	}
	for life := range lives {
		t.Run(fmt.Sprintf("life %d", life), func(t *testing.T) { powerCuts(t, uint64(life), cuts) })
	}
}

func powerCuts(t *testing.T, seed uint64, cuts int) {
	random := rand.New(rand.NewPCG(seed, 0))
	disk := vfs.NewCrashableMem()
	h := newHistory()
	s := &powerSwitch{disk: disk, history: h}
	e := openSmall(t, inject(slowSyncs(disk, int64(seed)), s.atOperation))
	defer e.Close()
	l := startLoad(t, e, h, seed)
	defer l.end()

	var wg sync.WaitGroup
	defer wg.Wait()
	room := make(chan struct{}, runtime.GOMAXPROCS(0))
	for i := range cuts {
		h.pass(random.IntN(50))
		config := vfs.CrashCloneCfg{RNG: random}
		if i%3 > 0 {
			config.UnsyncedDataPercent = random.IntN(101)
		}
		var c cut
		if i%2 > 0 {
			m := cutMoments[random.IntN(len(cutMoments))]
			var ok bool
			if c, ok = s.waitFor(m, config); !ok {
				t.Fatalf("cut %d: it does not happen that %s", i, m.name)
			}
		} else {
			for range random.IntN(50) {
				runtime.Gosched()
			}
			c = s.cut("any time", config)
		}
		h.settle() // the fate of what the disk may have kept is known now

		if t.Failed() {
			return
		}
		room <- struct{}{}
		wg.Go(func() {
			defer func() { <-room }()
			if err := verifyCut(t, h, c.kept, c.before); err != nil {
				t.Errorf("cut %d of life %d, %s, %d %% of unsynced data kept: %v", i, seed, c.moment, config.UnsyncedDataPercent, err)
			}
		})
	}
}

// TestPowerCutWhileOpening takes the power away before each operation that opens and closes new and old data.
func TestPowerCutWhileOpening(t *testing.T) {
	for _, tt := range openings {
		t.Run(tt.name, func(t *testing.T) {
			disk, random := tt.disk(t), rand.New(rand.NewPCG(1, 2))
			var mu sync.Mutex
			var cuts []*vfs.MemFS
			e := openSmall(t, inject(disk, func(op errorfs.Op) error {
				mu.Lock()
				defer mu.Unlock()
				for _, percent := range []int{0, 50, 50, 50, 50, 100} {
					if changes(op) {
						cuts = append(cuts, disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: random}))
					}
				}
				return nil
			}))
			if err := e.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
			for i, kept := range cuts {
				e, err := Open(Options{Dir: "data", FS: kept, Partitions: 2, memTable: smallMemTable})
				if err != nil {
					t.Fatalf("cut %d: %v", i, err)
				}
				r, err := engine.Do(t.Context(), e, engine.Commit{Appends: []engine.Append{{Log: "log", Records: [][]byte{{1}}}}})
				if err != nil || r.First[0] != tt.records || r.Position.N != tt.records+1 {
					t.Errorf("cut %d: commit: %+v, %v; want record %d", i, r, err, tt.records)
				}
				if err := e.Close(); err != nil {
					t.Errorf("cut %d: Close: %v", i, err)
				}
			}
			if len(cuts) < 50 {
				t.Errorf("%d cuts, want more", len(cuts))
			}
		})
	}
}

// A moment is the beginning of an operation on the disk. Most of them are too short to be met by chance.
type moment struct {
	name string
	is   func(errorfs.Op) bool
}

var cutMoments = []moment{
	{"a log is written", func(op errorfs.Op) bool { return op.Kind == errorfs.OpFileWrite && isLog(op.Path) }},
	{"a log is synced", func(op errorfs.Op) bool { return isSync(op) && isLog(op.Path) }},
	{"a log is begun", func(op errorfs.Op) bool { return op.Kind == errorfs.OpReuseForWrite }},
	{"a table is begun", func(op errorfs.Op) bool { return op.Kind == errorfs.OpCreate && isTable(op.Path) }},
	{"a table is written", func(op errorfs.Op) bool { return op.Kind == errorfs.OpFileWrite && isTable(op.Path) }},
	{"a table is synced", func(op errorfs.Op) bool { return isSync(op) && isTable(op.Path) }},
	{"a table is removed", func(op errorfs.Op) bool { return op.Kind == errorfs.OpRemove && isTable(op.Path) }},
	{"the manifest is written", func(op errorfs.Op) bool { return op.Kind == errorfs.OpFileWrite && isManifest(op.Path) }},
	{"the manifest is synced", func(op errorfs.Op) bool { return isSync(op) && isManifest(op.Path) }},
	{"the folder is synced", func(op errorfs.Op) bool { return isSync(op) && strings.HasSuffix(op.Path, "data") }},
}

func isLog(path string) bool      { return strings.HasSuffix(path, ".log") }
func isManifest(path string) bool { return strings.Contains(path, "MANIFEST-") }

// A cut is what the disk keeps when the power goes, and what was seen before.
type cut struct {
	moment string
	before sight
	kept   *vfs.MemFS
}

// powerSwitch takes the power away.
type powerSwitch struct {
	disk    *vfs.MemFS
	history *history
	next    atomic.Pointer[func(errorfs.Op)]
}

func (s *powerSwitch) cut(moment string, config vfs.CrashCloneCfg) cut {
	before := s.history.sight() // what is noted after this line may have happened after the cut
	return cut{moment, before, s.disk.CrashClone(config)}
}

// waitFor cuts the power when the next operation of that kind begins. It reports false when none does for long.
func (s *powerSwitch) waitFor(m moment, config vfs.CrashCloneCfg) (c cut, ok bool) {
	h := s.history
	act := func(op errorfs.Op) {
		if !m.is(op) || s.next.Swap(nil) == nil {
			return
		}
		made := s.cut("when "+m.name, config)
		h.mu.Lock()
		defer h.mu.Unlock()
		c, ok = made, true
		h.answered.Broadcast()
	}
	s.next.Store(&act)
	const long = 20_000 // commits
	h.mu.Lock()
	defer h.mu.Unlock()
	for end := h.submitted + long; !ok && (h.submitted < end || s.next.Swap(nil) == nil); {
		h.answered.Wait()
	}
	return c, ok
}

// atOperation is an errorfs.InjectorFunc.
func (s *powerSwitch) atOperation(op errorfs.Op) error {
	if act := s.next.Load(); act != nil {
		(*act)(op)
	}
	return nil
}

// verifyCut opens what a cut has left, verifies it and goes on with it, also after another cut.
func verifyCut(t *testing.T, h *history, kept *vfs.MemFS, before sight) error {
	e, err := Open(Options{Dir: "data", FS: kept, memTable: smallMemTable})
	if err != nil {
		return err
	}
	defer e.Close()
	if err := h.verify(e, before); err != nil {
		return err
	}
	log := logName{1, loadLogs[0]}
	head, err := e.Head(log.p, log.name)
	if err != nil {
		return err
	}
	r, err := engine.Do(t.Context(), e, engine.Commit{
		Partition: log.p,
		Appends:   []engine.Append{{Log: log.name, Records: [][]byte{[]byte("after")}}},
	})
	if err != nil {
		return fmt.Errorf("a commit after the cut: %w", err)
	}
	if r.First[0] != head.Next {
		return fmt.Errorf("the record after the cut is %d, want %d", r.First[0], head.Next)
	}
	again, err := Open(Options{Dir: "data", FS: kept.CrashClone(vfs.CrashCloneCfg{}), memTable: smallMemTable})
	if err != nil {
		return fmt.Errorf("after another cut: %w", err)
	}
	defer again.Close()
	want := engine.Record{Number: head.Next, Offset: head.NextOffset, Time: r.Time, Value: []byte("after")}
	records, err := again.Read(log.p, log.name, head.Next, 10, 100)
	if err != nil || len(records) != 1 || fmt.Sprint(records[0]) != fmt.Sprint(want) {
		return fmt.Errorf("after another cut: %v, %w; want %v", records, err, want)
	}
	return nil
}

const smallMemTable = 64 << 10

func openSmall(t *testing.T, fs vfs.FS) *Engine {
	t.Helper()
	e, err := Open(Options{Dir: "data", FS: fs, Partitions: 2, TrimInterval: 5 * time.Millisecond, memTable: smallMemTable})
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return e
}

// slowSyncs makes the syncs of logs last, as those of a disk do, so that there is a time in which data are written
// and not yet durable.
func slowSyncs(fs vfs.FS, seed int64) vfs.FS {
	random := rand.New(rand.NewPCG(uint64(seed), 1))
	var mu sync.Mutex
	return inject(fs, func(op errorfs.Op) error {
		if isSync(op) && isLog(op.Path) {
			mu.Lock()
			d := time.Duration(random.IntN(400)) * time.Microsecond
			mu.Unlock()
			time.Sleep(d)
		}
		return nil
	})
}

// pass waits until n more commits were answered.
func (h *history) pass(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for target := h.submitted - h.open + n; h.submitted-h.open < target; {
		h.answered.Wait()
	}
}
