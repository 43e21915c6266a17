package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azeventhubs/v2"
	"golang.org/x/sync/errgroup"
)

// events reads -count stored events, with one receiver of Microsoft's client for each partition, and reports the CPU
// time of server and client for each.
func events(ctx context.Context, o options) (result, error) {
	t, err := openTarget(o)
	if err != nil {
		return nil, err
	}
	client, err := azeventhubs.NewConsumerClientFromConnectionString(t.events, "", azeventhubs.DefaultConsumerGroup, nil)
	if err != nil {
		return nil, err
	}
	defer client.Close(context.WithoutCancel(ctx))
	hub, err := client.GetEventHubProperties(ctx, nil)
	if err != nil {
		return nil, err
	}
	s, err := startSpan(o.pid, 0)
	if err != nil {
		return nil, err
	}
	own, err := cpuTime(os.Getpid())
	if err != nil {
		return nil, err
	}
	var read atomic.Int64
	reading, stop := context.WithCancel(ctx)
	defer stop()
	g, reading := errgroup.WithContext(reading)
	earliest := true
	for _, id := range hub.PartitionIDs {
		g.Go(func() error {
			p, err := client.NewPartitionClient(id, &azeventhubs.PartitionClientOptions{StartPosition: azeventhubs.StartPosition{Earliest: &earliest}, Prefetch: 5000})
			if err != nil {
				return err
			}
			defer p.Close(context.WithoutCancel(ctx))
			for {
				wait, cancel := context.WithTimeout(reading, 5*time.Second)
				batch, err := p.ReceiveEvents(wait, 1000, nil)
				cancel()
				if read.Add(int64(len(batch))) >= int64(o.count) {
					stop()
					return nil
				}
				if err != nil && reading.Err() == nil && !errors.Is(err, context.DeadlineExceeded) {
					return err
				}
				if reading.Err() != nil || len(batch) == 0 {
					return nil
				}
			}
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	r, err := s.end(read.Load())
	if err != nil {
		return nil, err
	}
	ownEnd, err := cpuTime(os.Getpid())
	if err != nil {
		return nil, err
	}
	if n := read.Load(); n < int64(o.count) {
		return nil, fmt.Errorf("only %d events are stored", n)
	}
	r["clientCPUMicros"] = float64((ownEnd - own).Microseconds()) / float64(read.Load())
	return r, nil
}
