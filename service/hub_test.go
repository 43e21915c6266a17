package service_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/device"
	"github.com/twinhub/twinhub/hubtest"
	"github.com/twinhub/twinhub/service"
)

func newClient(t *testing.T, h *hubtest.Hub) *service.Client {
	t.Helper()
	c, err := service.NewClient(h.ConnectionString, &service.Options{Address: h.HTTPS, TLS: h.ClientTLS()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// An identity's life, with its etags.
func TestRegistry(t *testing.T) {
	c, ctx := newClient(t, hubtest.Start(t)), t.Context()
	d, err := c.CreateDevice(ctx, &service.Device{DeviceID: "d1"})
	if err != nil {
		t.Fatal(err)
	}
	if d.ETag == "" || d.Status != "enabled" || d.Authentication.SymmetricKey.PrimaryKey == "" || d.GenerationID == "" || len(d.Raw) == 0 {
		t.Errorf("created: got %+v", d)
	}
	if text := fmt.Sprintf("%v %+v %#v", d.Authentication.SymmetricKey, *d.Authentication.SymmetricKey, d.Authentication); strings.Contains(text, d.Authentication.SymmetricKey.PrimaryKey) {
		t.Errorf("a key is printed: %s", text)
	}
	if _, err := c.CreateDevice(ctx, &service.Device{DeviceID: "d1"}); !service.HasCode(err, twinhub.CodeDeviceAlreadyExists) {
		t.Errorf("create again: got %v, want DeviceAlreadyExists", err)
	}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("made", "device", d, "key", d.Authentication.SymmetricKey)
	if text := log.String(); strings.Contains(text, d.Authentication.SymmetricKey.PrimaryKey) || !strings.Contains(text, d.DeviceID) {
		t.Errorf("the log shows %s", text)
	}
	key, old := d.Authentication.SymmetricKey.PrimaryKey, d.ETag
	d.Status, d.StatusReason = "disabled", "a test"
	if d, err = c.UpdateDevice(ctx, d); err != nil {
		t.Fatal(err)
	}
	if d.Status != "disabled" || d.StatusReason != "a test" || d.ETag == old || d.Authentication.SymmetricKey.PrimaryKey != key {
		t.Errorf("updated: got %+v", d)
	}
	stale := *d
	stale.ETag = old
	if _, err := c.UpdateDevice(ctx, &stale); !service.HasCode(err, twinhub.CodePreconditionFailed) {
		t.Errorf("update with an old etag: got %v, want PreconditionFailed", err)
	}
	if err := c.DeleteDevice(ctx, "d1", old); !service.HasCode(err, twinhub.CodePreconditionFailed) {
		t.Errorf("delete with an old etag: got %v, want PreconditionFailed", err)
	}
	list, err := c.ListDevices(ctx, 10)
	if err != nil || len(list) != 1 || list[0].DeviceID != "d1" {
		t.Errorf("list: got %v, %v", list, err)
	}
	if err := c.DeleteDevice(ctx, "d1", d.ETag); err != nil {
		t.Error(err)
	}
	if _, err := c.GetDevice(ctx, "d1"); !service.HasCode(err, twinhub.CodeDeviceNotFound) {
		t.Errorf("get what was deleted: got %v, want DeviceNotFound", err)
	}
}

// What a hub answers to calls of a device that cannot take them.
func TestCallErrors(t *testing.T) {
	c, ctx := newClient(t, hubtest.Start(t)), t.Context()
	if _, err := c.CreateDevice(ctx, &service.Device{DeviceID: "d1"}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.InvokeMethod(ctx, "d1", "m", nil, nil); !service.HasCode(err, twinhub.CodeDeviceNotOnline) {
		t.Errorf("method: got %v, want DeviceNotOnline", err)
	}
	if _, err := c.InvokeCommand(ctx, "d2", "m", nil, nil); !service.HasCode(err, twinhub.CodeDeviceNotFound) {
		t.Errorf("command: got %v, want DeviceNotFound", err)
	}
	if _, err := c.InvokeMethod(ctx, "d1", "m", nil, &service.CallOptions{ResponseTimeout: time.Second}); !service.HasCode(err, twinhub.CodeArgumentInvalid) {
		t.Errorf("time-out of 1 s: got %v, want ArgumentInvalid", err)
	}
	short, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := c.GetTwin(short, "d1"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v", err)
	}
	untrusting, err := service.NewClient("HostName=localhost;SharedAccessKeyName=service;SharedAccessKey=AAAA", &service.Options{Address: "127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := untrusting.GetTwin(ctx, "d1"); err == nil {
		t.Error("a port where nobody listens: no error")
	}
}

// Events begins where it is told, goes on where it stopped, and hands on what a message carries.
func TestEvents(t *testing.T) {
	h := hubtest.Start(t)
	c, ctx := newClient(t, h), t.Context()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	registered, err := c.CreateDevice(ctx, &service.Device{DeviceID: "d1"})
	if err != nil {
		t.Fatal(err)
	}
	d, err := device.Dial(ctx, c.ConnectionString(registered), &device.Options{Address: h.MQTTS, TLS: h.ClientTLS(), ModelID: "dtmi:x;1"})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close(ctx)
	send := func(body string) {
		t.Helper()
		err := d.Send(ctx, device.Message{
			Body: []byte(body), MessageID: "m1", CorrelationID: "c1", UserID: "u1", ContentType: "text/plain", ContentEncoding: "utf-8", Component: "t1",
			Properties: map[string]string{"a": "b"},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	open := func(connectionString string, o service.EventsOptions) *service.Events {
		t.Helper()
		o.TLS = h.ClientTLS()
		events, err := service.OpenEvents(ctx, connectionString, &o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := events.Close(context.WithoutCancel(ctx)); err != nil {
				t.Error(err)
			}
		})
		return events
	}
	next := func(events *service.Events) *service.Event {
		t.Helper()
		for event, err := range events.All(ctx) {
			if err != nil {
				t.Fatal(err)
			}
			return event
		}
		return nil
	}
	send("before")
	secure, plain := service.EventsOptions{Address: h.AMQPS}, service.EventsOptions{}
	now := open(h.EventHubConnectionString, secure)
	send("one")
	send("two")
	e := next(now)
	if string(e.Body) != "one" || e.DeviceID != "d1" || e.Source != twinhub.Telemetry || e.Component != "t1" || e.ModelID != "dtmi:x;1" || e.MessageID != "m1" ||
		e.CorrelationID != "c1" || string(e.UserID) != "u1" || e.ContentType != "text/plain" || e.ContentEncoding != "utf-8" || e.Properties["a"] != "b" ||
		!strings.Contains(e.AuthMethod, `"sas"`) || e.GenerationID == "" || e.AcceptedTime.IsZero() || e.EnqueuedTime.Before(e.AcceptedTime) || e.SequenceNumber != 1 {
		t.Errorf("event: got %+v", e)
	}
	if two := next(now); string(two.Body) != "two" || two.SequenceNumber != 2 || two.Partition != e.Partition {
		t.Errorf("a later All: got %+v, want the event after", two)
	}
	secure.Earliest = true
	if got := next(open(h.EventHubConnectionString, secure)); string(got.Body) != "before" {
		t.Errorf("earliest: got %s", got.Body)
	}
	secure.Earliest, secure.From, secure.Partitions = false, e.EnqueuedTime, []string{e.Partition}
	if got := next(open(h.EventHubConnectionString, secure)); got.EnqueuedTime.Before(e.EnqueuedTime) {
		t.Errorf("from %v: got an event of %v", e.EnqueuedTime, got.EnqueuedTime)
	}
	plain.Earliest = true
	if got := next(open(h.EmulatorConnectionString, plain)); string(got.Body) != "before" {
		t.Errorf("plain: got %s", got.Body)
	}
	fromString := service.EventsOptions{Earliest: true} // without Address, the port comes from the string
	if got := next(open(h.EventHubConnectionString, fromString)); string(got.Body) != "before" {
		t.Errorf("port of the string: got %s", got.Body)
	}
	t.Run("end of the context", func(t *testing.T) {
		short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		defer cancel()
		var last error
		for event, err := range now.All(short) {
			if event != nil {
				t.Errorf("got %+v", event)
			}
			last = err
		}
		if !errors.Is(last, context.DeadlineExceeded) {
			t.Errorf("got %v, want the deadline", last)
		}
	})
	t.Run("at once", func(t *testing.T) {
		began := time.Now()
		var authority x509.UnknownAuthorityError
		if _, err := service.OpenEvents(ctx, h.EventHubConnectionString, &service.EventsOptions{Address: h.AMQPS, TLS: &tls.Config{RootCAs: x509.NewCertPool()}}); !errors.As(err, &authority) {
			t.Errorf("a hub that is not trusted: got %v", err)
		}
		if _, err := service.OpenEvents(ctx, h.EventHubConnectionString, &service.EventsOptions{Address: "127.0.0.1:1", TLS: h.ClientTLS()}); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("nobody listens: got %v", err)
		}
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("it took %v to say so", took)
		}
	})
	t.Run("refusals", func(t *testing.T) {
		for name, text := range map[string]string{
			"wrong key": strings.Replace(h.EventHubConnectionString, "SharedAccessKey=", "SharedAccessKey=x", 1),
			"no entity": strings.Split(h.EventHubConnectionString, ";EntityPath")[0],
			"no string": "Endpoint",
		} {
			if events, err := service.OpenEvents(ctx, text, &service.EventsOptions{Address: h.AMQPS, TLS: h.ClientTLS()}); err == nil {
				t.Errorf("%s: no error", name)
				events.Close(ctx)
			}
		}
	})
}

// FindEvents needs the hub's connection string and no more.
func TestFindEvents(t *testing.T) {
	h := hubtest.Start(t)
	c := newClient(t, h)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	registered, err := c.CreateDevice(ctx, &service.Device{DeviceID: "d1"})
	if err != nil {
		t.Fatal(err)
	}
	d, err := device.Dial(ctx, c.ConnectionString(registered), &device.Options{Address: h.MQTTS, TLS: h.ClientTLS()})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close(ctx)
	if err := d.Send(ctx, device.Message{Body: []byte("one")}); err != nil {
		t.Fatal(err)
	}
	found, err := service.FindEvents(ctx, h.ConnectionString, &service.EventsOptions{Address: h.AMQPS, TLS: h.ClientTLS()})
	if err != nil {
		t.Fatal(err)
	}
	events, err := service.OpenEvents(ctx, found, &service.EventsOptions{Earliest: true, TLS: h.ClientTLS()})
	if err != nil {
		t.Fatal(err)
	}
	for event, err := range events.All(ctx) {
		if err != nil || string(event.Body) != "one" {
			t.Errorf("got %+v, %v", event, err)
		}
		break
	}
	if err := events.Close(ctx); err != nil {
		t.Error(err)
	}
	atHub := service.EventsOptions{Address: h.AMQPS, TLS: h.ClientTLS()}
	for name, test := range map[string]struct {
		text, want string
		o          service.EventsOptions
	}{
		"wrong key":    {strings.Replace(h.ConnectionString, "SharedAccessKey=", "SharedAccessKey=AAAA", 1), "401", atHub},
		"a device's":   {c.ConnectionString(registered), "no policy", atHub},
		"no string":    {"HostName", "connection string", atHub},
		"not trusted":  {h.ConnectionString, "unknown authority", service.EventsOptions{Address: h.AMQPS, TLS: &tls.Config{RootCAs: x509.NewCertPool()}}},
		"nobody there": {h.ConnectionString, "refused", service.EventsOptions{Address: "127.0.0.1:1"}},
		"another door": {h.ConnectionString, "find events", service.EventsOptions{Address: h.MQTTS, TLS: h.ClientTLS()}},
	} {
		if found, err := service.FindEvents(ctx, test.text, &test.o); err == nil || found != "" || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %q, %v; want %q", name, found, err, test.want)
		}
	}
}
