package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/twinhub/twinhub/device"
	"github.com/twinhub/twinhub/hubtest"
	"github.com/twinhub/twinhub/service"
)

// cli runs a command line in this process and returns the exit code, standard output and standard error.
func cli(t *testing.T, args ...string) (code int, out, log string) {
	t.Helper()
	return cliContext(t.Context(), "", args...)
}

func cliContext(ctx context.Context, in string, args ...string) (code int, out, log string) {
	var stdout, stderr bytes.Buffer
	root := rootCommand()
	root.SetArgs(args)
	root.SetIn(strings.NewReader(in))
	root.SetOut(&stdout)
	root.SetErr(&stderr)
	err := root.ExecuteContext(ctx)
	code = exitCode(&stderr, err, ctx.Err() != nil)
	return code, stdout.String(), stderr.String()
}

// done runs a command line that must go well.
func done(t *testing.T, args ...string) string {
	t.Helper()
	code, out, log := cli(t, args...)
	if code != 0 {
		t.Fatalf("%q: exit code %d\n%s", args, code, log)
	}
	return out
}

// testHub starts a hub with the routes of the demo and puts it into the environment, as after twinhub env. The test runs in
// an empty folder.
func testHub(t *testing.T, routes ...string) *hubtest.Hub {
	t.Helper()
	h := hubtest.Start(t, hubtest.Options{Routes: routes})
	cleanEnvironment(t)
	for name, value := range map[string]string{
		hubVariable: h.ConnectionString, eventsVariable: h.EventHubConnectionString, caVariable: h.CAFile, "TWINHUB_CA_BUNDLE": h.CABundle,
		endpointsVariable: "https=" + h.HTTPS + " mqtts=" + h.MQTTS + " amqps=" + h.AMQPS,
	} {
		t.Setenv(name, value)
	}
	return h
}

// cleanEnvironment takes away whatever could lead to another hub.
func cleanEnvironment(t *testing.T) {
	t.Helper()
	t.Chdir(t.TempDir())
	for _, name := range []string{hubVariable, hubIPVariable, eventsVariable, endpointsVariable, caVariable, "TWINHUB_CA_BUNDLE", "TWINHUB_DATA", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"} {
		t.Setenv(name, "")
	}
}

// cancelling is an output at whose first line the user hits Ctrl-C.
type cancelling struct {
	bytes.Buffer
	cancel context.CancelFunc
}

func (c *cancelling) Write(p []byte) (int, error) {
	c.cancel()
	return c.Buffer.Write(p)
}

// into decodes JSON.
func into[T any](t *testing.T, text string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("not the JSON expected: %v\n%s", err, text)
	}
	return v
}

