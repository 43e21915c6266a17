package local

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// What Pebble may use. Memory tables grow to their full size only under load. With 64 MiB in place of 32 and 8 tables of
// level 0 in place of 4 before a compaction, a commit takes half the processor time (BenchmarkSubmit, 512 callers).
const (
	blockCacheSize = 32 << 20
	memTableSize   = 64 << 20
	// memTableInMemory is for a file system in memory, which holds the log files, too.
	memTableInMemory      = 8 << 20
	level0TableSize       = 8 << 20
	level0CompactionStart = 8
	maxOpenFiles          = 500

	// maxMemTables and maxSublevels are where writing waits for Pebble's background work. Pebble's own limits lie
	// above them and are never reached, because nothing can end Pebble's wait when the disk fails.
	maxMemTables       = 3
	maxSublevels       = 20
	pebbleMaxMemTables = 2 * maxMemTables
	pebbleMaxSublevels = 1000
)

// store is the Pebble database with what surrounds it.
type store struct {
	db    *pebble.DB
	cache *pebble.Cache
	disk  *disk

	memTable uint64
	rotated  atomic.Bool   // set when a log file was begun: time to look whether there is room
	waiting  atomic.Bool   // writing waits for a flush or compaction
	progress chan struct{} // signals that one ended
}

// openStore opens or makes the database in dir.
func openStore(dir string, fs vfs.FS, logger *slog.Logger, memTable uint64) (*store, error) {
	s := &store{
		cache:    pebble.NewCache(blockCacheSize),
		disk:     newDisk(fs),
		memTable: memTable,
		progress: make(chan struct{}, 1),
	}
	o := s.options(logger)
	type outcome struct {
		db  *pebble.DB
		err error
	}
	opened, left := make(chan outcome), make(chan struct{})
	go func() {
		db, err := pebble.Open(dir, o)
		select {
		case opened <- outcome{db, err}:
		case <-left:
			if err == nil {
				s.db = db
				_ = s.close()
			}
		}
	}()
	select {
	case result := <-opened:
		s.db = result.db
		if result.err != nil {
			s.cache.Unref()
			return nil, cmp.Or(s.disk.failure(), result.err)
		}
	case <-s.disk.held:
		// Pebble repeats a failing flush for ever, also while it opens. The disk holds it, and it is left behind.
		close(left)
		return nil, s.disk.failure()
	}
	if err := s.disk.failure(); err != nil {
		_ = s.close()
		return nil, err
	}
	return s, nil
}

func (s *store) options(logger *slog.Logger) *pebble.Options {
	signal := func() {
		select {
		case s.progress <- struct{}{}:
		default:
		}
	}
	o := &pebble.Options{
		FS:                          s.disk,
		Cache:                       s.cache,
		FormatMajorVersion:          pebble.FormatValueSeparation,
		MemTableSize:                s.memTable,
		MemTableStopWritesThreshold: pebbleMaxMemTables,
		L0StopWritesThreshold:       pebbleMaxSublevels,
		L0CompactionThreshold:       level0CompactionStart,
		MaxOpenFiles:                maxOpenFiles,
		Logger:                      pebbleLogger{logger, s.disk},
		EventListener: &pebble.EventListener{
			BackgroundError: s.disk.fail,
			DataCorruption:  func(i pebble.DataCorruptionInfo) { s.disk.fail(fmt.Errorf("corrupt data: %v", i)) },
			WALCreated:      func(pebble.WALCreateInfo) { s.rotated.Store(true) },
			FlushEnd:        func(pebble.FlushInfo) { signal() },
			CompactionEnd:   func(pebble.CompactionInfo) { signal() },
		},
	}
	o.TargetFileSizes[0] = level0TableSize
	o.Experimental.SpanPolicyFunc = separateLogs
	return o
}

// separateLogs ends a table where a log begins or ends. What is flushed of a log lies behind all of it that was flushed
// before, so a compaction of such tables need not write that again. It would if tables were shared by several logs, or
// with documents: see DESIGN.md, "Tables".
func separateLogs(start []byte) (pebble.SpanPolicy, []byte, error) {
	return pebble.SpanPolicy{}, endOfSpan(start), nil
}

// awaitRoom waits while the background work is too far behind, or until the disk fails.
func (s *store) awaitRoom() {
	if !s.rotated.Swap(false) {
		return
	}
	defer s.waiting.Store(false)
	for {
		m := s.db.Metrics()
		if m.MemTable.Size < maxMemTables*s.memTable && m.Levels[0].Sublevels <= maxSublevels {
			return
		}
		s.waiting.Store(true)
		select {
		case <-s.progress:
		case <-s.disk.failed:
			return
		}
	}
}

// close ends the database. All snapshots and iterators must be closed.
func (s *store) close() error {
	failed := s.disk.failure() != nil
	close(s.disk.closing)
	err := s.db.Close()
	s.cache.Unref()
	if failed {
		return nil // what happens to a failed database is of no interest: it is repaired when it is opened
	}
	if err == nil {
		err = s.disk.failure()
	}
	return err
}

// pebbleLogger passes on what Pebble says. A fatal error becomes the failed state: the default logger exits.
type pebbleLogger struct {
	log  *slog.Logger
	disk *disk
}

// Infof implements pebble.Logger.
func (l pebbleLogger) Infof(format string, args ...any) {
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		l.log.Debug("pebble", "message", fmt.Sprintf(format, args...))
	}
}

// Errorf implements pebble.Logger.
func (l pebbleLogger) Errorf(format string, args ...any) {
	l.log.Error("pebble", "message", fmt.Sprintf(format, args...))
}

// Fatalf implements pebble.Logger. It returns: by then the disk changes nothing any more.
func (l pebbleLogger) Fatalf(format string, args ...any) {
	l.disk.fail(fmt.Errorf("pebble: %s", fmt.Sprintf(format, args...)))
}
