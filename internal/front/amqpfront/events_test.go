package amqpfront

import (
	"context"
	"maps"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	goamqp "github.com/Azure/go-amqp"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/engine"
	"github.com/twinhub/twinhub/internal/eventlog"
)

// TestEvent looks at a whole event as the Go client shows it.
func TestEvent(t *testing.T) {
	bubble(t, func(t *testing.T, h *testFront) {
		enqueued := time.Now().UTC()
		time.Sleep(109 * time.Millisecond)
		ev := &twinhub.Event{
			ID: twinhub.ID{Device: "my-pnp-device"}, Source: twinhub.TwinChange, EnqueuedTime: enqueued,
			UserID: []byte("my-pnp-hub"), CorrelationID: "6d0c5b6b8e0a", ContentType: "application/json", ContentEncoding: "utf-8",
			Properties: []twinhub.Property{{Name: "opType", Value: "updateTwin"}}, Body: []byte(`{"version": 3}`),
		}
		c := engine.Commit{Partition: 3, Appends: []engine.Append{{Log: eventlog.Name, Records: [][]byte{eventlog.Encode(ev)}}}}
		result, err := engine.Do(t.Context(), h.engine, c)
		if err != nil {
			t.Fatal(err)
		}
		r := h.mustAttach(h.signedIn(), readerOf("3"), from(earliest))
		m := h.next(r)
		for key, v := range m.Annotations {
			if at, ok := v.(time.Time); ok {
				m.Annotations[key] = at.UTC()
			}
		}
		want := goamqp.Annotations{
			"iothub-connection-device-id": "my-pnp-device", "iothub-enqueuedtime": enqueued, "iothub-message-source": "twinChangeEvents",
			"x-opt-sequence-number": int64(0), "x-opt-offset": "1024", "x-opt-enqueued-time": result.Time,
		}
		if !maps.Equal(m.Annotations, want) {
			t.Errorf("annotations: got %v, want %v", m.Annotations, want)
		}
		if len(m.Data) != 1 || string(m.GetData()) != `{"version": 3}` {
			t.Errorf("body: got %q", m.Data)
		}
		if !maps.Equal(m.ApplicationProperties, map[string]any{"opType": "updateTwin"}) {
			t.Errorf("application properties: got %v", m.ApplicationProperties)
		}
		p := m.Properties
		if p == nil || string(p.UserID) != "my-pnp-hub" || p.CorrelationID != "6d0c5b6b8e0a" || *p.ContentType != "application/json" || *p.ContentEncoding != "utf-8" || p.MessageID != nil {
			t.Errorf("properties: got %+v", p)
		}
		if m.DeliveryAnnotations != nil || m.Format != 0 {
			t.Errorf("delivery annotations and format: got %v and %d, want none and 0", m.DeliveryAnnotations, m.Format)
		}
		synctest.Wait()
		if got := h.Sent(); got != 1 {
			t.Errorf("Sent: got %d, want 1", got)
		}
	})
}

// TestOrder reads many events while they are written.
func TestOrder(t *testing.T) {
	bubble(t, func(t *testing.T, h *testFront) {
		r := h.mustAttach(h.signedIn(), readerOf("0"), from(latest))
		bodies := numbered(3000)
		go func() {
			for part := bodies; len(part) > 0; part = part[100:] {
				h.write(0, part[:100]...)
			}
		}()
		h.expect(r, bodies...)
	})
}

// TestCredit checks that nothing is sent without credit and all of it with.
func TestCredit(t *testing.T) {
	bubble(t, func(t *testing.T, h *testFront) {
		h.write(0, numbered(10)...)
		o := from(earliest)
		o.Credit = -1
		r := h.mustAttach(h.signedIn(), readerOf("0"), o)
		h.expectNone(r)
		for _, want := range [][]string{{"0"}, {"1", "2", "3"}, {"4", "5", "6", "7", "8"}} {
			if err := r.IssueCredit(uint32(len(want))); err != nil {
				t.Fatal(err)
			}
			h.expect(r, want...)
		}
		if err := r.IssueCredit(5); err != nil {
			t.Fatal(err)
		}
		h.expect(r, "9")
		h.write(0, "a", "b", "c", "d", "e")
		h.expect(r, "a", "b", "c", "d")
	})
}

