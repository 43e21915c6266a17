package local

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/twinhub/twinhub/internal/engine"
)

// isExpected says whether err is one that a load on a failing disk may see.
func isExpected(err error) bool {
	return errors.Is(err, engine.ErrConflict) || errors.Is(err, engine.ErrFailed)
}

// observe starts goroutines that note what each reading method shows.
func (l *workload) observe(t *testing.T) {
	for i, look := range []func(*rand.Rand, engine.Partition) error{l.get, l.scan, l.snapshot, l.watch, l.head, l.read, l.seek} {
		l.wg.Go(func() {
			random := rand.New(rand.NewPCG(l.random, uint64(100+i)))
			for !l.stopped() {
				if err := look(random, l.e.partitionAt(random.IntN(l.e.partitions+1))); err != nil {
					t.Errorf("observer: %v", err)
					return
				}
				l.nextAnswer()
			}
		})
	}
	ctx, cancel := context.WithCancel(context.Background())
	l.wg.Go(func() {
		<-l.stop
		cancel()
	})
	l.wg.Go(func() { l.await(ctx, t) })
	for slot := range l.e.partitions + 1 {
		p := l.e.partitionAt(slot)
		if _, err := l.e.Watch(l.position(p), func(at engine.Position, _ []engine.Change) {
			l.history.sawPosition("Watch", p, at.N)
		}); err != nil {
			t.Errorf("Watch: %v", err)
		}
	}
}

// nextAnswer waits until something was answered, or the load has ended.
func (l *workload) nextAnswer() {
	h := l.history
	h.mu.Lock()
	defer h.mu.Unlock()
	for answered := h.submitted - h.open; h.submitted-h.open == answered && !l.stopped(); {
		h.answered.Wait()
	}
}

// answered waits until commit n of p was answered. It reports false when the load has ended before.
func (l *workload) answered(p engine.Partition, n uint64) bool {
	h := l.history
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.last[p] < n && !l.stopped() {
		h.answered.Wait()
	}
	return h.last[p] >= n
}

// position returns the newest one; the load must not have begun to change it.
func (l *workload) position(p engine.Partition) engine.Position {
	s, err := l.e.Snapshot()
	if err != nil {
		return engine.Position{Partition: p}
	}
	defer s.Close()
	return s.Position(p)
}

func (l *workload) get(random *rand.Rand, p engine.Partition) error {
	d, err := l.e.Get(p, fmt.Sprintf("a/%d", random.IntN(loadKeys)))
	if errors.Is(err, engine.ErrNotFound) {
		return nil
	}
	if err == nil {
		l.history.sawPosition("Get", p, uint64(d.Revision))
	}
	return err
}

func (l *workload) scan(_ *rand.Rand, p engine.Partition) error {
	docs, err := l.e.Scan(p, "", "", 100)
	for _, d := range docs {
		l.history.sawPosition("Scan", p, uint64(d.Revision))
	}
	return err
}

// snapshot compares all documents of a snapshot with what was acknowledged up to its position.
func (l *workload) snapshot(_ *rand.Rand, p engine.Partition) error {
	s, err := l.e.Snapshot()
	if err != nil {
		return err
	}
	defer s.Close()
	n := s.Position(p).N
	l.history.sawPosition("Snapshot", p, n)
	if !l.answered(p, n) {
		return nil
	}
	l.history.mu.Lock()
	defer l.history.mu.Unlock()
	return l.history.verifyDocuments(s, p)
}

// watch begins at a snapshot that is behind and notes how far it is shown what came meanwhile.
func (l *workload) watch(_ *rand.Rand, p engine.Partition) error {
	s, err := l.e.Snapshot()
	if err != nil {
		return err
	}
	defer s.Close()
	l.nextAnswer()
	next, gap := s.Position(p).N+1, false
	stop, err := l.e.Watch(s.Position(p), func(at engine.Position, _ []engine.Change) {
		gap = gap || at.N != next
		next = at.N + 1
		l.history.sawPosition("Watch of a snapshot", p, at.N)
	})
	if errors.Is(err, engine.ErrFailed) {
		return nil
	}
	if err != nil {
		return err
	}
	stop()
	if gap {
		return fmt.Errorf("a watcher after commit %d of partition %d did not see each of the next ones", s.Position(p).N, p)
	}
	return nil
}

func (l *workload) head(random *rand.Rand, p engine.Partition) error {
	log := logName{p, loadLogs[random.IntN(len(loadLogs))]}
	h, err := l.e.Head(p, log.name)
	if err == nil {
		l.history.sawRecords("Head", log, h.Next, h.First)
	}
	return err
}

func (l *workload) read(random *rand.Rand, p engine.Partition) error {
	log := logName{p, loadLogs[random.IntN(len(loadLogs))]}
	h, err := l.e.Head(p, log.name)
	if err != nil {
		return err
	}
	records, err := l.e.Read(p, log.name, h.Next-min(h.Next, 5), 1000, 1<<30)
	for i, r := range records {
		if r.Number != records[0].Number+uint64(i) {
			return fmt.Errorf("record %d follows record %d", r.Number, records[i-1].Number)
		}
		l.history.sawRecords("Read", log, r.Number+1, 0)
	}
	return err
}

func (l *workload) seek(random *rand.Rand, p engine.Partition) error {
	log := logName{p, loadLogs[random.IntN(len(loadLogs))]}
	n, err := l.e.SeekOffset(p, log.name, math.MaxUint64)
	if err != nil {
		return err
	}
	l.history.sawRecords("SeekOffset", log, n, 0)
	n, err = l.e.SeekTime(p, log.name, time.Now().Add(time.Hour))
	if err == nil {
		l.history.sawRecords("SeekTime", log, n, 0)
	}
	return err
}

func (l *workload) await(ctx context.Context, t *testing.T) {
	log := logName{0, loadLogs[1]}
	for n := uint64(0); ; n++ {
		err := l.e.Await(ctx, log.p, log.name, n)
		switch {
		case err == nil:
			l.history.sawRecords("Await", log, n+1, 0)
		case errors.Is(err, context.Canceled) || errors.Is(err, engine.ErrFailed):
			return
		default:
			t.Errorf("Await: %v", err)
			return
		}
	}
}
