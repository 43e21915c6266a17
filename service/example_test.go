package service_test

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/device"
	"github.com/twinhub/twinhub/hubtest"
	"github.com/twinhub/twinhub/service"
)

// onHub runs an example on a hub of its own, where my-pnp-device is connected: a Thermostat, or a TemperatureController
// if components is set. It needs no account and no network.
func onHub(components bool, example func(ctx context.Context, connectionString string, options *service.Options, h *hubtest.Hub) error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err := hubtest.Run(hubtest.Options{Routes: []string{"twinChangeEvents", "digitalTwinChangeEvents"}}, func(h *hubtest.Hub) {
		options := &service.Options{Address: h.HTTPS, TLS: h.ClientTLS()}
		if err := withDevice(ctx, components, options, h, func() error { return example(ctx, h.ConnectionString, options, h) }); err != nil {
			fmt.Println(err)
		}
	})
	if err != nil {
		fmt.Println(err)
	}
}

// withDevice connects the device while f runs.
func withDevice(ctx context.Context, components bool, o *service.Options, h *hubtest.Hub, f func() error) error {
	c, err := service.NewClient(h.ConnectionString, o)
	if err != nil {
		return err
	}
	defer c.Close()
	registered, err := c.CreateDevice(ctx, &service.Device{DeviceID: "my-pnp-device"})
	if err != nil {
		return err
	}
	model, report := "dtmi:com:example:Thermostat;1", `{"maxTempSinceLastReboot":10.96}`
	if components {
		model, report = "dtmi:com:example:TemperatureController;1", `{"thermostat1":{"maxTempSinceLastReboot":98.34,"__t":"c"}}`
	}
	d, err := device.Dial(ctx, c.ConnectionString(registered), &device.Options{Address: h.MQTTS, TLS: h.ClientTLS(), ModelID: model})
	if err != nil {
		return err
	}
	defer d.Close(ctx)
	answer := func(_ context.Context, call device.MethodCall) (int, any) {
		component, _ := call.Component()
		return 200, map[string]any{"component": component, "maxTemp": 98.34, "startTime": call.Payload}
	}
	if err := d.HandleMethod(ctx, "", answer); err != nil {
		return err
	}
	if _, err := d.UpdateReported(ctx, json.RawMessage(report)); err != nil {
		return err
	}
	for _, component := range map[bool][]string{false: {""}, true: {"thermostat1", "thermostat2"}}[components] {
		m, err := device.JSONMessage(map[string]any{"temperature": 45})
		if err != nil {
			return err
		}
		m.Component = component
		if err := d.Send(ctx, m); err != nil {
			return err
		}
	}
	return f()
}

// Get the device twin and its model id.
func ExampleClient_GetTwin() {
	onHub(false, func(ctx context.Context, connectionString string, options *service.Options, _ *hubtest.Hub) error {
		c, err := service.NewClient(connectionString, options) // nil for a hub on port 443 with a public certificate
		if err != nil {
			return err
		}
		defer c.Close()
		twin, err := c.GetTwin(ctx, "my-pnp-device")
		if err != nil {
			return err
		}
		var reported struct {
			MaxTemp float64 `json:"maxTempSinceLastReboot"`
		}
		if err := json.Unmarshal(twin.Properties.Reported, &reported); err != nil {
			return err
		}
		fmt.Println(twin.ModelID)
		fmt.Println(twin.ConnectionState, reported.MaxTemp)
		return nil
	})
	// Output:
	// dtmi:com:example:Thermostat;1
	// Connected 10.96
}

// Update a property of the device's default component, if nobody else has changed the twin since it was read.
func ExampleClient_UpdateTwin() {
	onHub(false, func(ctx context.Context, connectionString string, options *service.Options, _ *hubtest.Hub) error {
		c, err := service.NewClient(connectionString, options)
		if err != nil {
			return err
		}
		defer c.Close()
		twin, err := c.GetTwin(ctx, "my-pnp-device")
		if err != nil {
			return err
		}
		patch := service.TwinPatch{Desired: map[string]any{"targetTemperature": 42}}
		updated, err := c.UpdateTwin(ctx, "my-pnp-device", patch, twin.ETag)
		if err != nil {
			return err
		}
		fmt.Println(twin.ETag, updated.ETag)
		_, err = c.UpdateTwin(ctx, "my-pnp-device", patch, twin.ETag) // the etag is that of before
		fmt.Println(service.HasCode(err, twinhub.CodePreconditionFailed))
		return nil
	})
	// Output:
	// AAAAAAAAAAE= AAAAAAAAAAI=
	// true
}

