package main

import (
	"context"
	"fmt"
	"syscall"
	"time"
)

// idle opens connections and reports how much resident memory each one costs the server: the slope between a third of
// the devices and all of them, each taken five seconds after the last connect.
func idle(ctx context.Context, o options) (result, error) {
	limit := syscall.Rlimit{}
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return nil, err
	}
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return nil, err
	}
	t, err := openTarget(o)
	if err != nil {
		return nil, err
	}
	if err := t.makeDevices(ctx, o.devices); err != nil {
		return nil, fmt.Errorf("make devices: %w", err)
	}
	const settle = 5 * time.Second
	low := o.devices / 3
	first, err := t.connectAll(ctx, 0, low)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	time.Sleep(settle)
	before, err := residentKiB(o.pid)
	if err != nil {
		return nil, err
	}
	second, err := t.connectAll(ctx, low, o.devices-low)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	time.Sleep(settle)
	after, err := residentKiB(o.pid)
	if err != nil {
		return nil, err
	}
	for _, d := range append(first, second...) {
		d.nc.Close()
	}
	return result{
		"devices": o.devices, "from": low, "rssFromMiB": float64(before) / 1024, "rssToMiB": float64(after) / 1024,
		"kibPerDevice": float64(after-before) / float64(o.devices-low),
	}, nil
}
