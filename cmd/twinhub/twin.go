package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/twinhub/twinhub/service"
)

func twinCommand() *cobra.Command {
	return group("twin", "Show and change device twins", twinShowCommand(), twinUpdateCommand())
}

func addModuleID(cmd *cobra.Command) *string {
	return cmd.Flags().StringP("module-id", "m", "", "`id` of a module of the device")
}

func twinShowCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "show", Short: "Show a device's or a module's twin", Args: cobra.NoArgs}
	hub := addHubFlags(cmd)
	id, module, out := addDeviceID(cmd, hub), addModuleID(cmd), addOutput(cmd)
	cmd.RunE = withService(hub, func(ctx context.Context, c *service.Client) error {
		t, err := c.GetModuleTwin(ctx, *id, *module)
		if err != nil {
			return err
		}
		return showTwin(newPrinter(cmd, out), t)
	})
	return cmd
}

func twinUpdateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "update",
		Short: "Change tags and desired properties of a twin",
		Long: `Merge tags and desired properties into a twin: what is given replaces what is there, objects merge, null deletes.
With --replace both sections become exactly what is given.`,
		Example: `  twinhub twin update -d thermostat-1 --desired '{"targetTemperature": 42}'
  twinhub twin update -d controller-1 --set properties.desired.thermostat1.__t=c properties.desired.thermostat1.targetTemperature=42
  twinhub twin update -d thermostat-1 --tags @tags.json`,
	}
	hub := addHubFlags(cmd)
	id, module, out := addDeviceID(cmd, hub), addModuleID(cmd), addOutput(cmd)
	desired := cmd.Flags().String("desired", "", "desired properties: `JSON`, or @FILE, or @- for standard input")
	tags := cmd.Flags().String("tags", "", "tags: `JSON`, or @FILE, or @- for standard input")
	sets := cmd.Flags().StringArray("set", nil, "`PATH=VALUE`, such as tags.site=a or properties.desired.targetTemperature=42; repeatable, more may follow")
	etag := cmd.Flags().String("etag", "", "`etag` that the twin must still have")
	replace := cmd.Flags().Bool("replace", false, "replace tags and desired properties instead of merging")
	cmd.Args = func(_ *cobra.Command, args []string) error {
		if len(args) > 0 && len(*sets) == 0 {
			return fmt.Errorf("unexpected %q", args[0])
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		patch, err := twinPatch(cmd.InOrStdin(), *desired, *tags, append(slices.Clone(*sets), args...))
		if err != nil {
			return usageError{err}
		}
		return withService(hub, func(ctx context.Context, c *service.Client) error {
			write := c.UpdateModuleTwin
			if *replace {
				write = c.ReplaceModuleTwin
			}
			t, err := write(ctx, *id, *module, patch, *etag)
			if err != nil {
				return err
			}
			return showTwin(newPrinter(cmd, out), t)
		})(cmd, nil)
	}
	return cmd
}

// twinPatch makes the patch that the flags describe.
func twinPatch(in io.Reader, desired, tags string, sets []string) (service.TwinPatch, error) {
	var sections struct{ desired, tags map[string]any }
	for _, s := range []struct {
		name, text string
		to         *map[string]any
	}{{"--desired", desired, &sections.desired}, {"--tags", tags, &sections.tags}} {
		if s.text == "" {
			continue
		}
		raw, err := readJSON(in, s.name, s.text)
		if err != nil {
			return service.TwinPatch{}, err
		}
		d := json.NewDecoder(strings.NewReader(string(raw)))
		d.UseNumber()
		if err := d.Decode(s.to); err != nil || *s.to == nil {
			return service.TwinPatch{}, fmt.Errorf("%s: use a JSON object", s.name)
		}
	}
	for _, text := range sets {
		path, value, ok := strings.Cut(text, "=")
		section, rest := &sections.tags, ""
		if after, isDesired := strings.CutPrefix(path, "properties.desired."); isDesired {
			section, rest = &sections.desired, after
		} else if after, isTag := strings.CutPrefix(path, "tags."); isTag {
			rest = after
		}
		if !ok || rest == "" {
			return service.TwinPatch{}, fmt.Errorf("--set %q: use tags.NAME=VALUE or properties.desired.NAME=VALUE", text)
		}
		if *section == nil {
			*section = map[string]any{}
		}
		if err := setPath(*section, strings.Split(rest, "."), looseValue(value)); err != nil {
			return service.TwinPatch{}, fmt.Errorf("--set %q: %w", text, err)
		}
	}
	if sections.desired == nil && sections.tags == nil {
		return service.TwinPatch{}, errors.New("nothing to change: give --desired, --tags or --set")
	}
	var patch service.TwinPatch
	if sections.desired != nil {
		patch.Desired = sections.desired
	}
	if sections.tags != nil {
		patch.Tags = sections.tags
	}
	return patch, nil
}

