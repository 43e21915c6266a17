package service_test

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/hubtest"
	"github.com/twinhub/twinhub/service"
)

// Read the telemetry of a device with components.
func ExampleOpenEvents() {
	onHub(true, func(ctx context.Context, _ string, _ *service.Options, h *hubtest.Hub) error {
		events, err := service.OpenEvents(ctx, h.EventHubConnectionString, &service.EventsOptions{Earliest: true, TLS: h.ClientTLS(), Address: h.AMQPS})
		if err != nil {
			return err
		}
		defer events.Close(ctx)
		left := 2
		for event, err := range events.All(ctx) {
			if err != nil {
				return err
			}
			if event.Source != twinhub.Telemetry {
				continue
			}
			fmt.Printf("%s %s %s %s\n", event.DeviceID, event.ModelID, event.Component, event.Body)
			if left--; left == 0 {
				break
			}
		}
		return nil
	})
	// Output:
	// my-pnp-device dtmi:com:example:TemperatureController;1 thermostat1 {"temperature":45}
	// my-pnp-device dtmi:com:example:TemperatureController;1 thermostat2 {"temperature":45}
}

// Read what changed in device twins. The hub needs a route for it: Azure's message routing, or twinhub's
// --route twinChangeEvents.
func ExampleEvents_All_twinChanges() {
	onHub(false, func(ctx context.Context, _ string, _ *service.Options, h *hubtest.Hub) error {
		events, err := service.OpenEvents(ctx, h.EventHubConnectionString, &service.EventsOptions{Earliest: true, TLS: h.ClientTLS(), Address: h.AMQPS})
		if err != nil {
			return err
		}
		defer events.Close(ctx)
		for event, err := range events.All(ctx) {
			if err != nil {
				return err
			}
			if event.Source != twinhub.TwinChange {
				continue
			}
			var change struct {
				Version    int `json:"version"`
				Properties struct {
					Reported struct {
						MaxTemp float64 `json:"maxTempSinceLastReboot"`
						Version int     `json:"$version"`
					} `json:"reported"`
				} `json:"properties"`
			}
			if err := json.Unmarshal(event.Body, &change); err != nil {
				return err
			}
			fmt.Println(event.DeviceID, event.Properties["iothub-message-schema"], event.Properties["opType"])
			fmt.Printf("%+v\n", change)
			break
		}
		return nil
	})
	// Output:
	// my-pnp-device twinChangeNotification updateTwin
	// {Version:3 Properties:{Reported:{MaxTemp:10.96 Version:2}}}
}

// Read what changed in digital twins: the body is a JSON Patch.
func ExampleEvents_All_digitalTwinChanges() {
	onHub(true, func(ctx context.Context, _ string, _ *service.Options, h *hubtest.Hub) error {
		events, err := service.OpenEvents(ctx, h.EventHubConnectionString, &service.EventsOptions{Earliest: true, TLS: h.ClientTLS(), Address: h.AMQPS})
		if err != nil {
			return err
		}
		defer events.Close(ctx)
		left := 2 // the model, then the component's property
		for event, err := range events.All(ctx) {
			if err != nil {
				return err
			}
			if event.Source != twinhub.DigitalTwinChange {
				continue
			}
			var patch []struct{ Op, Path string }
			if err := json.Unmarshal(event.Body, &patch); err != nil {
				return err
			}
			fmt.Println(event.ContentType, event.Properties["iothub-message-schema"])
			fmt.Printf("%+v\n", patch)
			if left--; left == 0 {
				break
			}
		}
		return nil
	})
	// Output:
	// application/json-patch+json digitalTwinChangeNotification
	// [{Op:replace Path:/$metadata/$model}]
	// application/json-patch+json digitalTwinChangeNotification
	// [{Op:add Path:/thermostat1}]
}
