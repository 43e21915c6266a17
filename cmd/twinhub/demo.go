package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/core/routing"
	"github.com/twinhub/twinhub/internal/hub"
	"github.com/twinhub/twinhub/service"
)

const (
	// ownWait is how long a step may take on the demo's own hub, otherWait on another, which may be far and slow.
	ownWait   = 10 * time.Second
	otherWait = 45 * time.Second
	// sendEvery is how often each thermostat sends after the story.
	sendEvery = 2 * time.Second
)

// demoOptions are the flags of demo.
type demoOptions struct {
	hub, events string
	once        bool
	output      *choice
	// wait, if not zero, replaces how long a step may take, and alter is that of story: both are for tests.
	wait  time.Duration
	alter func(step string, received json.RawMessage) json.RawMessage
}

func demoCommand() *cobra.Command {
	o := &demoOptions{}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "See a hub, two devices and a back end at work",
		Long: `Start a hub in memory, on free ports, and show on it what IoT Plug and Play is: a Thermostat and a
TemperatureController connect, and a back end reads and changes their twins and digital twins, calls their commands and
reads their telemetry and change notifications. Every step shows what was sent and what came back, and is checked.
Then telemetry flows until Ctrl-C.

With --hub the same happens on another hub, Azure's included. The demo registers two devices there and deletes them in
the end. The hub must route twinChangeEvents and digitalTwinChangeEvents to its built-in endpoint, as
'twinhub serve --route twinChangeEvents --route digitalTwinChangeEvents' does.`,
		Example: `  twinhub demo
  twinhub demo --once -o json
  twinhub demo --hub "$IOTHUB_CONNECTION_STRING"
  twinhub demo --hub "$IOTHUB_CONNECTION_STRING" --events "$EVENTHUB_CONNECTION_STRING"`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.hub == "" && o.events != "" {
				return usageError{errors.New("--events belongs to --hub: say which hub's built-in endpoint it is")}
			}
			return o.run(cmd.Context(), newPrinter(cmd, o.output))
		},
	}
	cmd.Flags().StringVar(&o.hub, "hub", "", "`connection string` of a hub to use instead, with a policy that may do everything (iothubowner)")
	cmd.Flags().StringVar(&o.events, "events", "", "`connection string` of that hub's built-in Event Hubs endpoint; the hub is asked if it is left out")
	cmd.Flags().BoolVar(&o.once, "once", false, "end after the story")
	o.output = addOutput(cmd)
	return cmd
}

// run tells the story on the hub of the options, or on one of its own.
func (o *demoOptions) run(ctx context.Context, p *printer) (err error) {
	t, wait := (*target)(nil), otherWait
	if o.hub != "" {
		known, err := (&hubFlags{}).sources()
		if err != nil {
			return err
		}
		if t, err = newTarget(o.hub, o.events, "--hub", known); err != nil {
			return err
		}
	} else {
		wait = ownWait
		own, err := startOwnHub(ctx)
		if err != nil {
			return fmt.Errorf("start a hub: %w", err)
		}
		t = own.target
		defer func() { err = errors.Join(err, own.stop()) }()
		if !p.json {
			if err := p.printf("A hub runs in this process: %s\n", own.describe()); err != nil {
				return err
			}
		}
	}
	if o.wait != 0 {
		wait = o.wait
	}
	s := &story{hub: t, events: newCollector(), run: strings.ToLower(rand.Text()[:6]), wait: wait, silent: map[twinhub.Source]bool{}, alter: o.alter}
	if s.service, err = t.service(); err != nil {
		return err
	}
	defer s.service.Close()
	shower := &shower{p: p}
	s.show = shower.show
	return s.live(ctx, func() error {
		if err := s.tell(ctx, s.steps()); err != nil {
			return err
		}
		if !p.json {
			if err := p.printf("\n%s\n", p.paint(green, fmt.Sprintf("All %d steps went well.", shower.count))); err != nil {
				return err
			}
		}
		if o.once {
			return nil
		}
		return s.flow(ctx, shower)
	})
}

// live reads the hub's events while fn runs, and leaves nothing behind.
func (s *story) live(ctx context.Context, fn func() error) (err error) {
	opening, cancel := context.WithTimeout(ctx, s.wait)
	defer cancel()
	events, err := s.hub.read(opening, service.EventsOptions{})
	if err != nil {
		return err
	}
	reading, stop := context.WithCancel(ctx)
	var reader sync.WaitGroup
	ours := func(e *service.Event) bool { return strings.HasSuffix(e.DeviceID, "-"+s.run) }
	reader.Go(func() { s.events.run(reading, events, ours) })
	defer func() {
		stop()
		reader.Wait()
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
		defer cancel()
		err = errors.Join(err, s.cleanUp(ctx), events.Close(closing))
	}()
	return fn()
}

