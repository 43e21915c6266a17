package mqttfront

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/core/registry"
	"github.com/twinhub/twinhub/internal/core/session"
	"github.com/twinhub/twinhub/internal/wire/mqtt"
)

func TestConnect(t *testing.T) {
	h := newHub(t, hubOptions{})
	h.create(t, "d1")
	h.create(t, "off")
	disabled := "disabled"
	if _, err := h.registry.Put(t.Context(), &registry.Spec{DeviceID: "off", Status: &disabled}, "*"); err != nil {
		t.Fatal(err)
	}
	h.create(t, "a%2Bb+c#")
	h.createModule(t, twinhub.ID{Device: "d1", Module: "m1"})
	module := twinhub.ID{Device: "d1", Module: "m1"}
	d1 := deviceToken(t, twinhub.ID{Device: "d1"})

	password := func(text string) func(*mqtt.Connect) {
		return func(p *mqtt.Connect) { p.Password = []byte(text) }
	}
	username := func(text string) func(*mqtt.Connect) {
		return func(p *mqtt.Connect) { p.Username = text }
	}
	will := func(topic string, qos mqtt.QoS) func(*mqtt.Connect) {
		return func(p *mqtt.Connect) { p.Will = &mqtt.Will{Topic: topic, QoS: qos, Payload: []byte("x")} }
	}
	// reordered is a token with some of its fields, in the order.
	reordered := func(token string, order ...string) string {
		fields, _ := strings.CutPrefix(token, "SharedAccessSignature ")
		byName := map[string]string{}
		for _, f := range strings.Split(fields, "&") {
			name, _, _ := strings.Cut(f, "=")
			byName[name] = f
		}
		var list []string
		for _, name := range order {
			list = append(list, byName[name])
		}
		return "SharedAccessSignature " + strings.Join(list, "&")
	}

	tests := []struct {
		name   string
		device string
		edit   func(*mqtt.Connect)
		want   mqtt.ConnectCode
		log    string // what the refusal log says
	}{
		{name: "device", device: "d1", edit: func(*mqtt.Connect) {}},
		{name: "module", device: "d1/m1", edit: func(*mqtt.Connect) {}},
		{name: "id with marks is not decoded", device: "a%2Bb+c#", edit: func(*mqtt.Connect) {}},
		{name: "host in another case", device: "d1", edit: username("LocalHost/d1/?api-version=2018-06-30")},
		{name: "host is an address of the hub", device: "d1", edit: username("127.0.0.1/d1/?api-version=2018-06-30")},
		{name: "legacy parameters", device: "d1", edit: username("localhost/d1/api-version=2016-11-14")},
		{name: "legacy parameters of a module", device: "d1/m1", edit: username("localhost/d1/m1/api-version=2016-11-14")},
		{name: "unknown parameters", device: "d1", edit: username("localhost/d1/?x=1&DeviceClientType=a%2Fb/c&auth-chain=e;f&y&api-version=9")},
		{name: "no parameters", device: "d1", edit: username("localhost/d1/")},
		{name: "no parameter segment", device: "d1", edit: username("localhost/d1")},
		{name: "secondary key", device: "d1", edit: password(sign(t, "localhost/devices/d1", "d12", "", time.Hour))},
		{name: "token for the hub", device: "d1", edit: password(sign(t, "localhost", "d1", "", time.Hour))},
		{name: "token for the device of a module", device: "d1/m1", edit: password(sign(t, "localhost/devices/d1", "d1/m1", "", time.Hour))},
		{name: "token with a version pasted on", device: "d1", edit: password(sign(t, "localhost/devices/d1/api-version=2016-11-14", "d1", "", time.Hour))},
		{name: "token fields in another order", device: "d1", edit: password(reordered(d1, "se", "sig", "sr"))},
		{name: "token with an empty policy", device: "d1", edit: password(d1 + "&skn=")},
		{name: "token in lower-case hex", device: "d1", edit: password(signRaw(t, "d1", "localhost%2fdevices%2fd1"))},
		{name: "policy device", device: "d1", edit: password(sign(t, "localhost/devices/d1", "device", "device", time.Hour))},
		{name: "policy iothubowner for the hub", device: "d1", edit: password(sign(t, "localhost", "iothubowner", "iothubowner", time.Hour))},
		{name: "will", device: "d1", edit: will("devices/d1/messages/events/a=b", mqtt.QoS1)},
		{name: "will of a module", device: "d1/m1", edit: will("devices/d1/modules/m1/messages/events/", mqtt.QoS0)},
		{name: "clean session", device: "d1", edit: clean},

		{name: "no user name", device: "d1", edit: func(p *mqtt.Connect) { p.HasUsername, p.HasPassword = false, false }, want: 4, log: "no user name"},
		{name: "user name without a slash", device: "d1", edit: username("d1"), want: 4, log: "no slash"},
		{name: "user name without a device", device: "d1", edit: username("localhost//?api-version=1"), want: 4, log: "device id is invalid"},
		{name: "user name with too many segments", device: "d1", edit: username("localhost/d1/m1/x/?api-version=1"), want: 4, log: "too many segments"},
		{name: "user name with an invalid module", device: "d1", edit: username("localhost/d1/m 1/?api-version=1"), want: 4, log: "module id is invalid"},
		{name: "token as user name", device: "d1", edit: username(d1), want: 4, log: "no slash"},
		{name: "model id badly encoded", device: "d1", edit: username("localhost/d1/?model-id=%zz"), want: 4, log: "model-id"},
		{name: "model id not UTF-8", device: "d1", edit: username("localhost/d1/?model-id=%ff"), want: 4, log: "model-id"},
		{name: "model id too long", device: "d1", edit: username("localhost/d1/?model-id=" + strings.Repeat("m", 5000)), want: 4, log: "model id has 5000 bytes"},
		{name: "other host", device: "d1", edit: username("elsewhere.example/d1/?api-version=1"), want: 4, log: "elsewhere.example"},
		{name: "client id of another device", device: "d1", edit: func(p *mqtt.Connect) { p.ClientID = "d2" }, want: 2, log: "client id"},
		{name: "client id of the device for a module", device: "d1/m1", edit: func(p *mqtt.Connect) { p.ClientID = "d1" }, want: 2, log: "client id"},
		{name: "client id in another case", device: "d1", edit: func(p *mqtt.Connect) { p.ClientID = "D1" }, want: 2, log: "client id"},
		{name: "empty client id", device: "d1", edit: func(p *mqtt.Connect) { p.ClientID, p.CleanSession = "", true }, want: 2, log: "client id"},
		{name: "unknown device", device: "nobody", edit: func(*mqtt.Connect) {}, want: 5, log: "there is no identity nobody"},
		{name: "unknown module", device: "d1/nobody", edit: func(*mqtt.Connect) {}, want: 5, log: "there is no identity d1/nobody"},
		{name: "disabled device", device: "off", edit: func(*mqtt.Connect) {}, want: 5, log: "is disabled"},
		{name: "no password", device: "d1", edit: func(p *mqtt.Connect) { p.HasPassword = false }, want: 5, log: "no access token"},
		{name: "empty password", device: "d1", edit: password(""), want: 5, log: "no access token"},
		{name: "password that is no token", device: "d1", edit: password("secret"), want: 4, log: "cannot be read"},
		{name: "token without a signature", device: "d1", edit: password(reordered(d1, "sr", "se")), want: 4, log: "sig is missing"},
		{name: "expired", device: "d1", edit: password(sign(t, "localhost/devices/d1", "d1", "", -time.Minute)), want: 5, log: "expired"},
		{name: "wrong key", device: "d1", edit: password(sign(t, "localhost/devices/d1", "d2", "", time.Hour)), want: 5, log: "matches neither of its keys"},
		{name: "token for another device", device: "d1", edit: password(sign(t, "localhost/devices/d2", "d1", "", time.Hour)), want: 5, log: "does not cover"},
		{name: "token for the device in another case", device: "d1", edit: password(sign(t, "localhost/devices/D1", "d1", "", time.Hour)), want: 5, log: "does not cover"},
		{name: "token for another host", device: "d1", edit: password(sign(t, "elsewhere.example/devices/d1", "d1", "", time.Hour)), want: 5, log: "is not this hub"},
		{name: "policy without DeviceConnect", device: "d1", edit: password(sign(t, "localhost", "service", "service", time.Hour)), want: 5, log: "lacks the right DeviceConnect"},
		{name: "unknown policy", device: "d1", edit: password(sign(t, "localhost", "nobody", "nobody", time.Hour)), want: 5, log: "no policy"},
		{name: "policy with the device's key", device: "d1", edit: password(sign(t, "localhost", "d1", "device", time.Hour)), want: 5, log: "neither key of policy"},
		{name: "will with QoS 2", device: "d1", edit: will("devices/d1/messages/events/", mqtt.QoS2), want: 4, log: "will"},
		{name: "will of another device", device: "d1", edit: will("devices/d2/messages/events/", mqtt.QoS0), want: 4, log: "will"},
		{name: "will elsewhere", device: "d1", edit: will("a/b", mqtt.QoS0), want: 4, log: "will"},
		{name: "will with a bad bag", device: "d1", edit: will("devices/d1/messages/events/a=%zz", mqtt.QoS0), want: 4, log: "property bag of the will"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			eventually(t, "earlier connections ended", func() bool { return h.Connections() == 0 })
			h.forgetRefusals()
			before := len(h.log.String())
			c, ack := h.tryConnect(t, tt.device, tt.edit)
			if ack.Code != tt.want || ack.SessionPresent {
				t.Fatalf("got %s, want code %d\n%s", show(ack), tt.want, h.log.String()[before:])
			}
			if tt.want == mqtt.Accepted {
				c.wantNothing()
				c.send(&mqtt.Disconnect{})
				c.wantClosed()
				return
			}
			c.wantClosed()
			eventually(t, "a line that explains", func() bool { return strings.Contains(h.log.String()[before:], "msg=refused") })
			line := h.log.String()[before:]
			if strings.Count(line, "\n") != 1 || !strings.Contains(line, tt.log) || !strings.Contains(line, "remedy=") || !strings.Contains(line, "remote=") {
				t.Errorf("log says %q, want one line with %q, remedy and remote", line, tt.log)
			}
		})
	}
	wantNoSecrets(t, h.log.String(), d1, keyFor("d1"), keyFor("device"), "secret", deviceToken(t, module))
}

