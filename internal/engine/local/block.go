package local

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/twinhub/twinhub/internal/engine"
)

// maxBlock is the size at which a block is written, in bytes: a block of several records costs Pebble little more than
// a single record, and reading one record costs little as long as a block is small.
const maxBlock = 16 << 10

// block collects consecutive records of a log, to be stored as one value of Pebble. It never outlives its group, so
// records that come one by one have a block each.
type block struct {
	first  uint64 // number of the first record
	millis int64  // time of the newest record
	bytes  []byte // empty: there is none
}

// append adds a record of a log whose head is h, before the record is counted in it.
func (b *block) append(h *head, millis int64, value []byte) {
	if len(b.bytes) == 0 {
		b.first, b.millis = h.next, millis
		b.bytes = binary.BigEndian.AppendUint64(b.bytes, h.nextOffset)
		b.bytes = binary.BigEndian.AppendUint64(b.bytes, uint64(millis))
	}
	b.bytes = binary.AppendUvarint(b.bytes, uint64(millis-b.millis))
	b.bytes = binary.AppendUvarint(b.bytes, uint64(len(value)))
	b.bytes = append(b.bytes, value...)
	b.millis = millis
}

// writeTo adds the block, if there is one, to the batch.
func (b *block) writeTo(batch *pebble.Batch, p engine.Partition, log string) {
	if len(b.bytes) == 0 {
		return
	}
	op := batch.SetDeferred(recordKeySize(log), len(b.bytes))
	appendRecordKey(op.Key[:0], p, log, b.first)
	copy(op.Value, b.bytes)
	_ = op.Finish()
	if b.bytes = b.bytes[:0]; cap(b.bytes) > 2*maxBlock {
		b.bytes = nil
	}
}

// records goes through a stored block.
type records struct {
	rest []byte
	// next tells of the record to come, but for the value.
	number, offset uint64
	millis         int64
}

// openBlock begins with the first record of a block.
func openBlock(first uint64, stored []byte) (records, error) {
	if len(stored) <= blockHead {
		return records{}, fmt.Errorf("record block of %d bytes: %w", len(stored), errMalformed)
	}
	u := binary.BigEndian.Uint64
	return records{rest: stored[blockHead:], number: first, offset: u(stored), millis: int64(u(stored[8:]))}, nil
}

// next returns the next record, whose value is a part of the stored block. There must be one.
func (r *records) next() (engine.Record, error) {
	later, n := binary.Uvarint(r.rest)
	if n <= 0 {
		return engine.Record{}, fmt.Errorf("record %d: time: %w", r.number, errMalformed)
	}
	size, m := binary.Uvarint(r.rest[n:])
	if m <= 0 || size > uint64(len(r.rest)-n-m) {
		return engine.Record{}, fmt.Errorf("record %d: size: %w", r.number, errMalformed)
	}
	r.millis += int64(later)
	begin, end := n+m, n+m+int(size)
	found := engine.Record{Number: r.number, Offset: r.offset, Time: fromMillis(r.millis), Value: r.rest[begin:end:end]}
	r.rest = r.rest[end:]
	r.number++
	r.offset += size
	return found, nil
}

// more reports whether next can be called.
func (r *records) more() bool { return len(r.rest) > 0 }

// logIterator goes through the blocks of a log, in a view.
type logIterator struct {
	*pebble.Iterator
	log    string
	p      engine.Partition
	prefix int
}

func (v *view) openLog(p engine.Partition, log string) (*logIterator, error) {
	lower := recordKey(p, log, 0)
	prefix := len(lower) - 8
	it, err := v.snapshot.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: after(lower[:prefix])})
	if err != nil {
		return nil, fmt.Errorf("read log %s: %w", log, err)
	}
	return &logIterator{it, log, p, prefix}, nil
}

// seek moves to the block that holds the record, or else to the next one. It reports false when there is none.
func (it *logIterator) seek(number uint64) bool {
	if number+1 != 0 && it.SeekLT(recordKey(it.p, it.log, number+1)) {
		return true
	}
	return it.SeekGE(recordKey(it.p, it.log, number))
}

// block returns the block at which the iterator is.
func (it *logIterator) block() (records, error) {
	stored, err := it.ValueAndErr()
	if err != nil {
		return records{}, fmt.Errorf("read log %s: %w", it.log, err)
	}
	r, err := openBlock(it.first(), stored)
	if err != nil {
		return records{}, fmt.Errorf("log %s: %w", it.log, err)
	}
	return r, nil
}

// first returns the number of the first record of the block at which the iterator is.
func (it *logIterator) first() uint64 { return binary.BigEndian.Uint64(it.Key()[it.prefix:]) }

// record finds a record that is in the log.
func (it *logIterator) record(number uint64) (engine.Record, error) {
	if !it.seek(number) {
		return engine.Record{}, it.missing(number)
	}
	b, err := it.block()
	for err == nil && b.more() {
		var r engine.Record
		if r, err = b.next(); err == nil && r.Number == number {
			return r, nil
		}
	}
	if err == nil {
		err = it.missing(number)
	}
	return engine.Record{}, err
}

// missing says why a record was not found: the iterator could not read, or else the data are wrong.
func (it *logIterator) missing(number uint64) error {
	if err := it.Error(); err != nil {
		return fmt.Errorf("read log %s: %w", it.log, err)
	}
	return fmt.Errorf("record %d of log %s is missing: %w", number, it.log, errMalformed)
}

// close ends the iterator and returns err, or else what the iterator failed with.
func (it *logIterator) close(err error) error {
	if closed := it.Close(); err == nil && closed != nil {
		return fmt.Errorf("read log %s: %w", it.log, closed)
	}
	return err
}

func fromMillis(ms int64) time.Time { return time.UnixMilli(ms).UTC() }
