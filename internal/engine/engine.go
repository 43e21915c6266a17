// Package engine is the storage contract of the hub: keyed documents with revisions, named logs, and commits that
// change both at once. It knows nothing of devices. Two implementations exist or are to come (local, cluster); what
// they must have in common is stated here and checked by enginetest.
//
// The one invariant: nothing can be observed before it is durable. Get, Scan, Read, Head, snapshots, Watch and
// acknowledgements show a commit only after the sync that made it survive a power cut has returned.
package engine

import (
	"context"
	"errors"
	"time"

	"github.com/cespare/xxhash/v2"
)

// Errors that callers branch on.
var (
	// ErrNotFound says that a document does not exist.
	ErrNotFound = errors.New("document not found")
	// ErrConflict says that an expected revision did not hold; the commit changed nothing.
	ErrConflict = errors.New("revision conflict")
	// ErrFailed says that a write or sync failed earlier: this engine accepts nothing more until it is opened again.
	// Whether a commit that was under way then is on disk is known only after that.
	ErrFailed = errors.New("engine failed")
	// ErrClosed says that the engine was closed.
	ErrClosed = errors.New("engine closed")
)

// A Partition is the unit of order and atomicity. Device partitions are 0 to Engine.Partitions()-1.
type Partition uint16

// Hub is the partition of hub-wide documents. It has no event log.
const Hub Partition = 0xffff

// A Position names a commit: the N-th of its partition, counted from 1. Position N=0 is before the first commit.
type Position struct {
	Partition Partition
	N         uint64
}

// A Revision says which commit of its partition wrote a document last; it grows with every write of the document.
// Zero means that the document does not exist.
type Revision uint64

// A Document is a stored value. Value belongs to the caller.
type Document struct {
	Key      string
	Value    []byte
	Revision Revision
}

// A Commit changes one partition: all of it or nothing. Order matters only inside Appends.
type Commit struct {
	Partition Partition
	Writes    []Write
	Appends   []Append
}

// A Write puts or deletes one document. A key occurs at most once in a Commit.
type Write struct {
	// Key is 1 to MaxKey bytes; keys are ordered bytewise.
	Key string
	// Value is the new content, at most MaxValue bytes; nil deletes the document (deleting an absent one is fine).
	Value []byte
	// Expect, unless it is Any, is the revision the document must have when the commit is applied; Absent demands
	// that it does not exist.
	Expect Revision
}

// Special values of Write.Expect.
const (
	Absent Revision = 0
	Any    Revision = ^Revision(0)
)

// An Append adds records, in order, to the end of a named log of the commit's partition.
type Append struct {
	// Log is the log's name, 1 to MaxKey bytes without a zero byte. A log exists from its first record.
	Log string
	// Records are opaque, each at most MaxValue bytes. The engine keeps no reference to them after the callback.
	Records [][]byte
}

// Bounds of the contract, so that a commit fits one message of a replicated log.
const (
	MaxKey   = 1024
	MaxValue = 1 << 20
)

// A Result tells what a commit became. It is valid only when the error beside it is nil.
type Result struct {
	Position Position
	// Revision is what every document written by the commit now has.
	Revision Revision
	// Time is the commit time stamped on the appended records.
	Time time.Time
	// First holds, for each Append in order, the number of its first record.
	First []uint64
}

// A Record is one entry of a log.
type Record struct {
	// Number counts records of the log from 0 without gaps.
	Number uint64
	// Offset is the sum of the sizes of all records before it in the log, trimmed ones included.
	Offset uint64
	// Time is when the record was committed: in whole milliseconds, never before the time of the record before it,
	// and never before the instant the commit was submitted.
	Time  time.Time
	Value []byte
}

// A Head describes a log. A log without records ever has all fields zero.
type Head struct {
	// First is the number of the oldest record kept; Next that of the record to come. Equal means empty.
	First, Next uint64
	// NextOffset is the Offset the next record will have.
	NextOffset uint64
	// Last is the Offset of the newest record, Time its time; they outlive trimming.
	Last uint64
	Time time.Time
}

// Retention bounds a log. A zero field sets no bound.
type Retention struct {
	Age   time.Duration
	Bytes uint64
}

