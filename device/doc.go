// Package device is the client of a device, or of a module of a device, for an IoT hub: it sends telemetry, reads its
// twin and reports properties, hears of desired properties, and answers direct methods and commands. It speaks MQTT
// 3.1.1 over TLS as Azure IoT Hub defines it, so it serves Azure and twinhub alike.
//
//	c, err := device.Dial(ctx, connectionString, &device.Options{ModelID: "dtmi:com:example:Thermostat;1"})
//	defer c.Close(ctx)
//	err = c.HandleCommand(ctx, "", "getMaxMinReport", func(ctx context.Context, call device.MethodCall) (int, any) {
//		return 200, map[string]any{"maxTemp": 10.96}
//	})
//	err = c.HandleDesired(ctx, func(ctx context.Context, d device.Desired) { ... })
//	version, err := c.UpdateReported(ctx, map[string]any{"maxTempSinceLastReboot": 10.96})
//	m, err := device.JSONMessage(map[string]any{"temperature": 12})
//	err = c.Send(ctx, m)
//
// The main type is [Client]. It keeps itself connected: when the connection is lost it connects again, with exponential
// back-off and jitter, subscribes again, and repeats what the hub has not acknowledged; before its token expires it
// connects again with a new one, since MQTT has no other way. Calls wait meanwhile, as long as their context lets them.
//
// Invariant: a call that returned nil was acknowledged by the hub; one that returned an error may have taken effect.
package device
