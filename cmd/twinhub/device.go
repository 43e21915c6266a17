package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/twinhub/twinhub/internal/sas"
	"github.com/twinhub/twinhub/service"
)

func deviceCommand() *cobra.Command {
	return group("device", "Register devices and show their identities",
		deviceCreateCommand(), deviceListCommand(), deviceShowCommand(), deviceUpdateCommand(), deviceDeleteCommand(),
		deviceConnectionStringCommand(), deviceSASTokenCommand())
}

// addDeviceID defines --device-id, which is required, and which a shell completes with what the hub has.
func addDeviceID(cmd *cobra.Command, hub *hubFlags) *string {
	id := cmd.Flags().StringP("device-id", "d", "", "`id` of the device")
	if err := cmd.MarkFlagRequired("device-id"); err != nil {
		panic(err) // no such flag: an error of this program
	}
	complete(cmd, "device-id", hub.completeDevice)
	return id
}

// allDevices is the query for every device's twin.
const allDevices = "SELECT * FROM devices"

// completionTime bounds what a shell waits for when it completes an id.
const completionTime = 2 * time.Second

// completeDevice offers the ids of the hub's devices.
func (f *hubFlags) completeDevice(cmd *cobra.Command, _ []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
	parent := cmd.Context()
	if parent == nil {
		parent = context.Background()
	}
	ctx, cancel := context.WithTimeout(parent, completionTime)
	defer cancel()
	t, err := f.find()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	c, err := t.service()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer c.Close()
	page, err := c.QueryPage(ctx, allDevices, "", 0)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var ids []cobra.Completion
	for _, item := range page.Items {
		var row struct{ DeviceID string }
		if json.Unmarshal(item, &row) == nil && len(row.DeviceID) >= len(prefix) && row.DeviceID[:len(prefix)] == prefix {
			ids = append(ids, row.DeviceID)
		}
	}
	return ids, cobra.ShellCompDirectiveNoFileComp
}

// identityFlags are those of create and update.
type identityFlags struct {
	method                                 *choice
	status                                 *choice
	reason                                 string
	primaryKey, secondaryKey               string
	primaryThumbprint, secondaryThumbprint string
	edge                                   bool
}

// The words of --auth-method.
const (
	methodKey        = "shared_private_key"
	methodThumbprint = "x509_thumbprint"
	methodCA         = "x509_ca"
)

func addIdentityFlags(cmd *cobra.Command) *identityFlags {
	f := &identityFlags{}
	f.method = addChoice(cmd, "auth-method", "", methodKey, "`how` the device signs in", methodKey, methodThumbprint, methodCA)
	f.status = addChoice(cmd, "status", "", "enabled", "`status` of the device", "enabled", "disabled")
	cmd.Flags().StringVar(&f.reason, "status-reason", "", "`text` that says why it has this status")
	cmd.Flags().StringVar(&f.primaryKey, "primary-key", "", "`key`, base64; the hub makes one if it is left out")
	cmd.Flags().StringVar(&f.secondaryKey, "secondary-key", "", "`key`, base64")
	cmd.Flags().StringVar(&f.primaryThumbprint, "primary-thumbprint", "", "`digest` of the device's certificate, in hex, for x509_thumbprint")
	cmd.Flags().StringVar(&f.secondaryThumbprint, "secondary-thumbprint", "", "`digest` of its next certificate")
	cmd.Flags().BoolVar(&f.edge, "edge-enabled", false, "make it an edge device")
	return f
}

// apply sets what was asked for on the command line.
func (f *identityFlags) apply(cmd *cobra.Command, d *service.Device) {
	given := cmd.Flags().Changed
	if given("status") || d.Status == "" {
		d.Status = f.status.value
	}
	if given("status-reason") {
		d.StatusReason = f.reason
	}
	if given("edge-enabled") {
		d.Capabilities = &service.Capabilities{IoTEdge: f.edge}
	}
	if d.Authentication == nil || given("auth-method") {
		d.Authentication = &service.Authentication{Type: map[string]string{methodKey: "sas", methodThumbprint: "selfSigned", methodCA: "certificateAuthority"}[f.method.value]}
	}
	a := d.Authentication
	if given("primary-key") || given("secondary-key") {
		if a.SymmetricKey == nil {
			a.SymmetricKey = &service.SymmetricKey{}
		}
		set(&a.SymmetricKey.PrimaryKey, given("primary-key"), f.primaryKey)
		set(&a.SymmetricKey.SecondaryKey, given("secondary-key"), f.secondaryKey)
	}
	if given("primary-thumbprint") || given("secondary-thumbprint") {
		if a.X509Thumbprint == nil {
			a.X509Thumbprint = &service.X509Thumbprint{}
		}
		set(&a.X509Thumbprint.PrimaryThumbprint, given("primary-thumbprint"), f.primaryThumbprint)
		set(&a.X509Thumbprint.SecondaryThumbprint, given("secondary-thumbprint"), f.secondaryThumbprint)
	}
}

