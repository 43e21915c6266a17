package amqpfront

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twinhub/twinhub/internal/engine"
	"github.com/twinhub/twinhub/internal/eventlog"
	"github.com/twinhub/twinhub/internal/wire/amqp"
)

// Events: the peer attaches a receiver to {event hub}/ConsumerGroups/{group}/Partitions/{partition}, with a start
// position as filter (filter.go) and an epoch as link property com.microsoft:epoch (readers.go).
//
//   - The start is taken while the attach is processed: what is committed afterwards is delivered.
//   - Events are sent as credit allows, settled unless the peer asks otherwise; its dispositions free the delivery and
//     mean nothing else. The log is the buffer: a reader that stalls holds nothing back.
//   - With the capability com.microsoft:enable-receiver-runtime-metric each event carries the state of the partition.
//
// Reference: Event Hubs, "AMQP protocol guide"; compat.md#event-hubs.

// Bounds of what a pump reads from the log at a time.
const (
	pumpRecords = 512
	pumpBytes   = 512 << 10
)

// runtimeMetric is the capability that asks for delivery annotations.
const runtimeMetric amqp.Symbol = "com.microsoft:enable-receiver-runtime-metric"

// A reader is an attached receiver of events.
type reader struct {
	conn      *conn
	link      *amqp.Sender
	address   readerAddress
	partition engine.Partition
	exclusive bool // it has an epoch
	epoch     int64
	metric    bool
	attached  time.Time       // zero until it is accepted; guarded by readers.mu
	ctx       context.Context // ends the pump
	cancel    context.CancelFunc

	mu   sync.Mutex
	idle bool // everything committed has been sent
}

// attachReader accepts a receiver of events, or refuses it.
func (c *conn) attachReader(l *amqp.Sender, parts []string) {
	address, ok := parseReader(parts)
	if !ok {
		c.refuse(l, amqp.CondNotFound, "use {event hub}/ConsumerGroups/{group}/Partitions/{partition}", "There is no node %q.", pathOf(parts))
		return
	}
	f := c.front
	partition, known := f.partition(address.partition)
	sameGroup := func(group string) bool { return strings.EqualFold(group, address.group) }
	switch {
	case !f.isEventHub(address.eventHub):
		c.refuse(l, amqp.CondNotFound, "use the EntityPath in connection.env", "%s", notFound(address.eventHub))
		return
	case !c.covered(address):
		c.refuse(l, amqp.CondUnauthorizedAccess, "put a token that covers the address on $cbs first; its host must be one of this hub's",
			"No valid token on this connection covers %s.", address)
		return
	case !slices.ContainsFunc(f.ConsumerGroups, sameGroup):
		c.refuse(l, amqp.CondNotFound, "add it to consumerGroups in the configuration file", "%s", notFound(address.eventHub+"/ConsumerGroups/"+address.group))
		return
	case !known:
		c.refuse(l, condOutOfRange, "ask $management for the partition ids", "The partition %q does not exist.", address.partition)
		return
	}
	start, err := parseStart(l.Source().Filter)
	if err != nil {
		c.refuse(l, condArgument, "use a start position of an Event Hubs client", "%v.", err)
		return
	}
	next, err := start.Resolve(f.Engine, partition)
	if err != nil {
		f.Logger.Error("attach reader", "protocol", protocol, "error", err)
		l.Reject(amqp.Errorf(amqp.CondInternalError, "The partition cannot be read."))
		return
	}
	r := &reader{conn: c, link: l, address: address, partition: partition, metric: slices.Contains(l.DesiredCapabilities(), runtimeMetric)}
	r.epoch, r.exclusive = epochOf(l.Properties())
	r.ctx, r.cancel = context.WithCancel(c.ctx)
	l.SetValue(r)
	leave, refusal := f.readers.enter(r)
	for _, old := range leave {
		old.end(amqp.Errorf(amqp.CondStolen, "A newer receiver%s took this partition over.", r.level()))
	}
	if refusal != nil {
		r.cancel()
		c.reject(l, refusal, "close the other receivers, or read with another consumer group")
		return
	}
	c.startPump(r, next)
}