// A Change is one document written by a commit. Previous and Next are nil when the document did not, does not exist.
// They must not be modified or kept after the watcher returns.
type Change struct {
	Key            string
	Previous, Next []byte
}

// Reader reads documents of a fixed state.
type Reader interface {
	// Get returns the document, or ErrNotFound.
	Get(p Partition, key string) (Document, error)
	// Scan returns up to limit documents whose key has the prefix and is greater than after, in key order.
	Scan(p Partition, prefix, after string, limit int) ([]Document, error)
}

// A Snapshot is the durable state at one Position of each partition. Close frees it.
type Snapshot interface {
	Reader
	// Position returns the last commit of p that the snapshot shows.
	Position(p Partition) Position
	Close() error
}

// An Engine stores documents and logs. All methods are safe for concurrent use. The Reader methods of the Engine
// itself read the newest durable state.
//
// Failure is final: after the first failed write or sync, pending and later commits get ErrFailed (wrapping the
// cause), Failed is closed, and reads go on showing what was durable before.
type Engine interface {
	Reader

	// Partitions returns the number of device partitions, fixed when the data was made.
	Partitions() int

	// Submit queues a commit and returns at once, or waits while the queue is full. done is called exactly once,
	// after the commit is durable, visible and has been shown to the watchers, or with ErrConflict, ErrFailed,
	// ErrClosed or an error about the commit's form. Calls run one at a time, those of a partition in the order in
	// which its commits were applied, and must not block, as Submit may. Commits of one goroutine to one partition are applied in
	// the order of their Submit calls. The commit and what it points to must not be modified before done is called.
	Submit(c Commit, done func(Result, error))

	// Snapshot opens the newest durable state.
	Snapshot() (Snapshot, error)

	// Watch calls fn for each commit of after.Partition later than after, in order, once it is durable and before
	// it is acknowledged. Only commits that are still to come can be watched: after must be the newest durable
	// position or a Snapshot's that is still open (the engine keeps what such a Snapshot has not seen); otherwise
	// Watch fails. fn runs on the committer and must not block or call the engine. stop returns after the last call.
	Watch(after Position, fn func(Position, []Change)) (stop func(), err error)

	// Head describes a log.
	Head(p Partition, log string) (Head, error)

	// Read returns records from number from on (or from the oldest kept, if later): at most limit records and, after
	// the first, at most bytes bytes of values. An empty result means that from is at the end of the log.
	Read(p Partition, log string, from uint64, limit, bytes int) ([]Record, error)

	// SeekOffset returns the number of the first kept record whose Offset is at least offset; SeekTime that of the
	// first one committed at or after t. Both return Head.Next when there is none.
	SeekOffset(p Partition, log string, offset uint64) (uint64, error)
	SeekTime(p Partition, log string, t time.Time) (uint64, error)

	// Await returns nil once Head(p, log).Next is greater than n, or the error of ctx, ErrFailed or ErrClosed.
	Await(ctx context.Context, p Partition, log string, n uint64) error

	// SetRetention sets the bounds of the log of that name in every partition. The engine trims in the background.
	SetRetention(log string, r Retention)

	// Barrier returns when this node has applied every commit acknowledged anywhere before the call.
	Barrier(ctx context.Context) error

	// Failed is closed when the engine fails; Err then returns the cause.
	Failed() <-chan struct{}
	Err() error

	// Close waits for queued commits, stops every background loop and frees the files. Later calls return ErrClosed.
	Close() error
}

// Do submits c and waits for it. When ctx ends first the outcome is unknown: the commit may still be applied.
func Do(ctx context.Context, e Engine, c Commit) (Result, error) {
	type outcome struct {
		result Result
		err    error
	}
	ch := make(chan outcome, 1)
	e.Submit(c, func(r Result, err error) { ch <- outcome{r, err} })
	select {
	case o := <-ch:
		return o.result, o.err
	case <-ctx.Done():
		return Result{}, ctx.Err()
	}
}

// PartitionOf returns the device partition that key belongs to: xxhash64(key) modulo the number of partitions. For
// what concerns a device or its modules, key is the device id.
func PartitionOf(e Engine, key string) Partition {
	return Partition(xxhash.Sum64String(key) % uint64(e.Partitions()))
}
