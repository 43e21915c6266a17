// Package local is the embedded storage engine: one Pebble database and one committer.
//
// The committer takes commits from a bounded queue, checks their expectations in order, writes as many as have come
// together with one sync, makes the state after them visible, shows it to the watchers and calls the callbacks. While
// one group is written the next is prepared, and no group waits for company.
//
// The invariant: whatever any method has shown survives a power cut. Pebble alone does not give that, because it shows
// a batch before its sync; so all reads go through a snapshot that is taken after the sync of a group and before the
// next one is applied.
package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/twinhub/twinhub/internal/clock"
	"github.com/twinhub/twinhub/internal/engine"
)

// Options say where and how an Engine works. The zero value of each field but Dir works.
type Options struct {
	// Dir is the data folder; it is made if absent. Ask for a folder of its own.
	Dir string
	// FS is where Dir is; nil is the disk of the machine. With vfs.NewMem() nothing outlives the process.
	FS vfs.FS
	// Partitions is the number of device partitions, 1 to 1024. It is fixed when the data are made: 0 takes what they
	// have, 4 when they are new; any other number than theirs is an error.
	Partitions int
	// Clock is hub time: it stamps records and ages logs. nil is the machine's clock.
	Clock clock.Clock
	// Logger gets what Pebble has to say; nil is nowhere.
	Logger *slog.Logger
	// QueueSize and QueueBytes bound the commits that wait for the committer. Submit waits while either is reached.
	// The defaults are 8,192 commits and 32 MiB.
	QueueSize, QueueBytes int
	// TrimInterval is the hub time between two rounds of trimming, default 30 s.
	TrimInterval time.Duration
	// Observe, if set, is called after the callbacks of each group that holds commits, on the committer: it must not
	// block.
	Observe func(Group)

	memTable uint64 // size of Pebble's memory tables; tests make them small to see many files
}

// A Group is a number of commits that became durable together.
type Group struct {
	// Commits counts all that were answered, conflicts included. Bytes is what was written, 0 if nothing was.
	Commits, Bytes int
	// Write is the time for writing and syncing, Longest that from the first Submit to the last callback. Both are
	// time of the machine, not of the hub.
	Write, Longest time.Duration
}

const (
	defaultPartitions   = 4
	maxPartitions       = 1024 // the most an event hub of any tier has
	defaultQueueSize    = 8192
	defaultQueueBytes   = 32 << 20
	defaultTrimInterval = 30 * time.Second
)

// Engine implements engine.Engine.
type Engine struct {
	store      *store
	partitions int
	clock      clock.Clock
	logger     *slog.Logger
	observe    func(Group)

	queue    queue
	refusals refusals
	requests chan request
	toWriter chan *group
	written  chan *group  // holds the group that the writer has finished
	watchers [][]*watcher // by slot; owned by the committer
	logs     logs
	trimmer  trimmer

	committerDone, writerDone, ended chan struct{}

	visible sync.RWMutex // guards what follows, and the heads of the logs
	view    *view        // replaced by the committer only
	backlog backlog
	closed  bool

	readers   sync.WaitGroup // reads in progress
	closeOnce sync.Once
}

var _ engine.Engine = (*Engine)(nil)

// Open opens the data in o.Dir or makes them. It fails with ErrInUse when they are open already, and when they were
// written by a newer version.
func Open(o Options) (*Engine, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	s, err := openStore(o.Dir, o.FS, o.Logger, o.memTable)
	if err != nil {
		return nil, fmt.Errorf("open data folder %s: %w", o.Dir, err)
	}
	e, err := load(s, o)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open data folder %s: %w", o.Dir, err), s.close())
	}
	go e.write()
	go e.committer().run()
	go e.trimmer.run()
	return e, nil
}

