package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"sync/atomic"
	"time"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/engine"
	"github.com/twinhub/twinhub/internal/engine/local"
	"github.com/twinhub/twinhub/internal/eventlog"
)

// storage commits the records that d2c makes straight to the engine, with as many in flight: what the log alone can do.
func storage(ctx context.Context, o options) (result, error) {
	if o.dir == "" {
		return nil, errors.New("give -dir")
	}
	e, err := local.Open(local.Options{Dir: o.dir})
	if err != nil {
		return nil, err
	}
	defer e.Close()
	o.pid = os.Getpid()
	var done atomic.Int64
	var stopped atomic.Bool
	for i := range o.devices {
		ev := &twinhub.Event{
			ID: twinhub.ID{Device: deviceID(i)}, Source: twinhub.Telemetry, ContentType: "application/json", ContentEncoding: "utf-8",
			AuthMethod:   `{"scope":"hub","type":"sas","issuer":"iothub","acceptingIpFilterRule":null}`,
			GenerationID: "637388855582764406", EnqueuedTime: time.Now(), Body: bytes.Repeat([]byte{'x'}, o.size),
		}
		c := engine.Commit{Partition: engine.PartitionOf(e, ev.ID.Device), Appends: []engine.Append{{Log: eventlog.Name, Records: [][]byte{eventlog.Encode(ev)}}}}
		// A callback must not submit: it runs on the committer, which a full queue would wait for.
		again := make(chan struct{}, o.window)
		for range o.window {
			again <- struct{}{}
		}
		go func() {
			for range again {
				if stopped.Load() {
					return
				}
				e.Submit(c, func(engine.Result, error) {
					done.Add(1)
					again <- struct{}{}
				})
			}
		}()
	}
	time.Sleep(o.warm)
	s, err := startSpan(o.pid, done.Load())
	if err != nil {
		return nil, err
	}
	select {
	case <-time.After(o.run):
	case <-ctx.Done():
	}
	r, err := s.end(done.Load())
	stopped.Store(true)
	if err != nil {
		return nil, err
	}
	r["inFlight"] = o.devices * o.window
	return r, nil
}