func TestDeviceCommands(t *testing.T) {
	h := testHub(t)
	d := into[service.Device](t, done(t, "device", "create", "-d", "thermostat-1", "--primary-key", "MDEyMzQ1Njc4OUFCQ0RFRg==", "--secondary-key", "RkVEQ0JBOTg3NjU0MzIxMA==", "-o", "json"))
	if d.DeviceID != "thermostat-1" || d.Status != "enabled" || d.Authentication.SymmetricKey.SecondaryKey != "RkVEQ0JBOTg3NjU0MzIxMA==" {
		t.Errorf("created: %+v", d)
	}
	if out := done(t, "device", "create", "-d", "gateway", "--edge-enabled", "--status", "disabled", "--status-reason", "being repaired"); !regexp.MustCompile(`(?s)^device id      gateway\nstatus         disabled\nstatus reason  being repaired\n.*signs in by    sas\nedge           yes\n$`).MatchString(out) {
		t.Errorf("create gateway printed\n%s", out)
	}
	done(t, "device", "create", "-d", "camera", "--auth-method", "x509_thumbprint", "--primary-thumbprint", strings.Repeat("AB", 20), "--secondary-thumbprint", strings.Repeat("CD", 20))

	t.Run("list", func(t *testing.T) {
		want := `DEVICE ID     STATUS    SIGNS IN BY  STATE         LAST ACTIVITY  MODEL ID
camera        enabled   selfSigned   Disconnected  never
gateway       disabled  sas          Disconnected  never
thermostat-1  enabled   sas          Disconnected  never
`
		if out := done(t, "device", "list"); out != want {
			t.Errorf("got\n%s\nwant\n%s", out, want)
		}
		for _, test := range []struct {
			args []string
			want []string
		}{
			{[]string{"--top", "2"}, []string{"camera", "gateway"}},
			{[]string{"--edge-enabled"}, []string{"gateway"}},
		} {
			var ids []string
			for _, twin := range into[[]service.Twin](t, done(t, append([]string{"device", "list", "-o", "json"}, test.args...)...)) {
				ids = append(ids, twin.DeviceID)
			}
			if !slices.Equal(ids, test.want) {
				t.Errorf("list %v: got %v, want %v", test.args, ids, test.want)
			}
		}
	})
	t.Run("show", func(t *testing.T) {
		out := done(t, "device", "show", "--device-id", "thermostat-1")
		if !strings.HasPrefix(out, "device id      thermostat-1\nstatus         enabled\n") || strings.Contains(out, "MDEy") {
			t.Errorf("show printed\n%s", out)
		}
		camera := into[service.Device](t, done(t, "device", "show", "-d", "camera", "-o", "json"))
		if a := camera.Authentication; a.Type != "selfSigned" || a.X509Thumbprint.SecondaryThumbprint != strings.Repeat("CD", 20) {
			t.Errorf("camera: %s", camera.Raw)
		}
	})
	t.Run("update", func(t *testing.T) {
		before := into[service.Device](t, done(t, "device", "show", "-d", "gateway", "-o", "json"))
		after := into[service.Device](t, done(t, "device", "update", "-d", "gateway", "--status", "enabled", "--etag", before.ETag, "-o", "json"))
		if after.Status != "enabled" || after.StatusReason != "being repaired" || !after.Capabilities.IoTEdge || after.Authentication.SymmetricKey.PrimaryKey != before.Authentication.SymmetricKey.PrimaryKey {
			t.Errorf("update changed more or less than asked: %+v, before %+v", after, before)
		}
		code, _, log := cli(t, "device", "update", "-d", "gateway", "--status", "disabled", "--etag", before.ETag)
		if code != 1 || !strings.Contains(log, "PreconditionFailed (412001)") || !strings.Contains(log, "what to do: somebody changed it") {
			t.Errorf("stale etag: exit code %d\n%s", code, log)
		}
	})
	t.Run("connection-string", func(t *testing.T) {
		if out, want := done(t, "device", "connection-string", "-d", "thermostat-1"), "HostName=localhost;DeviceId=thermostat-1;SharedAccessKey=MDEyMzQ1Njc4OUFCQ0RFRg==\n"; out != want {
			t.Errorf("got %q, want %q", out, want)
		}
		out := into[map[string]string](t, done(t, "device", "connection-string", "-d", "thermostat-1", "--key-type", "secondary", "-o", "json"))
		if want := "HostName=localhost;DeviceId=thermostat-1;SharedAccessKey=RkVEQ0JBOTg3NjU0MzIxMA=="; out["connectionString"] != want {
			t.Errorf("got %q, want %q", out, want)
		}
		if code, _, log := cli(t, "device", "connection-string", "-d", "camera"); code != 1 || !strings.Contains(log, "signs in with a certificate") {
			t.Errorf("camera: exit code %d\n%s", code, log)
		}
	})
	t.Run("sas-token", func(t *testing.T) {
		for _, which := range []string{"primary", "secondary"} {
			token := into[map[string]string](t, done(t, "device", "sas-token", "-d", "thermostat-1", "--duration", "120", "--key-type", which, "-o", "json"))["sas"]
			c, err := device.Connect(t.Context(), device.Identity{HostName: "localhost", DeviceID: "thermostat-1",
				Token: func(context.Context) (string, error) { return token, nil }}, &device.Options{Address: h.MQTTS, TLS: h.ClientTLS()})
			if err != nil {
				t.Fatalf("the hub does not accept the token of the %s key: %v", which, err)
			}
			if err := c.Close(t.Context()); err != nil {
				t.Error(err)
			}
		}
		if code, _, _ := cli(t, "device", "sas-token", "-d", "thermostat-1", "--duration", "0"); code != 2 {
			t.Errorf("duration 0: exit code %d, want 2", code)
		}
	})
	t.Run("delete", func(t *testing.T) {
		if out := done(t, "device", "delete", "-d", "camera"); out != "" {
			t.Errorf("delete printed %q", out)
		}
		code, out, log := cli(t, "device", "show", "-d", "camera")
		if code != 1 || out != "" || !strings.Contains(log, "DeviceNotFound (404001)") || !strings.Contains(log, "'twinhub device list'") {
			t.Errorf("show after delete: exit code %d\n%s\n%s", code, out, log)
		}
	})
}

