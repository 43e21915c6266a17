package local

import (
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/twinhub/twinhub/internal/engine"
)

const (
	// maxGroupBytes and maxGroupItems end a group that grows while the one before it is written: the sync of a larger
	// one takes longer than it saves.
	maxGroupBytes = 4 << 20
	maxGroupItems = 4096

	batchInitialSize = 64 << 10
	batchMaxRetained = 2 * maxGroupBytes
)

// request is something that must run between two groups.
type request struct {
	run  func() error
	done chan error
}

// committer is the goroutine that applies commits. Two groups are under way at most: one is being written, and what
// is queued meanwhile is prepared in the next. Everything that must be in order happens on this goroutine.
type committer struct {
	e *Engine
	planner
	open    *group // being prepared
	writing *group // handed to the writer; nil if none

	stash []item // taken from the queue, not in a group yet
	next  int    // the first of stash that is not
	spare []item

	queueClosed bool
}

// run works until the queue is closed and empty.
func (c *committer) run() {
	e := c.e
	defer close(e.committerDone)
	defer close(e.toWriter)
	c.open = c.newGroup()
	for {
		c.fill()
		if c.writing == nil && len(c.open.items) > 0 {
			c.handOver()
			continue
		}
		if c.queueClosed && c.writing == nil {
			_ = c.open.batch.Close()
			return
		}
		ready := e.queue.ready
		if c.full() || c.queueClosed {
			ready = nil // what is queued waits for the writer
		}
		select {
		case <-ready:
			c.take()
		case g := <-e.written:
			c.finish(g)
		case r := <-e.requests:
			r.done <- r.run()
		case <-e.store.disk.failed:
			c.refuseAll()
			return
		}
	}
}

func (c *committer) full() bool {
	return c.open.batch.Len() >= maxGroupBytes || len(c.open.items) >= maxGroupItems
}

func (c *committer) take() {
	c.spare = c.stash
	clear(c.spare)
	c.stash, c.queueClosed = c.e.queue.take(c.spare)
	c.next = 0
}

// fill prepares what was taken from the queue, as far as the group has room.
func (c *committer) fill() {
	if c.next == len(c.stash) {
		return
	}
	now := ceilMillis(c.e.clock.Now())
	for c.next < len(c.stash) && !c.full() {
		c.add(c.open, c.stash[c.next], now)
		c.next++
	}
}

// handOver gives the open group to the writer, or completes it when there is nothing to write.
func (c *committer) handOver() {
	g := c.open
	c.open = c.newGroup()
	if !g.dirty {
		_ = g.batch.Close()
		c.e.complete(g)
		return
	}
	c.seal(g)
	c.writing = g
	c.e.toWriter <- g
}

// finish makes a durable group visible, lets the writer go on with the next, and only then tells of it.
func (c *committer) finish(g *group) {
	c.writing = nil
	list, err := c.e.publish(g)
	if err != nil {
		c.e.store.disk.fail(err)
		c.refuse(g.items)
		return
	}
	c.forget(g)
	c.fill()
	if !c.full() && !c.queueClosed {
		select {
		case <-c.e.queue.ready:
			c.take()
			c.fill()
		default:
		}
	}
	if c.open.dirty {
		c.handOver() // a group that writes nothing must wait its turn: the answers of this one come first
	}
	for _, ch := range list {
		for _, w := range c.e.watchers[ch.slot] {
			w.show(engine.Position{Partition: c.e.partitionAt(ch.slot), N: ch.n}, ch.changes)
		}
	}
	c.e.complete(g)
}

// refuseAll answers everything with the failure until the queue is closed.
func (c *committer) refuseAll() {
	if c.writing != nil {
		c.refuse(c.writing.items) // whether these are on disk is unknown
	}
	c.refuse(c.open.items)
	_ = c.open.batch.Close()
	for {
		c.refuse(c.stash[c.next:])
		c.next = len(c.stash)
		if c.queueClosed {
			return
		}
		select {
		case <-c.e.queue.ready:
			c.take()
		case r := <-c.e.requests:
			r.done <- c.e.failure()
		}
	}
}

func (c *committer) refuse(items []item) {
	err := c.e.failure()
	for i := range items {
		items[i].answer(engine.Result{}, err)
	}
}

// answer tells the submitter of the outcome.
func (it *item) answer(r engine.Result, err error) {
	if it.trim != nil {
		close(it.trim.done)
		return
	}
	it.done(r, err)
}

// write is the writer: a goroutine of its own, so that the committer can answer when Pebble is stuck.
func (e *Engine) write() {
	defer close(e.writerDone)
	disk := e.store.disk
	for g := range e.toWriter {
		e.store.awaitRoom()
		begin := time.Now()
		if disk.failure() != nil {
			continue
		}
		g.size = g.batch.Len() // Pebble clears a large batch
		if err := e.store.db.ApplyNoSyncWait(g.batch, pebble.Sync); err != nil {
			disk.fail(err)
		}
		if disk.failure() != nil {
			continue // a batch that was not applied would be waited for in vain
		}
		if err := g.batch.SyncWait(); err != nil {
			disk.fail(err)
		}
		if disk.failure() != nil {
			continue // the sync may be one that did not happen
		}
		g.snapshot = e.store.db.NewSnapshot()
		g.took = time.Since(begin)
		_ = g.batch.Close()
		e.written <- g
	}
}

// publish makes the state after g the visible one and returns the changes that watchers are to see.
func (e *Engine) publish(g *group) ([]commitChanges, error) {
	watched := e.watched()
	e.visible.Lock()
	if !watched && len(e.backlog.open) == 0 {
		old := e.show(g)
		e.visible.Unlock()
		old.release()
		return nil, nil
	}
	e.visible.Unlock()
	// A snapshot that is opened meanwhile needs the changes as well, and gets them.
	list, err := e.changes(g)
	if err != nil {
		_ = g.snapshot.Close()
		return nil, err
	}
	e.visible.Lock()
	e.backlog.add(list)
	old := e.show(g)
	e.visible.Unlock()
	old.release()
	return list, nil
}

// show replaces the visible state, which it returns. The caller holds e.visible.
func (e *Engine) show(g *group) (old *view) {
	old = e.view
	e.view = &view{snapshot: g.snapshot, positions: g.positions}
	e.view.refs.Store(1)
	for i := range g.heads {
		l := g.heads[i].log
		grown := g.heads[i].head.next > l.head.next
		l.head = g.heads[i].head
		if grown && l.more != nil {
			close(l.more)
			l.more = nil
		}
	}
	return old
}

// complete answers the commits of a group that is visible.
func (e *Engine) complete(g *group) {
	report := Group{Bytes: g.size, Write: g.took}
	var oldest time.Time
	for i := range g.items {
		it := &g.items[i]
		if it.trim == nil {
			if report.Commits == 0 {
				oldest = it.queued
			}
			report.Commits++
		}
		it.answer(it.result, it.err)
	}
	if e.observe != nil && report.Commits > 0 {
		report.Longest = time.Since(oldest)
		e.observe(report)
	}
}

// onCommitter runs f between two groups.
func (e *Engine) onCommitter(f func() error) error {
	r := request{f, make(chan error, 1)}
	select {
	case e.requests <- r:
		return <-r.done
	case <-e.committerDone:
		return engine.ErrClosed
	}
}
