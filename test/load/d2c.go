package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twinhub/twinhub/internal/wire/mqtt"
)

// d2c publishes telemetry at QoS 1. With a window, each device keeps that many messages unacknowledged; with a rate,
// messages leave at their time whatever became of those before, and latency counts from that time.
func d2c(ctx context.Context, o options) (result, error) {
	t, err := openTarget(o)
	if err != nil {
		return nil, err
	}
	if err := t.makeDevices(ctx, o.devices); err != nil {
		return nil, fmt.Errorf("make devices: %w", err)
	}
	list, err := t.connectAll(ctx, 0, o.devices)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	var acked atomic.Int64
	latency, late := new(histogram), new(histogram)
	measuring := new(atomic.Bool)
	var wg sync.WaitGroup
	errs := make(chan error, 2*len(list))
	for i, d := range list {
		p := &publisher{device: d, topic: "devices/" + d.id + "/messages/events/%24.ct=application%2Fjson&%24.ce=utf-8", body: bytes.Repeat([]byte{'x'}, o.size)}
		record := func(from time.Time) {
			acked.Add(1)
			if measuring.Load() {
				latency.add(time.Since(from))
			}
		}
		if o.rate > 0 {
			every := time.Duration(len(list)) * time.Second / time.Duration(o.rate)
			offset := every * time.Duration(i) / time.Duration(len(list))
			p.sent = make(chan time.Time, 1<<12)
			wg.Go(func() {
				errs <- p.pace(offset, every, func(due time.Time) {
					if measuring.Load() {
						late.add(time.Since(due))
					}
				})
			})
			wg.Go(func() { errs <- p.readPaced(record) })
			continue
		}
		wg.Go(func() { errs <- p.keepWindow(o.window, record) })
	}
	time.Sleep(o.warm)
	measuring.Store(true)
	s, err := startSpan(o.pid, acked.Load())
	if err != nil {
		return nil, err
	}
	select {
	case <-time.After(o.run):
	case <-ctx.Done():
	case err := <-errs:
		return nil, fmt.Errorf("a device ended early: %w", err)
	}
	r, err := s.end(acked.Load())
	for _, d := range list {
		d.nc.Close()
	}
	wg.Wait()
	if err != nil {
		return nil, err
	}
	latency.into(r)
	if o.rate > 0 { // how late the generator was itself: it is part of the latency
		r["lateP50ms"], r["lateP99ms"] = late.millis(0.5), late.millis(0.99)
	}
	r["devices"], r["window"], r["size"], r["rate"] = o.devices, o.window, o.size, o.rate
	return r, nil
}

// A publisher is a device that sends telemetry.
type publisher struct {
	*device
	topic string
	body  []byte
	next  uint16
	sent  chan time.Time
}

// add appends a publish to the output.
func (p *publisher) add() {
	if p.next++; p.next == 0 {
		p.next = 1
	}
	p.out = (&mqtt.Publish{Topic: p.topic, QoS: mqtt.QoS1, ID: p.next, Payload: p.body}).AppendTo(p.out)
}

// keepWindow sends a new message for each acknowledged one, until the connection ends.
func (p *publisher) keepWindow(window int, record func(time.Time)) error {
	times := make([]time.Time, 0, window)
	p.out = p.out[:0]
	now := time.Now()
	for range window {
		p.add()
		times = append(times, now)
	}
	for {
		if _, err := p.nc.Write(p.out); err != nil {
			return ended(err)
		}
		p.out = p.out[:0]
		for first := true; first || p.reader.Buffered(); first = false {
			packet, err := p.reader.ReadPacket()
			if err != nil {
				return ended(err)
			}
			if _, ok := packet.(*mqtt.Puback); !ok {
				return fmt.Errorf("unexpected %T", packet)
			}
			record(times[0])
			copy(times, times[1:])
			times[len(times)-1] = time.Now()
			p.add()
		}
	}
}

// pace sends messages at fixed times.
func (p *publisher) pace(offset, every time.Duration, sending func(due time.Time)) error {
	for due := time.Now().Add(offset); ; due = due.Add(every) {
		time.Sleep(time.Until(due))
		p.out = p.out[:0]
		p.add()
		select {
		case p.sent <- due:
			sending(due)
		default:
			return errors.New("too many messages are unacknowledged")
		}
		if _, err := p.nc.Write(p.out); err != nil {
			return ended(err)
		}
	}
}

func (p *publisher) readPaced(record func(time.Time)) error {
	for {
		packet, err := p.reader.ReadPacket()
		if err != nil {
			return ended(err)
		}
		if _, ok := packet.(*mqtt.Puback); !ok {
			return fmt.Errorf("unexpected %T", packet)
		}
		record(<-p.sent)
	}
}

// ended turns the end of a connection that load closed itself into nil.
func ended(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