// TestDrain asks for drains: while idle, with fewer and with more events than credit, and while events come.
func TestDrain(t *testing.T) {
	bubble(t, func(t *testing.T, h *testFront) {
		o := from(earliest)
		o.Credit = -1
		r := h.mustAttach(h.signedIn(), readerOf("0"), o)
		drain := func() {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if err := r.DrainCredit(ctx, nil); err != nil {
				t.Fatalf("drain: %v", err)
			}
		}
		give := func(n uint32) {
			t.Helper()
			if err := r.IssueCredit(n); err != nil {
				t.Fatal(err)
			}
		}
		give(10)
		synctest.Wait()
		drain() // idle
		h.write(0, "a")
		h.expectNone(r) // the credit is gone
		give(10)
		h.expect(r, "a")
		drain() // after some of it
		give(2)
		synctest.Wait()
		h.write(0, "b", "c", "d")
		synctest.Wait()
		drain() // after all of it
		h.expect(r, "b", "c")

		// While events come, as fast as they can.
		stop, stopped := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(stopped)
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
					h.write(0, numbered(50)...)
				}
			}
		}()
		for range 20 {
			give(200)
			h.next(r)
			drain()
			for r.Prefetched() != nil {
			}
		}
		close(stop)
		<-stopped
	})
}

// TestSettleModes reads with the modes of all clients. Many more events than may be unsettled at a time must come.
func TestSettleModes(t *testing.T) {
	for name, test := range map[string]struct {
		sender   *goamqp.SenderSettleMode
		receiver *goamqp.ReceiverSettleMode
		outcome  func(context.Context, *goamqp.Receiver, *goamqp.Message) error
	}{
		"unset, as Go":                    {nil, nil, nil},
		"settled, as .NET":                {goamqp.SenderSettleModeSettled.Ptr(), nil, nil},
		"mixed and first, as Python":      {goamqp.SenderSettleModeMixed.Ptr(), goamqp.ReceiverSettleModeFirst.Ptr(), accept},
		"unsettled, accepted":             {goamqp.SenderSettleModeUnsettled.Ptr(), goamqp.ReceiverSettleModeFirst.Ptr(), accept},
		"unsettled and second, as Java":   {goamqp.SenderSettleModeUnsettled.Ptr(), goamqp.ReceiverSettleModeSecond.Ptr(), accept},
		"unsettled and second, rejected":  {goamqp.SenderSettleModeUnsettled.Ptr(), goamqp.ReceiverSettleModeSecond.Ptr(), reject},
		"unsettled, released":             {goamqp.SenderSettleModeUnsettled.Ptr(), goamqp.ReceiverSettleModeFirst.Ptr(), release},
		"settled and second, not settled": {goamqp.SenderSettleModeSettled.Ptr(), goamqp.ReceiverSettleModeSecond.Ptr(), nil},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, h *testFront) {
				h.config.MaxUnsettled = 300 // of a connection
				bodies := numbered(2000)
				for part := bodies; len(part) > 0; part = part[1000:] {
					h.write(0, part[:1000]...)
				}
				o := from(earliest)
				o.RequestedSenderSettleMode, o.SettlementMode = test.sender, test.receiver
				r := h.mustAttach(h.signedIn(), readerOf("0"), o)
				for n, want := range bodies {
					m := h.next(r)
					if got := string(m.GetData()); got != want {
						t.Fatalf("event %d: got %q, want %q: none may come twice or be lost", n, got, want)
					}
					if test.outcome != nil {
						if err := test.outcome(t.Context(), r, m); err != nil {
							t.Fatalf("outcome of event %d: %v", n, err)
						}
					}
				}
				h.expectNone(r)
			})
		})
	}
}

func accept(ctx context.Context, r *goamqp.Receiver, m *goamqp.Message) error {
	return r.AcceptMessage(ctx, m)
}

func reject(ctx context.Context, r *goamqp.Receiver, m *goamqp.Message) error {
	return r.RejectMessage(ctx, m, nil)
}

func release(ctx context.Context, r *goamqp.Receiver, m *goamqp.Message) error {
	return r.ReleaseMessage(ctx, m)
}

