package device_test

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/twinhub/twinhub/device"
	"github.com/twinhub/twinhub/hubtest"
	"github.com/twinhub/twinhub/service"
)

// onHub runs an example on a hub of its own with a device registered on it. It needs no account and no network.
func onHub(example func(ctx context.Context, connectionString string, o *device.Options, back *service.Client) error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err := hubtest.Run(hubtest.Options{}, func(h *hubtest.Hub) {
		back, err := service.NewClient(h.ConnectionString, &service.Options{Address: h.HTTPS, TLS: h.ClientTLS()})
		if err != nil {
			fmt.Println(err)
			return
		}
		defer back.Close()
		registered, err := back.CreateDevice(ctx, &service.Device{DeviceID: "my-pnp-device"})
		if err != nil {
			fmt.Println(err)
			return
		}
		if err := example(ctx, back.ConnectionString(registered), &device.Options{Address: h.MQTTS, TLS: h.ClientTLS()}, back); err != nil {
			fmt.Println(err)
		}
	})
	if err != nil {
		fmt.Println(err)
	}
}

// A thermostat that announces its model, reports a property and sends telemetry.
func ExampleDial() {
	onHub(func(ctx context.Context, connectionString string, options *device.Options, _ *service.Client) error {
		options.ModelID = "dtmi:com:example:Thermostat;1" // the other options are for a hub that is not at port 8883
		c, err := device.Dial(ctx, connectionString, options)
		if err != nil {
			return err
		}
		version, err := c.UpdateReported(ctx, map[string]any{"maxTempSinceLastReboot": 10.96})
		if err != nil {
			return err
		}
		fmt.Println("reported properties have version", version)
		message, err := device.JSONMessage(map[string]any{"temperature": 12})
		if err != nil {
			return err
		}
		if err := c.Send(ctx, message); err != nil {
			return err
		}
		fmt.Printf("sent %s\n", message.Body)
		return c.Close(ctx)
	})
	// Output:
	// reported properties have version 2
	// sent {"temperature":12}
}

// Telemetry of a component.
func ExampleClient_Send_component() {
	onHub(func(ctx context.Context, connectionString string, options *device.Options, _ *service.Client) error {
		c, err := device.Dial(ctx, connectionString, options)
		if err != nil {
			return err
		}
		defer c.Close(ctx)
		message, err := device.JSONMessage(map[string]any{"temperature": 45})
		if err != nil {
			return err
		}
		message.Component = "thermostat1"
		message.Properties = map[string]string{"alert": "false"}
		fmt.Println(c.Send(ctx, message))
		return nil
	})
	// Output: <nil>
}

// A command of a component.
func ExampleClient_HandleCommand() {
	onHub(func(ctx context.Context, connectionString string, options *device.Options, back *service.Client) error {
		c, err := device.Dial(ctx, connectionString, options)
		if err != nil {
			return err
		}
		defer c.Close(ctx)
		report := func(_ context.Context, call device.MethodCall) (int, any) {
			var since time.Time
			if err := call.Decode(&since); err != nil {
				return 400, map[string]string{"message": err.Error()}
			}
			return 200, map[string]any{"maxTemp": 98.34, "startTime": since}
		}
		if err := c.HandleCommand(ctx, "thermostat1", "getMaxMinReport", report); err != nil {
			return err
		}
		// What a back end does:
		result, err := back.InvokeComponentCommand(ctx, "my-pnp-device", "thermostat1", "getMaxMinReport", "2020-10-21T14:00:00Z", nil)
		if err != nil {
			return err
		}
		fmt.Printf("%d %s\n", result.Status, result.Payload)
		return nil
	})
	// Output: 200 {"maxTemp":98.34,"startTime":"2020-10-21T14:00:00Z"}
}

// A writable property: the device does as it is told and acknowledges by the convention of IoT Plug and Play.
func ExampleClient_HandleDesired() {
	onHub(func(ctx context.Context, connectionString string, options *device.Options, back *service.Client) error {
		c, err := device.Dial(ctx, connectionString, options)
		if err != nil {
			return err
		}
		defer c.Close(ctx)
		acknowledged := make(chan int64)
		follow := func(ctx context.Context, d device.Desired) {
			var want struct {
				Target json.RawMessage `json:"targetTemperature"`
			}
			if d.Decode(&want) != nil || want.Target == nil {
				return
			}
			version, err := c.UpdateReported(ctx, map[string]any{
				"targetTemperature": map[string]any{"value": want.Target, "ac": 200, "av": d.Version, "ad": "done"},
			})
			if err == nil {
				acknowledged <- version
			}
		}
		if err := c.HandleDesired(ctx, follow); err != nil {
			return err
		}
		// What a back end does:
		if _, err := back.UpdateTwin(ctx, "my-pnp-device", service.TwinPatch{Desired: map[string]any{"targetTemperature": 42}}, ""); err != nil {
			return err
		}
		fmt.Println("acknowledged in version", <-acknowledged)
		return nil
	})
	// Output: acknowledged in version 2
}
