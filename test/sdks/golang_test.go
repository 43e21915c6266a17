package sdks

import (
	"context"
	"crypto/tls"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azeventhubs/v2"
)

// consumer opens Microsoft's Go client for Event Hubs, over TLS or in the emulator's plain way.
func consumer(t testing.TB, h *hub, plain bool) *azeventhubs.ConsumerClient {
	t.Helper()
	text, options := h.env["EVENTHUB_CONNECTION_STRING"], &azeventhubs.ConsumerClientOptions{
		TLSConfig:    &tls.Config{RootCAs: roots(t, h)},
		RetryOptions: azeventhubs.RetryOptions{MaxRetries: -1},
	}
	if plain {
		text, options.TLSConfig = h.env["EVENTHUB_EMULATOR_CONNECTION_STRING"], nil
	}
	c, err := azeventhubs.NewConsumerClientFromConnectionString(text, "", azeventhubs.DefaultConsumerGroup, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Errorf("close consumer: %v", err)
		}
	})
	return c
}

// follow reads a partition from a position.
type follow struct {
	t      testing.TB
	client *azeventhubs.PartitionClient
	events []*azeventhubs.ReceivedEventData
}

func startFollow(t testing.TB, c *azeventhubs.ConsumerClient, partition string, from azeventhubs.StartPosition) *follow {
	t.Helper()
	p, err := c.NewPartitionClient(partition, &azeventhubs.PartitionClientOptions{StartPosition: from})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Errorf("close partition client: %v", err)
		}
	})
	return &follow{t: t, client: p}
}

// attach waits for the next event; the client attaches its link when it is first asked for one.
func (f *follow) attach() error {
	ctx, cancel := context.WithTimeout(f.t.Context(), answerWithin)
	defer cancel()
	var err error
	f.events, err = f.client.ReceiveEvents(ctx, 1, nil)
	return err
}

// next returns the next event.
func (f *follow) next() *azeventhubs.ReceivedEventData {
	f.t.Helper()
	if len(f.events) == 0 {
		if err := f.attach(); err != nil {
			f.t.Fatalf("receive: %v", err)
		}
	}
	e := f.events[0]
	f.events = f.events[1:]
	return e
}

// nextOf returns the next event of a device.
func (f *follow) nextOf(id string) *azeventhubs.ReceivedEventData {
	f.t.Helper()
	for {
		if e := f.next(); e.SystemProperties["iothub-connection-device-id"] == id {
			return e
		}
	}
}

// heads returns the last sequence number of every partition.
func heads(t testing.TB, c *azeventhubs.ConsumerClient) map[string]int64 {
	t.Helper()
	hub, err := c.GetEventHubProperties(t.Context(), nil)
	if err != nil {
		t.Fatalf("event hub properties: %v", err)
	}
	last := map[string]int64{}
	for _, p := range hub.PartitionIDs {
		properties, err := c.GetPartitionProperties(t.Context(), p, nil)
		if err != nil {
			t.Fatalf("properties of partition %s: %v", p, err)
		}
		last[p] = properties.LastEnqueuedSequenceNumber
	}
	return last
}

// grown returns the only partition that has grown since before.
func grown(t testing.TB, c *azeventhubs.ConsumerClient, before map[string]int64) string {
	t.Helper()
	var found []string
	for p, last := range heads(t, c) {
		if last > before[p] {
			found = append(found, p)
		}
	}
	if len(found) != 1 {
		t.Fatalf("partitions that have grown: got %v, want one", found)
	}
	return found[0]
}

