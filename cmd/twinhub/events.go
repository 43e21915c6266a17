package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/twinhub/twinhub/service"
)

// monitorFlags are those of monitor-events.
type monitorFlags struct {
	events, device, module, group, from string
	properties                          *choice
	output                              *choice
	timeout, count                      int
}

func monitorEventsCommand() *cobra.Command {
	f := &monitorFlags{}
	cmd := &cobra.Command{
		Use:   "monitor-events",
		Short: "Watch telemetry and notifications as they arrive",
		Long: `Read the built-in Event Hubs endpoint and print what devices send and what the hub says about them, until Ctrl-C.
Without --enqueued-time it begins with what arrives from now on. As JSON each event is one line.`,
		Example: `  twinhub monitor-events
  twinhub monitor-events -d thermostat-1 --properties all
  twinhub monitor-events --enqueued-time 0 --message-count 10 -o json`,
		Args: cobra.NoArgs,
	}
	hub := addHubFlags(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.events, "events", "", "`connection string` of the built-in Event Hubs endpoint; the hub is asked if nothing says it")
	flags.StringVarP(&f.device, "device-id", "d", "", "only events of the device with this `id`; * at its end stands for any text")
	complete(cmd, "device-id", hub.completeDevice)
	flags.StringVarP(&f.module, "module-id", "m", "", "only events of the module with this `id`")
	flags.StringVar(&f.group, "consumer-group", "$Default", "`name` of the consumer group to read with")
	flags.StringVar(&f.from, "enqueued-time", "", "`time` to begin at: RFC 3339, or milliseconds since 1970; 0 is the oldest event kept")
	flags.IntVar(&f.timeout, "timeout", 0, "end after so many `seconds` without an event; 0 means never")
	flags.IntVar(&f.count, "message-count", 0, "end after so many events; 0 means never")
	f.properties = addChoice(cmd, "properties", "p", "none", "`which` properties people get to see", "none", "app", "sys", "all")
	f.output = addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return f.run(cmd, hub) }
	return cmd
}

func (f *monitorFlags) run(cmd *cobra.Command, hub *hubFlags) error {
	options := service.EventsOptions{ConsumerGroup: f.group}
	if err := f.begin(&options); err != nil {
		return usageError{err}
	}
	if f.timeout < 0 || f.count < 0 {
		return usageError{errors.New("--timeout and --message-count are numbers from 0")}
	}
	t, err := f.target(hub)
	if err != nil {
		return err
	}
	events, err := t.read(cmd.Context(), options)
	if err != nil {
		return err
	}
	p := newPrinter(cmd, f.output)
	if !p.json {
		cmd.PrintErrln("Reading events; Ctrl-C ends.")
	}
	err = f.follow(cmd.Context(), events, p)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(cmd.Context()), cleanupTime)
	defer cancel()
	return errors.Join(err, events.Close(ctx))
}

// target finds the endpoint: --events alone is enough for it.
func (f *monitorFlags) target(hub *hubFlags) (*target, error) {
	t, err := hub.find()
	if errors.Is(err, errNoHub) && f.events != "" {
		t, err = &target{}, nil
	}
	if err == nil && f.events != "" && f.events != t.events {
		t.events = f.events
	}
	return t, err
}

// begin says where reading begins.
func (f *monitorFlags) begin(o *service.EventsOptions) error {
	switch ms, err := strconv.ParseInt(f.from, 10, 64); {
	case f.from == "":
	case err == nil && ms <= 0:
		o.Earliest = true
	case err == nil:
		o.From = time.UnixMilli(ms)
	default:
		if o.From, err = time.Parse(time.RFC3339, f.from); err != nil {
			return fmt.Errorf("--enqueued-time %q: use a time such as 2020-10-21T14:10:42Z, or milliseconds since 1970", f.from)
		}
	}
	return nil
}

// errQuiet says that no event came for as long as the user wants to wait.
var errQuiet = errors.New("no event came")

// follow prints events until the user has had enough, which is no error.
func (f *monitorFlags) follow(ctx context.Context, events *service.Events, p *printer) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	quiet := time.Duration(f.timeout) * time.Second
	timer := time.AfterFunc(max(quiet, time.Second), func() { cancel(errQuiet) })
	defer timer.Stop()
	if quiet == 0 {
		timer.Stop()
	}
	count := 0
	for e, err := range events.All(ctx) {
		switch {
		case ctx.Err() != nil:
			return nil // Ctrl-C, or silence
		case err != nil:
			return err
		case !f.wants(e):
			continue
		}
		if quiet > 0 {
			timer.Reset(quiet)
		}
		if err := f.print(p, e); err != nil {
			return err
		}
		if count++; count == f.count {
			return nil
		}
	}
	return nil
}

func (f *monitorFlags) wants(e *service.Event) bool {
	if begin, ok := strings.CutSuffix(f.device, "*"); ok && !strings.HasPrefix(e.DeviceID, begin) {
		return false
	} else if !ok && f.device != "" && e.DeviceID != f.device {
		return false
	}
	return f.module == "" || e.ModuleID == f.module
}

// monitored is an event as JSON.
type monitored struct {
	DeviceID  string `json:"deviceId"`
	ModuleID  string `json:"moduleId,omitempty"`
	Component string `json:"component,omitempty"`
	Source    string `json:"source"`
	eventView
}

func (f *monitorFlags) print(p *printer, e *service.Event) error {
	view := viewEvent(e)
	if p.json {
		return p.line(monitored{e.DeviceID, e.ModuleID, e.Component, string(e.Source), view})
	}
	who := e.DeviceID
	for _, part := range []string{e.ModuleID, e.Component} {
		if part != "" {
			who += "/" + part
		}
	}
	body := printable(string(e.Body))
	if err := p.printf("%s  %s  %s  %s\n", p.paint(faint, e.EnqueuedTime.Local().Format(time.TimeOnly)), p.paint(bold, printable(who)), p.paint(cyan, printable(string(e.Source))), body); err != nil {
		return err
	}
	show := f.properties.value
	for _, group := range []struct {
		name, kind string
		values     map[string]any
	}{{"app", "set by the device", view.Properties}, {"sys", "set by the hub", view.System}} {
		if show != "all" && show != group.name || len(group.values) == 0 {
			continue
		}
		if err := p.printf("          %s\n", p.paint(faint, group.kind)); err != nil {
			return err
		}
		for _, name := range slices.Sorted(maps.Keys(group.values)) {
			if err := p.printf("            %s = %s\n", printable(name), printable(fmt.Sprint(group.values[name]))); err != nil {
				return err
			}
		}
	}
	return nil
}
