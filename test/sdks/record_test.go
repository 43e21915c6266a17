package sdks

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twinhub/twinhub/device"
	"github.com/twinhub/twinhub/hubtest"
	"github.com/twinhub/twinhub/internal/wire/mqtt"
	backend "github.com/twinhub/twinhub/service"
	"github.com/twinhub/twinhub/test/sdks/record"
)

// recordAt is the recorder's address and name. It has ports 443 and 8883 for itself, since the SDKs know no others.
const recordAt = "127.0.0.44"

// differencesFile lists what our SDK says differently from Microsoft's, with reasons. The tests hold it to be exact.
const differencesFile = "../../docs/sdk-differences.md"

const (
	recordDevice = "my-pnp-device"
	recordModel  = "dtmi:com:example:Thermostat;1"
	recordKey    = "MDEyMzQ1Njc4OUFCQ0RFRg==" // of the device that is registered and changed
)

// recording is a hub with a recorder before it.
type recording struct {
	t     testing.TB
	front *record.Front
	hub   *hubtest.Hub
	back  *backend.Client // not recorded
	asHub *hub            // the recorder, as the programs see it
}

func startRecording(t testing.TB) *recording {
	t.Helper()
	h := hubtest.Start(t, hubtest.Options{Hostnames: []string{recordAt}})
	trust := h.ClientTLS()
	trust.ServerName = recordAt
	front, err := record.Listen(recordAt, "443", "8883", h.HTTPS, h.MQTTS, trust)
	if errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.EADDRNOTAVAIL) {
		skipOrFail(t, "the SDKs cannot be told other ports than 443: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := front.Close(); err != nil {
			t.Error(err)
		}
	})
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, front.CA, 0o600); err != nil {
		t.Fatal(err)
	}
	back, err := backend.NewClient(h.ConnectionString, &backend.Options{Address: h.HTTPS, TLS: trust})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(back.Close)
	return &recording{t: t, front: front, hub: h, back: back, asHub: &hub{env: map[string]string{
		"IOTHUB_CONNECTION_STRING": h.ConnectionString, "TWINHUB_CA_FILE": ca, "TWINHUB_CA_BUNDLE": ca,
	}}}
}

// anew makes the page's device anew, so that each client finds the same, and returns its connection string.
func (r *recording) anew() string {
	r.t.Helper()
	ctx := r.t.Context()
	if err := r.back.DeleteDevice(ctx, recordDevice, ""); err != nil && !strings.Contains(err.Error(), "DeviceNotFound") {
		r.t.Fatal(err)
	}
	d, err := r.back.CreateDevice(ctx, &backend.Device{DeviceID: recordDevice})
	if err != nil {
		r.t.Fatal(err)
	}
	return r.back.ConnectionString(d)
}

// run makes a client take each step and returns what it said in each.
func (r *recording) run(steps []string, take func(step string)) map[string]record.Words {
	r.t.Helper()
	said := map[string]record.Words{}
	r.front.Take()
	for _, step := range steps {
		take(step)
		requests, packets := r.front.Take()
		said[step] = record.NewWords(r.t, requests, packets)
	}
	return said
}

// program makes a program take each step.
func (r *recording) program(steps []string, cmd *exec.Cmd, after func(step string)) map[string]record.Words {
	r.t.Helper()
	p := startProcess(r.t, cmd)
	said := r.run(steps, func(step string) {
		p.say(step)
		p.until(step, time.Minute, func(line string) bool { return line == "done" })
		after(step)
	})
	if _, err := p.end(time.Minute); err != nil {
		r.t.Fatalf("%s: %v\n%s", p.name(), err, p.stderr)
	}
	return said
}

// serviceSteps are the page's snippets for a back end, and a few beside them that Python and Node have in common.
var serviceSteps = []string{
	"get-twin", "update-twin", "update-twin-component", "invoke-method", "invoke-method-component", "invoke-method-timeouts",
	"get-digital-twin", "update-digital-twin", "update-digital-twin-component", "invoke-command", "invoke-command-component", "query",
	"create-device", "get-device", "update-device", "list-devices", "delete-device",
}