// complete fills in the defaults.
func (o *Options) complete() error {
	if o.Dir == "" {
		return errors.New("no data folder was named")
	}
	if o.FS == nil {
		o.FS = vfs.Default
		dir, err := filepath.Abs(o.Dir) // the lock of a folder goes by its name
		if err != nil {
			return fmt.Errorf("data folder %s: %w", o.Dir, err)
		}
		if real, err := filepath.EvalSymlinks(dir); err == nil {
			dir = real
		}
		o.Dir = dir
	}
	if o.Partitions < 0 || o.Partitions > maxPartitions {
		return fmt.Errorf("%d partitions; 1 to %d are allowed", o.Partitions, maxPartitions)
	}
	if o.Clock == nil {
		o.Clock = clock.System{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.QueueSize <= 0 {
		o.QueueSize = defaultQueueSize
	}
	if o.QueueBytes <= 0 {
		o.QueueBytes = defaultQueueBytes
	}
	if o.memTable == 0 {
		o.memTable = memTableSize
		if _, ok := o.FS.(*vfs.MemFS); ok {
			o.memTable = memTableInMemory
		}
	}
	if o.TrimInterval <= 0 {
		o.TrimInterval = defaultTrimInterval
	}
	return nil
}

// load reads what an Engine keeps in memory.
func load(s *store, o Options) (*Engine, error) {
	n, err := s.format(o.Partitions)
	if err != nil {
		return nil, err
	}
	e := &Engine{
		store:         s,
		partitions:    n,
		clock:         o.Clock,
		logger:        o.Logger,
		observe:       o.Observe,
		requests:      make(chan request),
		toWriter:      make(chan *group),
		written:       make(chan *group, 1),
		watchers:      make([][]*watcher, n+1),
		logs:          logs{m: map[logID]*logState{}},
		committerDone: make(chan struct{}),
		writerDone:    make(chan struct{}),
		ended:         make(chan struct{}),
		backlog:       backlog{lost: make([]uint64, n+1)},
	}
	e.queue.init(o.QueueSize, o.QueueBytes)
	e.trimmer.init(e, o.TrimInterval)
	e.view = &view{snapshot: s.db.NewSnapshot(), positions: make([]position, n+1)}
	e.view.refs.Store(1)
	for slot := range e.view.positions {
		if err := e.loadPartition(slot); err != nil {
			e.view.release()
			return nil, err
		}
	}
	return e, nil
}

func (e *Engine) loadPartition(slot int) error {
	p := e.partitionAt(slot)
	b, closer, err := e.view.snapshot.Get(positionKey(p))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil // nothing was ever committed here
	}
	if err != nil {
		return fmt.Errorf("read position of partition %d: %w", p, err)
	}
	e.view.positions[slot], err = decodePosition(b)
	if err := errors.Join(err, closer.Close()); err != nil {
		return err
	}
	prefix := appendPrefix(nil, p, spaceHead)
	it, err := e.view.snapshot.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
	if err != nil {
		return fmt.Errorf("read logs of partition %d: %w", p, err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		h, err := decodeHead(it.Value())
		if err != nil {
			return errors.Join(err, it.Close())
		}
		l := e.logs.get(slot, string(it.Key()[prefixSize:]))
		l.head, l.pending = h, h
	}
	if err := it.Close(); err != nil {
		return fmt.Errorf("read logs of partition %d: %w", p, err)
	}
	return nil
}

func (e *Engine) committer() *committer {
	return &committer{e: e, planner: planner{
		e:         e,
		positions: append([]position(nil), e.view.positions...),
		pending:   map[documentID]pendingRevision{},
	}}
}

// slot returns the index of a partition in the slices that have one element for each: the hub's is the last.
func (e *Engine) slot(p engine.Partition) (int, bool) {
	if p == engine.Hub {
		return e.partitions, true
	}
	return int(p), int(p) < e.partitions
}

func (e *Engine) partitionAt(slot int) engine.Partition {
	if slot == e.partitions {
		return engine.Hub
	}
	return engine.Partition(slot)
}

// Partitions implements engine.Engine.
func (e *Engine) Partitions() int { return e.partitions }

// Queued returns how many commits, and bytes of them, wait for the committer: what Options.QueueSize and QueueBytes
// bound. What the committer has taken already is not among them; a trim that waits counts as a commit.
func (e *Engine) Queued() (commits, bytes int) { return e.queue.depth() }

// Barrier implements engine.Engine. It returns at once: what was acknowledged is visible.
func (e *Engine) Barrier(ctx context.Context) error {
	e.visible.RLock()
	defer e.visible.RUnlock()
	if e.closed {
		return engine.ErrClosed
	}
	return ctx.Err()
}

// Failed implements engine.Engine.
func (e *Engine) Failed() <-chan struct{} { return e.store.disk.failed }

// Err implements engine.Engine.
func (e *Engine) Err() error { return e.store.disk.failure() }

// failure returns what commits get after a failure, or nil.
func (e *Engine) failure() error {
	if cause := e.store.disk.failure(); cause != nil {
		return fmt.Errorf("%w: %w", engine.ErrFailed, cause)
	}
	return nil
}

// Close implements engine.Engine. Snapshots that are still open end, too. It returns an error if the data could not be
// closed properly; what was acknowledged is safe even so.
func (e *Engine) Close() error {
	err := engine.ErrClosed
	e.closeOnce.Do(func() { err = e.close() })
	return err
}

func (e *Engine) close() error {
	e.trimmer.stop()
	e.queue.close()
	<-e.committerDone
	<-e.writerDone
	select {
	case g := <-e.written: // finished after the failure
		_ = g.snapshot.Close()
	default:
	}

	e.visible.Lock()
	e.closed = true
	open := append([]*snapshot(nil), e.backlog.open...)
	e.visible.Unlock()
	close(e.ended)
	e.readers.Wait()
	for _, s := range open {
		s.end()
	}
	e.view.release()
	if err := e.store.close(); err != nil {
		return fmt.Errorf("close data: %w", err)
	}
	return nil
}
