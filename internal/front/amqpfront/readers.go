package amqpfront

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twinhub/twinhub/internal/wire/amqp"
)

// maxShared is how many readers without an epoch may share a partition in one consumer group.
// Reference: Event Hubs, "Quotas and limits".
const maxShared = 5

// readers knows who reads which partition, over all connections.
type readers struct {
	mu          sync.Mutex
	byPartition map[readerAddress][]*reader // by address with the event hub left out and the group in lower case
}

// key is what readers compete for.
func (a readerAddress) key() readerAddress {
	return readerAddress{group: strings.ToLower(a.group), partition: a.partition}
}

// enter lets r in, or says why not. It returns the readers that have to leave for it.
//
//   - A reader with an epoch (owner level) is alone: it ends those of an equal or lower epoch and those without one.
//   - A reader without an epoch is refused while one with an epoch reads.
//   - The same link name on the same connection replaces the older link.
func (rs *readers) enter(r *reader) (leave []*reader, refusal *amqp.Error) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	key := r.address.key()
	shared := 0
	for _, old := range rs.byPartition[key] {
		switch {
		case old.conn == r.conn && old.link.Name() == r.link.Name():
			leave = append(leave, old)
		case r.exclusive && old.exclusive && old.epoch > r.epoch:
			return nil, amqp.Errorf(amqp.CondStolen, "A receiver with a higher epoch %d reads this partition; this one has epoch %d.", old.epoch, r.epoch)
		case r.exclusive:
			leave = append(leave, old)
		case old.exclusive:
			return nil, amqp.Errorf(amqp.CondStolen, "A receiver with epoch %d reads this partition; one without an epoch cannot.", old.epoch)
		default:
			shared++
		}
	}
	if shared >= maxShared {
		return nil, amqp.Errorf(amqp.CondResourceLimitExceeded, "%d receivers without an epoch read this partition in this consumer group; that is the most.", maxShared)
	}
	rs.byPartition[key] = append(slices.DeleteFunc(rs.byPartition[key], func(old *reader) bool { return slices.Contains(leave, old) }), r)
	return leave, nil
}

// list shows r in Readers, as attached at now.
func (rs *readers) list(r *reader, now time.Time) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	r.attached = now
}

// exit forgets r.
func (rs *readers) exit(r *reader) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	key := r.address.key()
	rest := slices.DeleteFunc(rs.byPartition[key], func(old *reader) bool { return old == r })
	if len(rest) == 0 {
		delete(rs.byPartition, key)
		return
	}
	rs.byPartition[key] = rest
}

// A ReaderInfo describes an attached receiver of events.
type ReaderInfo struct {
	Address, ConsumerGroup, Partition, Remote string
	// Since is when it was attached: it gets what is committed from then on.
	Since time.Time
}

// Readers lists the attached receivers, ordered by address.
func (f *Front) Readers() []ReaderInfo {
	f.readers.mu.Lock()
	defer f.readers.mu.Unlock()
	var list []ReaderInfo
	for _, rs := range f.readers.byPartition {
		for _, r := range rs {
			if r.attached.IsZero() {
				continue
			}
			list = append(list, ReaderInfo{
				Address: r.address.String(), ConsumerGroup: r.address.group, Partition: r.address.partition,
				Remote: r.conn.remote.String(), Since: r.attached,
			})
		}
	}
	slices.SortFunc(list, func(a, b ReaderInfo) int { return strings.Compare(a.Address+a.Remote, b.Address+b.Remote) })
	return list
}
