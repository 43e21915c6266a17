package local

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twinhub/twinhub/internal/engine"
)

// trimmer removes old records in the background. A round costs two binary searches for each bounded log, and a range
// deletion for each that has something to remove, however much it is.
type trimmer struct {
	e        *Engine
	interval time.Duration

	mu     sync.Mutex
	bounds map[string]engine.Retention

	wake    chan struct{} // holds a token when a round is due
	stopped chan struct{}
	done    chan struct{}
}

func (t *trimmer) init(e *Engine, interval time.Duration) {
	t.e, t.interval = e, interval
	t.bounds = map[string]engine.Retention{}
	t.wake = make(chan struct{}, 1)
	t.stopped, t.done = make(chan struct{}), make(chan struct{})
}

// SetRetention implements engine.Engine. It is not stored. A round of trimming begins at once, and then every
// Options.TrimInterval.
func (e *Engine) SetRetention(log string, r engine.Retention) {
	t := &e.trimmer
	t.mu.Lock()
	t.bounds[log] = r
	t.mu.Unlock()
	t.due()
}

func (t *trimmer) due() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// stop ends the trimmer and waits for it.
func (t *trimmer) stop() {
	close(t.stopped)
	<-t.done
}

func (t *trimmer) run() {
	defer close(t.done)
	for {
		// The timer is set before the round, so that time that passes during the round makes another one due.
		timer := t.e.clock.AfterFunc(t.interval, t.due)
		t.round()
		ended := false
		select {
		case <-t.wake:
		case <-t.stopped:
			ended = true
		case <-t.e.store.disk.failed:
			ended = true
		}
		timer.Stop()
		if ended {
			return
		}
	}
}

// round trims every log that is out of bounds.
func (t *trimmer) round() {
	t.mu.Lock()
	bounds := maps.Clone(t.bounds)
	t.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(bounds)) {
		for _, l := range t.e.logs.all(name, t.e.partitions+1) {
			trim, err := t.plan(l, bounds[name])
			if err != nil {
				t.e.logger.Error("cannot look for records to trim", "log", name, "error", err)
				continue // the next round tries again
			}
			if !t.apply(trim) {
				return
			}
		}
	}
}

// plan returns what has to go from l so that it keeps to r; nil is nothing.
func (t *trimmer) plan(l *logState, r engine.Retention) (*trim, error) {
	p := t.e.partitionAt(l.slot)
	v, h, err := t.e.acquireLog(p, l.name)
	if err != nil {
		return nil, nil // closed
	}
	defer t.e.finish(v)
	plan := &trim{log: l, first: h.first, done: make(chan struct{})}
	keep := func(found func(engine.Record) bool) error {
		first, block, err := v.search(p, l.name, h, found)
		if first > plan.first {
			plan.first, plan.end = first, block
		}
		return err
	}
	if r.Age > 0 {
		oldest := t.e.clock.Now().Add(-r.Age)
		if err := keep(func(r engine.Record) bool { return !r.Time.Before(oldest) }); err != nil {
			return nil, err
		}
	}
	if r.Bytes > 0 && h.nextOffset > r.Bytes {
		from := h.nextOffset - r.Bytes
		if err := keep(func(r engine.Record) bool { return r.Offset >= from }); err != nil {
			return nil, err
		}
	}
	if plan.first == h.first {
		return nil, nil
	}
	_, plan.begin, err = v.search(p, l.name, h, func(engine.Record) bool { return true })
	return plan, err
}

// apply waits until the trim is durable. It reports false when the trimmer must end.
func (t *trimmer) apply(plan *trim) bool {
	if plan != nil {
		if !t.e.queue.push(item{trim: plan, size: itemOverhead}) {
			return false
		}
		<-plan.done
	}
	select {
	case <-t.stopped:
		return false
	default:
		return true
	}
}
