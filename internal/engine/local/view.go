package local

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"github.com/twinhub/twinhub/internal/engine"
)

func isNotFound(err error) bool { return errors.Is(err, engine.ErrNotFound) }

// view is a durable state. All reads go through one: Pebble itself shows a batch before its sync.
type view struct {
	snapshot  *pebble.Snapshot
	positions []position // by slot
	refs      atomic.Int32
}

// release gives back a reference; the last one frees the snapshot, which otherwise keeps old data from being removed.
func (v *view) release() {
	if v.refs.Add(-1) == 0 {
		_ = v.snapshot.Close()
	}
}

// acquire returns the newest view. The caller gives it back with finish.
func (e *Engine) acquire() (*view, error) {
	e.visible.RLock()
	defer e.visible.RUnlock()
	return e.acquireLocked()
}

// acquireLocked is acquire for a caller that holds e.visible.
func (e *Engine) acquireLocked() (*view, error) {
	if e.closed {
		return nil, engine.ErrClosed
	}
	e.readers.Add(1)
	e.view.refs.Add(1)
	return e.view, nil
}

func (e *Engine) finish(v *view) {
	v.release()
	e.readers.Done()
}

// get reads a document, or only its revision.
func (v *view) get(p engine.Partition, key string, content bool) (engine.Document, error) {
	b, closer, err := v.snapshot.Get(documentKey(p, key))
	if err != nil {
		if errors.Is(err, pebble.ErrNotFound) {
			return engine.Document{}, engine.ErrNotFound
		}
		return engine.Document{}, fmt.Errorf("read document %q: %w", key, err)
	}
	defer closer.Close()
	revision, value, err := decodeDocument(b)
	if err != nil {
		return engine.Document{}, fmt.Errorf("document %q: %w", key, err)
	}
	d := engine.Document{Key: key, Revision: revision}
	if content {
		d.Value = append(make([]byte, 0, len(value)), value...)
	}
	return d, nil
}

func (v *view) scan(p engine.Partition, prefix, afterKey string, limit int) (found []engine.Document, err error) {
	if limit <= 0 {
		return nil, nil
	}
	lower := documentKey(p, prefix)
	upper := after(lower)
	if afterKey >= prefix {
		lower = append(documentKey(p, afterKey), 0)
	}
	it, err := v.snapshot.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return nil, fmt.Errorf("scan documents: %w", err)
	}
	defer func() {
		if closeErr := it.Close(); err == nil && closeErr != nil {
			found, err = nil, fmt.Errorf("scan documents: %w", closeErr)
		}
	}()
	for ok := it.First(); ok && len(found) < limit; ok = it.Next() {
		stored, err := it.ValueAndErr()
		if err != nil {
			return nil, fmt.Errorf("scan documents: %w", err)
		}
		key := string(it.Key()[prefixSize:])
		revision, value, err := decodeDocument(stored)
		if err != nil {
			return nil, fmt.Errorf("document %q: %w", key, err)
		}
		value = append(make([]byte, 0, len(value)), value...)
		found = append(found, engine.Document{Key: key, Value: value, Revision: revision})
	}
	return found, nil
}

// Get implements engine.Reader.
func (e *Engine) Get(p engine.Partition, key string) (engine.Document, error) {
	if _, ok := e.slot(p); !ok {
		return engine.Document{}, noPartition(p)
	}
	v, err := e.acquire()
	if err != nil {
		return engine.Document{}, err
	}
	defer e.finish(v)
	return v.get(p, key, true)
}

// Scan implements engine.Reader.
func (e *Engine) Scan(p engine.Partition, prefix, after string, limit int) ([]engine.Document, error) {
	if _, ok := e.slot(p); !ok {
		return nil, noPartition(p)
	}
	v, err := e.acquire()
	if err != nil {
		return nil, err
	}
	defer e.finish(v)
	return v.scan(p, prefix, after, limit)
}

// snapshot implements engine.Snapshot.
type snapshot struct {
	e *Engine
	v *view

	mu     sync.RWMutex // held for reading while v is in use
	closed bool
}

// Snapshot implements engine.Engine. While one is open, all document changes after it are kept for Watch, up to
// 64 MiB: close it soon.
func (e *Engine) Snapshot() (engine.Snapshot, error) {
	e.visible.Lock()
	defer e.visible.Unlock()
	if e.closed {
		return nil, engine.ErrClosed
	}
	e.view.refs.Add(1)
	s := &snapshot{e: e, v: e.view}
	e.backlog.opened(s)
	return s, nil
}

func (s *snapshot) use() (release func(), err error) {
	s.mu.RLock()
	if s.closed {
		s.mu.RUnlock()
		return nil, engine.ErrClosed
	}
	return s.mu.RUnlock, nil
}

// Get implements engine.Reader.
func (s *snapshot) Get(p engine.Partition, key string) (engine.Document, error) {
	if _, ok := s.e.slot(p); !ok {
		return engine.Document{}, noPartition(p)
	}
	release, err := s.use()
	if err != nil {
		return engine.Document{}, err
	}
	defer release()
	return s.v.get(p, key, true)
}

// Scan implements engine.Reader.
func (s *snapshot) Scan(p engine.Partition, prefix, after string, limit int) ([]engine.Document, error) {
	if _, ok := s.e.slot(p); !ok {
		return nil, noPartition(p)
	}
	release, err := s.use()
	if err != nil {
		return nil, err
	}
	defer release()
	return s.v.scan(p, prefix, after, limit)
}

// Position implements engine.Snapshot. It may be called after Close.
func (s *snapshot) Position(p engine.Partition) engine.Position {
	at := engine.Position{Partition: p}
	if slot, ok := s.e.slot(p); ok {
		at.N = s.v.positions[slot].n
	}
	return at
}

// Close implements engine.Snapshot.
func (s *snapshot) Close() error {
	if !s.end() {
		return engine.ErrClosed
	}
	s.e.visible.Lock()
	defer s.e.visible.Unlock()
	s.e.backlog.gone(s)
	return nil
}

// end waits for the reads of the snapshot and frees it. It reports false when that was done before.
func (s *snapshot) end() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.closed = true
	s.v.release()
	return true
}
