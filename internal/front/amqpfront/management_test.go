package amqpfront

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	goamqp "github.com/Azure/go-amqp"

	"github.com/twinhub/twinhub/internal/engine"
	"github.com/twinhub/twinhub/internal/eventlog"
	"github.com/twinhub/twinhub/internal/sas"
	"github.com/twinhub/twinhub/internal/wire/amqp"
)

// readHub asks for the event hub, readPartition for a partition.
func readHub() *goamqp.Message {
	return &goamqp.Message{ApplicationProperties: map[string]any{"operation": "READ", "type": "com.microsoft:eventhub", "name": eventHub}}
}

func readPartition(id string) *goamqp.Message {
	m := readHub()
	m.ApplicationProperties["type"], m.ApplicationProperties["partition"] = "com.microsoft:partition", id
	return m
}

// compareAnswer checks that an answer is a map with exactly these values and types.
func compareAnswer(t *testing.T, reply *goamqp.Message, want map[string]any) {
	t.Helper()
	if got := reply.ApplicationProperties["status-code"]; got != int32(200) {
		t.Fatalf("status-code: got %T %v, want int32 200", got, got)
	}
	got, ok := reply.Value.(map[string]any)
	if !ok {
		t.Fatalf("body: got %T, want a map with string keys", reply.Value)
	}
	for _, key := range slices.Sorted(maps.Keys(want)) {
		v := got[key]
		if at, ok := v.(time.Time); ok {
			v = at.UTC()
		}
		if !reflect.DeepEqual(v, want[key]) {
			t.Errorf("%s: got %T %v, want %T %v", key, v, v, want[key], want[key])
		}
	}
	if len(got) != len(want) {
		t.Errorf("got %d keys (%v), want %d", len(got), got, len(want))
	}
}

func TestManagementEventHub(t *testing.T) {
	for _, address := range []string{
		"$management", "/$management", eventHub + "/$management", strings.ToUpper(eventHub) + "/$MANAGEMENT",
		"amqps://" + hubHost + ":5671/" + eventHub + "/$management", "amqps://" + hubHost + "/%24management",
	} {
		for name, body := range map[string]func(*goamqp.Message){
			"null value": func(*goamqp.Message) {},
			"empty data": func(m *goamqp.Message) { m.Data = [][]byte{{}} },
			"text":       func(m *goamqp.Message) { m.Value = "" },
		} {
			t.Run(address+" "+name, func(t *testing.T) {
				bubble(t, func(t *testing.T, h *testFront) {
					m := readHub()
					body(m)
					m.ApplicationProperties["name"] = strings.ToUpper(eventHub)
					m.ApplicationProperties["security_token"] = "not looked at"
					m.ApplicationProperties["server-timeout"] = uint32(5000)
					m.Properties = &goamqp.MessageProperties{MessageID: goamqp.UUID{7}}
					reply := h.request(h.signedIn(), address, m)
					compareAnswer(t, reply, map[string]any{
						"name": eventHub, "type": "com.microsoft:eventhub", "created_at": created, "partition_count": int32(4),
						"partition_ids": []string{"0", "1", "2", "3"}, "georeplication_factor": int32(1),
					})
					if reply.Properties == nil || reply.Properties.CorrelationID != (goamqp.UUID{7}) {
						t.Errorf("correlation-id: got %+v, want the uuid sent", reply.Properties)
					}
				})
			})
		}
	}
}

// TestManagementTypes looks at the answers with our own decoder, which tells an array from a list.
func TestManagementTypes(t *testing.T) {
	bubble(t, func(t *testing.T, h *testFront) {
		m := h.describeEventHub().Body.Value.(amqp.Map)
		if ids, _ := m.Get("partition_ids"); !reflect.DeepEqual(ids, []string{"0", "1", "2", "3"}) {
			t.Errorf("partition_ids: got %T %v, want an array of string", ids, ids)
		}
		for _, e := range append(m, h.describePartition("0").Body.Value.(amqp.Map)...) {
			if _, ok := e.Key.(string); !ok {
				t.Errorf("key %v is a %T, want a string", e.Key, e.Key)
			}
		}
	})
}

