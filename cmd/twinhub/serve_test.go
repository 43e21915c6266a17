package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	goamqp "github.com/Azure/go-amqp"

	"github.com/twinhub/twinhub/internal/sas"
)

// picked are the flags of a hub that picks its ports, on 127.0.0.1 alone.
var picked = []string{
	"serve", "--https-port", "0", "--mqtts-port", "0", "--amqps-port", "0", "--amqp-port", "0", "--ops-port", "0",
	"--bind", "127.0.0.1", "--amqp-bind", "127.0.0.1", "--ops-bind", "127.0.0.1",
}

func with(args ...string) []string { return append(append([]string{}, picked...), args...) }

// TestServe runs a hub with a device and a reader connected, and ends it.
func TestServe(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "it's data")
	p := launch(t, []string{"TWINHUB_OWNER_KEY=" + ownerKey}, with("--data", dir, "--hub-name", "my-pnp-hub", "--log-level", "debug")...)
	text, values := p.greeting()
	for _, want := range []string{
		`twinhub "my-pnp-hub" is ready`, "  https  127.0.0.1:", "  ops    127.0.0.1:", filepath.Join(dir, "tls", "ca.pem"), "SHA-256 ",
		filepath.Join(dir, "connection.env"), `set -a; . '` + strings.ReplaceAll(dir, "'", `'\''`) + `/connection.env'; set +a`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the greeting lacks %q:\n%s", want, text)
		}
	}
	if want := "HostName=localhost;SharedAccessKeyName=iothubowner;SharedAccessKey=" + ownerKey; values["IOTHUB_CONNECTION_STRING"] != want {
		t.Errorf("connection string: got %q, want %q", values["IOTHUB_CONNECTION_STRING"], want)
	}
	if strings.Contains(text, ownerKey) {
		t.Error("the greeting shows a key")
	}
	pem, err := os.ReadFile(values["TWINHUB_CA_FILE"])
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	client := &tls.Config{RootCAs: roots, ServerName: "localhost"}
	at := doors(values)

	key, err := sas.HubKey(ownerKey)
	if err != nil {
		t.Fatal(err)
	}
	token := sas.Sign("localhost", key, "iothubowner", time.Now().Add(time.Hour))
	request, err := http.NewRequestWithContext(t.Context(), "PUT", "https://"+at["https"]+"/devices/d1?api-version=2021-04-12", strings.NewReader(`{"deviceId":"d1"}`))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", token)
	transport := &http.Transport{TLSClientConfig: client} // its connection stays open
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("create a device: got %s %s", resp.Status, body)
	}

	device, err := tls.Dial("tcp", at["mqtts"], client)
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	if _, err := device.Write(connectPacket("d1", "localhost/d1/?api-version=2021-04-12", token)); err != nil {
		t.Fatal(err)
	}
	connack := make([]byte, 4)
	if _, err := io.ReadFull(device, connack); err != nil || connack[3] != 0 {
		t.Fatalf("CONNACK: got % x, %v", connack, err)
	}

	reader, err := goamqp.Dial(t.Context(), "amqp://"+at["amqp"], &goamqp.ConnOptions{SASLType: goamqp.SASLTypeAnonymous()})
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	readEvents(t, reader, token)
	silent, err := net.Dial("tcp", at["amqps"])
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()

	for path, want := range map[string]string{
		"/readyz": "ready\n", "/receivers": `"address":"my-pnp-hub/ConsumerGroups/$Default/Partitions/0"`, "/metrics": "\ntwinhub_session_devices 1\n",
	} {
		resp, err := http.Get("http://" + at["ops"] + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if !strings.Contains(string(body), want) {
			t.Errorf("%s: got %s, want %q in it", path, body, want)
		}
	}

	other := launch(t, nil, with("--data", dir)...)
	if code := other.code(20 * time.Second); code != 1 || !strings.Contains(other.log.String(), fmt.Sprintf("is in use by PID %d", p.cmd.Process.Pid)) {
		t.Errorf("a second hub on the data: got exit code %d and %q, want 1 and the PID", code, other.log)
	}
	_, port, _ := net.SplitHostPort(at["mqtts"])
	other = launch(t, nil, append(with("--data", t.TempDir()), "--mqtts-port", port)...)
	if code := other.code(20 * time.Second); code != 1 || !strings.Contains(other.log.String(), fmt.Sprintf("mqtts port 127.0.0.1:%s is in use by PID %d", port, p.cmd.Process.Pid)) {
		t.Errorf("a second hub on the port: got exit code %d and %q, want 1 and the PID", code, other.log)
	}
	if n := strings.Count(strings.TrimSpace(other.log.String()), "\n"); n != 0 {
		t.Errorf("the error has %d lines, want one: %s", n+1, other.log)
	}

	p.interrupt()
	if strings.Contains(p.log.String(), ownerKey) || strings.Contains(p.log.String(), token) {
		t.Error("the log shows a key or token")
	}
	if _, err := os.Stat(filepath.Join(dir, "pid")); err == nil {
		t.Error("the pid file is left")
	}
}

// ownerKey is what TWINHUB_OWNER_KEY says in these tests.
const ownerKey = "bXkgb3duIGtleSwgMzIgYnl0ZXMgbG9uZyBpbiBhbGw="