// TestGo reads events with Microsoft's Go client, over TLS and in the emulator's plain way.
func TestGo(t *testing.T) {
	h := sharedHub(t)
	s := newService(t, h)
	for name, plain := range map[string]bool{"TLS": false, "plain": true} {
		t.Run(name, func(t *testing.T) {
			id := "go-" + name
			c := consumer(t, h, plain)
			hub, err := c.GetEventHubProperties(t.Context(), nil)
			if err != nil {
				t.Fatalf("event hub properties: %v", err)
			}
			slices.Sort(hub.PartitionIDs)
			if hub.Name != hubName || !slices.Equal(hub.PartitionIDs, []string{"0", "1", "2", "3"}) || hub.GeoReplicationEnabled || time.Since(hub.CreatedOn) > time.Hour {
				t.Errorf("event hub properties: got %+v", hub)
			}
			before := heads(t, c)
			d := s.connect(h, id, s.register(id), "dtmi:com:example:Thermostat;1")
			d.telemetry("%24.ct=application%2Fjson&%24.ce=utf-8&%24.mid=m1&%24.cid=c1&colour=blue%20%26%20green", `{"temperature": 12}`)
			partition := grown(t, c, before)
			last := before[partition]
			f := startFollow(t, c, partition, azeventhubs.StartPosition{SequenceNumber: &last})
			if e := f.nextOf(id); e.SystemProperties["iothub-message-source"] == "digitalTwinChangeEvents" {
				f.events = append(f.events, f.next()) // the model's announcement; then the telemetry
			} else {
				f.events = append([]*azeventhubs.ReceivedEventData{e}, f.events...)
			}
			e := f.nextOf(id)
			if string(e.Body) != `{"temperature": 12}` || e.ContentType == nil || *e.ContentType != "application/json" ||
				e.MessageID == nil || *e.MessageID != "m1" || e.CorrelationID != "c1" || len(e.Properties) != 1 || e.Properties["colour"] != "blue & green" {
				t.Errorf("event: got %s %+v", e.Body, e.EventData)
			}
			system := map[string]any{"iothub-connection-device-id": id, "iothub-message-source": "Telemetry", "dt-dataschema": "dtmi:com:example:Thermostat;1",
				"iothub-connection-auth-method": `{"scope":"device","type":"sas","issuer":"iothub","acceptingIpFilterRule":null}`}
			for key, want := range system {
				if e.SystemProperties[key] != want {
					t.Errorf("system property %s: got %v, want %v", key, e.SystemProperties[key], want)
				}
			}
			accepted, ok := e.SystemProperties["iothub-enqueuedtime"].(time.Time)
			if !ok || e.EnqueuedTime == nil || e.EnqueuedTime.Before(accepted) {
				t.Errorf("iothub-enqueuedtime %v, enqueued time %v: want two times in order", e.SystemProperties["iothub-enqueuedtime"], e.EnqueuedTime)
			}
			if e.SequenceNumber <= last {
				t.Errorf("sequence number: got %d, want more than %d", e.SequenceNumber, last)
			}
			t.Run("by offset", func(t *testing.T) {
				again := startFollow(t, c, partition, azeventhubs.StartPosition{Offset: &e.Offset, Inclusive: true}).next()
				if again.SequenceNumber != e.SequenceNumber || again.Offset != e.Offset {
					t.Errorf("got %d/%s, want %d/%s", again.SequenceNumber, again.Offset, e.SequenceNumber, e.Offset)
				}
			})
			t.Run("latest", func(t *testing.T) {
				h.awaitReceivers(t, 1) // f
				latest := startFollow(t, c, partition, azeventhubs.StartPosition{})
				attached := make(chan error, 1)
				go func() { attached <- latest.attach() }()
				h.awaitReceivers(t, 2)
				d.telemetry("", "now")
				if err := <-attached; err != nil {
					t.Fatalf("receive: %v", err)
				}
				if e := latest.nextOf(id); string(e.Body) != "now" {
					t.Errorf("body: got %s, want now", e.Body)
				}
			})
			t.Run("unknown partition", func(t *testing.T) {
				_, err := c.GetPartitionProperties(t.Context(), "99", nil)
				if err == nil {
					t.Error("partition 99 has properties")
				}
			})
		})
	}
	t.Run("without trust", func(t *testing.T) {
		c, err := azeventhubs.NewConsumerClientFromConnectionString(h.env["EVENTHUB_CONNECTION_STRING"], "", azeventhubs.DefaultConsumerGroup,
			&azeventhubs.ConsumerClientOptions{RetryOptions: azeventhubs.RetryOptions{MaxRetries: -1}})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close(t.Context())
		var untrusted *tls.CertificateVerificationError
		if _, err := c.GetEventHubProperties(t.Context(), nil); !errors.As(err, &untrusted) {
			t.Errorf("got %v, want a certificate that is not trusted", err)
		}
	})
}
