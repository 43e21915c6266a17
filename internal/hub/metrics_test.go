package hub_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/device"
	"github.com/twinhub/twinhub/hubtest"
	"github.com/twinhub/twinhub/service"
)

// within is the patience of these tests with a busy machine.
const within = 30 * time.Second

// scrape returns what a running hub exports: the samples as they stand, name{labels}, with their values.
func scrape(t *testing.T, h *hubtest.Hub) map[string]float64 {
	t.Helper()
	resp, err := http.Get("http://" + h.Ops + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("/metrics: %d, %v", resp.StatusCode, err)
	}
	samples := map[string]float64{}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		at := strings.LastIndexByte(line, ' ')
		value, err := strconv.ParseFloat(strings.TrimSpace(line[at+1:]), 64)
		if err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		samples[line[:at]] = value
	}
	return samples
}

// await scrapes until the samples have the values.
func await(t *testing.T, h *hubtest.Hub, when string, want map[string]float64) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		got := scrape(t, h)
		var wrong []string
		for name, value := range want {
			if v, ok := got[name]; !ok || v != value {
				wrong = append(wrong, fmt.Sprintf("%s is %v (exported: %v), want %v", name, v, ok, value))
			}
		}
		if len(wrong) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s:\n%s", when, strings.Join(wrong, "\n"))
		}
	}
}

