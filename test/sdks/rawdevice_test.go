package sdks

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twinhub/twinhub/internal/sas"
	"github.com/twinhub/twinhub/internal/wire/mqtt"
)

// service speaks the service API without an SDK, for what SDKs cannot say: bytes as they are, and a thousand requests.
type service struct {
	t      testing.TB
	host   string
	token  string
	client *http.Client
}

// roots returns the pool that trusts h.
func roots(t testing.TB, h *hub) *x509.CertPool {
	t.Helper()
	ca, err := os.ReadFile(h.env["TWINHUB_CA_FILE"])
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		t.Fatalf("no certificate in %s", h.env["TWINHUB_CA_FILE"])
	}
	return pool
}

// newService signs in to h as iothubowner.
func newService(t testing.TB, h *hub) *service {
	t.Helper()
	values := map[string]string{}
	for _, part := range strings.Split(h.env["IOTHUB_CONNECTION_STRING"], ";") {
		name, value, _ := strings.Cut(part, "=")
		values[name] = value
	}
	key, err := sas.HubKey(values["SharedAccessKey"])
	if err != nil {
		t.Fatal(err)
	}
	return &service{
		t: t, host: values["HostName"],
		token:  sas.Sign(values["HostName"], key, values["SharedAccessKeyName"], time.Now().Add(time.Hour)),
		client: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots(t, h)}, MaxIdleConnsPerHost: 8}},
	}
}

// do sends a request and returns the answer; its body is already read.
func (s *service) do(method, path, body string) (status int, answer []byte, h http.Header) {
	s.t.Helper()
	status, answer, h, err := s.request(method, path, body)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	return status, answer, h
}

// request is do for other goroutines than the test's.
func (s *service) request(method, path, body string) (status int, answer []byte, h http.Header, err error) {
	req, err := http.NewRequestWithContext(s.t.Context(), method, "https://"+s.host+path+"?api-version=2021-04-12", strings.NewReader(body))
	if err != nil {
		return 0, nil, nil, err
	}
	req.Header.Set("Authorization", s.token)
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	res, err := s.client.Do(req)
	if err != nil {
		return 0, nil, nil, err
	}
	defer res.Body.Close()
	answer, err = io.ReadAll(res.Body)
	return res.StatusCode, answer, res.Header, err
}

// want is do for a request that must be answered with status.
func (s *service) want(status int, method, path, body string) []byte {
	s.t.Helper()
	got, answer, _ := s.do(method, path, body)
	if got != status {
		s.t.Fatalf("%s %s %s: got %d %s, want %d", method, path, body, got, answer, status)
	}
	return answer
}

// register makes a device and returns its key.
func (s *service) register(id string) string {
	s.t.Helper()
	raw := make([]byte, 32)
	rand.Read(raw)
	key := base64.StdEncoding.EncodeToString(raw)
	s.want(http.StatusOK, http.MethodPut, "/devices/"+url.PathEscape(id),
		fmt.Sprintf(`{"deviceId":%q,"status":"enabled","authentication":{"type":"sas","symmetricKey":{"primaryKey":%q,"secondaryKey":%q}}}`, id, key, key))
	return key
}

// call is a method call as a rawDevice got it.
type call struct {
	name, rid string
	payload   string
}

// rawDevice is a device that shows the bytes it gets. It is used from one goroutine.
type rawDevice struct {
	t       testing.TB
	id      string
	conn    net.Conn
	nextID  uint16
	answers chan mqtt.Publish // to twin requests
	acks    chan uint16
	calls   chan call
	desired chan string
	failed  chan error // buffered; why reading ended
}

// connect connects the device that register made, announcing model unless it is empty.
func (s *service) connect(h *hub, id, key, model string) *rawDevice {
	s.t.Helper()
	secret, err := sas.HubKey(key)
	if err != nil {
		s.t.Fatal(err)
	}
	conn, err := tls.Dial("tcp", net.JoinHostPort(s.host, "8883"), &tls.Config{RootCAs: roots(s.t, h)})
	if err != nil {
		s.t.Fatal(err)
	}
	d := &rawDevice{t: s.t, id: id, conn: conn, answers: make(chan mqtt.Publish, 16), acks: make(chan uint16, 1<<12), calls: make(chan call, 1<<10),
		desired: make(chan string, 1<<12), failed: make(chan error, 1)}
	user := s.host + "/" + id + "/?api-version=2020-09-30"
	if model != "" {
		user += "&model-id=" + url.QueryEscape(model)
	}
	d.write(&mqtt.Connect{CleanSession: true, KeepAlive: 4 * time.Minute, ClientID: id, HasUsername: true, Username: user, HasPassword: true,
		Password: []byte(sas.Sign(sas.DeviceResource(s.host, id, ""), secret, "", time.Now().Add(time.Hour)))})
	r := mqtt.NewReader(conn, mqtt.Options{From: mqtt.Server, Limit: 1 << 20})
	p, err := r.ReadPacket()
	if ack, ok := p.(*mqtt.Connack); err != nil || !ok || ack.Code != mqtt.Accepted {
		s.t.Fatalf("connect %s: got %+v, %v", id, p, err)
	}
	d.write(&mqtt.Subscribe{ID: 1, Subscriptions: []mqtt.Subscription{{Filter: "$iothub/twin/res/#", QoS: 1}, {Filter: "$iothub/twin/PATCH/properties/desired/#", QoS: 1}, {Filter: "$iothub/methods/POST/#", QoS: 1}}})
	if p, err = r.ReadPacket(); err != nil || p.Type() != mqtt.TypeSuback {
		s.t.Fatalf("subscribe %s: got %+v, %v", id, p, err)
	}
	d.nextID = 1
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.failed <- d.read(r)
	}()
	s.t.Cleanup(func() {
		d.conn.Close()
		<-done
	})
	return d
}

