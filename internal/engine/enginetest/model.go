package enginetest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/twinhub/twinhub/internal/engine"
)

var models = []test{
	{"a log", func(s *suite) {
		n := 0
		rapid.Check(s.T, func(t *rapid.T) {
			n++ // a new log each time, in the same engine
			m := &model{T: t, s: s, log: fmt.Sprintf("log%d", n), partition: rapid.SampledFrom([]engine.Partition{0, 1, engine.Hub}).Draw(t, "partition")}
			if rapid.Bool().Draw(t, "bounded by bytes") {
				m.retention.Bytes = uint64(rapid.IntRange(1, 2000).Draw(t, "bytes kept"))
			}
			if rapid.Bool().Draw(t, "bounded by age") {
				m.retention.Age = time.Duration(rapid.IntRange(1, 4000).Draw(t, "ms kept")) * time.Millisecond
			}
			t.Repeat(map[string]func(*rapid.T){
				"commits": m.commits,
				"time":    m.move,
				"reopen":  m.reopen,
				"read":    m.read,
				"seek":    m.seek,
				"":        m.check,
			})
			s.e.SetRetention(m.log, engine.Retention{})
		})
	}},
}

// model is a log as it should be.
type model struct {
	*rapid.T
	s         *suite
	partition engine.Partition
	log       string
	retention engine.Retention
	all       []engine.Record // from the first, trimmed ones included
	first     uint64          // oldest that is kept
}

// commits submits some commits at once, so that they may become durable together, and then lets the log be trimmed.
func (m *model) commits(t *rapid.T) {
	type outcome struct {
		commit engine.Commit
		result engine.Result
		err    error
	}
	size := rapid.OneOf(rapid.IntRange(0, 3), rapid.IntRange(0, 300), rapid.Just(70_000))
	var list []engine.Commit
	for range rapid.IntRange(1, 8).Draw(t, "commits") {
		c := engine.Commit{Partition: m.partition, Appends: []engine.Append{appendTo("other", "1")}}
		for range rapid.IntRange(1, 2).Draw(t, "appends") {
			a := engine.Append{Log: m.log}
			for i, n := range rapid.SliceOfN(size, 0, 5).Draw(t, "records") {
				a.Records = append(a.Records, bytes.Repeat([]byte{byte('a' + i)}, n))
			}
			c.Appends = append(c.Appends, a)
		}
		if rapid.IntRange(0, 7).Draw(t, "conflict") == 0 {
			c.Writes = []engine.Write{expect(put("never", "1"), 1<<40)}
		}
		list = append(list, c)
	}
	answers := make(chan outcome, len(list))
	for _, c := range list {
		m.s.e.Submit(c, func(r engine.Result, err error) { answers <- outcome{c, r, err} })
	}
	for range list {
		o := <-answers
		switch {
		case errors.Is(o.err, engine.ErrConflict) && o.commit.Writes != nil:
			continue
		case o.err != nil || o.commit.Writes != nil:
			t.Fatalf("commit: %v", o.err)
		}
		for i, a := range o.commit.Appends {
			if a.Log == m.log {
				m.append(a.Records, o.result.First[i], o.result.Time)
			}
		}
	}
	m.trim()
}

func (m *model) append(values [][]byte, first uint64, now time.Time) {
	if first != uint64(len(m.all)) {
		m.Fatalf("the first record is %d, want %d", first, len(m.all))
	}
	if n := len(m.all); n > 0 && now.Before(m.all[n-1].Time) || now.Before(m.s.clock.Now()) {
		m.Fatalf("commit time %v, the clock shows %v", now, m.s.clock.Now())
	}
	for _, v := range values {
		m.all = append(m.all, engine.Record{Number: uint64(len(m.all)), Offset: m.end(), Time: now, Value: v})
	}
}

// end returns the offset of the next record.
func (m *model) end() uint64 {
	if len(m.all) == 0 {
		return 0
	}
	last := m.all[len(m.all)-1]
	return last.Offset + uint64(len(last.Value))
}

