package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/twinhub/twinhub/service"
)

func digitalTwinCommand() *cobra.Command {
	return group("digital-twin", "Show and change digital twins, call commands", digitalTwinShowCommand(), digitalTwinUpdateCommand(), digitalTwinInvokeCommand())
}

func digitalTwinShowCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "show", Short: "Show a device's digital twin", Args: cobra.NoArgs}
	hub := addHubFlags(cmd)
	id, out := addDeviceID(cmd, hub), addOutput(cmd)
	cmd.RunE = withService(hub, func(ctx context.Context, c *service.Client) error {
		t, err := c.GetDigitalTwin(ctx, *id)
		if err != nil {
			return err
		}
		return showDigitalTwin(newPrinter(cmd, out), t)
	})
	return cmd
}

func digitalTwinUpdateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "update",
		Short: "Change desired properties by a JSON Patch",
		Example: `  twinhub digital-twin update -d thermostat-1 --json-patch '{"op": "add", "path": "/targetTemperature", "value": 42}'
  twinhub digital-twin update -d controller-1 --json-patch '[{"op": "remove", "path": "/thermostat1/targetTemperature"}]'`,
		Args: cobra.NoArgs,
	}
	hub := addHubFlags(cmd)
	id, out := addDeviceID(cmd, hub), addOutput(cmd)
	patch := cmd.Flags().String("json-patch", "", "one operation or a list of them: `JSON`, or @FILE, or @- for standard input")
	etag := cmd.Flags().String("etag", "", "`etag` that the twin must still have")
	require(cmd, "json-patch")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		raw, err := readJSON(cmd.InOrStdin(), "--json-patch", *patch)
		if err != nil {
			return usageError{err}
		}
		if text := compact(raw); text[0] == '{' {
			raw = json.RawMessage("[" + text + "]")
		}
		return withService(hub, func(ctx context.Context, c *service.Client) error {
			if _, err := c.UpdateDigitalTwin(ctx, *id, raw, *etag); err != nil {
				return err
			}
			t, err := c.GetDigitalTwin(ctx, *id)
			if err != nil {
				return err
			}
			return showDigitalTwin(newPrinter(cmd, out), t)
		})(cmd, nil)
	}
	return cmd
}

func require(cmd *cobra.Command, flags ...string) {
	for _, name := range flags {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err) // no such flag: an error of this program
		}
	}
}

func digitalTwinInvokeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "invoke",
		Short: "Call a command of a device or of a component",
		Example: `  twinhub digital-twin invoke -d thermostat-1 --command-name getMaxMinReport --payload '"2020-10-21T14:10:42Z"'
  twinhub digital-twin invoke -d controller-1 --component-path thermostat1 --command-name getMaxMinReport --payload @since.json`,
		Args: cobra.NoArgs,
	}
	hub := addHubFlags(cmd)
	id, call := addDeviceID(cmd, hub), addCallFlags(cmd, "payload", "response-timeout")
	command := cmd.Flags().String("command-name", "", "`name` of the command")
	component := cmd.Flags().String("component-path", "", "`component` that has the command; the device itself if it is left out")
	out := addOutput(cmd)
	require(cmd, "command-name")
	cmd.RunE = call.run(hub, out, func(ctx context.Context, c *service.Client, payload any, o *service.CallOptions) (*service.MethodResult, error) {
		if *component == "" {
			return c.InvokeCommand(ctx, *id, *command, payload, o)
		}
		return c.InvokeComponentCommand(ctx, *id, *component, *command, payload, o)
	})
	return cmd
}

// callFlags are those of commands and methods.
type callFlags struct {
	payloadFlag       string
	payload           string
	connect, response int
}

func addCallFlags(cmd *cobra.Command, payload, timeout string) *callFlags {
	f := &callFlags{payloadFlag: payload}
	cmd.Flags().StringVar(&f.payload, payload, "", "what the device is given: `JSON`, or @FILE, or @- for standard input")
	cmd.Flags().IntVar(&f.connect, "connect-timeout", 0, "`seconds` the hub waits for a device that is not connected")
	cmd.Flags().IntVar(&f.response, timeout, 30, "`seconds` the hub waits for the answer, 5 to 300")
	return f
}

// run makes the function of a command that calls a device and prints its answer.
func (f *callFlags) run(hub *hubFlags, out *choice, fn func(context.Context, *service.Client, any, *service.CallOptions) (*service.MethodResult, error)) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, _ []string) error {
		var payload any
		if f.payload != "" {
			raw, err := readJSON(cmd.InOrStdin(), "--"+f.payloadFlag, f.payload)
			if err != nil {
				return usageError{err}
			}
			payload = raw
		}
		o := &service.CallOptions{ConnectTimeout: time.Duration(f.connect) * time.Second, ResponseTimeout: time.Duration(f.response) * time.Second}
		return withService(hub, func(ctx context.Context, c *service.Client) error {
			r, err := fn(ctx, c, payload, o)
			if err != nil {
				return err
			}
			p := newPrinter(cmd, out)
			if p.json {
				return p.value(answered{r.Status, r.Payload})
			}
			return p.fields(field{"status", strconv.Itoa(r.Status)}, field{"payload", compact(r.Payload)})
		})(cmd, nil)
	}
}

// showDigitalTwin prints a digital twin: each property with its value, what is wanted and what the device said to that.
func showDigitalTwin(p *printer, t *service.DigitalTwin) error {
	if p.json {
		return p.value(t.Raw)
	}
	if err := p.fields(field{"device id", t.DeviceID}, field{"model id", t.ModelID}, field{"etag", t.ETag}); err != nil {
		return err
	}
	rows, err := digitalTwinRows("", t.Raw)
	if err != nil {
		return fmt.Errorf("digital twin: %w", err)
	}
	return p.section([]string{"PROPERTY", "VALUE", "DESIRED", "ANSWER", "UPDATED"}, rows)
}

// digitalTwinRows lists the properties of a digital twin, then those of its components.
func digitalTwinRows(prefix string, raw json.RawMessage) ([][]string, error) {
	var members, metadata map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(members["$metadata"], &metadata); err != nil {
		return nil, fmt.Errorf("$metadata: %w", err)
	}
	names := maps.Clone(metadata)
	maps.Copy(names, members)
	var rows, components [][]string
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if strings.HasPrefix(name, "$") {
			continue
		}
		var component struct {
			Metadata json.RawMessage `json:"$metadata"`
		}
		if json.Unmarshal(members[name], &component) == nil && component.Metadata != nil {
			inner, err := digitalTwinRows(prefix+name+"/", members[name])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			components = append(components, inner...)
			continue
		}
		var about struct {
			Desired     json.RawMessage `json:"desiredValue"`
			Code        int             `json:"ackCode"`
			Description string          `json:"ackDescription"`
			Updated     time.Time       `json:"lastUpdateTime"`
		}
		if m := metadata[name]; m != nil {
			if err := json.Unmarshal(m, &about); err != nil {
				return nil, fmt.Errorf("$metadata of %s: %w", name, err)
			}
		}
		answer, updated := "", ""
		if about.Code != 0 {
			answer = fmt.Sprintf("%d %s", about.Code, about.Description)
		}
		if !about.Updated.IsZero() {
			updated = when(about.Updated)
		}
		rows = append(rows, []string{prefix + name, compact(members[name]), compact(about.Desired), answer, updated})
	}
	return append(rows, components...), nil
}
