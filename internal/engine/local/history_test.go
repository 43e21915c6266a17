package local

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twinhub/twinhub/internal/engine"
)

// history is what a load did to an engine, by its acknowledgements, and what observers saw of it.
type history struct {
	mu        sync.Mutex
	answered  sync.Cond
	submitted int
	open      int // submitted, not answered

	last      map[engine.Partition]uint64 // newest position
	documents map[documentName][]version  // by position
	logs      map[logName][]record        // by number
	seen      sight
	misjudged []string // conflicts that were none, and the contrary
}

type documentName struct {
	p   engine.Partition
	key string
}

type logName struct {
	p    engine.Partition
	name string
}

// version is a document from position n on; an empty value is its absence.
type version struct {
	n     uint64
	value string
}

type record struct {
	n      uint64 // position of the commit
	offset uint64
	result engine.Result
	value  string
}

// time returns the time of the record, or got if it was never acknowledged.
func (r record) time(got time.Time) time.Time {
	if r.result.Time.IsZero() {
		return got
	}
	return r.result.Time
}

// sight is the furthest that was acknowledged or seen, by the way it was seen.
type sight struct {
	positions map[string]map[engine.Partition]uint64
	next      map[string]map[logName]uint64 // log has at least so many records
	first     map[logName]uint64            // log was trimmed so far
}

func newHistory() *history {
	h := &history{last: map[engine.Partition]uint64{}, documents: map[documentName][]version{}, logs: map[logName][]record{}}
	h.answered.L = &h.mu
	h.seen = sight{map[string]map[engine.Partition]uint64{}, map[string]map[logName]uint64{}, map[logName]uint64{}}
	return h
}

// sawPosition notes that commit n of p was visible.
func (h *history) sawPosition(how string, p engine.Partition, n uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	m := h.seen.positions[how]
	if m == nil {
		m = map[engine.Partition]uint64{}
		h.seen.positions[how] = m
	}
	m[p] = max(m[p], n)
}

func (h *history) sawRecords(how string, log logName, next, first uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	m := h.seen.next[how]
	if m == nil {
		m = map[logName]uint64{}
		h.seen.next[how] = m
	}
	m[log] = max(m[log], next)
	h.seen.first[log] = max(h.seen.first[log], first)
}

// sight returns a copy of what was seen so far.
func (h *history) sight() sight {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := newHistory().seen
	for how, m := range h.seen.positions {
		c.positions[how] = map[engine.Partition]uint64{}
		for p, n := range m {
			c.positions[how][p] = n
		}
	}
	for how, m := range h.seen.next {
		c.next[how] = map[logName]uint64{}
		for l, n := range m {
			c.next[how][l] = n
		}
	}
	for l, n := range h.seen.first {
		c.first[l] = n
	}
	return c
}

// submit submits a commit and notes what becomes of it. answer is called last.
func (h *history) submit(e *Engine, c engine.Commit, answer func(error)) {
	h.mu.Lock()
	h.submitted++
	h.open++
	h.mu.Unlock()
	e.Submit(c, func(r engine.Result, err error) {
		if err == nil {
			h.sawPosition("acknowledgement", c.Partition, r.Position.N)
		}
		h.mu.Lock()
		if holds := h.holds(c); err == nil != holds && !errors.Is(err, engine.ErrFailed) {
			// All earlier commits of the partition have been answered, so this is the state it was judged by.
			h.misjudged = append(h.misjudged, fmt.Sprintf("a commit to partition %d after commit %d, whose expectations hold: %t: %v",
				c.Partition, h.last[c.Partition], holds, err))
		}
		if err == nil {
			h.note(c, r)
		} else if errors.Is(err, engine.ErrFailed) && h.holds(c) {
			// It may be on disk, and if it is, then here.
			h.note(c, engine.Result{Position: engine.Position{Partition: c.Partition, N: h.last[c.Partition] + 1}})
		}
		h.open--
		h.answered.Broadcast()
		h.mu.Unlock()
		answer(err)
	})
}

// holds says whether the expectations of c hold in the newest state.
func (h *history) holds(c engine.Commit) bool {
	for _, w := range c.Writes {
		revision := engine.Absent
		if versions := h.documents[documentName{c.Partition, w.Key}]; len(versions) > 0 && versions[len(versions)-1].value != "" {
			revision = engine.Revision(versions[len(versions)-1].n)
		}
		if w.Expect != engine.Any && w.Expect != revision {
			return false
		}
	}
	return true
}

