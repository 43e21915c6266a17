package local

import (
	"fmt"
	"slices"
	"sync"

	"github.com/twinhub/twinhub/internal/engine"
)

// maxBacklog bounds the bytes of the changes kept for open snapshots. An index that is built from a snapshot reads
// faster than devices write, so that it is reached only by a snapshot that was forgotten.
const maxBacklog = 64 << 20

// commitChanges are the changes of one commit.
type commitChanges struct {
	slot    int
	n       uint64
	changes []engine.Change
	size    int
}

// backlog keeps the changes that open snapshots have not seen. It is guarded by Engine.visible.
type backlog struct {
	open  []*snapshot // in the order in which they were opened: the first is the oldest in every partition
	kept  []commitChanges
	bytes int
	lost  []uint64 // by slot: changes up to this commit are not kept
}

func (b *backlog) opened(s *snapshot) { b.open = append(b.open, s) }

// gone forgets s and what only s needed.
func (b *backlog) gone(s *snapshot) {
	i := slices.Index(b.open, s)
	if i < 0 {
		return
	}
	b.open = slices.Delete(b.open, i, i+1)
	if i > 0 {
		return
	}
	b.drop(func(c *commitChanges) bool {
		return len(b.open) == 0 || c.n <= b.open[0].v.positions[c.slot].n
	})
}

// drop removes the oldest changes while they satisfy the condition. Those of different partitions are mixed, so some
// may stay longer than needed, never shorter.
func (b *backlog) drop(condition func(*commitChanges) bool) {
	n := 0
	for n < len(b.kept) && condition(&b.kept[n]) {
		b.forget(&b.kept[n])
		n++
	}
	b.kept = slices.Delete(b.kept, 0, n)
	if len(b.kept) == 0 {
		b.kept = nil
	}
}

func (b *backlog) forget(c *commitChanges) {
	b.bytes -= c.size
	b.lost[c.slot] = max(b.lost[c.slot], c.n)
}

// add keeps changes that are not shown to all open snapshots. It copies what belongs to the submitter.
func (b *backlog) add(list []commitChanges) {
	if len(b.open) == 0 {
		return
	}
	for _, c := range list {
		c.changes, c.size = slices.Clone(c.changes), itemOverhead
		for i := range c.changes {
			ch := &c.changes[i]
			if ch.Next != nil {
				ch.Next = append(make([]byte, 0, len(ch.Next)), ch.Next...)
			}
			c.size += len(ch.Key) + len(ch.Previous) + len(ch.Next) + itemOverhead
		}
		b.bytes += c.size
		b.kept = append(b.kept, c)
	}
	if b.bytes > maxBacklog {
		b.drop(func(*commitChanges) bool { return true })
	}
}

// watcher is a function that sees the commits of a partition. It is called on the committer only.
type watcher struct {
	mu sync.Mutex                             // held while fn runs, so that stop can wait for it
	fn func(engine.Position, []engine.Change) // nil once stopped
}

func (w *watcher) show(p engine.Position, changes []engine.Change) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fn != nil {
		w.fn(p, changes)
	}
}

func (w *watcher) ended() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.fn == nil
}

// Watch implements engine.Engine. It returns once fn has been shown what was committed since after.
func (e *Engine) Watch(after engine.Position, fn func(engine.Position, []engine.Change)) (stop func(), err error) {
	slot, ok := e.slot(after.Partition)
	if !ok {
		return nil, noPartition(after.Partition)
	}
	w := &watcher{fn: fn}
	if err := e.onCommitter(func() error { return e.startWatch(slot, after, w) }); err != nil {
		return nil, err
	}
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.fn = nil
	}, nil
}

// startWatch runs on the committer.
func (e *Engine) startWatch(slot int, after engine.Position, w *watcher) error {
	if err := e.failure(); err != nil {
		return err
	}
	var missed []commitChanges
	e.visible.RLock()
	newest := e.view.positions[slot].n
	found := after.N == newest
	for _, s := range e.backlog.open {
		found = found || after.N == s.v.positions[slot].n
	}
	if found && after.N < newest {
		if found = after.N >= e.backlog.lost[slot]; found {
			for _, c := range e.backlog.kept {
				if c.slot == slot && c.n > after.N {
					missed = append(missed, c)
				}
			}
		}
	}
	e.visible.RUnlock()
	if !found {
		return fmt.Errorf("commits of partition %d after %d are not kept; the newest is %d", after.Partition, after.N, newest)
	}
	for _, c := range missed {
		w.show(engine.Position{Partition: after.Partition, N: c.n}, c.changes)
	}
	e.watchers[slot] = append(e.watchers[slot], w)
	return nil
}

// watched drops the watchers that were stopped and reports whether any are left.
func (e *Engine) watched() bool {
	left := 0
	for slot := range e.watchers {
		e.watchers[slot] = slices.DeleteFunc(e.watchers[slot], (*watcher).ended)
		left += len(e.watchers[slot])
	}
	return left > 0
}

// changes lists what the commits of g change, given the view before them. It runs on the committer.
func (e *Engine) changes(g *group) ([]commitChanges, error) {
	var list []commitChanges
	current := map[documentID][]byte{}
	for i := range g.items {
		it := &g.items[i]
		if it.err != nil || it.trim != nil {
			continue
		}
		slot, _ := e.slot(it.commit.Partition)
		c := commitChanges{slot: slot, n: it.result.Position.N}
		c.changes = make([]engine.Change, len(it.commit.Writes))
		for j := range it.commit.Writes {
			w := &it.commit.Writes[j]
			id := documentID{slot, w.Key}
			previous, ok := current[id]
			if !ok {
				d, err := e.view.get(it.commit.Partition, w.Key, true)
				if err != nil && !isNotFound(err) {
					return nil, err
				}
				previous = d.Value
			}
			current[id] = w.Value
			c.changes[j] = engine.Change{Key: w.Key, Previous: previous, Next: w.Value}
		}
		list = append(list, c)
	}
	return list, nil
}
