package amqpfront_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azeventhubs/v2"
	goamqp "github.com/Azure/go-amqp"

	"github.com/twinhub/twinhub/hubtest"
	"github.com/twinhub/twinhub/internal/sas"
)

// consumer opens Microsoft's Go client, over TLS or in the emulator's plain way.
func consumer(t *testing.T, h *hubtest.Hub, plain bool) *azeventhubs.ConsumerClient {
	t.Helper()
	text, o := h.EventHubConnectionString, &azeventhubs.ConsumerClientOptions{
		TLSConfig: h.ClientTLS(), RetryOptions: azeventhubs.RetryOptions{MaxRetries: -1},
	}
	if plain {
		text, o.TLSConfig = h.EmulatorConnectionString, nil
	}
	c, err := azeventhubs.NewConsumerClientFromConnectionString(text, "", azeventhubs.DefaultConsumerGroup, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return c
}

// call makes a request of the service API.
func call(t *testing.T, h *hubtest.Hub, method, path, body string) {
	t.Helper()
	token, err := hubToken(h)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), method, "https://"+h.HTTPS+path+"?api-version=2021-04-12", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", token)
	r.Header.Set("Content-Type", "application/json")
	transport := &http.Transport{TLSClientConfig: h.ClientTLS()}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %s %s", method, path, resp.Status, text)
	}
}

// TestOfficialClient reads a life cycle event with Microsoft's Go client over both doors.
func TestOfficialClient(t *testing.T) {
	for name, plain := range map[string]bool{"TLS": false, "plain": true} {
		t.Run(name, func(t *testing.T) {
			h := hubtest.Start(t, hubtest.Options{Name: "my-pnp-hub", Routes: []string{"deviceLifecycleEvents"}})
			c := consumer(t, h, plain)
			hub, err := c.GetEventHubProperties(t.Context(), nil)
			if err != nil {
				t.Fatalf("event hub properties: %v", err)
			}
			if hub.Name != "my-pnp-hub" || strings.Join(hub.PartitionIDs, " ") != "0 1 2 3" || time.Since(hub.CreatedOn) > time.Hour {
				t.Errorf("event hub properties: got %+v", hub)
			}
			events := make(chan *azeventhubs.ReceivedEventData)
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			level := int64(0)
			for _, id := range hub.PartitionIDs {
				empty, err := c.GetPartitionProperties(ctx, id, nil)
				if err != nil || !empty.IsEmpty || empty.LastEnqueuedSequenceNumber != -1 || empty.LastEnqueuedOffset != "-1" {
					t.Errorf("properties of an empty partition: got %+v, %v", empty, err)
				}
				p, err := c.NewPartitionClient(id, &azeventhubs.PartitionClientOptions{
					OwnerLevel: &level, StartPosition: azeventhubs.StartPosition{Earliest: ptr(true)},
				})
				if err != nil {
					t.Fatal(err)
				}
				done := make(chan struct{})
				go func() {
					defer close(done)
					for {
						list, err := p.ReceiveEvents(ctx, 1, nil)
						if err != nil {
							return // the end of the test
						}
						events <- list[0]
					}
				}()
				defer func() {
					cancel()
					<-done
					_ = p.Close(context.WithoutCancel(ctx))
				}()
			}
			call(t, h, "PUT", "/devices/d1", `{"deviceId":"d1"}`)
			select {
			case e := <-events:
				if e.Properties["opType"] != "createDeviceIdentity" || e.SystemProperties["iothub-connection-device-id"] != "d1" || e.SequenceNumber != 0 {
					t.Errorf("event: got %+v", e)
				}
			case <-ctx.Done():
				t.Fatal("no event")
			}
		})
	}
}

// TestSASLPlain signs in with a policy's name and key over both doors: it is offered only where the key stays secret.
func TestSASLPlain(t *testing.T) {
	h := hubtest.Start(t, hubtest.Options{Name: "my-pnp-hub", Routes: []string{"deviceLifecycleEvents"}})
	cs, err := sas.ParseEventHubsConnectionString(h.EventHubConnectionString)
	if err != nil {
		t.Fatal(err)
	}
	sasl := goamqp.SASLTypePlain(cs.SharedAccessKeyName, cs.SharedAccessKey)
	plain, err := net.Dial("tcp", h.AMQP)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	if _, err := goamqp.NewConn(t.Context(), plain, &goamqp.ConnOptions{SASLType: sasl}); err == nil {
		t.Error("PLAIN without TLS: let in")
	}
	c, err := goamqp.Dial(t.Context(), "amqps://"+h.AMQPS, &goamqp.ConnOptions{SASLType: sasl, TLSConfig: h.ClientTLS()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	call(t, h, "PUT", "/devices/d1", `{"deviceId":"d1"}`)
	s, err := c.NewSession(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	events := make(chan *goamqp.Message)
	for _, id := range []string{"0", "1", "2", "3"} {
		r, err := s.NewReceiver(ctx, "/my-pnp-hub/ConsumerGroups/$Default/Partitions/"+id, nil)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			if m, err := r.Receive(ctx, nil); err == nil {
				events <- m
			}
		}()
	}
	if m := <-events; m.Annotations["iothub-connection-device-id"] != "d1" {
		t.Errorf("event: got %+v", m)
	}
}

func ptr[T any](v T) *T { return &v }

// TestUntrusted checks that a client that does not trust the hub fails, and that the log says why.
func TestUntrusted(t *testing.T) {
	for name, o := range map[string]*tls.Config{
		"TLS 1.3":   {ServerName: "localhost", RootCAs: x509.NewCertPool()},
		"TLS 1.2":   {ServerName: "localhost", RootCAs: x509.NewCertPool(), MaxVersion: tls.VersionTLS12},
		"host name": {ServerName: "elsewhere.example.net"},
	} {
		t.Run(name, func(t *testing.T) {
			log := &lines{found: make(chan string, 100)}
			h := hubtest.Start(t, hubtest.Options{Logger: slog.New(slog.NewTextHandler(log, nil))})
			if name == "host name" {
				o.RootCAs = h.ClientTLS().RootCAs
			}
			nc, err := tls.Dial("tcp", h.AMQPS, o)
			if err == nil {
				nc.Close()
				t.Fatal("the client took the certificate")
			}
			for {
				select {
				case line := <-log.found:
					if strings.Contains(line, "the client does not trust this hub's certificate") && strings.Contains(line, "protocol=amqp") {
						return
					}
				case <-time.After(10 * time.Second):
					t.Fatal("the log does not say why")
				}
			}
		})
	}
}

// lines hands on what is logged.
type lines struct{ found chan string }

func (l *lines) Write(p []byte) (int, error) {
	select {
	case l.found <- string(p):
		return len(p), nil
	default:
		return 0, errors.New("too many lines")
	}
}

// hubToken makes a token of iothubowner.
func hubToken(h *hubtest.Hub) (string, error) {
	c, err := sas.ParseHubConnectionString(h.ConnectionString)
	if err != nil {
		return "", err
	}
	key, err := sas.HubKey(c.SharedAccessKey)
	if err != nil {
		return "", err
	}
	return sas.Sign(c.HostName, key, c.SharedAccessKeyName, time.Now().Add(time.Hour)), nil
}
