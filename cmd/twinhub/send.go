package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/twinhub/twinhub/device"
)

// sendFlags are those of send.
type sendFlags struct {
	device, body, properties, component, model string
	contentType, contentEncoding               string
	messageID, correlationID                   string
	count                                      int
	interval                                   time.Duration
}

func sendCommand() *cobra.Command {
	f := &sendFlags{}
	cmd := &cobra.Command{
		Use:   "send",
		Short: "Send telemetry as a device",
		Long: `Connect as a device and send a message; it returns when the hub has stored it. The device's key comes from the
registry, so --login is the hub's, or it is the device's own connection string. A program that is connected as the same
device loses its connection, as with any second connection. The model the device announced last is announced again
unless --model-id says another.`,
		Example: `  twinhub send -d thermostat-1 --body '{"temperature": 12}'
  twinhub send -d controller-1 --component thermostat1 --body '{"temperature": 45}' --props 'alarm=no;site=a'
  twinhub send --login "HostName=localhost;DeviceId=thermostat-1;SharedAccessKey=..." --body @reading.json --msg-count 10`,
		Args: cobra.NoArgs,
	}
	hub := addHubFlags(cmd)
	flags := cmd.Flags()
	flags.StringVarP(&f.device, "device-id", "d", "", "`id` of the device; not needed with its own connection string")
	complete(cmd, "device-id", hub.completeDevice)
	flags.StringVar(&f.body, "body", "", "the message: `text`, or @FILE, or @- for standard input")
	flags.StringVarP(&f.properties, "props", "p", "", "application properties: `NAME=VALUE;NAME=VALUE`")
	flags.StringVar(&f.component, "component", "", "DTDL `component` that sends")
	flags.StringVar(&f.model, "model-id", "", "DTDL `model` to announce, such as dtmi:com:example:Thermostat;1")
	flags.StringVar(&f.contentType, "content-type", "", "content `type` (default application/json for JSON)")
	flags.StringVar(&f.contentEncoding, "content-encoding", "", "content `encoding` (default utf-8 for JSON)")
	flags.StringVar(&f.messageID, "message-id", "", "message `id`")
	flags.StringVar(&f.correlationID, "correlation-id", "", "correlation `id`")
	flags.IntVar(&f.count, "msg-count", 1, "how many `times` to send it")
	flags.DurationVar(&f.interval, "msg-interval", time.Second, "`time` between them")
	out := addOutput(cmd)
	require(cmd, "body")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		m, err := f.message(cmd.InOrStdin())
		if err != nil {
			return usageError{err}
		}
		t, err := hub.find()
		if err != nil {
			return err
		}
		return f.send(cmd.Context(), t, m, newPrinter(cmd, out))
	}
	return cmd
}

// message makes the message that the flags describe.
func (f *sendFlags) message(in io.Reader) (device.Message, error) {
	body := []byte(f.body)
	if file, ok := strings.CutPrefix(f.body, "@"); ok {
		var err error
		if file == "-" {
			body, err = io.ReadAll(in)
		} else {
			body, err = os.ReadFile(file)
		}
		if err != nil {
			return device.Message{}, fmt.Errorf("--body: %w", err)
		}
	}
	if f.count < 1 || f.interval < 0 {
		return device.Message{}, errors.New("--msg-count begins with 1, --msg-interval with 0s")
	}
	m := device.Message{
		Body: body, ContentType: f.contentType, ContentEncoding: f.contentEncoding, Component: f.component,
		MessageID: f.messageID, CorrelationID: f.correlationID,
	}
	if json.Valid(body) {
		set(&m.ContentType, m.ContentType == "", "application/json")
		set(&m.ContentEncoding, m.ContentEncoding == "", "utf-8")
	}
	for pair := range strings.SplitSeq(f.properties, ";") {
		if pair == "" {
			continue
		}
		name, value, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			return m, fmt.Errorf("--props: %q is not NAME=VALUE", pair)
		}
		if m.Properties == nil {
			m.Properties = map[string]string{}
		}
		m.Properties[name] = value
	}
	return m, nil
}

// credentials returns the device's connection string and the model to announce.
func (f *sendFlags) credentials(ctx context.Context, t *target) (connectionString, model string, err error) {
	if id, err := device.ParseConnectionString(t.hub); err == nil {
		if f.device != "" && f.device != id.DeviceID {
			return "", "", usageError{fmt.Errorf("--device-id %s, but the connection string is of device %s", f.device, id.DeviceID)}
		}
		return t.hub, f.model, nil
	}
	if f.device == "" {
		return "", "", usageError{errors.New("say as which device to send: --device-id, or --login with a device's connection string")}
	}
	c, err := t.service()
	if err != nil {
		return "", "", err
	}
	defer c.Close()
	d, _, err := deviceKey(ctx, c, f.device, "primary")
	if err != nil {
		return "", "", err
	}
	if model = f.model; model == "" {
		twin, err := c.GetTwin(ctx, f.device)
		if err != nil {
			return "", "", err
		}
		model = twin.ModelID
	}
	return c.ConnectionString(d), model, nil
}

func (f *sendFlags) send(ctx context.Context, t *target, m device.Message, p *printer) (err error) {
	connectionString, model, err := f.credentials(ctx, t)
	if err != nil {
		return err
	}
	c, err := t.connect(ctx, connectionString, device.Options{ModelID: model, Product: "twinhub"})
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
		defer cancel()
		err = errors.Join(err, c.Close(ctx))
	}()
	for sent := range f.count {
		if sent > 0 {
			select {
			case <-time.After(f.interval):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if err := c.Send(ctx, m); err != nil {
			return err
		}
	}
	if p.json {
		return p.value(map[string]int{"sent": f.count})
	}
	if f.count == 1 {
		return p.printf("The hub has stored the message.\n")
	}
	return p.printf("The hub has stored %d messages.\n", f.count)
}
