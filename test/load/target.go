package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/twinhub/twinhub/internal/sas"
	"github.com/twinhub/twinhub/internal/wire/mqtt"
)

// A target is a hub, or a broker that asks for no credentials.
type target struct {
	tls    *tls.Config
	mqtts  string
	https  string
	hub    sas.HubConnectionString
	key    sas.Key
	token  string // of the service
	events string // connection string of the built-in endpoint without TLS
	broker bool
	client *http.Client
}

// openTarget reads where the server is.
func openTarget(o options) (*target, error) {
	if o.broker != "" {
		roots, err := readRoots(o.ca)
		if err != nil {
			return nil, err
		}
		return &target{broker: true, mqtts: o.broker, tls: &tls.Config{RootCAs: roots, ServerName: "localhost", MinVersion: tls.VersionTLS13}}, nil
	}
	env, err := readEnv(o.env)
	if err != nil {
		return nil, err
	}
	roots, err := readRoots(env["TWINHUB_CA_FILE"])
	if err != nil {
		return nil, err
	}
	t := &target{tls: &tls.Config{RootCAs: roots, ServerName: "localhost", MinVersion: tls.VersionTLS13}, events: env["EVENTHUB_EMULATOR_CONNECTION_STRING"]}
	for door := range strings.FieldsSeq(env["TWINHUB_ENDPOINTS"]) {
		name, address, _ := strings.Cut(door, "=")
		switch name {
		case "mqtts":
			t.mqtts = address
		case "https":
			t.https = address
		}
	}
	if t.hub, err = sas.ParseHubConnectionString(env["IOTHUB_CONNECTION_STRING"]); err != nil {
		return nil, err
	}
	if t.key, err = sas.HubKey(t.hub.SharedAccessKey); err != nil {
		return nil, err
	}
	t.token = sas.Sign(t.hub.HostName, t.key, t.hub.SharedAccessKeyName, time.Now().Add(24*time.Hour))
	t.client = &http.Client{Transport: &http.Transport{TLSClientConfig: t.tls, MaxIdleConnsPerHost: 256}}
	return t, nil
}

func readEnv(path string) (map[string]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	env := map[string]string{}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		env[name] = strings.Trim(value, "'")
	}
	return env, nil
}

func readRoots(file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s holds no certificate", file)
	}
	return roots, nil
}

// call makes a request of the service API and returns the answer's body.
func (t *target) call(ctx context.Context, method, path, body string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, "https://"+t.https+path+"?api-version=2021-04-12", bytes.NewBufferString(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", t.token)
	r.Header.Set("Content-Type", "application/json")
	resp, err := t.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= 300 && resp.StatusCode != http.StatusConflict {
		return nil, fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, answer)
	}
	return answer, nil
}

func deviceID(i int) string { return fmt.Sprintf("load-%05d", i) }

// makeDevices registers n devices; they sign in with the hub's policy key.
func (t *target) makeDevices(ctx context.Context, n int) error {
	if t.broker {
		return nil
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(64)
	for i := range n {
		g.Go(func() error {
			_, err := t.call(ctx, "PUT", "/devices/"+deviceID(i), fmt.Sprintf(`{"deviceId":%q}`, deviceID(i)))
			return err
		})
	}
	return g.Wait()
}

// A device is one MQTT connection.
type device struct {
	id     string
	nc     net.Conn
	reader *mqtt.Reader
	out    []byte
}

// connect signs device i in.
func (t *target) connect(ctx context.Context, i int) (*device, error) {
	nc, err := (&tls.Dialer{Config: t.tls}).DialContext(ctx, "tcp", t.mqtts)
	if err != nil {
		return nil, err
	}
	d := &device{id: deviceID(i), nc: nc, reader: mqtt.NewReader(nc, mqtt.Options{From: mqtt.Server, Limit: 1 << 20})}
	c := &mqtt.Connect{CleanSession: true, KeepAlive: 20 * time.Minute, ClientID: d.id}
	if !t.broker {
		c.HasUsername, c.HasPassword = true, true
		c.Username = t.hub.HostName + "/" + d.id + "/?api-version=2021-04-12"
		c.Password = []byte(t.token)
	}
	if err := d.send(c); err != nil {
		return nil, err
	}
	p, err := d.reader.ReadPacket()
	if err != nil {
		return nil, fmt.Errorf("read CONNACK: %w", err)
	}
	if ack, ok := p.(*mqtt.Connack); !ok || ack.Code != mqtt.Accepted {
		return nil, fmt.Errorf("sign in: %+v", p)
	}
	return d, nil
}

// connectAll signs in the devices from first to first+n-1.
func (t *target) connectAll(ctx context.Context, first, n int) ([]*device, error) {
	list := make([]*device, n)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(32)
	for i := range n {
		g.Go(func() (err error) {
			list[i], err = t.connect(ctx, first+i)
			return err
		})
	}
	return list, g.Wait()
}

func (d *device) send(p mqtt.Packet) error {
	if err := p.Validate(); err != nil {
		return err
	}
	d.out = p.AppendTo(d.out[:0])
	_, err := d.nc.Write(d.out)
	return err
}

// subscribe subscribes and waits for the answer.
func (d *device) subscribe(filters ...string) error {
	s := &mqtt.Subscribe{ID: 1}
	for _, f := range filters {
		s.Subscriptions = append(s.Subscriptions, mqtt.Subscription{Filter: f})
	}
	if err := d.send(s); err != nil {
		return err
	}
	p, err := d.reader.ReadPacket()
	if err != nil {
		return err
	}
	if _, ok := p.(*mqtt.Suback); !ok {
		return errors.New("no SUBACK")
	}
	return nil
}
