package local

import (
	"context"
	"fmt"
	"math"
	"sort"
	"sync"
	"time"

	"github.com/twinhub/twinhub/internal/engine"
)

// logState is a log in memory.
type logState struct {
	slot int
	name string

	// Owned by the committer: the head after all commits prepared so far, and where the group being prepared has it.
	pending head
	group   uint64
	index   int
	block   block // of the group being prepared

	// Guarded by Engine.visible: the head that is seen, and what is closed when it gets records.
	head head
	more chan struct{}
}

type logID struct {
	slot int
	name string
}

// logs holds every log that was written or awaited.
type logs struct {
	mu sync.RWMutex
	m  map[logID]*logState
}

// find returns the log, or nil.
func (l *logs) find(slot int, name string) *logState {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.m[logID{slot, name}]
}

// get returns the log, made if needed.
func (l *logs) get(slot int, name string) *logState {
	if s := l.find(slot, name); s != nil {
		return s
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	id := logID{slot, name}
	s := l.m[id]
	if s == nil {
		s = &logState{slot: slot, name: name}
		l.m[id] = s
	}
	return s
}

// all returns the logs of that name.
func (l *logs) all(name string, slots int) (found []*logState) {
	for slot := range slots {
		if s := l.find(slot, name); s != nil {
			found = append(found, s)
		}
	}
	return found
}

// Head implements engine.Engine.
func (e *Engine) Head(p engine.Partition, log string) (engine.Head, error) {
	slot, ok := e.slot(p)
	if !ok {
		return engine.Head{}, noPartition(p)
	}
	l := e.logs.find(slot, log)
	e.visible.RLock()
	defer e.visible.RUnlock()
	if e.closed {
		return engine.Head{}, engine.ErrClosed
	}
	if l == nil || l.head == (head{}) {
		return engine.Head{}, nil
	}
	h := l.head
	return engine.Head{First: h.first, Next: h.next, NextOffset: h.nextOffset, Last: h.last, Time: fromMillis(h.millis)}, nil
}

// acquireLog returns the newest view and the head of a log in it. The caller gives the view back with finish.
func (e *Engine) acquireLog(p engine.Partition, log string) (*view, head, error) {
	slot, ok := e.slot(p)
	if !ok {
		return nil, head{}, noPartition(p)
	}
	if err := validLog(log); err != nil {
		return nil, head{}, err
	}
	l := e.logs.find(slot, log)
	e.visible.RLock()
	defer e.visible.RUnlock()
	v, err := e.acquireLocked()
	if err != nil || l == nil {
		return v, head{}, err
	}
	return v, l.head, nil
}

// Read implements engine.Engine.
func (e *Engine) Read(p engine.Partition, log string, from uint64, limit, bytes int) (found []engine.Record, err error) {
	v, h, err := e.acquireLog(p, log)
	if err != nil {
		return nil, err
	}
	defer e.finish(v)
	from = max(from, h.first)
	if limit <= 0 || from >= h.next {
		return nil, nil
	}
	it, err := v.openLog(p, log)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err = it.close(err); err != nil {
			found = nil
		}
	}()
	for ok := it.seek(from); ok; ok = it.Next() {
		b, err := it.block()
		if err != nil {
			return nil, err
		}
		b.rest = append(make([]byte, 0, len(b.rest)), b.rest...) // the records outlive the iterator
		for b.more() {
			r, err := b.next()
			switch {
			case err != nil:
				return nil, fmt.Errorf("log %s: %w", log, err)
			case r.Number < from:
				continue
			case len(found) > 0 && (len(found) == limit || bytes < len(r.Value)):
				return found, nil
			}
			bytes -= len(r.Value)
			found = append(found, r)
		}
	}
	return found, nil
}

// SeekOffset implements engine.Engine.
func (e *Engine) SeekOffset(p engine.Partition, log string, offset uint64) (uint64, error) {
	return e.seek(p, log, func(r engine.Record) bool { return r.Offset >= offset })
}

// SeekTime implements engine.Engine.
func (e *Engine) SeekTime(p engine.Partition, log string, t time.Time) (uint64, error) {
	return e.seek(p, log, func(r engine.Record) bool { return !r.Time.Before(t) })
}

// seek returns the number of the first record for which found holds, as it does for all later ones.
func (e *Engine) seek(p engine.Partition, log string, found func(engine.Record) bool) (uint64, error) {
	v, h, err := e.acquireLog(p, log)
	if err != nil {
		return 0, err
	}
	defer e.finish(v)
	n, _, err := v.search(p, log, h, found)
	return n, err
}

// search returns the number of the first record for which found holds, as it does for all later ones, and that of the
// first one in its block.
func (v *view) search(p engine.Partition, log string, h head, found func(engine.Record) bool) (number, block uint64, err error) {
	if h.first == h.next {
		return h.next, h.next, nil
	}
	it, err := v.openLog(p, log)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = it.close(err) }()
	var failed error
	n := sort.Search(int(min(h.next-h.first, math.MaxInt)), func(i int) bool {
		if failed != nil {
			return true
		}
		var r engine.Record
		r, failed = it.record(h.first + uint64(i))
		return failed != nil || found(r)
	})
	if failed != nil {
		return 0, 0, failed
	}
	if number = h.first + uint64(n); number == h.next {
		return number, number, nil
	}
	if _, err = it.record(number); err != nil {
		return 0, 0, err
	}
	return number, it.first(), nil
}

// Await implements engine.Engine.
func (e *Engine) Await(ctx context.Context, p engine.Partition, log string, n uint64) error {
	slot, ok := e.slot(p)
	if !ok {
		return noPartition(p)
	}
	if err := validLog(log); err != nil {
		return err
	}
	l := e.logs.get(slot, log)
	for {
		e.visible.Lock()
		if e.closed {
			e.visible.Unlock()
			return engine.ErrClosed
		}
		if l.head.next > n {
			e.visible.Unlock()
			return nil
		}
		if l.more == nil {
			l.more = make(chan struct{})
		}
		more := l.more
		e.visible.Unlock()
		select {
		case <-more:
		case <-ctx.Done():
			return ctx.Err()
		case <-e.store.disk.failed:
			return e.failure()
		case <-e.ended:
			return engine.ErrClosed
		}
	}
}
