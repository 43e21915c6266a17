package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

// check is one thing that doctor looked at.
type check struct {
	Name   string `json:"name"`
	Result string `json:"result"` // ok, warn or fail
	Detail string `json:"detail"`
	Remedy string `json:"remedy,omitempty"`
}

// The results of checks. A warning is no failure.
const (
	resultOK   = "ok"
	resultWarn = "warn"
	resultFail = "fail"
)

func passed(name, detail string) check         { return check{name, resultOK, detail, ""} }
func warned(name, detail, remedy string) check { return check{name, resultWarn, detail, remedy} }
func failed(name, detail, remedy string) check { return check{name, resultFail, detail, remedy} }

// failedBy is a failure whose remedy the error tells.
func failedBy(name string, err error) check { return failed(name, err.Error(), remedy(err)) }

func doctorCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look for what keeps clients from the hub",
		Long: `Look at the data folder, the hub's ports, name resolution, trust, the clocks and the hub's answers, and say what to do
about what is wrong. Where no hub is known, look whether one could be started. The exit code is 1 when a check fails;
warnings are about other programs of this machine.`,
		Args: cobra.NoArgs,
	}
	hub, out := addHubFlags(cmd), addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		checks := examine(cmd.Context(), hub)
		if err := showChecks(newPrinter(cmd, out), checks); err != nil {
			return err
		}
		count := 0
		for _, c := range checks {
			if c.Result == resultFail {
				count++
			}
		}
		if count > 0 {
			return fmt.Errorf("%d of %d checks failed", count, len(checks))
		}
		return nil
	}
	return cmd
}

// examine makes the checks that fit what is known of a hub.
func examine(ctx context.Context, flags *hubFlags) []check {
	folder := flags.data
	if folder == "" {
		folder = defaultData
	}
	t, err := flags.find()
	switch {
	case errors.Is(err, errNoHub) && flags.data == "":
		return append([]check{checkNewFolder(folder), checkName("localhost", "")}, checkFreePorts(usualPorts())...)
	case err != nil:
		return []check{failedBy("hub", err)}
	}
	host, err := hostOf(t.hub)
	if err != nil {
		return []check{failedBy("hub", err)}
	}
	checks := []check{passed("hub", host+", from "+t.source)}
	if t.source == folder+"/"+connectionFile {
		checks = append(checks, checkFolder(folder))
	}
	checks = append(checks, checkName(host, t.endpoints["https"]))
	doors, open := checkDoors(ctx, t, host)
	checks = append(checks, doors...)
	if !open {
		return checks
	}
	if t.caFile != "" {
		checks = append(checks, checkMachine(ctx, t, host))
		checks = append(checks, checkVariables(t)...)
	}
	return append(append(checks, checkClock(ctx, t, host)), checkAnswers(ctx, t)...)
}

func showChecks(p *printer, checks []check) error {
	if p.json {
		return p.value(checks)
	}
	width := 0
	for _, c := range checks {
		width = max(width, len(c.Name))
	}
	for _, c := range checks {
		mark := p.paint(map[string]string{resultOK: green, resultWarn: yellow, resultFail: red}[c.Result], fmt.Sprintf("%-4s", c.Result))
		if err := p.printf("%s  %-*s  %s\n", mark, width, c.Name, printable(c.Detail)); err != nil {
			return err
		}
		if c.Remedy != "" {
			if err := p.printf("%*s  what to do: %s\n", 6+width, "", printable(c.Remedy)); err != nil {
				return err
			}
		}
	}
	return nil
}