func start(t *testing.T) (*hubtest.Hub, *service.Client) {
	t.Helper()
	h := hubtest.Start(t)
	t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections)
	back, err := service.NewClient(h.ConnectionString, &service.Options{Address: h.HTTPS, TLS: h.ClientTLS()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(back.Close)
	return h, back
}

// TestMetricsOfADay lets a device, a back end and a reader of events do each thing that is counted.
func TestMetricsOfADay(t *testing.T) {
	h, back := start(t)
	ctx := t.Context()
	await(t, h, "nobody there", map[string]float64{
		"twinhub_mqttfront_connections": 0, "twinhub_httpfront_connections": 0, "twinhub_amqpfront_connections": 0, "twinhub_session_devices": 0,
	})
	registered, err := back.CreateDevice(ctx, &service.Device{DeviceID: "d1"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := back.CreateDevice(ctx, &service.Device{DeviceID: "offline"}); err != nil {
		t.Fatal(err)
	}
	d, err := device.Dial(ctx, back.ConnectionString(registered), &device.Options{Address: h.MQTTS, TLS: h.ClientTLS()})
	if err != nil {
		t.Fatal(err)
	}
	await(t, h, "connected", map[string]float64{
		"twinhub_mqttfront_connections": 1, "twinhub_httpfront_connections": 1, "twinhub_session_devices": 1, "twinhub_session_queue_transitions": 0,
	})
	for _, body := range []string{"12345", "1234567"} {
		if err := d.Send(ctx, device.Message{Body: []byte(body)}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := d.UpdateReported(ctx, map[string]any{"a": 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := back.UpdateTwin(ctx, "d1", service.TwinPatch{Tags: map[string]any{"b": 1}, Desired: map[string]any{"c": 1}}, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := back.UpdateDigitalTwin(ctx, "d1", []service.PatchOperation{{Op: "add", Path: "/e", Value: 1}}, ""); err != nil {
		t.Fatal(err)
	}
	if err := d.HandleCommand(ctx, "", "m", func(_ context.Context, _ device.MethodCall) (int, any) { return 500, nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := back.InvokeMethod(ctx, "d1", "m", nil, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := back.InvokeMethod(ctx, "offline", "m", nil, nil); !service.HasCode(err, twinhub.CodeDeviceNotOnline) {
		t.Fatalf("a method of a device that is offline: %v", err)
	}
	await(t, h, "all done", map[string]float64{
		"twinhub_telemetry_messages_total": 2, "twinhub_telemetry_body_bytes_total": 12, "twinhub_telemetry_unrouted_messages_total": 0,
		`twinhub_telemetry_refused_messages_total{reason="too_large"}`: 0, `twinhub_telemetry_refused_messages_total{reason="storage"}`: 0,
		`twinhub_twin_updates_total{section="reported"}`: 1, `twinhub_twin_updates_total{section="desired"}`: 2, `twinhub_twin_updates_total{section="tags"}`: 1,
		`twinhub_method_calls_total{outcome="answered"}`: 1, `twinhub_method_calls_total{outcome="offline"}`: 1,
		`twinhub_method_calls_total{outcome="timed_out"}`: 0, `twinhub_method_calls_total{outcome="failed"}`: 0,
		"twinhub_engine_queue_commits": 0, "twinhub_engine_queue_bytes": 0,
	})

	events, err := service.OpenEvents(ctx, h.EventHubConnectionString, &service.EventsOptions{Earliest: true, Address: h.AMQPS, TLS: h.ClientTLS()})
	if err != nil {
		t.Fatal(err)
	}
	left := 2
	for _, err := range events.All(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		if left--; left == 0 {
			break
		}
	}
	await(t, h, "events read", map[string]float64{"twinhub_amqpfront_events_total": 2, "twinhub_amqpfront_connections": 1})
	if err := events.Close(ctx); err != nil {
		t.Error(err)
	}

	if err := d.Close(ctx); err != nil {
		t.Error(err)
	}
	back.Close()
	await(t, h, "all gone", map[string]float64{
		"twinhub_mqttfront_connections": 0, "twinhub_amqpfront_connections": 0, "twinhub_amqpfront_receivers": 0, "twinhub_session_devices": 0,
		"twinhub_httpfront_connections": 0, "twinhub_session_queue_transitions": 0,
	})
}

// TestMetricsOfRefusals makes each protocol refuse a token, and a connection.
func TestMetricsOfRefusals(t *testing.T) {
	h, back := start(t)
	ctx := t.Context()
	count := func(https, mqtt, amqp, broken float64) map[string]float64 {
		return map[string]float64{
			`twinhub_auth_refusals_total{class="denied",protocol="https"}`:   https,
			`twinhub_auth_refusals_total{class="denied",protocol="mqtt"}`:    mqtt,
			`twinhub_auth_refusals_total{class="denied",protocol="amqp"}`:    amqp,
			`twinhub_auth_refusals_total{class="rejected",protocol="https"}`: broken,
			`twinhub_auth_refusals_total{class="rejected",protocol="mqtt"}`:  broken,
			`twinhub_auth_refusals_total{class="rejected",protocol="amqp"}`:  broken,
		}
	}
	await(t, h, "nobody refused", count(0, 0, 0, 0))
	registered, err := back.CreateDevice(ctx, &service.Device{DeviceID: "d1"})
	if err != nil {
		t.Fatal(err)
	}
	// forged returns a connection string with another key.
	forged := func(cs string) string {
		before, rest, _ := strings.Cut(cs, "SharedAccessKey=")
		_, after, found := strings.Cut(rest, ";")
		if found {
			after = ";" + after
		}
		return before + "SharedAccessKey=Zm9yZ2Vk" + after
	}
	stranger, err := service.NewClient(forged(h.ConnectionString), &service.Options{Address: h.HTTPS, TLS: h.ClientTLS()})
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	for range 2 {
		if _, err := stranger.GetDevice(ctx, "d1"); err == nil {
			t.Error("HTTPS took a forged token")
		}
	}
	await(t, h, "HTTPS", count(2, 0, 0, 0))
	var refused *device.RefusedError
	if _, err := device.Dial(ctx, forged(back.ConnectionString(registered)), &device.Options{Address: h.MQTTS, TLS: h.ClientTLS()}); !errors.As(err, &refused) {
		t.Errorf("MQTT: got %v, want a refusal", err)
	}
	await(t, h, "MQTT", count(2, 1, 0, 0))
	if _, err := service.OpenEvents(ctx, forged(h.EventHubConnectionString), &service.EventsOptions{Address: h.AMQPS, TLS: h.ClientTLS()}); err == nil {
		t.Error("AMQP took a forged token")
	}
	await(t, h, "AMQP", count(2, 1, 1, 0))
	for _, address := range []string{h.HTTPS, h.MQTTS, h.AMQPS} {
		if nc, err := tls.Dial("tcp", address, &tls.Config{ServerName: "localhost"}); err == nil {
			nc.Close()
			t.Errorf("the certificate of %s is trusted by the system", address)
		}
	}
	await(t, h, "clients that do not trust the hub", count(2, 1, 1, 1))
}