// flow sends telemetry from every thermostat and shows what comes out, until ctx ends.
func (s *story) flow(ctx context.Context, show *shower) error {
	if !show.p.json {
		if err := show.p.printf("\n%s\n", show.p.paint(bold, "Telemetry flows until Ctrl-C")); err != nil {
			return err
		}
	}
	s.show = show.flowing
	ticker := time.NewTicker(sendEvery)
	defer ticker.Stop()
	for {
		for _, p := range []place{&s.thermostat, &s.controller} {
			for _, component := range (*p).model.thermostats() {
				ok, err := s.take(ctx, s.readTelemetry(p, component))
				if ctx.Err() != nil {
					return nil
				}
				if err != nil {
					return err
				}
				if !ok {
					return errSteps
				}
			}
		}
		for pause := true; pause; {
			var err error
			select {
			case d := <-s.thermostat.desired:
				err = show.change(s.thermostat, d)
			case d := <-s.controller.desired:
				err = show.change(s.controller, d)
			case <-ticker.C:
				pause = false
			case <-ctx.Done():
				return nil
			}
			if err != nil {
				return err
			}
		}
	}
}

// ownHub is the demo's own hub.
type ownHub struct {
	*target
	doors []*hub.Door
	stop  func() error
}

// startOwnHub runs a hub in memory on free loopback ports, until stop, which returns what it ended with.
func startOwnHub(ctx context.Context) (*ownHub, error) {
	c := hub.Config{Ephemeral: true}
	for _, source := range []twinhub.Source{twinhub.TwinChange, twinhub.DigitalTwinChange} {
		c.Routing.Routes = append(c.Routing.Routes, routing.Route{Name: string(source), Source: source, Endpoint: routing.BuiltIn})
	}
	h, err := hub.Open(ctx, c)
	if err != nil {
		return nil, err
	}
	var list []variable
	for _, v := range h.Environment() {
		list = append(list, variable(v))
	}
	get := lookup(list)
	t, err := newTarget(get(hubVariable), get(eventsVariable), "the demo's own hub", []source{{"the demo's own hub", get}})
	if err != nil {
		return nil, errors.Join(err, h.Close())
	}
	own := &ownHub{target: t, doors: h.Doors()}
	// The hub goes on after Ctrl-C until the devices have said goodbye.
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	go func() { done <- h.Run(running) }()
	own.stop = func() error {
		cancel()
		return <-done
	}
	return own, nil
}

// describe lists the doors that clients use.
func (h *ownHub) describe() string {
	var list []string
	for _, d := range h.doors {
		if d.Name == "https" || d.Name == "mqtts" || d.Name == "amqps" {
			list = append(list, d.Name+" "+d.String())
		}
	}
	return strings.Join(list, ", ")
}

// shower prints the steps.
type shower struct {
	p       *printer
	heading string
	count   int
}

// show prints one step: what was sent, what came back, and whether that is right.
func (s *shower) show(heading string, r result) error {
	s.count++
	if s.p.json {
		return s.p.line(r)
	}
	if heading != s.heading {
		s.heading = heading
		if err := s.p.printf("\n%s\n", s.p.paint(bold, heading)); err != nil {
			return err
		}
	}
	mark := s.p.paint(green, "ok")
	if !r.OK {
		mark = s.p.paint(red, "FAILED")
	}
	if err := s.p.printf("  %s  %s\n", mark, r.Step); err != nil {
		return err
	}
	if err := s.p.printf("      %s %s\n      %s %s\n", s.p.paint(cyan, "sent    "), printable(string(r.Sent)), s.p.paint(cyan, "received"), printable(string(r.Received))); err != nil {
		return err
	}
	if r.OK {
		return nil
	}
	return s.p.printf("      %s\n", s.p.paint(red, printable(r.Error)))
}

// flowing prints telemetry after the story, a line for each message.
func (s *shower) flowing(heading string, r result) error {
	if s.p.json || !r.OK {
		return s.show(heading, r)
	}
	var e eventView
	if err := json.Unmarshal(r.Received, &e); err != nil {
		return err
	}
	_, who, _ := strings.Cut(r.Step, ": ")
	return s.p.printf("  %s  %s  %s\n", s.p.paint(faint, time.Now().Format(time.TimeOnly)), who, printable(string(e.Body)))
}

// change prints a change of desired properties that somebody else made.
func (s *shower) change(d *simulated, c desiredChange) error {
	r := result{Step: "desired properties: " + d.label, Sent: json.RawMessage("null"), Received: c.patch, OK: c.err == nil}
	if c.err != nil {
		r.Error = c.err.Error()
	}
	if s.p.json || !r.OK {
		return s.show("", r)
	}
	return s.p.printf("  %s  %s was told %s\n", s.p.paint(faint, time.Now().Format(time.TimeOnly)), d.label, printable(string(c.patch)))
}