func set(to *string, given bool, value string) {
	if given {
		*to = value
	}
}

func deviceCreateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Register a device",
		Example: `  twinhub device create -d thermostat-1
  twinhub device create -d gateway-1 --auth-method x509_thumbprint --primary-thumbprint A1B2...`,
		Args: cobra.NoArgs,
	}
	hub := addHubFlags(cmd)
	id, f, out := addDeviceID(cmd, hub), addIdentityFlags(cmd), addOutput(cmd)
	cmd.RunE = withService(hub, func(ctx context.Context, c *service.Client) error {
		d := &service.Device{DeviceID: *id}
		f.apply(cmd, d)
		d, err := c.CreateDevice(ctx, d)
		if err != nil {
			return err
		}
		return showDevice(newPrinter(cmd, out), d)
	})
	return cmd
}

func deviceListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the devices",
		Example: "  twinhub device list --top 20\n  twinhub device list -o json",
		Args:    cobra.NoArgs,
	}
	hub, out := addHubFlags(cmd), addOutput(cmd)
	top := cmd.Flags().Int("top", 0, "the most devices to list; 0 means all")
	edge := cmd.Flags().Bool("edge-enabled", false, "only edge devices")
	cmd.PreRunE = func(*cobra.Command, []string) error {
		if *top < 0 {
			return fmt.Errorf("--top %d: use a number of devices, or 0 for all", *top)
		}
		return nil
	}
	cmd.RunE = withService(hub, func(ctx context.Context, c *service.Client) error {
		items, rows := []json.RawMessage{}, [][]string{}
		for t, err := range c.QueryTwins(ctx, allDevices) {
			if err != nil {
				return err
			}
			if *edge && (t.Capabilities == nil || !t.Capabilities.IoTEdge) {
				continue
			}
			items = append(items, t.Raw)
			rows = append(rows, []string{t.DeviceID, t.Status, t.AuthenticationType, t.ConnectionState, when(t.LastActivityTime), t.ModelID})
			if len(items) == *top {
				break
			}
		}
		p := newPrinter(cmd, out)
		if p.json {
			return p.value(items)
		}
		return p.table([]string{"DEVICE ID", "STATUS", "SIGNS IN BY", "STATE", "LAST ACTIVITY", "MODEL ID"}, rows)
	})
	return cmd
}

func deviceShowCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "show", Short: "Show a device's identity", Args: cobra.NoArgs,
		Long: "Show a device's identity. Its keys are in the JSON form only."}
	hub := addHubFlags(cmd)
	id, out := addDeviceID(cmd, hub), addOutput(cmd)
	cmd.RunE = withService(hub, func(ctx context.Context, c *service.Client) error {
		d, err := c.GetDevice(ctx, *id)
		if err != nil {
			return err
		}
		return showDevice(newPrinter(cmd, out), d)
	})
	return cmd
}

func deviceUpdateCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "update", Short: "Change a device's identity", Args: cobra.NoArgs,
		Long:    "Change what is given of a device's identity, and leave the rest as it is.",
		Example: "  twinhub device update -d thermostat-1 --status disabled --status-reason \"being repaired\""}
	hub := addHubFlags(cmd)
	id, f, out := addDeviceID(cmd, hub), addIdentityFlags(cmd), addOutput(cmd)
	etag := cmd.Flags().String("etag", "", "`etag` that the identity must still have")
	cmd.RunE = withService(hub, func(ctx context.Context, c *service.Client) error {
		d, err := c.GetDevice(ctx, *id)
		if err != nil {
			return err
		}
		if *etag != "" {
			d.ETag = *etag
		}
		f.apply(cmd, d)
		if d, err = c.UpdateDevice(ctx, d); err != nil {
			return err
		}
		return showDevice(newPrinter(cmd, out), d)
	})
	return cmd
}

func deviceDeleteCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "delete", Short: "Delete a device with its twin", Args: cobra.NoArgs}
	hub := addHubFlags(cmd)
	id := addDeviceID(cmd, hub)
	etag := cmd.Flags().String("etag", "", "`etag` that the identity must still have")
	cmd.RunE = withService(hub, func(ctx context.Context, c *service.Client) error { return c.DeleteDevice(ctx, *id, *etag) })
	return cmd
}

func deviceConnectionStringCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "connection-string", Short: "Print the connection string a device connects with", Args: cobra.NoArgs}
	hub := addHubFlags(cmd)
	id, which, out := addDeviceID(cmd, hub), addKeyType(cmd), addOutput(cmd)
	cmd.RunE = withService(hub, func(ctx context.Context, c *service.Client) error {
		d, _, err := deviceKey(ctx, c, *id, which.value)
		if err != nil {
			return err
		}
		p, text := newPrinter(cmd, out), c.ConnectionString(d)
		if p.json {
			return p.value(map[string]string{"connectionString": text})
		}
		return p.printf("%s\n", text)
	})
	return cmd
}

func deviceSASTokenCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "sas-token", Short: "Print a token a device can sign in with", Args: cobra.NoArgs}
	hub := addHubFlags(cmd)
	id, which, out := addDeviceID(cmd, hub), addKeyType(cmd), addOutput(cmd)
	duration := cmd.Flags().Int("duration", 3600, "how many `seconds` the token is good")
	cmd.PreRunE = func(*cobra.Command, []string) error {
		if *duration < 1 {
			return fmt.Errorf("--duration %d: use a number of seconds", *duration)
		}
		return nil
	}
	cmd.RunE = withService(hub, func(ctx context.Context, c *service.Client) error {
		_, key, err := deviceKey(ctx, c, *id, which.value)
		if err != nil {
			return err
		}
		secret, err := sas.HubKey(key)
		if err != nil {
			return fmt.Errorf("the device's key: %w", err)
		}
		token := sas.Sign(sas.DeviceResource(c.HostName(), *id, ""), secret, "", time.Now().Add(time.Duration(*duration)*time.Second))
		p := newPrinter(cmd, out)
		if p.json {
			return p.value(map[string]string{"sas": token})
		}
		return p.printf("%s\n", token)
	})
	return cmd
}

func addKeyType(cmd *cobra.Command) *choice {
	return addChoice(cmd, "key-type", "", "primary", "which `key`", "primary", "secondary")
}

// deviceKey returns a device with the key asked for in place of its primary one, and that key.
func deviceKey(ctx context.Context, c *service.Client, id, which string) (*service.Device, string, error) {
	d, err := c.GetDevice(ctx, id)
	if err != nil {
		return nil, "", err
	}
	if d.Authentication == nil || d.Authentication.SymmetricKey == nil || d.Authentication.SymmetricKey.PrimaryKey == "" {
		return nil, "", errors.New("device " + id + " has no key: it signs in with a certificate")
	}
	keys := d.Authentication.SymmetricKey
	if which == "secondary" {
		keys.PrimaryKey = keys.SecondaryKey
	}
	return d, keys.PrimaryKey, nil
}

// showDevice prints an identity.
func showDevice(p *printer, d *service.Device) error {
	if p.json {
		return p.value(d.Raw)
	}
	list := []field{
		{"device id", d.DeviceID}, {"status", d.Status}, {"status reason", d.StatusReason},
		{"state", d.ConnectionState}, {"last activity", when(d.LastActivityTime)},
		{"generation id", d.GenerationID}, {"etag", d.ETag},
	}
	if a := d.Authentication; a != nil {
		list = append(list, field{"signs in by", a.Type})
		if a.X509Thumbprint != nil {
			list = append(list, field{"thumbprint", a.X509Thumbprint.PrimaryThumbprint}, field{"second thumbprint", a.X509Thumbprint.SecondaryThumbprint})
		}
	}
	if d.Capabilities != nil && d.Capabilities.IoTEdge {
		list = append(list, field{"edge", "yes"})
	}
	return p.fields(list...)
}

// when writes a time for people; "never" for one that never was.
func when(t time.Time) string {
	if t.Year() <= 1 {
		return "never"
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}

// withService makes the function of a command that talks to the service API.
func withService(hub *hubFlags, fn func(ctx context.Context, c *service.Client) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, _ []string) error {
		t, err := hub.find()
		if err != nil {
			return err
		}
		c, err := t.service()
		if err != nil {
			return err
		}
		defer c.Close()
		return fn(cmd.Context(), c)
	}
}
