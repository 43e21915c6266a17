package local

import (
	"fmt"
	"strings"
	"time"

	"github.com/twinhub/twinhub/internal/engine"
)

// maxCommit bounds the size of one commit, keys included. A batch must fit the memory of Pebble several times over.
const maxCommit = 32 << 20

// Submit implements engine.Engine. It waits while the queue is full and while Close works through it, so done must
// not call it.
func (e *Engine) Submit(c engine.Commit, done func(engine.Result, error)) {
	it := item{commit: c, done: done, submitted: ceilMillis(e.clock.Now())}
	it.size, it.err = e.validate(c)
	if it.err != nil {
		it.commit, it.size = engine.Commit{}, itemOverhead
	}
	if e.observe != nil {
		it.queued = time.Now()
	}
	if !e.queue.push(it) {
		<-e.committerDone // callbacks run one at a time: those of what is queued first
		e.refusals.add(func() { done(engine.Result{}, engine.ErrClosed) })
	}
}

// validate checks the form of c and returns how much room it takes in a batch, about.
func (e *Engine) validate(c engine.Commit) (size int, err error) {
	if _, ok := e.slot(c.Partition); !ok {
		return 0, noPartition(c.Partition)
	}
	size = itemOverhead
	for i := range c.Writes {
		w := &c.Writes[i]
		switch {
		case len(w.Key) == 0 || len(w.Key) > engine.MaxKey:
			return 0, fmt.Errorf("document key of %d bytes; 1 to %d are allowed", len(w.Key), engine.MaxKey)
		case len(w.Value) > engine.MaxValue:
			return 0, fmt.Errorf("document %q of %d bytes; at most %d are allowed", w.Key, len(w.Value), engine.MaxValue)
		}
		size += len(w.Key) + len(w.Value) + itemOverhead
	}
	if key, ok := repeated(c.Writes); ok {
		return 0, fmt.Errorf("document %q occurs twice in a commit", key)
	}
	for i := range c.Appends {
		a := &c.Appends[i]
		if err := validLog(a.Log); err != nil {
			return 0, err
		}
		for _, r := range a.Records {
			if len(r) > engine.MaxValue {
				return 0, fmt.Errorf("record of %d bytes; at most %d are allowed", len(r), engine.MaxValue)
			}
			size += len(a.Log) + len(r) + itemOverhead
		}
	}
	if size > maxCommit {
		return 0, fmt.Errorf("commit of %d bytes; at most %d are allowed", size, maxCommit)
	}
	return size, nil
}

// itemOverhead is what a commit, a document or a record takes in a batch besides its content, rounded up.
const itemOverhead = 48

func validLog(name string) error {
	if len(name) == 0 || len(name) > engine.MaxKey || strings.IndexByte(name, 0) >= 0 {
		return fmt.Errorf("log name %q: 1 to %d bytes without a zero byte are allowed", name, engine.MaxKey)
	}
	return nil
}

// repeated finds a key that occurs twice.
func repeated(writes []engine.Write) (string, bool) {
	const few = 16
	if len(writes) <= few {
		for i := range writes {
			for j := range i {
				if writes[i].Key == writes[j].Key {
					return writes[i].Key, true
				}
			}
		}
		return "", false
	}
	seen := make(map[string]struct{}, len(writes))
	for i := range writes {
		if _, ok := seen[writes[i].Key]; ok {
			return writes[i].Key, true
		}
		seen[writes[i].Key] = struct{}{}
	}
	return "", false
}

func noPartition(p engine.Partition) error { return fmt.Errorf("partition %d does not exist", p) }