// trim waits until the log is within its bounds.
func (m *model) trim() {
	if m.retention == (engine.Retention{}) {
		return
	}
	if b := m.retention.Bytes; b > 0 && m.end() > b {
		m.first = max(m.first, m.find(func(r engine.Record) bool { return r.Offset >= m.end()-b }))
	}
	if m.retention.Age > 0 {
		oldest := m.s.clock.Now().Add(-m.retention.Age)
		m.first = max(m.first, m.find(func(r engine.Record) bool { return !r.Time.Before(oldest) }))
	}
	m.s.e.SetRetention(m.log, m.retention)
	m.s.eventually("trimming", func() bool { return m.s.head(m.partition, m.log).First >= m.first })
}

// find returns the number of the first record for which found holds.
func (m *model) find(found func(engine.Record) bool) uint64 {
	if i := slices.IndexFunc(m.all, found); i >= 0 {
		return uint64(i)
	}
	return uint64(len(m.all))
}

func (m *model) move(t *rapid.T) {
	m.s.clock.Move(time.Duration(rapid.IntRange(-500, 1500).Draw(t, "ms")) * time.Millisecond)
	m.trim()
}

func (m *model) reopen(*rapid.T) {
	m.s.reopen()
	m.trim()
}

func (m *model) check(t *rapid.T) {
	want := engine.Head{}
	if n := len(m.all); n > 0 {
		want = engine.Head{First: m.first, Next: uint64(n), NextOffset: m.end(), Last: m.all[n-1].Offset, Time: m.all[n-1].Time}
	}
	if h := m.s.head(m.partition, m.log); h != want {
		t.Fatalf("head %+v, want %+v", h, want)
	}
}

func (m *model) read(t *rapid.T) {
	from := uint64(rapid.IntRange(0, len(m.all)+1).Draw(t, "from"))
	limit := rapid.OneOf(rapid.IntRange(0, 10), rapid.Just(1<<30)).Draw(t, "limit")
	room := rapid.OneOf(rapid.IntRange(0, 1000), rapid.Just(1<<40)).Draw(t, "bytes")
	var want []engine.Record
	rest := room
	for n := max(from, m.first); n < uint64(len(m.all)) && len(want) < limit; n++ {
		if rest -= len(m.all[n].Value); rest < 0 && len(want) > 0 {
			break
		}
		want = append(want, m.all[n])
	}
	got, err := m.s.e.Read(m.partition, m.log, from, limit, room)
	if err != nil {
		t.Fatalf("Read: %v", err)
	}
	if !slices.EqualFunc(got, want, func(a, b engine.Record) bool {
		return a.Number == b.Number && a.Offset == b.Offset && a.Time.Equal(b.Time) && bytes.Equal(a.Value, b.Value)
	}) {
		t.Fatalf("Read(%d, %d, %d) = %d records\n%.1000v\nwant %d\n%.1000v", from, limit, room, len(got), got, len(want), want)
	}
}

func (m *model) seek(t *rapid.T) {
	offset := uint64(rapid.IntRange(0, int(m.end())+1).Draw(t, "offset"))
	want := max(m.first, m.find(func(r engine.Record) bool { return r.Offset >= offset }))
	if n, err := m.s.e.SeekOffset(m.partition, m.log, offset); err != nil || n != want {
		t.Fatalf("SeekOffset(%d) = %d, %v; want %d", offset, n, err, want)
	}
	at := m.s.clock.Now()
	if n := len(m.all); n > 0 {
		at = m.all[rapid.IntRange(0, n-1).Draw(t, "at the time of record")].Time
	}
	at = at.Add(time.Duration(rapid.IntRange(-1, 1).Draw(t, "ns later")))
	want = max(m.first, m.find(func(r engine.Record) bool { return !r.Time.Before(at) }))
	if n, err := m.s.e.SeekTime(m.partition, m.log, at); err != nil || n != want {
		t.Fatalf("SeekTime(%v) = %d, %v; want %d", at, n, err, want)
	}
}