func (h *history) note(c engine.Commit, r engine.Result) {
	h.last[c.Partition] = r.Position.N
	for _, w := range c.Writes {
		id := documentName{c.Partition, w.Key}
		h.documents[id] = append(h.documents[id], version{r.Position.N, string(w.Value)})
	}
	for _, a := range c.Appends {
		id := logName{c.Partition, a.Log}
		for _, value := range a.Records {
			records := h.logs[id]
			at := record{n: r.Position.N, result: r, value: string(value)}
			if len(records) > 0 {
				last := records[len(records)-1]
				at.offset = last.offset + uint64(len(last.value))
			}
			h.logs[id] = append(records, at)
		}
	}
}

// settle waits until everything submitted so far was answered. Others may go on submitting.
func (h *history) settle() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for target := h.submitted; h.submitted-h.open < target; {
		h.answered.Wait()
	}
}

// verify compares e with the state after as many commits of each partition as it has, and with what was seen before.
func (h *history) verify(e *Engine, before sight) error {
	snapshot, err := e.Snapshot()
	if err != nil {
		return err
	}
	defer snapshot.Close()
	h.mu.Lock()
	defer h.mu.Unlock()
	at := map[engine.Partition]uint64{}
	for slot := range e.partitions + 1 {
		p := e.partitionAt(slot)
		at[p] = snapshot.Position(p).N
	}
	if len(h.misjudged) > 0 {
		return errors.New(h.misjudged[0])
	}
	for how, m := range before.positions {
		for p, n := range m {
			if at[p] < n {
				return fmt.Errorf("partition %d has commits up to %d, but %d was seen before the cut: %s", p, at[p], n, how)
			}
		}
	}
	for p := range at {
		if err := h.verifyDocuments(snapshot, p); err != nil {
			return err
		}
	}
	for log, records := range h.logs {
		if err := verifyLog(e, log, records, at[log.p], before); err != nil {
			return fmt.Errorf("log %s of partition %d: %w", log.name, log.p, err)
		}
	}
	return nil
}

// verifyDocuments compares what a snapshot has of a partition with the state after as many commits.
func (h *history) verifyDocuments(s engine.Snapshot, p engine.Partition) error {
	at := s.Position(p).N
	want := map[string]version{}
	for id, versions := range h.documents {
		if id.p != p {
			continue
		}
		i, _ := slices.BinarySearchFunc(versions, at+1, func(v version, n uint64) int { return int(v.n) - int(n) })
		if i > 0 && versions[i-1].value != "" {
			want[id.key] = versions[i-1]
		}
	}
	docs, err := s.Scan(p, "", "", 1<<20)
	if err != nil {
		return err
	}
	for _, d := range docs {
		w, ok := want[d.Key]
		if !ok {
			return fmt.Errorf("partition %d at commit %d: document %s = %.20s revision %d, want none", p, at, d.Key, d.Value, d.Revision)
		}
		if string(d.Value) != w.value || uint64(d.Revision) != w.n {
			return fmt.Errorf("partition %d at commit %d: document %s = %.20s revision %d, want %.20s revision %d",
				p, at, d.Key, d.Value, d.Revision, w.value, w.n)
		}
	}
	if len(docs) != len(want) {
		return fmt.Errorf("partition %d at commit %d: %d documents, want %d", p, at, len(docs), len(want))
	}
	return nil
}