// TestRuntimeMetric checks the delivery annotations of readers that ask for them.
func TestRuntimeMetric(t *testing.T) {
	bubble(t, func(t *testing.T, h *testFront) {
		h.write(0, "a", "b", "c")
		o := from(earliest)
		o.DesiredCapabilities = []string{"com.microsoft:georeplication", string(runtimeMetric)}
		r := h.mustAttach(h.signedIn(), readerOf("0"), o)
		records, err := h.engine.Read(0, eventlog.Name, 2, 1, 1)
		if err != nil || len(records) != 1 {
			t.Fatal(records, err)
		}
		m := h.next(r)
		for key, v := range m.DeliveryAnnotations {
			if at, ok := v.(time.Time); ok {
				m.DeliveryAnnotations[key] = at.UTC()
			}
		}
		want := goamqp.Annotations{
			"last_enqueued_sequence_number": int64(2), "last_enqueued_offset": eventlog.FormatOffset(records[0].Offset),
			"last_enqueued_time_utc": records[0].Time, "runtime_info_retrieval_time_utc": time.Now().UTC(),
		}
		if !reflect.DeepEqual(m.DeliveryAnnotations, want) {
			t.Errorf("delivery annotations: got %v, want %v", m.DeliveryAnnotations, want)
		}
		if m.Annotations["x-opt-sequence-number"] != int64(0) || string(m.GetData()) != "a" {
			t.Errorf("the event itself: got %v %q", m.Annotations, m.GetData())
		}
	})
}

// TestSmallFrames reads an event that is far larger than the peer's frames.
func TestSmallFrames(t *testing.T) {
	bubble(t, func(t *testing.T, h *testFront) {
		c, err := goamqp.NewConn(t.Context(), h.pipe(), &goamqp.ConnOptions{SASLType: goamqp.SASLTypeAnonymous(), MaxFrameSize: 512})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		h.put(c, serviceToken("sb://"+hubHost, time.Hour), 200)
		body := strings.Repeat("0123456789abcdef", 16<<10)
		h.write(0, body, "next")
		r := h.mustAttach(c, readerOf("0"), from(earliest))
		h.expect(r, body, "next")
	})
}

// TestStalledReader checks that a peer that stops reading, with more waiting for it than a connection holds, neither
// holds up other readers nor writers, and is closed in the end.
func TestStalledReader(t *testing.T) {
	bubble(t, func(t *testing.T, h *testFront) {
		stalled := h.rawPeer()
		stalled.put(serviceToken("sb://"+hubHost, time.Hour))
		stalled.attachReader(1, readerOf("0"))
		synctest.Wait()
		stalled.stop()
		good := h.mustAttach(h.signedIn(), readerOf("0"), from(latest))
		body := strings.Repeat("x", 100<<10)
		for range 50 {
			h.write(0, body)
			if got := len(h.next(good).GetData()); got != len(body) {
				t.Fatalf("event of %d bytes, want %d", got, len(body))
			}
		}
		if got := h.Readers(); len(got) != 2 {
			t.Errorf("readers: got %v, want both", got)
		}
		time.Sleep(time.Minute)
		if got := h.Readers(); len(got) != 1 {
			t.Errorf("readers after a minute without reading: got %v, want only the good one", got)
		}
		h.write(0, "more")
		h.expect(good, "more")
	})
}

// TestStoreFailure checks that a reader is told when the log cannot be read any more.
func TestStoreFailure(t *testing.T) {
	bubble(t, func(t *testing.T, h *testFront) {
		c := h.signedIn()
		r := h.mustAttach(c, readerOf("0"), from(latest))
		if err := h.engine.Close(); err != nil {
			t.Fatal(err)
		}
		if e := h.detached(r); e.Condition != goamqp.ErrCondInternalError {
			t.Errorf("reader: detached with %v, want %s", e, goamqp.ErrCondInternalError)
		}
		h.refused(c, readerOf("0"), nil, goamqp.ErrCondInternalError)
		if got := h.request(c, "$management", readPartition("0")).ApplicationProperties["status-code"]; got != int32(500) {
			t.Errorf("$management: got %v, want 500", got)
		}
		h.logged("send events", "attach reader", "describe partition")
	})
}
