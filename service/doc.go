// Package service is the client of a back end for an IoT hub: it registers devices, reads and changes twins and digital
// twins, calls direct methods and commands, queries twins, and reads the events that devices and the hub send. It speaks
// the service API of Azure IoT Hub, version 2021-04-12, so it serves Azure and twinhub alike.
//
//	c, err := service.NewClient(os.Getenv("IOTHUB_CONNECTION_STRING"), nil)
//	twin, err := c.GetTwin(ctx, "my-pnp-device")
//	fmt.Println(twin.ModelID)
//	twin, err = c.UpdateTwin(ctx, "my-pnp-device", service.TwinPatch{Desired: map[string]any{"targetTemperature": 42}}, twin.ETag)
//
// The main types are [Client], for everything over HTTPS, and [Events], which reads the built-in Event Hubs endpoint and
// has a connection string of its own, which [FindEvents] asks the hub for. What the hub refuses is an [*Error].
//
// Wherever JSON goes out, the caller passes any value: a json.RawMessage is sent as it is, byte for byte, anything else
// is encoded by encoding/json, without its escaping of <, > and &. Wherever JSON comes back, the text stays available
// (Twin.Raw, DigitalTwin.Raw, MethodResult.Payload), so that members this package has no name for, and numbers of any
// length, are not lost.
//
// Invariant: a request is sent once. Nothing is retried here, because only the caller knows what may happen twice;
// [Error.Temporary] says when trying again can help.
package service