// connectPacket is a CONNECT of MQTT 3.1.1 with a clean session and a keep alive of a minute.
func connectPacket(client, user, password string) []byte {
	body := []byte("\x00\x04MQTT\x04\xc2\x00\x3c")
	for _, s := range []string{client, user, password} {
		body = append(binary.BigEndian.AppendUint16(body, uint16(len(s))), s...)
	}
	return append(binary.AppendUvarint([]byte{0x10}, uint64(len(body))), body...)
}

// readEvents puts a token and attaches a reader of partition 0.
func readEvents(t *testing.T, c *goamqp.Conn, token string) {
	t.Helper()
	ctx := t.Context()
	s, err := c.NewSession(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	answers, err := s.NewReceiver(ctx, "$cbs", nil)
	if err != nil {
		t.Fatal(err)
	}
	requests, err := s.NewSender(ctx, "$cbs", nil)
	if err != nil {
		t.Fatal(err)
	}
	put := &goamqp.Message{Value: token, ApplicationProperties: map[string]any{"operation": "put-token", "type": "servicebus.windows.net:sastoken", "name": "localhost"}}
	if err := requests.Send(ctx, put, nil); err != nil {
		t.Fatal(err)
	}
	if m, err := answers.Receive(ctx, nil); err != nil || m.ApplicationProperties["status-code"] != int32(200) {
		t.Fatalf("put token: %v, %v", m, err)
	}
	if _, err := s.NewReceiver(ctx, "my-pnp-hub/ConsumerGroups/$Default/Partitions/0", nil); err != nil {
		t.Fatal(err)
	}
}

// TestServeEphemeral checks that nothing is left.
func TestServeEphemeral(t *testing.T) {
	p := launch(t, nil, with("--ephemeral")...)
	_, values := p.greeting()
	dir := values["TWINHUB_DATA"]
	if _, err := os.Stat(dir); err != nil {
		t.Error(err)
	}
	p.interrupt()
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the temporary folder: got %v, want none", err)
	}
	if _, err := os.Stat(filepath.Join(p.cmd.Dir, "twinhub-data")); !os.IsNotExist(err) {
		t.Errorf("the data folder: got %v, want none", err)
	}
}

// TestConfigAndFlags checks that flags win over the file, and that routes of both count.
func TestConfigAndFlags(t *testing.T) {
	config := filepath.Join(t.TempDir(), "c.yaml")
	text := "hubName: from-file\nhostnames: [file.example.net]\npartitions: 3\nroutes: [{name: r, source: twinChangeEvents}]\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f := serveFlags{config: config, https: "443", mqtts: "off", amqps: "0", amqp: "1", ops: "2", data: "d"}
	c, err := f.build()
	if err != nil {
		t.Fatal(err)
	}
	if c.Name != "from-file" || len(c.Hostnames) != 1 || c.Hostnames[0] != "file.example.net" || c.Partitions != 3 || len(c.Routing.Routes) != 1 {
		t.Errorf("the file alone: got %+v", c)
	}
	if c.HTTPS != 443 || c.MQTTS != -1 || c.AMQPS != 0 || c.AMQP != 1 || c.Ops != 2 || c.DataDir != "d" {
		t.Errorf("ports and folder: got %+v", c)
	}
	f.name, f.hostnames, f.routes, f.bind = "from-flag", []string{"flag.example.net", "192.0.2.1"}, []string{"deviceLifecycleEvents"}, []string{"::1"}
	if c, err = f.build(); err != nil {
		t.Fatal(err)
	}
	if c.Name != "from-flag" || strings.Join(c.Hostnames, " ") != "flag.example.net 192.0.2.1" || c.Partitions != 3 {
		t.Errorf("flags over the file: got %+v", c)
	}
	if len(c.Routing.Routes) != 2 || c.Routing.Routes[1].Source != "deviceLifecycleEvents" || c.Routing.Routes[1].Endpoint != "events" {
		t.Errorf("routes: got %+v, want those of both", c.Routing.Routes)
	}
	if len(c.Bind) != 1 || !c.Bind[0].IsLoopback() || c.OpsBind != nil || c.AMQPBind != nil {
		t.Errorf("addresses: got %v %v %v", c.Bind, c.OpsBind, c.AMQPBind)
	}
}

// TestReplacedAuthority checks that the greeting says when clients have to trust another CA.
func TestReplacedAuthority(t *testing.T) {
	dir := t.TempDir()
	for i, host := range []string{"localhost", "localhost", "hub.example.net"} {
		p := launch(t, nil, with("--data", dir, "--hostname", host)...)
		text, _ := p.greeting()
		if got := strings.Contains(text, "Every client has to trust it anew"); got != (i == 2) {
			t.Errorf("start %d with %s:\n%s", i, host, text)
		}
		p.interrupt()
	}
}

func TestQuote(t *testing.T) {
	for s, want := range map[string]string{"/a b": "'/a b'", "it's": `'it'\''s'`, "": "''"} {
		if got := quote(s); got != want {
			t.Errorf("quote(%q): got %s, want %s", s, got, want)
		}
	}
}