// signRaw makes the token of a device for a resource that is percent-encoded already.
func signRaw(t *testing.T, device, resource string) string {
	t.Helper()
	key, err := base64.StdEncoding.DecodeString(keyFor(device))
	if err != nil {
		t.Fatal(err)
	}
	se := strconv.FormatInt(time.Now().Add(time.Hour).Unix(), 10)
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(resource + "\n" + se))
	sig := url.QueryEscape(base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	return "SharedAccessSignature sr=" + resource + "&sig=" + sig + "&se=" + se
}

// wantNoSecrets fails when log contains a text, or the signature of a token among them.
func wantNoSecrets(t *testing.T, log string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if _, sig, ok := strings.Cut(text, "&sig="); ok {
			text, _, _ = strings.Cut(sig, "&")
		}
		if strings.Contains(log, text) {
			t.Errorf("the log contains the secret %q", text)
		}
	}
	if strings.Contains(strings.ReplaceAll(log, "&sig=...&", ""), "sig=") {
		t.Error("the log contains a signature")
	}
}

func TestRefusalsAreRateLimited(t *testing.T) {
	h := newHub(t, hubOptions{})
	h.create(t, "d1")
	for n := range 5 {
		life := -time.Duration(n+1) * time.Hour // each reason differs in its times
		c, _ := h.tryConnect(t, "d1", func(p *mqtt.Connect) {
			p.Password = []byte(sign(t, "localhost/devices/d1", "d1", "", life))
		})
		c.wantClosed()
	}
	eventually(t, "all connections ended", func() bool { return h.Connections() == 0 })
	if n := strings.Count(h.log.String(), "expired at"); n != 1 {
		t.Errorf("five expired tokens of one device took %d lines, want 1:\n%s", n, h.log)
	}
}