func TestManagementPartition(t *testing.T) {
	bubble(t, func(t *testing.T, h *testFront) {
		c := h.signedIn()
		empty := map[string]any{
			"name": eventHub, "type": "com.microsoft:partition", "partition": "1", "begin_sequence_number": int64(0),
			"last_enqueued_sequence_number": int64(-1), "last_enqueued_offset": "-1", "last_enqueued_time_utc": created, "is_partition_empty": true,
		}
		compareAnswer(t, h.request(c, "$management", readPartition("1")), empty)

		h.write(1, "a", "b", "c")
		records, err := h.engine.Read(1, eventlog.Name, 0, 10, 1<<20)
		if err != nil || len(records) != 3 {
			t.Fatalf("read: %v, %v", records, err)
		}
		last := records[2]
		full := maps.Clone(empty)
		full["last_enqueued_sequence_number"], full["last_enqueued_offset"] = int64(2), eventlog.FormatOffset(last.Offset)
		full["last_enqueued_time_utc"], full["is_partition_empty"] = last.Time, false
		compareAnswer(t, h.request(c, eventHub+"/$management", readPartition("1")), full)

		// What has been trimmed leaves its traces.
		time.Sleep(20 * time.Minute)
		h.engine.SetRetention(eventlog.Name, engine.Retention{Age: 10 * time.Minute})
		time.Sleep(time.Minute)
		trimmed := maps.Clone(full)
		trimmed["begin_sequence_number"], trimmed["is_partition_empty"] = int64(3), true
		compareAnswer(t, h.request(c, "$management", readPartition("1")), trimmed)
	})
}

func TestManagementMistakes(t *testing.T) {
	for name, test := range map[string]struct {
		change      map[string]any
		status      int32
		condition   goamqp.Symbol
		description string
	}{
		"unknown event hub":       {map[string]any{"name": "other"}, 404, "amqp:not-found", "The messaging entity 'other' could not be found."},
		"no event hub":            {map[string]any{"name": nil}, 404, "amqp:not-found", "The messaging entity '' could not be found."},
		"unknown type":            {map[string]any{"type": "com.microsoft:queue"}, 400, "com.microsoft:argument-error", "com.microsoft:queue"},
		"unknown operation":       {map[string]any{"operation": "DELETE"}, 501, "amqp:not-implemented", "DELETE"},
		"partition 4 of 4":        {map[string]any{"partition": "4"}, 400, "com.microsoft:argument-out-of-range", `"4"`},
		"negative partition":      {map[string]any{"partition": "-1"}, 400, "com.microsoft:argument-out-of-range", `"-1"`},
		"partition 01":            {map[string]any{"partition": "01"}, 400, "com.microsoft:argument-out-of-range", `"01"`},
		"no partition":            {map[string]any{"partition": nil}, 400, "com.microsoft:argument-out-of-range", `""`},
		"partition 65536":         {map[string]any{"partition": "65536"}, 400, "com.microsoft:argument-out-of-range", `"65536"`},
		"the hub's own partition": {map[string]any{"partition": "65535"}, 400, "com.microsoft:argument-out-of-range", `"65535"`},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, h *testFront) {
				m := readPartition("0")
				for k, v := range test.change {
					if v == nil {
						delete(m.ApplicationProperties, k)
						continue
					}
					m.ApplicationProperties[k] = v
				}
				reply := h.request(h.signedIn(), "$management", m).ApplicationProperties
				if reply["status-code"] != test.status {
					t.Errorf("status-code: got %T %v, want int32 %d", reply["status-code"], reply["status-code"], test.status)
				}
				if got := reply["error-condition"]; got != string(test.condition) && got != test.condition {
					t.Errorf("error-condition: got %T %v, want %s", got, got, test.condition)
				}
				if got, _ := reply["status-description"].(string); !strings.Contains(got, test.description) {
					t.Errorf("status-description: got %q, want it to contain %q", got, test.description)
				}
			})
		})
	}
}

