// Package index answers queries over twins: which devices a query selects, and the pages in which a client fetches
// them. It knows no protocol. Rows are looked up afresh for each page, so a query sees every write that was
// acknowledged before it was asked.
package index

import (
	"fmt"

	"github.com/twinhub/twinhub/internal/core/identity"
	"github.com/twinhub/twinhub/internal/engine"
)

// minChunk is the least number of records read from a partition at a time.
const minChunk = 8

// Devices returns up to limit device records with an id greater than after, ordered by id across all partitions, and
// whether there are more.
func Devices(e engine.Engine, after string, limit int) (list []*identity.Identity, more bool, err error) {
	m, err := newMerge(e, after, limit)
	if err != nil {
		return nil, false, err
	}
	for {
		i, err := m.next()
		if err != nil || i == nil {
			return list, false, err
		}
		if len(list) == limit {
			return list, true, nil
		}
		list = append(list, i)
	}
}

// A merge walks the device records of all partitions in the order of their ids.
type merge struct {
	engine  engine.Engine
	chunk   int
	cursors []*cursor // those that have a record left
}

// A cursor is how far a merge has come in one partition.
type cursor struct {
	partition engine.Partition
	list      []*identity.Identity // read and not yet taken; never empty between calls
	last      bool                 // nothing follows list
}

func newMerge(e engine.Engine, after string, limit int) (*merge, error) {
	m := &merge{engine: e, chunk: max(minChunk, 2*limit/e.Partitions())}
	for p := range engine.Partition(e.Partitions()) {
		c := &cursor{partition: p}
		if err := m.fill(c, after); err != nil {
			return nil, err
		}
		if len(c.list) > 0 {
			m.cursors = append(m.cursors, c)
		}
	}
	return m, nil
}

// fill reads the next records of a cursor that has none left.
func (m *merge) fill(c *cursor, after string) (err error) {
	c.list, err = identity.Devices(m.engine, c.partition, after, m.chunk)
	if err != nil {
		return fmt.Errorf("partition %d: %w", c.partition, err)
	}
	c.last = len(c.list) < m.chunk
	return nil
}

// next returns the record with the least id that is left, or nil at the end.
func (m *merge) next() (*identity.Identity, error) {
	if len(m.cursors) == 0 {
		return nil, nil
	}
	least := 0
	for n, c := range m.cursors {
		if c.list[0].DeviceID < m.cursors[least].list[0].DeviceID {
			least = n
		}
	}
	c := m.cursors[least]
	i := c.list[0]
	c.list = c.list[1:]
	if len(c.list) == 0 && !c.last {
		if err := m.fill(c, i.DeviceID); err != nil {
			return nil, err
		}
	}
	if len(c.list) == 0 {
		m.cursors = append(m.cursors[:least], m.cursors[least+1:]...)
	}
	return i, nil
}