// looseValue takes JSON as it is, and anything else as a string.
func looseValue(text string) any {
	if json.Valid([]byte(text)) {
		return json.RawMessage(text)
	}
	return text
}

func setPath(object map[string]any, path []string, value any) error {
	if path[0] == "" {
		return errors.New("a name in the path is empty")
	}
	if len(path) == 1 {
		object[path[0]] = value
		return nil
	}
	inner, ok := object[path[0]].(map[string]any)
	if !ok {
		inner = map[string]any{}
		object[path[0]] = inner
	}
	return setPath(inner, path[1:], value)
}

// readJSON takes JSON as it was typed, or from the file behind an @; @- is standard input.
func readJSON(in io.Reader, flag, text string) (json.RawMessage, error) {
	raw := []byte(text)
	if file, ok := strings.CutPrefix(text, "@"); ok {
		var err error
		if file == "-" {
			raw, err = io.ReadAll(in)
		} else {
			raw, err = os.ReadFile(file)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", flag, err)
		}
	}
	if !json.Valid(raw) {
		return nil, fmt.Errorf("%s: %q is no JSON; mind the shell's quotes, or put it into a file and use @FILE", flag, strings.TrimSpace(string(raw)))
	}
	return raw, nil
}

// showTwin prints a twin: what it is, its tags, and each property with both sides.
func showTwin(p *printer, t *service.Twin) error {
	if p.json {
		return p.value(t.Raw)
	}
	if err := p.fields(field{"device id", t.DeviceID}, field{"module id", t.ModuleID}, field{"model id", t.ModelID}, field{"status", t.Status},
		field{"state", t.ConnectionState}, field{"last activity", when(t.LastActivityTime)},
		field{"version", strconv.FormatInt(t.Version, 10)}, field{"etag", t.ETag}); err != nil {
		return err
	}
	tags, err := flatten(t.Tags)
	if err != nil {
		return fmt.Errorf("tags: %w", err)
	}
	var rows [][]string
	for _, path := range slices.Sorted(maps.Keys(tags)) {
		rows = append(rows, []string{path, tags[path]})
	}
	if len(rows) > 0 {
		if err := p.section([]string{"TAG", "VALUE"}, rows); err != nil {
			return err
		}
	}
	desired, err := flatten(t.Properties.Desired)
	if err != nil {
		return fmt.Errorf("desired properties: %w", err)
	}
	reported, err := flatten(t.Properties.Reported)
	if err != nil {
		return fmt.Errorf("reported properties: %w", err)
	}
	paths := maps.Clone(desired)
	maps.Copy(paths, reported)
	rows = nil
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		rows = append(rows, []string{path, desired[path], reported[path]})
	}
	return p.section([]string{"PROPERTY", "DESIRED", "REPORTED"}, rows)
}

// section prints a table after an empty line.
func (p *printer) section(header []string, rows [][]string) error {
	if err := p.printf("\n"); err != nil {
		return err
	}
	return p.table(header, rows)
}

// flatten returns the values of a JSON object by their paths, without $metadata. Empty objects and arrays are values.
func flatten(raw json.RawMessage) (map[string]string, error) {
	values := map[string]string{}
	if len(raw) == 0 {
		return values, nil
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		return nil, err
	}
	for name, value := range members {
		if name == "$metadata" {
			continue
		}
		if text := compact(value); !strings.HasPrefix(text, "{") || text == "{}" {
			values[name] = text
			continue
		}
		inner, err := flatten(value)
		if err != nil {
			return nil, err
		}
		for path, text := range inner {
			values[name+"."+path] = text
		}
	}
	return values, nil
}