// read hands on what arrives until the connection ends. It acknowledges on its own, which the device's other writes
// do not disturb, since one packet is one write.
func (d *rawDevice) read(r *mqtt.Reader) error {
	for {
		packet, err := r.ReadPacket()
		if err != nil {
			return err
		}
		switch p := packet.(type) {
		case *mqtt.Puback:
			d.acks <- p.ID
		case *mqtt.Publish:
			if p.QoS == mqtt.QoS1 {
				if _, err := d.conn.Write((&mqtt.Puback{ID: p.ID}).AppendTo(nil)); err != nil {
					return err
				}
			}
			switch rest, isCall := strings.CutPrefix(p.Topic, "$iothub/methods/POST/"); {
			case isCall:
				name, rid, _ := strings.Cut(rest, "/?$rid=")
				d.calls <- call{name, rid, string(p.Payload)}
			case strings.HasPrefix(p.Topic, "$iothub/twin/PATCH/properties/desired/"):
				d.desired <- string(p.Payload)
			default:
				d.answers <- mqtt.Publish{Topic: p.Topic, Payload: bytes.Clone(p.Payload)}
			}
		default:
			return fmt.Errorf("unexpected %v", packet.Type())
		}
	}
}

func (d *rawDevice) write(p mqtt.Packet) {
	d.t.Helper()
	if err := p.Validate(); err != nil {
		d.t.Fatal(err)
	}
	if _, err := d.conn.Write(p.AppendTo(nil)); err != nil {
		d.t.Fatalf("%s: %v", d.id, errors.Join(err, d.cause()))
	}
}

// cause says why the connection ended, if it has.
func (d *rawDevice) cause() error {
	select {
	case err := <-d.failed:
		d.failed <- err
		return fmt.Errorf("connection ended: %w", err)
	default:
		return nil
	}
}

// take receives from c, or fails.
func take[T any](d *rawDevice, c chan T, what string) T {
	d.t.Helper()
	select {
	case v := <-c:
		return v
	case err := <-d.failed:
		d.t.Fatalf("%s: connection ended while it waited for %s: %v", d.id, what, err)
	case <-time.After(10 * time.Second):
		d.t.Fatalf("%s: no %s within 10 s", d.id, what)
	}
	panic("unreachable")
}

// publish sends with QoS 1 and returns when the hub has acknowledged.
func (d *rawDevice) publish(topic, body string) {
	d.t.Helper()
	d.send(topic, body)
	if got := take(d, d.acks, "PUBACK"); got != d.nextID {
		d.t.Fatalf("%s: PUBACK %d, want %d", d.id, got, d.nextID)
	}
}

// send sends with QoS 1 and leaves the acknowledgement in d.acks.
func (d *rawDevice) send(topic, body string) {
	d.t.Helper()
	d.nextID = d.nextID%65535 + 1
	d.write(&mqtt.Publish{QoS: mqtt.QoS1, ID: d.nextID, Topic: topic, Payload: []byte(body)})
}

// telemetry sends a message with a property bag, which may be empty.
func (d *rawDevice) telemetry(bag, body string) {
	d.t.Helper()
	d.publish("devices/"+d.id+"/messages/events/"+bag, body)
}

// report changes reported properties and expects status; it returns the answer's body.
func (d *rawDevice) report(status int, patch string) string {
	d.t.Helper()
	d.publish("$iothub/twin/PATCH/properties/reported/?$rid=r", patch)
	a := take(d, d.answers, "answer to a reported patch")
	if want := fmt.Sprintf("$iothub/twin/res/%d/?$rid=r", status); !strings.HasPrefix(a.Topic, want) {
		d.t.Fatalf("%s: reported patch %s: got %s %s, want %s", d.id, patch, a.Topic, a.Payload, want)
	}
	return string(a.Payload)
}

// answer answers a method call.
func (d *rawDevice) answer(c call, status int, body string) {
	d.t.Helper()
	d.publish(fmt.Sprintf("$iothub/methods/res/%d/?$rid=%s", status, c.rid), body)
}

// get unmarshals the answer to a GET.
func get[T any](s *service, path string) T {
	s.t.Helper()
	var v T
	if body := s.want(http.StatusOK, http.MethodGet, path, ""); json.Unmarshal(body, &v) != nil {
		s.t.Fatalf("GET %s: not the JSON expected: %s", path, body)
	}
	return v
}
