package amqpfront

import (
	"fmt"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	goamqp "github.com/Azure/go-amqp"

	"github.com/twinhub/twinhub/internal/core/auth"
	"github.com/twinhub/twinhub/internal/sas"
)

// TestPutTokenAnswer checks the form of the answer for every type of message-id.
func TestPutTokenAnswer(t *testing.T) {
	for name, id := range map[string]any{
		"string": "request-1", "ulong": uint64(7), "ulong zero": uint64(0), "uuid": goamqp.UUID{1, 2, 3, 15: 9}, "binary": []byte{1, 2}, "none": nil,
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, h *testFront) {
				m := putMessage(serviceToken("sb://"+hubHost+"/"+eventHub, time.Hour))
				replyTo := "a queue that does not exist"
				m.Properties = &goamqp.MessageProperties{MessageID: id, ReplyTo: &replyTo}
				if id == nil {
					m.Properties = nil
				}
				reply := h.request(h.dial(), "$cbs", m)
				if got := reply.ApplicationProperties["status-code"]; got != int32(200) {
					t.Errorf("status-code: got %T %v, want int32 200", got, got)
				}
				if got, ok := reply.ApplicationProperties["status-description"].(string); !ok || got == "" {
					t.Errorf("status-description: got %v, want text", got)
				}
				var got any
				if reply.Properties != nil {
					got = reply.Properties.CorrelationID
				}
				if !reflect.DeepEqual(got, id) {
					t.Errorf("correlation-id: got %T %v, want %T %v", got, got, id, id)
				}
			})
		})
	}
}

// sign returns a token of a policy with a key of a form.
func sign(t *testing.T, form func(string) (sas.Key, error), key, policy, resource string, life time.Duration) string {
	t.Helper()
	k, err := form(key)
	if err != nil {
		t.Fatal(err)
	}
	return sas.Sign(resource, k, policy, time.Now().Add(life))
}

// TestTokens tries what clients and strangers put on $cbs: whether it is taken, and whether it then lets read
// partition 0 for $Default.
func TestTokens(t *testing.T) {
	whole := "sb://" + hubHost
	service := policyKey(auth.ServicePolicy)
	for name, test := range map[string]struct {
		token  func(t *testing.T) string
		status int32
		reads  bool
	}{
		"event hubs form": {func(t *testing.T) string {
			return sign(t, sas.EventHubsKey, service, "service", whole+"/"+eventHub, time.Hour)
		}, 200, true},
		"iot hub form": {func(t *testing.T) string {
			return sign(t, sas.HubKey, service, "service", hubHost, time.Hour)
		}, 200, true},
		"secondary key": {func(t *testing.T) string {
			return sign(t, sas.EventHubsKey, policyKey("service 2"), "service", whole, time.Hour)
		}, 200, true},
		"owner": {func(t *testing.T) string {
			return sign(t, sas.EventHubsKey, policyKey("iothubowner"), "iothubowner", whole, time.Hour)
		}, 200, true},
		"another name of the hub": {func(t *testing.T) string {
			return sign(t, sas.EventHubsKey, service, "service", "sb://localhost/"+eventHub, time.Hour)
		}, 200, true},
		"lower case, as the Go client signs": {func(t *testing.T) string {
			return sign(t, sas.EventHubsKey, service, "service", strings.ToLower("amqps://"+hubHost+"/"+eventHub+"/ConsumerGroups/$Default/Partitions/0"), time.Hour)
		}, 200, true},
		"with a port": {func(t *testing.T) string {
			return sign(t, sas.EventHubsKey, service, "service", "amqp://"+hubHost+":5672/"+eventHub, time.Hour)
		}, 200, true},
		"of another partition": {func(t *testing.T) string {
			return sign(t, sas.EventHubsKey, service, "service", whole+"/"+eventHub+"/ConsumerGroups/$Default/Partitions/1", time.Hour)
		}, 200, false},
		"of another host": {func(t *testing.T) string {
			return sign(t, sas.EventHubsKey, service, "service", "sb://elsewhere.example.net/"+eventHub, time.Hour)
		}, 200, false},
		"of another event hub": {func(t *testing.T) string {
			return sign(t, sas.EventHubsKey, service, "service", whole+"/other", time.Hour)
		}, 200, false},
		"expired": {func(t *testing.T) string {
			return sign(t, sas.EventHubsKey, service, "service", whole, -time.Second)
		}, 401, false},
		"wrong key": {func(t *testing.T) string {
			return sign(t, sas.EventHubsKey, policyKey("guessed"), "service", whole, time.Hour)
		}, 401, false},
		"unknown policy": {func(t *testing.T) string {
			return sign(t, sas.EventHubsKey, service, "servant", whole, time.Hour)
		}, 401, false},
		"a policy that may not listen": {func(t *testing.T) string {
			return sign(t, sas.EventHubsKey, policyKey("device"), "device", whole, time.Hour)
		}, 401, false},
		"no token at all": {func(*testing.T) string { return "let me in" }, 401, false},
		"empty":           {func(*testing.T) string { return "" }, 401, false},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, h *testFront) {
				c := h.dial()
				token := test.token(t)
				h.put(c, token, test.status)
				if test.status != 200 {
					h.logged("remedy=")
				}
				if test.reads {
					h.mustAttach(c, readerOf("0"), nil)
				} else {
					h.refused(c, readerOf("0"), nil, goamqp.ErrCondUnauthorizedAccess)
				}
				secrets := []string{service, url.QueryEscape(service)}
				if _, signature, ok := strings.Cut(token, "sig="); ok {
					signature, _, _ = strings.Cut(signature, "&")
					secrets = append(secrets, signature)
				}
				for _, secret := range secrets {
					if strings.Contains(h.log.String(), secret) {
						t.Errorf("the log shows a secret:\n%s", h.log)
					}
				}
			})
		})
	}
}