// ourService takes serviceSteps with our client.
func ourService(ctx context.Context, c *backend.Client) func(step string) error {
	const since = "2020-10-21T14:00:00.000Z"
	timeouts := &backend.CallOptions{ConnectTimeout: 3 * time.Second, ResponseTimeout: 7 * time.Second}
	update := func(replace bool, patch backend.TwinPatch) error {
		twin, err := c.GetTwin(ctx, recordDevice)
		if err != nil {
			return err
		}
		if replace {
			_, err = c.ReplaceTwin(ctx, recordDevice, patch, twin.ETag)
		} else {
			_, err = c.UpdateTwin(ctx, recordDevice, patch, twin.ETag)
		}
		return err
	}
	patch := func(path string) error {
		_, err := c.UpdateDigitalTwin(ctx, recordDevice, []backend.PatchOperation{{Op: "add", Path: path, Value: 42}}, "")
		return err
	}
	snippets := map[string]func() error{
		"get-twin": func() error { _, err := c.GetTwin(ctx, recordDevice); return err },
		"update-twin": func() error {
			return update(false, backend.TwinPatch{Desired: map[string]any{"targetTemperature": 42}})
		},
		"update-twin-component": func() error {
			return update(false, backend.TwinPatch{Desired: map[string]any{"thermostat1": map[string]any{"__t": "c", "targetTemperature": 42}}})
		},
		"replace-twin": func() error {
			return update(true, backend.TwinPatch{Tags: map[string]any{"site": "a"}, Desired: map[string]any{"targetTemperature": 20}})
		},
		"invoke-method": func() error {
			_, err := c.InvokeMethod(ctx, recordDevice, "getMaxMinReport", since, nil)
			return err
		},
		"invoke-method-component": func() error {
			_, err := c.InvokeMethod(ctx, recordDevice, backend.ComponentMethod("thermostat1", "getMaxMinReport"), since, nil)
			return err
		},
		"invoke-method-timeouts": func() error {
			_, err := c.InvokeMethod(ctx, recordDevice, "getMaxMinReport", map[string]any{"since": 1.5}, timeouts)
			return err
		},
		"get-digital-twin":              func() error { _, err := c.GetDigitalTwin(ctx, recordDevice); return err },
		"update-digital-twin":           func() error { return patch("/targetTemperature") },
		"update-digital-twin-component": func() error { return patch("/thermostat1/targetTemperature") },
		"invoke-command": func() error {
			_, err := c.InvokeCommand(ctx, recordDevice, "getMaxMinReport", since, timeouts)
			return err
		},
		"invoke-command-component": func() error {
			_, err := c.InvokeComponentCommand(ctx, recordDevice, "thermostat1", "getMaxMinReport", since, timeouts)
			return err
		},
		"query": func() error { _, err := c.QueryPage(ctx, "SELECT * FROM devices", "", 10); return err },
		"create-device": func() error {
			_, err := c.CreateDevice(ctx, &backend.Device{DeviceID: "other-device+1"})
			return err
		},
		"get-device": func() error { _, err := c.GetDevice(ctx, "other-device+1"); return err },
		"update-device": func() error {
			read, err := c.GetDevice(ctx, "other-device+1")
			if err != nil {
				return err
			}
			_, err = c.UpdateDevice(ctx, &backend.Device{
				DeviceID: read.DeviceID, ETag: read.ETag, Status: "disabled", StatusReason: "being repaired",
				Authentication: &backend.Authentication{Type: "sas", SymmetricKey: &backend.SymmetricKey{PrimaryKey: recordKey, SecondaryKey: recordKey}},
			})
			return err
		},
		"list-devices":  func() error { _, err := c.ListDevices(ctx, 10); return err },
		"delete-device": func() error { return c.DeleteDevice(ctx, "other-device+1", "") },
	}
	return func(step string) error { return snippets[step]() }
}

// TestServiceRequests compares the requests of our back-end client with those of Python's azure-iot-hub and Node's
// azure-iothub, snippet by snippet.
func TestServiceRequests(t *testing.T) {
	r := startRecording(t)
	ctx := t.Context()
	// connect connects a device that answers everything, without the recorder.
	connect := func(t *testing.T) {
		t.Helper()
		trust := r.hub.ClientTLS()
		trust.ServerName = recordAt
		d, err := device.Dial(ctx, r.anew(), &device.Options{Address: r.hub.MQTTS, TLS: trust, ModelID: recordModel})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := d.Close(context.WithoutCancel(ctx)); err != nil {
				t.Error(err)
			}
		})
		if err := d.HandleMethod(ctx, "", func(context.Context, device.MethodCall) (int, any) { return 200, nil }); err != nil {
			t.Fatal(err)
		}
	}
	ours := func(t *testing.T, steps []string) map[string]record.Words {
		t.Helper()
		connect(t)
		trust := r.hub.ClientTLS()
		trust.ServerName, trust.RootCAs = recordAt, roots(t, r.asHub)
		c, err := backend.NewClient(r.hub.ConnectionString, &backend.Options{TLS: trust})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		take := ourService(ctx, c)
		return r.run(steps, func(step string) {
			if err := take(step); err != nil {
				t.Fatalf("%s: %v", step, err)
			}
		})
	}
	t.Run("Python", func(t *testing.T) {
		steps := append(slices.Clone(serviceSteps), "replace-twin")
		connect(t)
		theirs := r.program(steps, pythonCommand(t, r.asHub, "python/record_service.py", recordDevice), func(string) {})
		record.Compare(t, differencesFile, "azure-iot-hub", theirs, ours(t, steps))
	})
	t.Run("Node", func(t *testing.T) {
		connect(t)
		theirs := r.program(serviceSteps, nodeCommand(t, r.asHub, true, "record_service.js", recordDevice), func(string) {})
		record.Compare(t, differencesFile, "azure-iothub", theirs, ours(t, serviceSteps))
	})
}

