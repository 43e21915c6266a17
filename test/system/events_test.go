package system

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azeventhubs/v2"
)

// event is a record of the built-in endpoint.
type event struct {
	partition string
	number    int64
	offset    int64
	device    string // whose it is; of lifecycle and connection events the one they are about
	source    string
	operation string // opType
	body      string
}

// consumer opens Microsoft's client on the plain door.
func (h *hub) consumer() (*azeventhubs.ConsumerClient, error) {
	return azeventhubs.NewConsumerClientFromConnectionString(h.env["EVENTHUB_EMULATOR_CONNECTION_STRING"], "", azeventhubs.DefaultConsumerGroup,
		&azeventhubs.ConsumerClientOptions{RetryOptions: azeventhubs.RetryOptions{MaxRetries: -1}})
}

// mustConsume opens a consumer for a test.
func (h *hub) mustConsume(t testing.TB) *azeventhubs.ConsumerClient {
	t.Helper()
	c, err := h.consumer()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// The hub may have been killed under it; then there is nothing to close.
		_ = c.Close(context.WithoutCancel(t.Context()))
	})
	return c
}

// prefetch is the credit of readers, many times what a test reads at once.
const prefetch = 4096

// follow reads a partition after a sequence number, in order, until handle fails, or ctx or the connection ends.
func follow(ctx context.Context, c *azeventhubs.ConsumerClient, partition string, after int64, handle func(event) error) error {
	p, err := c.NewPartitionClient(partition, &azeventhubs.PartitionClientOptions{
		StartPosition: azeventhubs.StartPosition{SequenceNumber: &after}, Prefetch: prefetch,
	})
	if err != nil {
		return err
	}
	defer p.Close(context.WithoutCancel(ctx))
	for {
		list, err := p.ReceiveEvents(ctx, 1, nil)
		for _, e := range list {
			ev, err := newEvent(partition, e)
			if err != nil {
				return err
			}
			if err := handle(ev); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
	}
}

func newEvent(partition string, e *azeventhubs.ReceivedEventData) (event, error) {
	offset, err := strconv.ParseInt(e.Offset, 10, 64)
	if err != nil {
		return event{}, fmt.Errorf("partition %s, event %d: offset %q is not a number", partition, e.SequenceNumber, e.Offset)
	}
	ev := event{partition: partition, number: e.SequenceNumber, offset: offset, body: string(e.Body)}
	ev.device, _ = e.SystemProperties["iothub-connection-device-id"].(string)
	ev.source, _ = e.SystemProperties["iothub-message-source"].(string)
	ev.operation, _ = e.Properties["opType"].(string)
	if about, ok := e.Properties["deviceId"].(string); ok {
		ev.device = about
	}
	return ev, nil
}

// errRead says that all that was to be read has been.
var errRead = errors.New("read to the end")

// heads returns the number of the last event of each partition, -1 where there is none.
func heads(ctx context.Context, c *azeventhubs.ConsumerClient) (map[string]int64, error) {
	hub, err := c.GetEventHubProperties(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("event hub properties: %w", err)
	}
	last := map[string]int64{}
	for _, id := range hub.PartitionIDs {
		p, err := c.GetPartitionProperties(ctx, id, nil)
		if err != nil {
			return nil, fmt.Errorf("properties of partition %s: %w", id, err)
		}
		last[id] = p.LastEnqueuedSequenceNumber
	}
	return last, nil
}

// readAll hands on every event that is stored after the numbers, partition by partition, each in order.
func (h *hub) readAll(ctx context.Context, c *azeventhubs.ConsumerClient, after map[string]int64, handle func(event) error) error {
	ends, err := heads(ctx, c)
	if err != nil {
		return err
	}
	for id, end := range ends {
		start, ok := after[id]
		if !ok {
			start = -1
		}
		if start >= end {
			if start > end {
				return fmt.Errorf("partition %s ends at %d and had %d already", id, end, start)
			}
			continue
		}
		err := follow(ctx, c, id, start, func(e event) error {
			if err := handle(e); err != nil {
				return err
			}
			if e.number >= end {
				return errRead
			}
			return nil
		})
		if !errors.Is(err, errRead) {
			return fmt.Errorf("partition %s: %w", id, err)
		}
	}
	return nil
}