func verifyLog(e *Engine, log logName, records []record, at uint64, before sight) error {
	i, _ := slices.BinarySearchFunc(records, at+1, func(r record, n uint64) int { return int(r.n) - int(n) })
	records = records[:i]
	h, err := e.Head(log.p, log.name)
	if err != nil {
		return err
	}
	for how, m := range before.next {
		if h.Next < m[log] {
			return fmt.Errorf("the next record is %d, but %d was seen before the cut: %s", h.Next, m[log], how)
		}
	}
	if h.First < before.first[log] {
		return fmt.Errorf("the first record is %d, but %d was seen before the cut", h.First, before.first[log])
	}
	if h.Next != uint64(len(records)) {
		return fmt.Errorf("the next record is %d, want %d at commit %d", h.Next, len(records), at)
	}
	if h.First > h.Next {
		return fmt.Errorf("head %+v", h)
	}
	if n := h.First; n > 0 && records[n-1].offset+loadRetention[log.name] >= h.NextOffset {
		return fmt.Errorf("record %d at offset %d was trimmed, the log ends at %d", n-1, records[n-1].offset, h.NextOffset)
	}
	if n := len(records); n > 0 {
		last := records[n-1]
		want := engine.Head{First: h.First, Next: uint64(n), NextOffset: last.offset + uint64(len(last.value)), Last: last.offset, Time: last.time(h.Time)}
		if h != want {
			return fmt.Errorf("head %+v, want %+v", h, want)
		}
	}
	got, err := e.Read(log.p, log.name, 0, 1<<30, 1<<40)
	if err != nil {
		return err
	}
	if uint64(len(got)) != h.Next-h.First {
		return fmt.Errorf("%d records, want %d to %d", len(got), h.First, h.Next)
	}
	for i, g := range got {
		w := records[h.First+uint64(i)]
		if g.Number != h.First+uint64(i) || g.Offset != w.offset || !g.Time.Equal(w.time(g.Time)) || string(g.Value) != w.value {
			return fmt.Errorf("record %d = number %d, offset %d, time %v, %.20s; want offset %d, time %v, %.20s",
				h.First+uint64(i), g.Number, g.Offset, g.Time, g.Value, w.offset, w.time(g.Time), w.value)
		}
	}
	return nil
}

// workload is a number of writers and observers of one engine.
type workload struct {
	e       *Engine
	history *history
	random  uint64 // seed
	stop    chan struct{}
	wg      sync.WaitGroup
}

const (
	loadWriters  = 4
	loadInFlight = 6
	loadKeys     = 12
)

var (
	loadLogs      = []string{"events", "feedback"}
	loadRetention = map[string]uint64{"events": 10_000, "feedback": 40_000} // bytes
)

func startLoad(t *testing.T, e *Engine, h *history, seed uint64) *workload {
	l := &workload{e: e, history: h, random: seed, stop: make(chan struct{})}
	for log, bytes := range loadRetention {
		e.SetRetention(log, engine.Retention{Bytes: bytes})
	}
	l.observe(t)
	for w := range loadWriters {
		l.wg.Go(func() { l.write(t, w) })
	}
	return l
}

// end stops the load and waits for its goroutines. Writers stop by themselves when the engine fails.
func (l *workload) end() {
	l.history.mu.Lock()
	close(l.stop)
	l.history.answered.Broadcast()
	l.history.mu.Unlock()
	l.wg.Wait()
}

func (l *workload) stopped() bool {
	select {
	case <-l.stop:
		return true
	case <-l.e.Failed():
		return true
	default:
		return false
	}
}

// write keeps some commits under way. Each has its own value, in two documents and some records.
func (l *workload) write(t *testing.T, writer int) {
	random := rand.New(rand.NewPCG(l.random, uint64(writer)))
	slots := make(chan struct{}, loadInFlight)
	for i := 0; !l.stopped(); i++ {
		slots <- struct{}{}
		l.history.submit(l.e, l.commit(random, writer, i), func(err error) {
			if err != nil && !isExpected(err) {
				t.Errorf("commit: %v", err)
			}
			<-slots
		})
	}
	for range loadInFlight {
		slots <- struct{}{}
	}
}

func (l *workload) commit(random *rand.Rand, writer, i int) engine.Commit {
	p := engine.Partition(random.IntN(l.e.partitions))
	if random.IntN(8) == 0 {
		p = engine.Hub
	}
	value := fmt.Appendf(nil, "%d/%d ", writer, i)
	for range random.IntN(100) {
		value = append(value, byte('a'+random.IntN(26)))
	}
	if random.IntN(500) == 0 {
		value = append(value, make([]byte, 100_000)...) // does not fit in with the others
	}
	key := random.IntN(loadKeys)
	c := engine.Commit{Partition: p, Writes: []engine.Write{
		{Key: fmt.Sprintf("a/%d", key), Value: value, Expect: engine.Any},
		{Key: fmt.Sprintf("b/%d", key), Value: value, Expect: engine.Any},
	}}
	switch random.IntN(4) {
	case 0:
		c.Writes[0].Value, c.Writes[1].Value = nil, nil
	case 1:
		if d, err := l.e.Get(p, c.Writes[0].Key); err == nil {
			c.Writes[1].Expect = d.Revision // both are always written together
		}
	}
	if len(value) < 1000 {
		for _, log := range loadLogs[min(random.IntN(3), 2):] {
			c.Appends = append(c.Appends, engine.Append{Log: log, Records: [][]byte{value, value[:len(value)/2]}[:1+random.IntN(2)]})
		}
	}
	return c
}
