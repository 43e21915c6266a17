package telemetry

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/clock"
	"github.com/twinhub/twinhub/internal/core/routing"
	"github.com/twinhub/twinhub/internal/engine"
	"github.com/twinhub/twinhub/internal/engine/local"
	"github.com/twinhub/twinhub/internal/eventlog"
	"github.com/twinhub/twinhub/internal/wire/amqp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type stoppedClock struct{ clock.System }

func (stoppedClock) Now() time.Time { return time.Date(2026, 3, 4, 5, 6, 7, 891234500, time.UTC) }

func newService(t testing.TB, c routing.Config) (*Service, *local.Engine) {
	t.Helper()
	e, err := local.Open(local.Options{Dir: "data", FS: vfs.NewMem(), Clock: stoppedClock{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil && !errors.Is(err, engine.ErrClosed) {
			t.Error(err)
		}
	})
	router, err := routing.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return New(e, router, stoppedClock{}), e
}

var sender = &Sender{ID: twinhub.ID{Device: "d1", Module: "m1"}, AuthMethod: "{}", GenerationID: "7", ModelID: "dtmi:a;1"}

// send waits for the outcome.
func send(s *Service, ev *twinhub.Event) error {
	done := make(chan error, 1)
	s.Send(sender, ev, func(err error) { done <- err })
	return <-done
}

func read(t testing.TB, e engine.Engine) []*amqp.Message {
	t.Helper()
	records, err := e.Read(engine.PartitionOf(e, "d1"), eventlog.Name, 0, 10000, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	var list []*amqp.Message
	for _, r := range records {
		b, err := eventlog.AppendMessage(nil, r)
		if err != nil {
			t.Fatal(err)
		}
		m, err := amqp.DecodeMessage(b)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, m)
	}
	return list
}

func TestSendStamps(t *testing.T) {
	s, e := newService(t, routing.Config{})
	ev := &twinhub.Event{Subject: "thermostat1", Body: []byte("body"), Properties: []twinhub.Property{{Name: "a", Value: "b"}}}
	if err := send(s, ev); err != nil {
		t.Fatal(err)
	}
	m := read(t, e)[0]
	want := map[string]any{
		"iothub-connection-device-id": "d1", "iothub-connection-module-id": "m1", "iothub-connection-auth-method": "{}",
		"iothub-connection-auth-generation-id": "7", "iothub-message-source": "Telemetry", "dt-dataschema": "dtmi:a;1", "dt-subject": "thermostat1",
		"iothub-enqueuedtime": amqp.Timestamp(1772600767892), // rounded up
	}
	for name, value := range want {
		if got, _ := m.MessageAnnotations.Get(name); got != value {
			t.Errorf("%s is %v, want %v", name, got, value)
		}
	}
	if len(m.MessageAnnotations) != len(want)+3 {
		t.Errorf("annotations %v", m.MessageAnnotations)
	}
}

func TestSendKeepsNoReference(t *testing.T) {
	s, e := newService(t, routing.Config{})
	body := []byte("before")
	ev := &twinhub.Event{Body: body, Properties: []twinhub.Property{{Name: "a", Value: "before"}}}
	done := make(chan error, 1)
	s.Send(sender, ev, func(err error) { done <- err })
	copy(body, "after!")
	ev.Properties[0].Value = "after"
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	m := read(t, e)[0]
	if value, _ := m.ApplicationProperties.Get("a"); string(m.Body.Bytes()) != "before" || value != "before" {
		t.Errorf("got %s and %v", m.Body.Bytes(), value)
	}
}

func TestMaxMessage(t *testing.T) {
	s, e := newService(t, routing.Config{})
	text := func(n int) string { return strings.Repeat("x", n) }
	tests := []struct {
		name string
		make func(n int) *twinhub.Event // of n counted bytes
	}{
		{"body", func(n int) *twinhub.Event { return &twinhub.Event{Body: make([]byte, n)} }},
		{"property value", func(n int) *twinhub.Event {
			return &twinhub.Event{Properties: []twinhub.Property{{Name: "name", Value: text(n - 4)}}}
		}},
		{"property name", func(n int) *twinhub.Event {
			return &twinhub.Event{Properties: []twinhub.Property{{Name: text(n)}}}
		}},
		{"system properties", func(n int) *twinhub.Event {
			return &twinhub.Event{
				MessageID: "12", CorrelationID: "12", To: "12", ContentType: "12", ContentEncoding: "12", Subject: "12", InterfaceID: "12",
				UserID: make([]byte, n-14),
			}
		}},
	}
	for n, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := send(s, tt.make(MaxMessage)); err != nil {
				t.Errorf("%d bytes: %v", MaxMessage, err)
			}
			called := false
			s.Send(sender, tt.make(MaxMessage+1), func(err error) {
				called = true
				if !twinhub.HasCode(err, twinhub.CodeMessageTooLarge) {
					t.Errorf("%d bytes: got %v, want CodeMessageTooLarge", MaxMessage+1, err)
				}
			})
			if !called {
				t.Error("the refusal came after Send returned")
			}
			if got := len(read(t, e)); got != n+1 {
				t.Errorf("%d events, want %d", got, n+1)
			}
		})
	}
}

func TestSendWithoutAPlaceToGo(t *testing.T) {
	s, e := newService(t, routing.Config{FallbackOff: true, Routes: []routing.Route{{Source: twinhub.TwinChange, Endpoint: routing.BuiltIn}}})
	if err := send(s, &twinhub.Event{}); err != nil {
		t.Errorf("got %v: the message is accepted and dropped", err)
	}
	if n := len(read(t, e)); n != 0 {
		t.Errorf("%d events", n)
	}
}

func TestSendKeepsOrder(t *testing.T) {
	s, e := newService(t, routing.Config{})
	const n = 1000
	done := make(chan int, n)
	for i := range n {
		s.Send(sender, &twinhub.Event{Body: fmt.Append(nil, i)}, func(err error) {
			if err != nil {
				t.Error(err)
			}
			done <- i
		})
	}
	for i := range n {
		if got := <-done; got != i {
			t.Fatalf("answer %d is that of %d", i, got)
		}
	}
	for i, m := range read(t, e) {
		if got := string(m.Body.Bytes()); got != fmt.Sprint(i) {
			t.Fatalf("event %d is %s", i, got)
		}
	}
}

func TestSendReportsTheEngine(t *testing.T) {
	s, e := newService(t, routing.Config{})
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if err := send(s, &twinhub.Event{}); !errors.Is(err, engine.ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
}

func BenchmarkSend(b *testing.B) {
	s, _ := newService(b, routing.Config{})
	ev := &twinhub.Event{}
	body := make([]byte, 256)
	room := make(chan struct{}, 64)
	b.ReportAllocs()
	for b.Loop() {
		room <- struct{}{}
		*ev = twinhub.Event{Body: body}
		s.Send(sender, ev, func(error) { <-room })
	}
	for range cap(room) {
		room <- struct{}{}
	}
}
