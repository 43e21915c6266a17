package amqpfront

import (
	"fmt"
	"strconv"

	"github.com/twinhub/twinhub/internal/engine"
	"github.com/twinhub/twinhub/internal/eventlog"
	"github.com/twinhub/twinhub/internal/wire/amqp"
)

// Management: a message to $management with the application properties operation=READ, name={event hub} and
// type=com.microsoft:eventhub, or type=com.microsoft:partition and partition={id}, answered with a map.
//
//   - Any valid token on the connection is enough. Without one security_token is taken as if it was put on $cbs: the
//     Event Hubs client for Java puts none before it reads events.
//   - Types matter: sequence numbers are long, offsets string, times timestamp, partition_ids an array of string.
//   - An empty partition has last_enqueued_sequence_number -1, offset "-1" and the hub's creation time.
//
// Reference: Event Hubs, "AMQP protocol guide"; compat.md#event-hubs.

func (c *conn) manage(m *amqp.Message) *amqp.Message {
	property := func(name string) string {
		v, _ := m.ApplicationProperties.Get(name)
		s, _ := v.(string)
		return s
	}
	f := c.front
	if token := property("security_token"); token != "" && !c.signedIn() {
		if refusal := c.takeToken(token); refusal != nil {
			return refusal
		}
	}
	switch name := property("name"); {
	case !c.signedIn():
		f.Refusals.Log(protocol, "$management: there is no valid token on the connection", "put one on $cbs first", "remote", c.remote.String())
		return status(401, "There is no valid token on this connection.", amqp.CondUnauthorizedAccess)
	case property("operation") != "READ":
		return status(501, fmt.Sprintf("The operation %q is not supported.", property("operation")), amqp.CondNotImplemented)
	case !f.isEventHub(name):
		return status(404, notFound(name), amqp.CondNotFound)
	}
	switch kind := property("type"); kind {
	case "com.microsoft:eventhub":
		return f.describeEventHub()
	case "com.microsoft:partition":
		return f.describePartition(property("partition"))
	default:
		return status(400, fmt.Sprintf("The type %q is unknown.", kind), condArgument)
	}
}

// Error conditions of Event Hubs.
const (
	condArgument   amqp.Symbol = "com.microsoft:argument-error"
	condOutOfRange amqp.Symbol = "com.microsoft:argument-out-of-range"
)

// notFound is a text that clients recognise.
func notFound(name string) string {
	return fmt.Sprintf("The messaging entity '%s' could not be found.", name)
}

func (f *Front) describeEventHub() *amqp.Message {
	ids := make([]string, f.Engine.Partitions())
	for i := range ids {
		ids[i] = strconv.Itoa(i)
	}
	return described(amqp.Map{
		{Key: "name", Value: f.EventHub},
		{Key: "type", Value: "com.microsoft:eventhub"},
		{Key: "created_at", Value: amqp.Timestamp(f.Created.UnixMilli())},
		{Key: "partition_count", Value: int32(len(ids))},
		{Key: "partition_ids", Value: ids},
		{Key: "georeplication_factor", Value: int32(1)},
	})
}

func (f *Front) describePartition(id string) *amqp.Message {
	p, ok := f.partition(id)
	if !ok {
		return status(400, fmt.Sprintf("The partition %q does not exist.", id), condOutOfRange)
	}
	head, err := f.Engine.Head(p, eventlog.Name)
	if err != nil {
		f.Logger.Error("describe partition", "protocol", protocol, "error", err)
		return status(500, "The partition cannot be read.", amqp.CondInternalError)
	}
	last := f.lastOf(head)
	return described(amqp.Map{
		{Key: "name", Value: f.EventHub},
		{Key: "type", Value: "com.microsoft:partition"},
		{Key: "partition", Value: id},
		{Key: "begin_sequence_number", Value: int64(head.First)},
		{Key: "last_enqueued_sequence_number", Value: last.number},
		{Key: "last_enqueued_offset", Value: last.offset},
		{Key: "last_enqueued_time_utc", Value: last.time},
		{Key: "is_partition_empty", Value: head.First == head.Next},
	})
}

// last is the newest event of a partition as clients are told of it.
type last struct {
	number int64
	offset string
	time   amqp.Timestamp
}

func (f *Front) lastOf(head engine.Head) last {
	if head.Next == 0 {
		return last{number: -1, offset: "-1", time: amqp.Timestamp(f.Created.UnixMilli())}
	}
	return last{number: int64(head.Next) - 1, offset: eventlog.FormatOffset(head.Last), time: amqp.Timestamp(head.Time.UnixMilli())}
}

// partition returns the partition with the id, which is written without sign or leading zeros.
func (f *Front) partition(id string) (engine.Partition, bool) {
	n, err := strconv.ParseUint(id, 10, 16)
	if err != nil || strconv.FormatUint(n, 10) != id || int(n) >= f.Engine.Partitions() {
		return 0, false
	}
	return engine.Partition(n), true
}

func described(m amqp.Map) *amqp.Message {
	reply := status(200, "OK", "")
	reply.Body = amqp.ValueBody(m)
	return reply
}