// startPump accepts the link and begins to send events from number next on.
func (c *conn) startPump(r *reader, next uint64) {
	f := c.front
	c.mu.Lock()
	covered := c.coveredLocked(r.address) // still: from here on its expiry ends the reader
	if covered {
		c.readers[r] = struct{}{}
	}
	c.mu.Unlock()
	if !covered {
		r.forget()
		r.link.Reject(amqp.Errorf(amqp.CondUnauthorizedAccess, "The token of this link has expired."))
		return
	}
	var accept amqp.Accept
	if r.metric {
		accept.OfferedCapabilities = []amqp.Symbol{runtimeMetric}
	}
	f.readers.list(r, f.Clock.Now())
	if err := r.link.Accept(accept); err != nil {
		r.forget() // it was taken over meanwhile, or cannot be answered; OnDetach does not follow
		return
	}
	c.pumps.Go(func() {
		err := r.pump(r.ctx, next)
		ended := r.ctx.Err() != nil || errors.Is(err, amqp.ErrLinkClosed)
		r.forget()
		if !ended {
			f.Logger.Error("send events", "protocol", protocol, "remote", c.remote.String(), "error", err)
			r.link.Detach(amqp.Errorf(amqp.CondInternalError, "The partition cannot be read."))
		}
	})
}

// forget takes a reader that has ended off all lists.
func (r *reader) forget() {
	r.cancel()
	r.conn.front.readers.exit(r)
	r.conn.mu.Lock()
	delete(r.conn.readers, r)
	r.conn.mu.Unlock()
}

// end detaches a reader and stops its pump, whether or not the peer answers.
func (r *reader) end(err *amqp.Error) {
	r.link.Detach(err)
	r.leave()
}

// leave makes room for other readers at once and stops the pump, which forgets the reader.
func (r *reader) leave() {
	r.conn.front.readers.exit(r)
	r.cancel()
}

// level names the epoch of a reader that has one.
func (r *reader) level() string {
	if !r.exclusive {
		return ""
	}
	return fmt.Sprintf(" with epoch %d", r.epoch)
}

// pump sends events until the link or ctx ends.
func (r *reader) pump(ctx context.Context, next uint64) error {
	e := r.conn.front.Engine
	var message []byte
	for {
		records, err := e.Read(r.partition, eventlog.Name, next, pumpRecords, pumpBytes)
		if err != nil {
			return err
		}
		if len(records) == 0 {
			head, err := e.Head(r.partition, eventlog.Name)
			if err != nil {
				return err
			}
			next = max(next, head.First) // what is trimmed does not come any more
			r.setIdle(true)
			if err := e.Await(ctx, r.partition, eventlog.Name, next); err != nil {
				return err
			}
			r.setIdle(false)
			continue
		}
		for _, record := range records {
			message = message[:0]
			if r.metric {
				if message, err = r.appendMetric(message); err != nil {
					return err
				}
			}
			if message, err = eventlog.AppendMessage(message, record); err != nil {
				return err
			}
			if _, err := r.link.Send(ctx, amqp.Outgoing{Payload: [][]byte{message}, Settled: true}); err != nil {
				return err
			}
			r.conn.front.sent.Add(1)
			next = record.Number + 1
		}
	}
}

// setIdle notes whether there is anything to send, and tells a peer that waits for the end of its credit.
func (r *reader) setIdle(idle bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.idle = idle
	if idle {
		r.link.Drained()
	}
}

// flow answers a peer that asks for a drain while there is nothing to send.
func (r *reader) flow() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.idle {
		r.link.Drained()
	}
}

// appendMetric appends the delivery-annotations section that tells the newest event of the partition.
func (r *reader) appendMetric(b []byte) ([]byte, error) {
	f := r.conn.front
	head, err := f.Engine.Head(r.partition, eventlog.Name)
	if err != nil {
		return b, err
	}
	last := f.lastOf(head)
	return amqp.AppendMap(amqp.AppendDescriptor(b, amqp.SectionDeliveryAnnotations), amqp.Map{
		{Key: amqp.Symbol("last_enqueued_sequence_number"), Value: last.number},
		{Key: amqp.Symbol("last_enqueued_offset"), Value: last.offset},
		{Key: amqp.Symbol("last_enqueued_time_utc"), Value: last.time},
		{Key: amqp.Symbol("runtime_info_retrieval_time_utc"), Value: amqp.Timestamp(f.Clock.Now().UnixMilli())},
	})
}

// epochOf reads the owner level of a receiver, which clients send as any integer.
func epochOf(properties amqp.Map) (epoch int64, ok bool) {
	v, ok := properties.Get("com.microsoft:epoch")
	if !ok {
		return 0, false
	}
	switch n := v.(type) {
	case int64:
		return n, true
	case int32:
		return int64(n), true
	case uint32:
		return int64(n), true
	case uint64:
		return int64(n), true
	}
	return 0, false
}
