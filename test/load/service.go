package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twinhub/twinhub/internal/wire/mqtt"
)

// methods measures round trips of a direct method: service, hub, device and back. Callers share the devices.
func methods(ctx context.Context, o options) (result, error) {
	return withDevices(ctx, o, func(t *target, list []*device) (func(context.Context, int) error, error) {
		for _, d := range list {
			if err := d.subscribe("$iothub/methods/POST/#"); err != nil {
				return nil, err
			}
			go d.answerMethods()
		}
		return func(ctx context.Context, i int) error {
			_, err := t.call(ctx, "POST", "/twins/"+list[i%len(list)].id+"/methods", `{"methodName":"m","payload":{"a":1}}`)
			return err
		}, nil
	})
}

// answerMethods answers every call until the connection ends.
func (d *device) answerMethods() {
	for {
		p, err := d.reader.ReadPacket()
		if err != nil {
			return
		}
		call, ok := p.(*mqtt.Publish)
		if !ok {
			continue
		}
		_, query, _ := strings.Cut(call.Topic, "?")
		if d.send(&mqtt.Publish{Topic: "$iothub/methods/res/200/?" + query, Payload: []byte(`{"b":2}`)}) != nil {
			return
		}
	}
}

// reported measures patches of reported properties, each on disk with the events that announce it.
func reported(ctx context.Context, o options) (result, error) {
	return withDevices(ctx, o, func(_ *target, list []*device) (func(context.Context, int) error, error) {
		for _, d := range list {
			if err := d.subscribe("$iothub/twin/res/#"); err != nil {
				return nil, err
			}
		}
		return func(_ context.Context, i int) error {
			d := list[i%len(list)]
			err := d.send(&mqtt.Publish{Topic: "$iothub/twin/PATCH/properties/reported/?$rid=1", Payload: []byte(`{"temperature":` + strconv.Itoa(i) + `}`)})
			if err != nil {
				return err
			}
			return d.awaitTopic("$iothub/twin/res/204/")
		}, nil
	})
}

// desired measures patches by the service, each until the device has received it.
func desired(ctx context.Context, o options) (result, error) {
	return withDevices(ctx, o, func(t *target, list []*device) (func(context.Context, int) error, error) {
		for _, d := range list {
			if err := d.subscribe("$iothub/twin/PATCH/properties/desired/#"); err != nil {
				return nil, err
			}
		}
		return func(ctx context.Context, i int) error {
			d := list[i%len(list)]
			if _, err := t.call(ctx, "PATCH", "/twins/"+d.id, `{"properties":{"desired":{"target":`+strconv.Itoa(i)+`}}}`); err != nil {
				return err
			}
			return d.awaitTopic("$iothub/twin/PATCH/properties/desired/")
		}, nil
	})
}

// awaitTopic reads until a publish on a topic with the prefix comes.
func (d *device) awaitTopic(prefix string) error {
	for {
		p, err := d.reader.ReadPacket()
		if err != nil {
			return err
		}
		if pub, ok := p.(*mqtt.Publish); ok {
			if !strings.HasPrefix(pub.Topic, prefix) {
				return fmt.Errorf("%s: %s", pub.Topic, pub.Payload)
			}
			return nil
		}
	}
}

// withDevices connects the devices, lets prepare make the operation and measures it: caller i works on device i.
func withDevices(ctx context.Context, o options, prepare func(*target, []*device) (func(context.Context, int) error, error)) (result, error) {
	t, err := openTarget(o)
	if err != nil {
		return nil, err
	}
	o.devices = max(o.devices, 1)
	if err := t.makeDevices(ctx, o.devices); err != nil {
		return nil, fmt.Errorf("make devices: %w", err)
	}
	list, err := t.connectAll(ctx, 0, o.devices)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	operation, err := prepare(t, list)
	if err != nil {
		return nil, err
	}
	working, stop := context.WithCancel(ctx)
	defer stop()
	var done atomic.Int64
	var measuring atomic.Bool
	latency := new(histogram)
	errs := make(chan error, o.callers)
	var wg sync.WaitGroup
	for i := range o.callers {
		wg.Go(func() {
			for working.Err() == nil {
				begin := time.Now()
				if err := operation(working, i); err != nil {
					errs <- err
					return
				}
				done.Add(1)
				if measuring.Load() {
					latency.add(time.Since(begin))
				}
			}
		})
	}
	time.Sleep(o.warm)
	measuring.Store(true)
	s, err := startSpan(o.pid, done.Load())
	if err != nil {
		return nil, err
	}
	select {
	case <-time.After(o.run):
	case err := <-errs:
		return nil, err
	}
	r, err := s.end(done.Load())
	stop()
	for _, d := range list {
		d.nc.Close()
	}
	wg.Wait()
	if err != nil {
		return nil, err
	}
	latency.into(r)
	r["devices"], r["callers"] = o.devices, o.callers
	return r, nil
}
