// Command load drives a hub, or an MQTT broker beside it, and reports what an operation costs the server. `make bench`
// runs it; docs/performance.md explains the figures.
//
//	load d2c        publish at QoS 1 from many devices, with a window of unacknowledged messages or at a fixed rate
//	load idle       open many connections and watch the server's memory grow
//	load method     call a direct method, with one and with many callers
//	load reported   patch reported properties
//	load desired    patch desired properties and wait until the device has them
//	load events     read stored events with one receiver for each partition
//	load engine     commit the same records straight to the storage engine
//	load table      turn results of several runs into a table of medians
//
// The primary figure is CPU microseconds of the server process for each operation, from /proc.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"
)

// options are the flags; each command uses those that make sense for it.
type options struct {
	env       string        // connection.env of the hub
	broker    string        // address of a plain MQTT broker instead of the hub
	ca        string        // CA file of the broker
	pid       int           // server process
	devices   int           // connections
	window    int           // unacknowledged messages of one device
	size      int           // bytes of a body
	rate      int           // messages a second over all devices; 0 is as fast as the window allows
	count     int           // operations; 0 is by duration
	callers   int           // concurrent callers
	warm, run time.Duration // before measuring, and measuring
	dir       string        // data folder of the engine
}

var commands = map[string]func(context.Context, options) (result, error){
	"d2c": d2c, "idle": idle, "method": methods, "reported": reported, "desired": desired, "events": events, "engine": storage, "table": table,
}

// A result is one line of figures.
type result map[string]any

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 || commands[args[0]] == nil {
		return errors.New("give a command: d2c, idle, method, reported, desired, events, engine or table")
	}
	var o options
	f := flag.NewFlagSet(args[0], flag.ContinueOnError)
	f.StringVar(&o.env, "env", "twinhub-data/connection.env", "connection.env of the hub")
	f.StringVar(&o.broker, "broker", "", "host:port of an MQTT broker with TLS that asks for no credentials, instead of the hub")
	f.StringVar(&o.ca, "ca", "", "CA file of the broker")
	f.IntVar(&o.pid, "pid", 0, "process whose CPU time and memory are measured")
	f.IntVar(&o.devices, "devices", 1000, "connections")
	f.IntVar(&o.window, "window", 16, "unacknowledged messages of one device")
	f.IntVar(&o.size, "size", 256, "bytes of a body")
	f.IntVar(&o.rate, "rate", 0, "messages a second over all devices, sent whether or not acknowledged; 0 is as the window allows")
	f.IntVar(&o.count, "count", 0, "operations, instead of a duration")
	f.IntVar(&o.callers, "callers", 1, "concurrent callers")
	f.DurationVar(&o.warm, "warm", 3*time.Second, "time before measuring")
	f.DurationVar(&o.run, "run", 10*time.Second, "time of measuring")
	f.StringVar(&o.dir, "dir", "", "folder for the engine's data")
	if err := f.Parse(args[1:]); err != nil {
		return err
	}
	r, err := commands[args[0]](ctx, o)
	if err != nil {
		return err
	}
	if r == nil {
		return nil
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}