func TestOtherProtocolVersions(t *testing.T) {
	h := newHub(t, hubOptions{})
	tests := []struct{ name, packet, want string }{
		{"MQTT 5", "\x10\x0f\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x02d1", "\x20\x03\x00\x84\x00"},
		{"MQTT 3.1", "\x10\x10\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x02d1", "\x20\x02\x00\x01"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := h.dial(t)
			c.write([]byte(tt.packet))
			got := make([]byte, len(tt.want))
			c.nc.SetReadDeadline(time.Now().Add(patience))
			for n := 0; n < len(got); {
				m, err := c.nc.Read(got[n:])
				if err != nil {
					t.Fatalf("read: %v after %x", err, got[:n])
				}
				n += m
			}
			if string(got) != tt.want {
				t.Errorf("got %x, want %x", got, tt.want)
			}
			c.wantClosed()
			eventually(t, "a remedy", func() bool { return strings.Contains(h.log.String(), "set the client to MQTT 3.1.1") })
		})
	}
}

func TestEmptyClientIDWithoutCleanSession(t *testing.T) {
	h := newHub(t, hubOptions{})
	c := h.dial(t)
	c.write([]byte("\x10\x0c\x00\x04MQTT\x04\x00\x00\x3c\x00\x00"))
	c.want("CONNACK 2 present=false")
	c.wantClosed()
}

func TestFirstPacketIsNotConnect(t *testing.T) {
	h := newHub(t, hubOptions{})
	for _, p := range []mqtt.Packet{&mqtt.Pingreq{}, &mqtt.Publish{Topic: "devices/d1/messages/events/"}, &mqtt.Disconnect{}} {
		c := h.dial(t)
		c.send(p)
		c.wantClosed()
		eventually(t, "a remedy", func() bool {
			return strings.Contains(h.log.String(), fmt.Sprintf("the first packet is %v", p.Type()))
		})
	}
}