// TestManagementToken asks without a token on the connection, with and without one in the request itself, as the client
// for Java does.
func TestManagementToken(t *testing.T) {
	good := func() any { return serviceToken("amqp://"+hubHost+"/"+eventHub+"/$management", time.Hour) }
	for name, test := range map[string]struct {
		token  func() any // nil: none
		status int32
		reason string // that the log gives
	}{
		"none":         {nil, 401, "there is no valid token on the connection"},
		"good":         {good, 200, ""},
		"no token":     {func() any { return "let me in" }, 401, "the access token cannot be read"},
		"expired":      {func() any { return serviceToken("sb://"+hubHost, -time.Second) }, 401, "expired"},
		"not a string": {func() any { return int64(1) }, 401, "there is no valid token on the connection"},
		"without right": {func() any {
			return sign(t, sas.EventHubsKey, policyKey("device"), "device", "sb://"+hubHost, time.Hour)
		}, 401, "lacks the right"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, h *testFront) {
				c := h.dial()
				m := readHub()
				if test.token != nil {
					m.ApplicationProperties["security_token"] = test.token()
				}
				if got := h.request(c, "$management", m).ApplicationProperties["status-code"]; got != test.status {
					t.Errorf("status-code: got %v, want %d", got, test.status)
				}
				if test.reason != "" {
					h.logged(test.reason, "remedy=")
				}
				h.refused(c, readerOf("0"), nil, goamqp.ErrCondUnauthorizedAccess)
				time.Sleep(signInTime + 5*time.Second)
				select {
				case <-c.Done():
					if test.status == 200 {
						t.Errorf("closed after the sign-in time: %v", c.Err())
					}
				default:
					if test.status != 200 {
						t.Error("open after the sign-in time")
					}
				}
			})
		})
	}
	t.Run("beside one on the connection", func(t *testing.T) {
		bubble(t, func(t *testing.T, h *testFront) {
			m := readHub()
			m.ApplicationProperties["security_token"] = "of another kind"
			if got := h.request(h.signedIn(), "$management", m).ApplicationProperties["status-code"]; got != int32(200) {
				t.Errorf("status-code: got %v, want 200", got)
			}
		})
	})
}

// TestErrorConditionIsSymbol looks at the type, which the Go client does not tell.
func TestErrorConditionIsSymbol(t *testing.T) {
	v, ok := status(404, "gone", amqp.CondNotFound).ApplicationProperties.Get("error-condition")
	if _, symbol := v.(amqp.Symbol); !ok || !symbol {
		t.Errorf("got %T, want a symbol", v)
	}
	if _, ok := status(200, "OK", "").ApplicationProperties.Get("error-condition"); ok {
		t.Error("a good answer has an error condition")
	}
}

// TestManagementBesideEvents asks while the connection is full of events that the client does not take fast enough:
// the answer comes all the same.
func TestManagementBesideEvents(t *testing.T) {
	bubble(t, func(t *testing.T, h *testFront) {
		c := h.signedIn()
		o := from(earliest)
		o.Credit = 5000
		events := h.mustAttach(c, readerOf("0"), o)
		body := strings.Repeat("x", 8<<10)
		bodies := make([]string, 1000) // 8 MiB, far more than a connection takes at a time
		for i := range bodies {
			bodies[i] = body
		}
		s := h.session(c)
		receiver, err := s.NewReceiver(t.Context(), "$management", &goamqp.ReceiverOptions{Credit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		sender, err := s.NewSender(t.Context(), "$management", nil)
		if err != nil {
			t.Fatal(err)
		}
		for range 8 {
			h.write(0, bodies[:100]...)
			for range 10 {
				if err := sender.Send(t.Context(), readHub(), nil); err != nil {
					t.Fatal(err)
				}
			}
			for range 10 {
				if _, err := receiver.Receive(t.Context(), nil); err != nil {
					t.Fatal(err)
				}
			}
		}
		for range 800 {
			h.next(events)
		}
	})
}