func TestPutTokenMistakes(t *testing.T) {
	bubble(t, func(t *testing.T, h *testFront) {
		c := h.dial()
		good := serviceToken("sb://"+hubHost, time.Hour)
		for name, change := range map[string]func(*goamqp.Message){
			"no operation":      func(m *goamqp.Message) { delete(m.ApplicationProperties, "operation") },
			"another operation": func(m *goamqp.Message) { m.ApplicationProperties["operation"] = "get-token" },
			"a number as body":  func(m *goamqp.Message) { m.Value = int64(1) },
			"data as body":      func(m *goamqp.Message) { m.Value, m.Data = nil, [][]byte{[]byte(good)} },
			"no properties":     func(m *goamqp.Message) { m.ApplicationProperties = nil },
		} {
			m := putMessage(good)
			change(m)
			if got := h.request(c, "$cbs", m).ApplicationProperties["status-code"]; got != int32(400) {
				t.Errorf("%s: got %T %v, want int32 400", name, got, got)
			}
		}
		h.refused(c, readerOf("0"), nil, goamqp.ErrCondUnauthorizedAccess)
		h.logged("The operation must be put-token", "The body must be a string")
	})
}

// TestManyTokens puts one token for each partition, and the bound of them.
func TestManyTokens(t *testing.T) {
	bubble(t, func(t *testing.T, h *testFront) {
		c := h.dial()
		for p := range 4 {
			address := readerOf(fmt.Sprint(p))
			h.refused(c, address, nil, goamqp.ErrCondUnauthorizedAccess)
			h.put(c, serviceToken("amqps://"+hubHost+"/"+address, time.Hour), 200)
			h.mustAttach(c, address, nil)
		}
		s := h.session(c)
		receiver, err := s.NewReceiver(t.Context(), "$cbs", nil)
		if err != nil {
			t.Fatal(err)
		}
		sender, err := s.NewSender(t.Context(), "$cbs", nil)
		if err != nil {
			t.Fatal(err)
		}
		for n := range maxClaims - 4 {
			if err := sender.Send(t.Context(), putMessage(serviceToken(fmt.Sprintf("sb://%s/%d", hubHost, n), time.Hour)), nil); err != nil {
				t.Fatal(err)
			}
			if reply := h.next(receiver); reply.ApplicationProperties["status-code"] != int32(200) {
				t.Fatalf("token %d: got %v", n, reply.ApplicationProperties)
			}
		}
		h.put(c, serviceToken("sb://"+hubHost+"/one/too/many", time.Hour), 403)
		h.put(c, serviceToken("sb://"+hubHost+"/0", 2*time.Hour), 200) // a renewal takes no room
	})
}