func TestSecondConnectCloses(t *testing.T) {
	h := newHub(t, hubOptions{})
	h.create(t, "d1")
	c := h.connect(t, "d1")
	c.send(connectFor(t, twinhub.ID{Device: "d1"}))
	c.wantClosed()
	eventually(t, "a remedy", func() bool { return strings.Contains(h.log.String(), "a second CONNECT") })
}

func TestModelID(t *testing.T) {
	h := newHub(t, hubOptions{})
	h.create(t, "d1")
	tests := []struct{ name, parameters, want string }{
		{"encoded", "?api-version=2020-09-30&model-id=dtmi%3Acom%3Aexample%3AThermostat%3B1&DeviceClientType=x", "dtmi:com:example:Thermostat;1"},
		{"raw", "?api-version=2021-04-12&model-id=dtmi:com:example:Other;2", "dtmi:com:example:Other;2"},
		{"preview name", "?digital-twin-model-id=dtmi:a;1", "dtmi:a;1"},
		{"legacy form", "api-version=2020-09-30&model-id=dtmi:b;1", "dtmi:b;1"},
		{"absent clears it", "?api-version=2021-04-12", ""},
	}
	for n, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := h.connect(t, "d1", func(p *mqtt.Connect) { p.Username = "localhost/d1/" + tt.parameters })
			document, err := h.twins.Document(twinhub.ID{Device: "d1"})
			if err != nil || document.ModelID != tt.want {
				t.Errorf("after CONNACK the twin has model %q, %v, want %q", document.ModelID, err, tt.want)
			}
			c.send(publish1(1, "devices/d1/messages/events/", "x"))
			c.want("PUBACK 1")
			model, _ := h.awaitEvents(t, "d1", n+1)[n].MessageAnnotations.Get("dt-dataschema")
			if model == nil {
				model = ""
			}
			if model != tt.want {
				t.Errorf("telemetry has dt-dataschema %v, want %q", model, tt.want)
			}
			c.send(&mqtt.Disconnect{})
			c.wantClosed()
		})
	}
}

func TestNoConnectInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, hubOptions{})
		begin := time.Now()
		c := h.dial(t)
		c.write([]byte{0x10}) // a CONNECT that never ends
		c.nc.SetReadDeadline(time.Time{})
		if _, err := c.r.ReadPacket(); err == nil {
			t.Fatal("got a packet")
		}
		if took := time.Since(begin); took != signInTime {
			t.Errorf("closed after %v, want %v", took, signInTime)
		}
		synctest.Wait()
		if log := h.log.String(); !strings.Contains(log, "no CONNECT came within 30s") || strings.Count(log, "\n") != 1 {
			t.Errorf("log says %q", log)
		}
		h.stop()
	})
}

func TestIdentityVanishesDuringSignIn(t *testing.T) {
	tests := []struct {
		name   string
		change func(h *testHub) error
	}{
		{"deleted", func(h *testHub) error { return h.registry.Delete(context.Background(), "d1", "*") }},
		{"disabled", func(h *testHub) error {
			status := "disabled"
			_, err := h.registry.Put(context.Background(), &registry.Spec{DeviceID: "d1", Status: &status}, "*")
			return err
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHub(t, hubOptions{})
			h.create(t, "d1")
			// The change happens after the first check and before the session is open.
			h.Twins = &interruptedTwins{twins: h.twins, during: func() {
				if err := tt.change(h); err != nil {
					t.Errorf("change: %v", err)
				}
			}}
			c, ack := h.tryConnect(t, "d1")
			if ack.Code != mqtt.RefusedNotAuthorized {
				t.Errorf("got %v, want not authorized", ack.Code)
			}
			c.wantClosed()
			if n := h.Sessions.Connected(); n != 0 {
				t.Errorf("%d sessions are open", n)
			}
		})
	}
}

// interruptedTwins runs during after each SetModel.
type interruptedTwins struct {
	twins
	during func()
}

func (i *interruptedTwins) SetModel(ctx context.Context, id twinhub.ID, model string) error {
	err := i.twins.SetModel(ctx, id, model)
	i.during()
	return err
}

func TestConnackMeansConnected(t *testing.T) {
	h := newHub(t, hubOptions{})
	h.create(t, "d1")
	id := twinhub.ID{Device: "d1"}
	state := func() session.State {
		t.Helper()
		s, err := h.Sessions.State(id)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	for range 20 {
		c := h.connect(t, "d1")
		if s := state(); !s.Connected {
			t.Fatalf("after CONNACK the state is %+v, want connected", s)
		}
		c.send(&mqtt.Disconnect{})
		c.wantClosed()
		if s := state(); s.Connected {
			t.Fatalf("after the close that answers DISCONNECT the state is %+v, want disconnected", s)
		}
	}
}