// Update a property of a component: "__t":"c" marks an object as one.
func ExampleClient_UpdateTwin_component() {
	onHub(true, func(ctx context.Context, connectionString string, options *service.Options, _ *hubtest.Hub) error {
		c, err := service.NewClient(connectionString, options)
		if err != nil {
			return err
		}
		defer c.Close()
		twin, err := c.GetTwin(ctx, "my-pnp-device")
		if err != nil {
			return err
		}
		patch := service.TwinPatch{Desired: map[string]any{
			"thermostat1": map[string]any{"__t": "c", "targetTemperature": 42},
		}}
		updated, err := c.UpdateTwin(ctx, "my-pnp-device", patch, twin.ETag)
		if err != nil {
			return err
		}
		var desired struct {
			Thermostat1 struct {
				Target float64 `json:"targetTemperature"`
			} `json:"thermostat1"`
			Version int `json:"$version"`
		}
		if err := json.Unmarshal(updated.Properties.Desired, &desired); err != nil {
			return err
		}
		fmt.Println(desired.Thermostat1.Target, desired.Version)
		return nil
	})
	// Output: 42 2
}

// Call a command of the default component as a direct method.
func ExampleClient_InvokeMethod() {
	onHub(false, func(ctx context.Context, connectionString string, options *service.Options, _ *hubtest.Hub) error {
		c, err := service.NewClient(connectionString, options)
		if err != nil {
			return err
		}
		defer c.Close()
		since := time.Date(2020, 10, 21, 14, 0, 0, 0, time.UTC)
		result, err := c.InvokeMethod(ctx, "my-pnp-device", "getMaxMinReport", since, nil)
		if err != nil {
			return err
		}
		fmt.Printf("%d %s\n", result.Status, result.Payload)
		return nil
	})
	// Output: 200 {"component":"","maxTemp":98.34,"startTime":"2020-10-21T14:00:00Z"}
}

// Call a command of a component as a direct method.
func ExampleClient_InvokeMethod_component() {
	onHub(true, func(ctx context.Context, connectionString string, options *service.Options, _ *hubtest.Hub) error {
		c, err := service.NewClient(connectionString, options)
		if err != nil {
			return err
		}
		defer c.Close()
		since := time.Date(2020, 10, 21, 14, 0, 0, 0, time.UTC)
		method := service.ComponentMethod("thermostat1", "getMaxMinReport") // thermostat1*getMaxMinReport
		result, err := c.InvokeMethod(ctx, "my-pnp-device", method, since, nil)
		if err != nil {
			return err
		}
		fmt.Printf("%d %s\n", result.Status, result.Payload)
		return nil
	})
	// Output: 200 {"component":"thermostat1","maxTemp":98.34,"startTime":"2020-10-21T14:00:00Z"}
}

// Get the digital twin and its model id.
func ExampleClient_GetDigitalTwin() {
	onHub(true, func(ctx context.Context, connectionString string, options *service.Options, _ *hubtest.Hub) error {
		c, err := service.NewClient(connectionString, options)
		if err != nil {
			return err
		}
		defer c.Close()
		twin, err := c.GetDigitalTwin(ctx, "my-pnp-device")
		if err != nil {
			return err
		}
		var controller struct {
			Thermostat1 struct {
				MaxTemp float64 `json:"maxTempSinceLastReboot"`
			} `json:"thermostat1"`
		}
		if err := json.Unmarshal(twin.Raw, &controller); err != nil {
			return err
		}
		fmt.Println("Model Id:", twin.ModelID)
		fmt.Println(controller.Thermostat1.MaxTemp)
		return nil
	})
	// Output:
	// Model Id: dtmi:com:example:TemperatureController;1
	// 98.34
}