// TestPairs uses several pairs of $cbs links at once on one connection: each request is answered on its own pair.
func TestPairs(t *testing.T) {
	bubble(t, func(t *testing.T, h *testFront) {
		ctx := t.Context()
		c := h.dial()
		type pair struct {
			sender   *goamqp.Sender
			receiver *goamqp.Receiver
			replyTo  string
		}
		var pairs []pair
		add := func(s *goamqp.Session, target string) {
			receiver, err := s.NewReceiver(ctx, "$cbs", &goamqp.ReceiverOptions{TargetAddress: target})
			if err != nil {
				t.Fatal(err)
			}
			sender, err := s.NewSender(ctx, "$cbs", nil)
			if err != nil {
				t.Fatal(err)
			}
			pairs = append(pairs, pair{sender, receiver, target})
		}
		for range 3 {
			add(h.session(c), "cbs") // the same reply-to in every session, as some clients have it
		}
		shared := h.session(c)
		add(shared, "first of two")
		add(shared, "second of two")
		for round := range 2 {
			for i, p := range pairs {
				m := putMessage(serviceToken("sb://"+hubHost, time.Hour))
				id := fmt.Sprint("request ", i, " in round ", round)
				m.Properties = &goamqp.MessageProperties{MessageID: id, ReplyTo: &p.replyTo}
				if err := p.sender.Send(ctx, m, nil); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				for j, other := range pairs {
					reply := other.receiver.Prefetched()
					switch {
					case (reply != nil) != (i == j):
						t.Errorf("round %d, request of pair %d: pair %d got %v", round, i, j, reply)
					case reply != nil && reply.Properties.CorrelationID != id:
						t.Errorf("round %d, pair %d: got the answer to %v", round, i, reply.Properties.CorrelationID)
					}
				}
			}
		}
	})
}

// TestNewestPair leaves an old answer link open beside a new one: the answer comes on the new one.
func TestNewestPair(t *testing.T) {
	bubble(t, func(t *testing.T, h *testFront) {
		s := h.session(h.dial())
		old, err := s.NewReceiver(t.Context(), "$cbs", nil)
		if err != nil {
			t.Fatal(err)
		}
		h.requestOn(s, "$cbs", putMessage(serviceToken("sb://"+hubHost, time.Hour))) // which attaches another one
		h.expectNone(old)
	})
}

// TestExpiry checks that a token's end detaches what no other token covers, and that a renewal keeps links up.
func TestExpiry(t *testing.T) {
	bubble(t, func(t *testing.T, h *testFront) {
		c := h.dial()
		hub := "sb://" + hubHost + "/" + eventHub
		first, second := hub+"/ConsumerGroups/$Default/Partitions/0", hub+"/ConsumerGroups/$Default/Partitions/1"
		h.put(c, serviceToken(first, 10*time.Minute), 200)
		h.put(c, serviceToken(second, 10*time.Minute), 200)
		idle := h.mustAttach(c, readerOf("0"), from(latest))
		renewed := h.mustAttach(c, readerOf("1"), from(latest))
		time.Sleep(9 * time.Minute)
		h.put(c, serviceToken(strings.ToLower(second), 10*time.Minute), 200) // the same resource
		h.write(0, "in time")
		h.expect(idle, "in time")
		time.Sleep(time.Minute + time.Second)

		if e := h.detached(idle); e.Condition != goamqp.ErrCondUnauthorizedAccess {
			t.Errorf("reader whose token has expired: got %v, want %s", e, goamqp.ErrCondUnauthorizedAccess)
		}
		h.logged("expired without renewal", "put a new token on $cbs before the old one expires")
		h.write(1, "still here")
		h.expect(renewed, "still here")
		h.refused(c, readerOf("0"), nil, goamqp.ErrCondUnauthorizedAccess)
		if r := h.Readers(); len(r) != 1 || r[0].Partition != "1" {
			t.Errorf("readers: got %v, want that of partition 1", r)
		}

		time.Sleep(9 * time.Minute)
		if e := h.detached(renewed); e.Condition != goamqp.ErrCondUnauthorizedAccess {
			t.Errorf("reader whose renewed token has expired: got %v, want %s", e, goamqp.ErrCondUnauthorizedAccess)
		}
		if got := h.request(c, "$management", readHub()).ApplicationProperties["status-code"]; got != int32(401) {
			t.Errorf("$management without a valid token: got %v, want 401", got)
		}
		// The connection now has the sign-in time again.
		time.Sleep(signInTime + 5*time.Second)
		select {
		case <-c.Done():
		default:
			t.Error("a connection without a valid token is open after the sign-in time")
		}
	})
}

// TestExpiryOfSilentPeer checks that a reader whose peer never answers the detach is gone all the same.
func TestExpiryOfSilentPeer(t *testing.T) {
	bubble(t, func(t *testing.T, h *testFront) {
		p := h.rawPeer()
		p.put(serviceToken("sb://"+hubHost, time.Minute))
		p.attachReader(1, readerOf("0"))
		synctest.Wait()
		if r := h.Readers(); len(r) != 1 {
			t.Fatalf("readers: got %v, want one", r)
		}
		time.Sleep(time.Minute + time.Second)
		synctest.Wait()
		if r := h.Readers(); len(r) != 0 {
			t.Errorf("readers after the token's end: got %v, want none", r)
		}
	})
}