// deviceSteps are what the page's device does.
var deviceSteps = []string{
	"connect", "telemetry", "telemetry-component", "telemetry-properties", "telemetry-ids", "get-twin", "report", "method", "desired", "disconnect",
}

// ourDevice takes deviceSteps with our client.
func ourDevice(ctx context.Context, connectionString string, o *device.Options) func(step string) error {
	var c *device.Client
	send := func(m device.Message) error { return c.Send(ctx, m) }
	json12 := device.Message{Body: []byte(`{"temperature": 12}`), ContentType: "application/json", ContentEncoding: "utf-8"}
	steps := map[string]func() error{
		"connect": func() (err error) {
			c, err = device.Dial(ctx, connectionString, o)
			return err
		},
		"telemetry": func() error { return send(json12) },
		"telemetry-component": func() error {
			m := json12
			m.Component = "thermostat1"
			return send(m)
		},
		"telemetry-properties": func() error {
			m := json12
			m.Properties = map[string]string{"colour": "blue & green/50%", "größe": "ä+b"}
			return send(m)
		},
		"telemetry-ids": func() error {
			return send(device.Message{Body: []byte("12"), MessageID: "m 1/2", CorrelationID: "c+1"})
		},
		"get-twin": func() error { _, err := c.Twin(ctx); return err },
		"report": func() error {
			_, err := c.UpdateReported(ctx, map[string]any{"maxTempSinceLastReboot": 10.96})
			return err
		},
		"method": func() error {
			return c.HandleMethod(ctx, "getMaxMinReport", func(context.Context, device.MethodCall) (int, any) {
				return 200, map[string]any{"maxTemp": 98.34}
			})
		},
		"desired":    func() error { return c.HandleDesired(ctx, func(context.Context, device.Desired) {}) },
		"disconnect": func() error { return c.Close(ctx) },
	}
	return func(step string) error { return steps[step]() }
}

// TestDevicePackets compares the MQTT packets of our device client with those of Python's azure-iot-device and Node's
// azure-iot-device-mqtt, step by step.
func TestDevicePackets(t *testing.T) {
	r := startRecording(t)
	ctx := t.Context()
	after := func(step string) {
		switch step {
		case "desired": // Node subscribes when it finds the time
			deadline := time.Now().Add(10 * time.Second)
			for !r.front.Said(func(p mqtt.Packet) bool { return p.Type() == mqtt.TypeSubscribe }) {
				if time.Now().After(deadline) {
					t.Fatal("no SUBSCRIBE for desired properties")
				}
				time.Sleep(5 * time.Millisecond)
			}
		case "method": // its answer belongs to the step
			if _, err := r.back.InvokeMethod(ctx, recordDevice, "getMaxMinReport", "now", &backend.CallOptions{ConnectTimeout: 5 * time.Second, ResponseTimeout: 10 * time.Second}); err != nil {
				t.Fatal(err)
			}
		case "disconnect": // the hub has seen the packet when it says so
			deadline := time.Now().Add(10 * time.Second)
			for twin, err := r.back.GetTwin(ctx, recordDevice); err != nil || twin.ConnectionState != "Disconnected"; twin, err = r.back.GetTwin(ctx, recordDevice) {
				if err != nil || time.Now().After(deadline) {
					t.Fatalf("%s is still connected; %v", recordDevice, err)
				}
			}
		}
	}
	ours := func(t *testing.T) map[string]record.Words {
		t.Helper()
		trust := r.hub.ClientTLS()
		trust.ServerName, trust.RootCAs = recordAt, roots(t, r.asHub)
		take := ourDevice(ctx, r.anew(), &device.Options{TLS: trust, ModelID: recordModel})
		return r.run(deviceSteps, func(step string) {
			if err := take(step); err != nil {
				t.Fatalf("%s: %v", step, err)
			}
			after(step)
		})
	}
	t.Run("Python", func(t *testing.T) {
		theirs := r.program(deviceSteps, pythonCommand(t, r.asHub, "python/record_device.py", r.anew(), recordModel), after)
		record.Compare(t, differencesFile, "azure-iot-device", theirs, ours(t))
	})
	t.Run("Node", func(t *testing.T) {
		theirs := r.program(deviceSteps, nodeCommand(t, r.asHub, true, "record_device.js", r.anew(), recordModel), after)
		record.Compare(t, differencesFile, "azure-iot-device-mqtt", theirs, ours(t))
	})
}