// Update a property of the default component through the digital twin.
func ExampleClient_UpdateDigitalTwin() {
	onHub(false, func(ctx context.Context, connectionString string, options *service.Options, _ *hubtest.Hub) error {
		c, err := service.NewClient(connectionString, options)
		if err != nil {
			return err
		}
		defer c.Close()
		patch := []service.PatchOperation{{Op: "add", Path: "/targetTemperature", Value: 42}}
		etag, err := c.UpdateDigitalTwin(ctx, "my-pnp-device", patch, "")
		if err != nil {
			return err
		}
		fmt.Println(etag)
		return nil
	})
	// Output: "AAAAAAAAAAI="
}

// Update a property of a component through the digital twin, if nobody else has changed the twin since it was read.
func ExampleClient_UpdateDigitalTwin_component() {
	onHub(true, func(ctx context.Context, connectionString string, options *service.Options, _ *hubtest.Hub) error {
		c, err := service.NewClient(connectionString, options)
		if err != nil {
			return err
		}
		defer c.Close()
		twin, err := c.GetDigitalTwin(ctx, "my-pnp-device")
		if err != nil {
			return err
		}
		patch := []service.PatchOperation{{Op: "add", Path: "/thermostat1/targetTemperature", Value: 42}}
		if _, err := c.UpdateDigitalTwin(ctx, "my-pnp-device", patch, twin.ETag); err != nil {
			return err
		}
		if twin, err = c.GetDigitalTwin(ctx, "my-pnp-device"); err != nil {
			return err
		}
		var controller struct {
			Thermostat1 struct {
				Metadata struct {
					Target struct {
						DesiredValue   float64 `json:"desiredValue"`
						DesiredVersion int     `json:"desiredVersion"`
					} `json:"targetTemperature"`
				} `json:"$metadata"`
			} `json:"thermostat1"`
		}
		if err := json.Unmarshal(twin.Raw, &controller); err != nil {
			return err
		}
		fmt.Printf("%+v\n", controller.Thermostat1.Metadata.Target)
		return nil
	})
	// Output: {DesiredValue:42 DesiredVersion:2}
}

// Call a command of the default component.
func ExampleClient_InvokeCommand() {
	onHub(false, func(ctx context.Context, connectionString string, options *service.Options, _ *hubtest.Hub) error {
		c, err := service.NewClient(connectionString, options)
		if err != nil {
			return err
		}
		defer c.Close()
		since := time.Date(2020, 10, 21, 14, 0, 0, 0, time.UTC)
		timeouts := &service.CallOptions{ConnectTimeout: 3 * time.Second, ResponseTimeout: 7 * time.Second}
		result, err := c.InvokeCommand(ctx, "my-pnp-device", "getMaxMinReport", since, timeouts)
		if err != nil {
			return err
		}
		fmt.Printf("%d %s\n", result.Status, result.Payload)
		return nil
	})
	// Output: 200 {"component":"","maxTemp":98.34,"startTime":"2020-10-21T14:00:00Z"}
}

// Call a command of a component.
func ExampleClient_InvokeComponentCommand() {
	onHub(true, func(ctx context.Context, connectionString string, options *service.Options, _ *hubtest.Hub) error {
		c, err := service.NewClient(connectionString, options)
		if err != nil {
			return err
		}
		defer c.Close()
		since := time.Date(2020, 10, 21, 14, 0, 0, 0, time.UTC)
		timeouts := &service.CallOptions{ConnectTimeout: 3 * time.Second, ResponseTimeout: 7 * time.Second}
		result, err := c.InvokeComponentCommand(ctx, "my-pnp-device", "thermostat1", "getMaxMinReport", since, timeouts)
		if err != nil {
			return err
		}
		fmt.Printf("%d %s\n", result.Status, result.Payload)
		return nil
	})
	// Output: 200 {"component":"thermostat1","maxTemp":98.34,"startTime":"2020-10-21T14:00:00Z"}
}

// All devices whose twin fits a condition. What was acknowledged before is always seen by twinhub; Azure lags behind.
func ExampleClient_QueryTwins() {
	onHub(false, func(ctx context.Context, connectionString string, options *service.Options, _ *hubtest.Hub) error {
		c, err := service.NewClient(connectionString, options)
		if err != nil {
			return err
		}
		defer c.Close()
		for twin, err := range c.QueryTwins(ctx, "SELECT * FROM devices WHERE deviceId = 'my-pnp-device'") {
			if err != nil {
				return err
			}
			fmt.Println(twin.DeviceID)
		}
		return nil
	})
	// Output: my-pnp-device
}