// connected is a device that answers getMaxMinReport, by itself and as thermostat1.
func connected(t *testing.T, h *hubtest.Hub, id string) *device.Client {
	t.Helper()
	done(t, "device", "create", "-d", id)
	text := strings.TrimSpace(done(t, "device", "connection-string", "-d", id))
	c, err := device.Dial(t.Context(), text, &device.Options{ModelID: thermostatModel, Address: h.MQTTS, TLS: h.ClientTLS()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := c.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	for _, component := range []string{"", "thermostat1"} {
		if err := c.HandleCommand(t.Context(), component, "getMaxMinReport", func(_ context.Context, call device.MethodCall) (int, any) {
			return 203, map[string]any{"called": call.Name, "since": call.Payload}
		}); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func TestTwinCommands(t *testing.T) {
	h := testHub(t)
	c := connected(t, h, "thermostat-1")
	if _, err := c.UpdateReported(t.Context(), map[string]any{"maxTempSinceLastReboot": json.Number("10.960")}); err != nil {
		t.Fatal(err)
	}
	t.Run("update", func(t *testing.T) {
		twin := into[service.Twin](t, done(t, "twin", "update", "-d", "thermostat-1", "-o", "json",
			"--tags", `{"site": "a"}`, "--set", "properties.desired.targetTemperature=42", "properties.desired.thermostat1.__t=c", "tags.floor=ground"))
		if got := compact(twin.Tags); got != `{"site":"a","floor":"ground"}` && got != `{"floor":"ground","site":"a"}` {
			t.Errorf("tags: %s", got)
		}
		desired := into[map[string]any](t, string(twin.Properties.Desired))
		if desired["targetTemperature"] != 42.0 || desired["thermostat1"].(map[string]any)["__t"] != "c" {
			t.Errorf("desired: %s", twin.Properties.Desired)
		}
	})
	t.Run("show", func(t *testing.T) {
		out := done(t, "twin", "show", "-d", "thermostat-1")
		_, tables, _ := strings.Cut(out, "\n\n")
		want := `TAG    VALUE
floor  "ground"
site   "a"

PROPERTY                DESIRED  REPORTED
$version                2        2
maxTempSinceLastReboot           10.960
targetTemperature       42
thermostat1.__t         "c"
`
		if tables != want || !strings.Contains(out, "model id       dtmi:com:example:Thermostat;1\n") {
			t.Errorf("got\n%s\nwant the end\n%s", out, want)
		}
		if out := done(t, "twin", "show", "-d", "thermostat-1", "-o", "json"); !strings.Contains(out, `"maxTempSinceLastReboot": 10.960,`) {
			t.Errorf("a number lost its text:\n%s", out)
		}
	})
	t.Run("replace from standard input", func(t *testing.T) {
		code, out, log := cliContext(t.Context(), `{"targetTemperature": 20}`, "twin", "update", "-d", "thermostat-1", "--desired", "@-", "--replace", "-o", "json")
		if code != 0 {
			t.Fatalf("exit code %d\n%s", code, log)
		}
		if twin := into[service.Twin](t, out); twin.Tags != nil && compact(twin.Tags) != "{}" || strings.Contains(string(twin.Properties.Desired), "thermostat1") {
			t.Errorf("something stayed: %s", out)
		}
	})
	t.Run("digital twin", func(t *testing.T) {
		twin := into[map[string]any](t, done(t, "digital-twin", "update", "-d", "thermostat-1", "-o", "json", "--json-patch", `{"op": "add", "path": "/targetTemperature", "value": 43}`))
		if twin["$dtId"] != "thermostat-1" {
			t.Errorf("got %v", twin)
		}
		if _, err := c.UpdateReported(t.Context(), map[string]any{"targetTemperature": map[string]any{"value": 43, "ac": 200, "av": 4, "ad": "done"}}); err != nil {
			t.Fatal(err)
		}
		out := done(t, "digital-twin", "show", "-d", "thermostat-1")
		_, table, _ := strings.Cut(out, "\n\n")
		want := `PROPERTY                VALUE   DESIRED  ANSWER    UPDATED
maxTempSinceLastReboot  10.960                     TIME
targetTemperature       43      43       200 done  TIME
`
		if got := regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ`).ReplaceAllString(table, "TIME"); got != want {
			t.Errorf("got\n%s\nwant\n%s", out, want)
		}
	})
}

func TestCallCommands(t *testing.T) {
	h := testHub(t)
	connected(t, h, "thermostat-1")
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"method":            {[]string{"method", "invoke", "--method-name", "getMaxMinReport", "--method-payload", `"2020"`, "--timeout", "7"}, `{"called":"getMaxMinReport","since":"2020"}`},
		"component method":  {[]string{"method", "invoke", "--method-name", "thermostat1*getMaxMinReport"}, `{"called":"thermostat1*getMaxMinReport","since":null}`},
		"command":           {[]string{"digital-twin", "invoke", "--command-name", "getMaxMinReport", "--payload", `"2020"`, "--connect-timeout", "3", "--response-timeout", "7"}, `{"called":"getMaxMinReport","since":"2020"}`},
		"component command": {[]string{"digital-twin", "invoke", "--command-name", "getMaxMinReport", "--component-path", "thermostat1"}, `{"called":"thermostat1*getMaxMinReport","since":null}`},
	} {
		t.Run(name, func(t *testing.T) {
			args := append(test.args, "-d", "thermostat-1")
			got := into[answered](t, done(t, append(slices.Clone(args), "-o", "json")...))
			if got.Status != 203 || compact(got.Payload) != test.want {
				t.Errorf("got %d %s, want 203 %s", got.Status, got.Payload, test.want)
			}
			if out, want := done(t, args...), "status   203\npayload  "+test.want+"\n"; out != want {
				t.Errorf("got %q, want %q", out, want)
			}
		})
	}
	done(t, "device", "create", "-d", "away")
	code, _, log := cli(t, "method", "invoke", "-d", "away", "--method-name", "reboot")
	if code != 1 || !strings.Contains(log, "DeviceNotOnline (404103)") || !strings.Contains(log, "--connect-timeout") {
		t.Errorf("a device that is away: exit code %d\n%s", code, log)
	}
}

func TestSendAndMonitor(t *testing.T) {
	h := testHub(t)
	done(t, "device", "create", "-d", "thermostat-1")
	done(t, "device", "create", "-d", "other")
	if out := done(t, "send", "-d", "thermostat-1", "--body", `{"temperature": 12}`, "--component", "thermostat1", "--props", "a=1;b=x=y", "--model-id", thermostatModel, "--message-id", "m1"); out != "The hub has stored the message.\n" {
		t.Errorf("send printed %q", out)
	}
	login := strings.TrimSpace(done(t, "device", "connection-string", "-d", "other"))
	if out := done(t, "send", "--login", login, "--body", "no JSON\x1b[2J", "--msg-count", "2", "--msg-interval", "0s", "-o", "json"); compact(json.RawMessage(out)) != `{"sent":2}` {
		t.Errorf("send printed %q", out)
	}
	t.Run("json", func(t *testing.T) {
		got := into[monitored](t, done(t, "monitor-events", "-d", "thermostat-1", "--enqueued-time", "0", "--message-count", "1", "-o", "json"))
		if got.DeviceID != "thermostat-1" || got.Component != "thermostat1" || got.Source != "Telemetry" || compact(got.Body) != `{"temperature":12}` {
			t.Errorf("got %+v", got)
		}
		for name, want := range map[string]any{"dt-dataschema": thermostatModel, "dt-subject": "thermostat1", "message-id": "m1", "content-type": "application/json"} {
			if got.System[name] != want {
				t.Errorf("%s: got %v, want %v", name, got.System[name], want)
			}
		}
		if got.Properties["a"] != "1" || got.Properties["b"] != "x=y" {
			t.Errorf("properties: %v", got.Properties)
		}
	})
	t.Run("for people", func(t *testing.T) {
		out := done(t, "monitor-events", "-d", "oth*", "--enqueued-time", "2020-10-21T14:10:42Z", "--timeout", "1", "-p", "app")
		want := regexp.MustCompile(`^\d\d:\d\d:\d\d  other  Telemetry  no JSON\\u001b\[2J\n\d\d:\d\d:\d\d  other  Telemetry  no JSON\\u001b\[2J\n$`)
		if !want.MatchString(out) {
			t.Errorf("got\n%q", out)
		}
	})
	t.Run("the model stays", func(t *testing.T) {
		done(t, "send", "-d", "thermostat-1", "--body", "{}")
		if twin := into[service.Twin](t, done(t, "twin", "show", "-d", "thermostat-1", "-o", "json")); twin.ModelID != thermostatModel {
			t.Errorf("model id: got %q", twin.ModelID)
		}
	})
	t.Run("Ctrl-C", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		root, stdout := rootCommand(), &cancelling{cancel: cancel}
		root.SetArgs([]string{"monitor-events", "--enqueued-time", "0"})
		root.SetOut(stdout)
		root.SetErr(io.Discard)
		if err := root.ExecuteContext(ctx); err != nil || stdout.Len() == 0 {
			t.Errorf("got %v after %q, want a good end", err, stdout.String())
		}
	})
	t.Run("wrong calls", func(t *testing.T) {
		for name, args := range map[string][]string{
			"no body":       {"send", "-d", "thermostat-1"},
			"no device":     {"send", "--body", "x"},
			"other device":  {"send", "-d", "thermostat-1", "--login", login, "--body", "x"},
			"properties":    {"send", "-d", "thermostat-1", "--body", "x", "--props", "a"},
			"count":         {"send", "-d", "thermostat-1", "--body", "x", "--msg-count", "0"},
			"time":          {"monitor-events", "--enqueued-time", "yesterday"},
			"negative time": {"monitor-events", "--timeout", "-1"},
		} {
			if code, _, log := cli(t, args...); code != 2 {
				t.Errorf("%s: exit code %d, want 2\n%s", name, code, log)
			}
		}
	})
	t.Run("events alone", func(t *testing.T) {
		cleanEnvironment(t)
		t.Setenv(caVariable, h.CAFile)
		code, out, log := cli(t, "monitor-events", "--events", h.EmulatorConnectionString, "--enqueued-time", "0", "--message-count", "1", "-o", "json")
		if code != 0 || !strings.HasPrefix(out, `{"deviceId":`) {
			t.Errorf("exit code %d\n%s\n%s", code, out, log)
		}
		t.Setenv(endpointsVariable, "mqtts="+h.MQTTS+" amqps="+h.AMQPS)
		code, out, log = cli(t, "monitor-events", "--login", h.ConnectionString, "--enqueued-time", "0", "--message-count", "1", "-o", "json")
		if code != 0 || !strings.HasPrefix(out, `{"deviceId":`) {
			t.Errorf("the hub's connection string alone: exit code %d\n%s\n%s", code, out, log)
		}
		code, _, log = cli(t, "monitor-events", "--login", login)
		if code != 1 || !strings.Contains(log, "--events") {
			t.Errorf("a device's connection string: exit code %d\n%s", code, log)
		}
	})
}

func TestExitCodes(t *testing.T) {
	cleanEnvironment(t)
	for name, test := range map[string]struct {
		args []string
		code int
		want string
	}{
		"no hub":           {[]string{"device", "list"}, 1, "twinhub: no hub is known\n  what to do: run 'twinhub serve' in this folder"},
		"no device id":     {[]string{"device", "show"}, 2, `required flag(s) "device-id" not set`},
		"group alone":      {[]string{"device"}, 2, `"twinhub device" needs a command`},
		"mistyped":         {[]string{"device", "lst"}, 2, "did you mean list?"},
		"mistyped group":   {[]string{"devcie", "list"}, 2, "twinhub: unknown command \"devcie\" for \"twinhub\": did you mean device?\n"},
		"no such command":  {[]string{"start"}, 2, "see twinhub --help"},
		"negative top":     {[]string{"device", "list", "--top", "-1"}, 2, "0 for all"},
		"output format":    {[]string{"device", "list", "-o", "xml"}, 2, "use table, json"},
		"extra argument":   {[]string{"device", "list", "all"}, 2, `unknown command "all"`},
		"no JSON":          {[]string{"twin", "update", "-d", "a", "--desired", "{targetTemperature: 42}"}, 2, "mind the shell's quotes"},
		"no object":        {[]string{"twin", "update", "-d", "a", "--desired", "42"}, 2, "use a JSON object"},
		"nothing to set":   {[]string{"twin", "update", "-d", "a"}, 2, "nothing to change"},
		"wrong path":       {[]string{"twin", "update", "-d", "a", "--set", "targetTemperature=42"}, 2, "properties.desired.NAME=VALUE"},
		"empty name":       {[]string{"twin", "update", "-d", "a", "--set", "tags.a..b=1"}, 2, "a name in the path is empty"},
		"no patch":         {[]string{"digital-twin", "update", "-d", "a"}, 2, `"json-patch" not set`},
		"login":            {[]string{"device", "list", "--login", "HostName"}, 1, "--login"},
		"login and folder": {[]string{"device", "list", "--login", "HostName=127.0.0.1;SharedAccessKeyName=a;SharedAccessKey=MDEyMzQ1Njc4OUFCQ0RFRg==", "--data", "nowhere"}, 1, "nowhere"},
		"demo with half":   {[]string{"demo", "--events", "Endpoint=a"}, 2, "--events belongs to --hub"},
		"data folder":      {[]string{"env", "--data", "nowhere"}, 1, "there is no nowhere/connection.env"},
		"shell":            {[]string{"env", "--shell", "csh"}, 2, "use bash, fish, powershell"},
		"trust of nothing": {[]string{"trust"}, 1, "no hub is known"},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, log := cli(t, test.args...)
			if code != test.code || !strings.Contains(log, test.want) || out != "" {
				t.Errorf("got exit code %d, %q and %q, want %d and %q", code, out, log, test.code, test.want)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	t.Setenv(hubVariable, "HostName=localhost;SharedAccessKeyName=a;SharedAccessKey=MDEyMzQ1Njc4OUFCQ0RFRg==")
	if code, _, log := cliContext(ctx, "", "device", "list"); code != 1 || log != "twinhub: interrupted\n" {
		t.Errorf("after Ctrl-C: exit code %d and %q", code, log)
	}
}

func TestCompletion(t *testing.T) {
	testHub(t)
	for _, id := range []string{"thermostat-1", "thermostat-2", "gateway"} {
		done(t, "device", "create", "-d", id)
	}
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"device ids": {[]string{"twin", "show", "-d", "th"}, "thermostat-1\nthermostat-2\n"},
		"formats":    {[]string{"twin", "show", "-o", ""}, "table\njson\n"},
		"commands":   {[]string{"device", "conn"}, "connection-string\t"},
		"shells":     {[]string{"env", "--shell", "f"}, "fish\n"},
	} {
		t.Run(name, func(t *testing.T) {
			if out := done(t, append([]string{"__complete"}, test.args...)...); !strings.HasPrefix(out, test.want) && name != "shells" || !strings.Contains(out, test.want) {
				t.Errorf("got %q, want it to begin with %q", out, test.want)
			}
		})
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if out := done(t, "completion", shell); !strings.Contains(out, "twinhub") {
			t.Errorf("completion %s: %q", shell, out)
		}
	}
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Logf("no bash to check the script with")
		return
	}
	cmd := exec.Command(bash, "-n")
	cmd.Stdin = strings.NewReader(done(t, "completion", "bash"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("bash cannot read its script: %v\n%s", err, out)
	}
}

// Every command says what it does.
func TestEveryCommandIsDocumented(t *testing.T) {
	var visit func(cmd *cobra.Command)
	count := 0
	visit = func(cmd *cobra.Command) {
		count++
		if cmd.Short == "" {
			t.Errorf("%s has no description", cmd.CommandPath())
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" {
				t.Errorf("%s --%s has no description", cmd.CommandPath(), f.Name)
			}
		})
		for _, c := range cmd.Commands() {
			visit(c)
		}
	}
	visit(rootCommand())
	if count < 20 {
		t.Errorf("only %d commands", count)
	}
}
