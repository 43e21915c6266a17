package local

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/twinhub/twinhub/internal/engine"
)

// group is a number of commits that one sync makes durable. The committer prepares it, the writer writes it, and
// then the committer publishes it.
type group struct {
	id    uint64
	batch *pebble.Batch
	items []item
	first []uint64 // backs the Result.First of the items

	heads   []pendingHead
	touched []bool // by slot: the position is to be stored
	dirty   bool   // there is something to write

	// Set by the writer.
	snapshot *pebble.Snapshot
	took     time.Duration
	size     int
	// Set when the group is sealed: the state after it, by slot.
	positions []position
}

type pendingHead struct {
	log  *logState
	head head
}

// documentID names a document in the overlay.
type documentID struct {
	slot int
	key  string
}

// pendingRevision is the revision of a document in the group named; zero if it was deleted.
type pendingRevision struct {
	revision engine.Revision
	group    uint64
}

// planner turns commits into batches. It belongs to the committer, and is ahead of what readers see by at most two
// groups: the one being written and the one being prepared.
type planner struct {
	e         *Engine
	lastGroup uint64
	positions []position // by slot
	// pending holds the documents whose newest revision is not visible yet.
	pending map[documentID]pendingRevision
}

func (pl *planner) newGroup() *group {
	pl.lastGroup++
	return &group{
		id: pl.lastGroup,
		batch: pl.e.store.db.NewBatch(
			pebble.WithInitialSizeBytes(batchInitialSize), pebble.WithMaxRetainedSizeBytes(batchMaxRetained)),
		touched: make([]bool, len(pl.positions)),
	}
}

// add applies it to the group, or notes in it why it cannot be applied.
func (pl *planner) add(g *group, it item, now int64) {
	switch {
	case it.err != nil:
	case it.trim != nil:
		pl.trim(g, it.trim)
	default:
		if it.err = pl.check(it.commit); it.err == nil {
			pl.apply(g, &it, now)
		}
	}
	g.items = append(g.items, it)
}

// check compares expected revisions with what holds once all earlier commits are applied.
func (pl *planner) check(c engine.Commit) error {
	slot, _ := pl.e.slot(c.Partition)
	for i := range c.Writes {
		w := &c.Writes[i]
		if w.Expect == engine.Any {
			continue
		}
		r, err := pl.revision(slot, w.Key)
		if err != nil {
			return err
		}
		if r != w.Expect {
			return fmt.Errorf("document %q has revision %d, not %d: %w", w.Key, r, w.Expect, engine.ErrConflict)
		}
	}
	return nil
}

func (pl *planner) revision(slot int, key string) (engine.Revision, error) {
	if p, ok := pl.pending[documentID{slot, key}]; ok {
		return p.revision, nil
	}
	// The committer alone replaces the view, so it needs no reference.
	d, err := pl.e.view.get(pl.e.partitionAt(slot), key, false)
	if isNotFound(err) {
		return engine.Absent, nil
	}
	return d.Revision, err
}

func (pl *planner) apply(g *group, it *item, now int64) {
	c := &it.commit
	slot, _ := pl.e.slot(c.Partition)
	at := &pl.positions[slot]
	at.n++
	at.millis = max(at.millis, now, it.submitted)
	g.touched[slot], g.dirty = true, true
	revision := engine.Revision(at.n)

	for i := range c.Writes {
		w := &c.Writes[i]
		stored := pendingRevision{revision, g.id}
		if w.Value == nil {
			stored.revision = engine.Absent
			op := g.batch.DeleteDeferred(prefixSize + len(w.Key))
			putDocumentKey(op.Key, c.Partition, w.Key)
			_ = op.Finish()
		} else {
			op := g.batch.SetDeferred(prefixSize+len(w.Key), documentOverhead+len(w.Value))
			putDocumentKey(op.Key, c.Partition, w.Key)
			binary.BigEndian.PutUint64(op.Value, uint64(revision))
			copy(op.Value[documentOverhead:], w.Value)
			_ = op.Finish()
		}
		pl.pending[documentID{slot, w.Key}] = stored
	}

	it.result = engine.Result{
		Position: engine.Position{Partition: c.Partition, N: at.n},
		Revision: revision,
		Time:     fromMillis(at.millis),
	}
	if len(c.Appends) == 0 {
		return
	}
	begin := len(g.first)
	for i := range c.Appends {
		a := &c.Appends[i]
		l := pl.e.logs.get(slot, a.Log)
		h := g.head(l)
		g.first = append(g.first, h.next)
		for _, value := range a.Records {
			if len(l.block.bytes)+len(value) > maxBlock {
				l.block.writeTo(g.batch, c.Partition, a.Log)
			}
			l.block.append(h, at.millis, value)
			h.last, h.millis = h.nextOffset, at.millis
			h.next++
			h.nextOffset += uint64(len(value))
		}
		l.pending = *h
	}
	it.result.First = g.first[begin:len(g.first):len(g.first)]
}

func (pl *planner) trim(g *group, t *trim) {
	h := g.head(t.log)
	if t.first <= h.first || t.first > h.next {
		return
	}
	if p := pl.e.partitionAt(t.log.slot); t.begin < t.end {
		_ = g.batch.DeleteRange(recordKey(p, t.log.name, t.begin), recordKey(p, t.log.name, t.end), nil)
	}
	g.dirty = true
	h.first = t.first
	t.log.pending = *h
}

// head returns the head of l to be changed by the group.
func (g *group) head(l *logState) *head {
	if l.group != g.id {
		l.group, l.index = g.id, len(g.heads)
		g.heads = append(g.heads, pendingHead{l, l.pending})
	}
	return &g.heads[l.index].head
}

// seal completes the batch.
func (pl *planner) seal(g *group) {
	for slot, touched := range g.touched {
		if touched {
			_ = g.batch.Set(positionKey(pl.e.partitionAt(slot)), pl.positions[slot].encode(), nil)
		}
	}
	for i := range g.heads {
		h := &g.heads[i]
		h.log.block.writeTo(g.batch, pl.e.partitionAt(h.log.slot), h.log.name)
		_ = g.batch.Set(headKey(pl.e.partitionAt(h.log.slot), h.log.name), h.head.encode(), nil)
	}
	g.positions = append([]position(nil), pl.positions...)
}

// forget removes from the overlay what is visible now that g is published.
func (pl *planner) forget(g *group) {
	for i := range g.items {
		it := &g.items[i]
		if it.err != nil || it.trim != nil {
			continue
		}
		slot, _ := pl.e.slot(it.commit.Partition)
		for j := range it.commit.Writes {
			id := documentID{slot, it.commit.Writes[j].Key}
			if pl.pending[id].group == g.id {
				delete(pl.pending, id)
			}
		}
	}
}

// ceilMillis returns t in ms since 1970, rounded up.
func ceilMillis(t time.Time) int64 {
	ms := t.UnixMilli()
	if time.UnixMilli(ms).Before(t) {
		ms++
	}
	return ms
}
