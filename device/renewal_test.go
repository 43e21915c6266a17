package device

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinhub/twinhub/internal/sas"
	"github.com/twinhub/twinhub/internal/wire/mqtt"
)

// A connection is renewed two to three minutes before its token expires: what is on its way is acknowledged on the old
// one, which ends in good order, and what is sent meanwhile goes out on the new one.
func TestRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newFakeHub(t)
		h.take = func(_ int, p mqtt.Packet, send func(mqtt.Packet)) bool {
			if p, ok := p.(*mqtt.Publish); ok {
				id := p.ID
				time.AfterFunc(3*time.Second, func() { send(&mqtt.Puback{ID: id}) })
				return false
			}
			return true
		}
		o := h.options()
		o.OnStatus = func(s Status) {
			if s.Err != nil || s.Retry != 0 {
				t.Errorf("status: got %+v, want no error and no wait", s)
			}
		}
		began := time.Now()
		c := h.connect(o)
		defer h.stop(c)
		for time.Since(began) < time.Hour { // there is always one message on its way
			if err := c.Send(t.Context(), Message{}); err != nil {
				t.Fatal(err)
			}
		}
		dials := h.times()
		if len(dials) != 2 {
			t.Fatalf("connections: got %d, want 2", len(dials))
		}
		if at := dials[1].Sub(began); at < 57*time.Minute || at > 58*time.Minute+drainTimeout {
			t.Errorf("renewed after %v, want 57 to 58 min", at)
		}
		if len(said[*mqtt.Disconnect](h, 1)) != 1 {
			t.Error("the first connection ended without DISCONNECT")
		}
		for n := 1; n <= 2; n++ {
			for _, p := range said[*mqtt.Publish](h, n) {
				if p.Dup {
					t.Errorf("connection %d: a message was sent again", n)
				}
			}
		}
		for i, p := range h.connects {
			if life := tokenOf(t, p).Expiry.Sub(dials[i]); life > time.Hour || life < time.Hour-drainTimeout {
				t.Errorf("connection %d: token is good for %v, want an hour", i+1, life)
			}
		}
	})
}

func tokenOf(t *testing.T, p mqtt.Connect) sas.Token {
	t.Helper()
	token, err := sas.Parse(string(p.Password))
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// A renewal does not wait for ever for acknowledgements; what it cuts off is sent again.
func TestRenewalWithoutAcknowledgement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newFakeHub(t)
		h.take = func(n int, p mqtt.Packet, _ func(mqtt.Packet)) bool {
			_, isPublish := p.(*mqtt.Publish)
			return n > 1 || !isPublish
		}
		o := h.options()
		o.TokenLifetime = 10 * time.Minute
		c := h.connect(o)
		defer h.stop(c)
		began := time.Now()
		if err := c.Send(t.Context(), Message{}); err != nil {
			t.Fatal(err)
		}
		// 15 % of ten minutes, and up to half as much, before the end; then 5 s.
		if took := time.Since(began); took < 7*time.Minute+45*time.Second || took > 8*time.Minute+36*time.Second {
			t.Errorf("sent again after %v, want after the renewal", took)
		}
		if got := said[*mqtt.Publish](h, 2); len(got) != 1 || !got[0].Dup {
			t.Errorf("second connection: got %+v, want the publication with DUP", got)
		}
	})
}

// A provider that has but one token does not make the client reconnect for nothing.
func TestRenewalSameToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newFakeHub(t)
		key, err := sas.HubKey(fakeKey)
		if err != nil {
			t.Fatal(err)
		}
		text := sas.Sign(sas.DeviceResource(fakeName, "d1", ""), key, "", time.Now().Add(time.Hour))
		asked := 0
		c, err := Connect(t.Context(), Identity{HostName: fakeName, DeviceID: "d1", Token: func(context.Context) (string, error) {
			asked++
			return text, nil
		}}, h.options())
		if err != nil {
			t.Fatal(err)
		}
		defer h.stop(c)
		time.Sleep(59 * time.Minute)
		synctest.Wait()
		if n := len(h.times()); n != 1 || asked != 2 {
			t.Errorf("connections: got %d, token asked for %d times; want 1 and 2", n, asked)
		}
	})
}
