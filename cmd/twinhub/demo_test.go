package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/hubtest"
	"github.com/twinhub/twinhub/service"
)

// demoRoutes are what the demo needs of a hub.
var demoRoutes = []string{string(twinhub.TwinChange), string(twinhub.DigitalTwinChange)}

// demoSteps are the steps, in the page's order.
var demoSteps = []string{
	"connect: Thermostat", "connect: TemperatureController",
	"get twin: Thermostat", "get twin: TemperatureController",
	"update twin: Thermostat", "update twin: TemperatureController, thermostat1",
	"invoke method: Thermostat", "invoke method: TemperatureController, thermostat1",
	"get digital twin: Thermostat", "get digital twin: TemperatureController",
	"update digital twin: Thermostat", "update digital twin: TemperatureController, thermostat1",
	"invoke command: Thermostat", "invoke command: TemperatureController, thermostat1",
	"telemetry: Thermostat", "telemetry: TemperatureController, thermostat1", "telemetry: TemperatureController, thermostat2",
	"twin change: Thermostat", "twin change: TemperatureController, thermostat1",
	"digital twin change: Thermostat", "digital twin change: TemperatureController, thermostat1",
}

// readResults decodes what -o json prints: an object for each step, of exactly these members.
func readResults(t *testing.T, out string) []result {
	t.Helper()
	var list []result
	for line := range strings.Lines(out) {
		members := into[map[string]json.RawMessage](t, line)
		r := into[result](t, line)
		want := 4
		if !r.OK {
			want = 5 // and why
		}
		for _, name := range []string{"step", "sent", "received", "ok"} {
			if members[name] == nil || len(members) != want {
				t.Errorf("not step, sent, received, ok: %s", line)
			}
		}
		list = append(list, r)
	}
	return list
}

// TestDemo runs the program as a stranger would, with no hub around.
func TestDemo(t *testing.T) {
	cleanEnvironment(t)
	temperatures := map[string]bool{}
	for range 2 {
		began := time.Now()
		code, out, log := call(t, "demo", "--once", "-o", "json")
		if code != 0 || log != "" {
			t.Fatalf("exit code %d\n%s\n%s", code, log, out)
		}
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("the story took %v, want less than 20 s", took)
		}
		results := readResults(t, out)
		for i, r := range results {
			if i >= len(demoSteps) || r.Step != demoSteps[i] || !r.OK {
				t.Errorf("step %d: got %s, ok %v", i, r.Step, r.OK)
			}
			if r.Step == "telemetry: Thermostat" {
				if got := into[eventView](t, string(r.Received)); compact(got.Body) != compact(r.Sent) {
					t.Errorf("received %s, sent %s", got.Body, r.Sent)
				}
				temperatures[string(r.Sent)] = true
			}
		}
		if len(results) != len(demoSteps) {
			t.Errorf("%d steps, want %d", len(results), len(demoSteps))
		}
	}
	if len(temperatures) != 2 {
		t.Errorf("two runs sent %v, want a different temperature each", temperatures)
	}
}

// TestDemoFlows reads telemetry after the story, until Ctrl-C.
func TestDemoFlows(t *testing.T) {
	p := launch(t, nil, "demo")
	var story strings.Builder
	flowing := 0
	for flowing < 4 { // more than one round of three
		line, err := p.out.ReadString('\n')
		if err != nil {
			t.Fatalf("the demo ended: %v\n%s\n%s", err, story.String(), p.log)
		}
		story.WriteString(line)
		if strings.Contains(line, "Telemetry flows") || flowing > 0 {
			flowing++
		}
	}
	for _, want := range []string{
		"A hub runs in this process: https 127.0.0.1:", "\nGet the device twin and model ID\n  ok  get twin: Thermostat\n      sent     ", "All 21 steps went well.",
		"  Thermostat  {\"temperature\":",
	} {
		if !strings.Contains(story.String(), want) {
			t.Errorf("not printed: %q\n%s", want, story.String())
		}
	}
	if strings.Contains(story.String(), "\x1b") {
		t.Error("colours in a pipe")
	}
	go io.Copy(io.Discard, p.out) // whatever it says in the end
	p.interrupt()
	if p.log.String() != "" {
		t.Errorf("standard error: %s", p.log)
	}
}

// TestDemoReaderGone ends the demo in good order when nobody reads it any more, as with head.
func TestDemoReaderGone(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there a pipe without a reader has another error")
	}
	h := testHub(t, demoRoutes...)
	temporary := t.TempDir()
	for where, args := range map[string][]string{
		"own hub":     {"demo"},
		"another hub": {"demo", "--hub", h.ConnectionString, "--events", h.EventHubConnectionString},
	} {
		p := launch(t, []string{"TMPDIR=" + temporary}, args...)
		if _, err := p.out.ReadString('\n'); err != nil {
			t.Fatalf("%s: %v\n%s", where, err, p.log)
		}
		p.close()
		if code := p.code(20 * time.Second); code != 1 || p.log.String() != "" {
			t.Errorf("%s: exit code %d and %q, want 1 and nothing", where, code, p.log)
		}
	}
	if left, err := os.ReadDir(temporary); err != nil || len(left) != 0 {
		t.Errorf("temporary files left: %v, %v", left, err)
	}
	if out := strings.TrimSpace(done(t, "device", "list", "-o", "json")); out != "[]" {
		t.Errorf("devices left: %s", out)
	}
}

// runDemo runs the demo on a hub and returns its exit code, the results and what went wrong.
func runDemo(t *testing.T, h *hubtest.Hub, o demoOptions) (int, []result, error) {
	t.Helper()
	var out bytes.Buffer
	o.hub, o.events, o.once = h.ConnectionString, h.EventHubConnectionString, true
	err := o.run(t.Context(), &printer{w: &out, json: true})
	code := 0
	if err != nil {
		code = exitCode(io.Discard, failure{err}, false)
	}
	return code, readResults(t, out.String()), err
}

// TestDemoOnAnotherHub leaves nothing behind there.
func TestDemoOnAnotherHub(t *testing.T) {
	h := testHub(t, demoRoutes...)
	if code, out, log := cli(t, "demo", "--once", "--hub", h.ConnectionString, "--events", h.EventHubConnectionString); code != 0 || !strings.Contains(out, "All 21 steps went well.") {
		t.Errorf("exit code %d\n%s\n%s", code, log, out)
	}
	t.Setenv(eventsVariable, "") // the hub has to say where its events are
	if code, out, log := cli(t, "demo", "--once", "--hub", h.ConnectionString); code != 0 || !strings.Contains(out, "All 21 steps went well.") {
		t.Errorf("without --events: exit code %d\n%s\n%s", code, log, out)
	}
	if out := strings.TrimSpace(done(t, "device", "list", "-o", "json")); out != "[]" {
		t.Errorf("devices left: %s", out)
	}
}

// TestDemoBroken breaks each step by what comes back, and expects that very step to fail and the program with it.
func TestDemoBroken(t *testing.T) {
	h := testHub(t, demoRoutes...)
	for how, alter := range map[string]func(json.RawMessage) json.RawMessage{
		"nothing came back": func(json.RawMessage) json.RawMessage { return json.RawMessage("null") },
		"all values are wrong": func(raw json.RawMessage) json.RawMessage {
			return changeLeaves(t, raw, func(string) bool { return true })
		},
	} {
		for i, name := range demoSteps {
			t.Run(how+"/"+name, func(t *testing.T) {
				code, results, err := runDemo(t, h, demoOptions{alter: func(step string, received json.RawMessage) json.RawMessage {
					if step == name {
						return alter(received)
					}
					return received
				}})
				if code != 1 || !errors.Is(err, errSteps) {
					t.Errorf("exit code %d, %v; want 1 and %v", code, err, errSteps)
				}
				if i > 1 && len(results) != len(demoSteps) {
					t.Errorf("%d steps were shown, want all", len(results))
				}
				for _, r := range results {
					if r.OK == (r.Step == name) {
						t.Errorf("%s: ok is %v (%s)", r.Step, r.OK, r.Error)
					}
				}
			})
		}
	}
	if out := strings.TrimSpace(done(t, "device", "list", "-o", "json")); out != "[]" {
		t.Errorf("devices left: %s", out)
	}
}

// judgedLeaves are the values of each kind of step that its judge must look at: paths of what came back, where * stands
// for any name.
var judgedLeaves = map[string][]string{
	"connect":             {"deviceId", "status", "reported/maxTempSinceLastReboot", "reported/thermostat1/maxTempSinceLastReboot", "reported/thermostat2/maxTempSinceLastReboot"},
	"get twin":            {"deviceId", "modelId"},
	"update twin":         {"answer/properties/desired/targetTemperature", "answer/properties/desired/thermostat1/targetTemperature", "answer/properties/desired/thermostat1/__t", "device/targetTemperature", "device/thermostat1/targetTemperature", "device/thermostat1/__t"},
	"invoke method":       {"status", "payload/maxTemp", "payload/minTemp", "payload/avgTemp", "payload/startTime"},
	"get digital twin":    {"$dtId", "$metadata/$model", "maxTempSinceLastReboot", "targetTemperature", "thermostat1/targetTemperature", "thermostat1/$metadata/targetTemperature/desiredValue", "thermostat1/$metadata/targetTemperature/ackCode"},
	"update digital twin": {"device/targetTemperature", "device/thermostat1/targetTemperature", "device/thermostat1/__t"},
	"invoke command":      {"status", "payload/maxTemp", "payload/minTemp", "payload/avgTemp", "payload/startTime"},
	"telemetry":           {"body/temperature", "systemProperties/iothub-message-source", "systemProperties/iothub-connection-device-id", "systemProperties/dt-dataschema", "systemProperties/dt-subject", "systemProperties/content-type", "systemProperties/content-encoding"},
	"twin change":         {"body/properties/reported/maxTempSinceLastReboot", "body/properties/reported/thermostat1/maxTempSinceLastReboot", "systemProperties/iothub-message-source", "systemProperties/iothub-connection-device-id", "properties/iothub-message-schema", "properties/opType", "properties/deviceId"},
	"digital twin change": {"body/1/value", "body/0/value/maxTempSinceLastReboot", "systemProperties/iothub-message-source", "systemProperties/iothub-connection-device-id", "properties/iothub-message-schema", "properties/opType", "properties/deviceId"},
}

// TestDemoJudges changes one value at a time of what came back.
func TestDemoJudges(t *testing.T) {
	testHub(t, demoRoutes...)
	target, err := (&hubFlags{}).find()
	if err != nil {
		t.Fatal(err)
	}
	client, err := target.service()
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var last result
	s := &story{
		hub: target, service: client, events: newCollector(), run: "judge", wait: ownWait, silent: map[twinhub.Source]bool{},
		show: func(_ string, r result) error { last = r; return nil },
	}
	err = s.live(t.Context(), func() error {
		for _, st := range s.steps() {
			switch ok, err := s.take(t.Context(), st); {
			case err != nil:
				return err
			case !ok:
				return errors.New(st.name + ": " + last.Error)
			}
			kind, _, _ := strings.Cut(st.name, ":")
			tried := 0
			for _, path := range judgedLeaves[kind] {
				found := false
				altered := changeLeaves(t, last.Received, func(leaf string) bool {
					found = found || leaf == path
					return leaf == path
				})
				if !found {
					continue // of the other device
				}
				tried++
				if err := st.judge(altered); err == nil {
					t.Errorf("%s: %s may have any value", st.name, path)
				}
			}
			if tried == 0 {
				t.Errorf("%s: no value tried, of %s", st.name, last.Received)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// changeLeaves changes the values of JSON whose paths are chosen: numbers grow, strings get longer, and so on.
func changeLeaves(t *testing.T, raw json.RawMessage, chosen func(path string) bool) json.RawMessage {
	t.Helper()
	var change func(path string, v any) any
	change = func(path string, v any) any {
		switch v := v.(type) {
		case map[string]any:
			for name, inner := range v {
				v[name] = change(strings.TrimPrefix(path+"/"+name, "/"), inner)
			}
			return v
		case []any:
			for i, inner := range v {
				v[i] = change(strings.TrimPrefix(fmt.Sprintf("%s/%d", path, i), "/"), inner)
			}
			return v
		}
		if !chosen(path) {
			return v
		}
		switch v := v.(type) {
		case float64:
			return v + 1
		case string:
			return v + "x"
		case bool:
			return !v
		}
		return "x"
	}
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(change("", v))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestDemoWithoutRoutes says what the hub lacks, and tells the rest of the story all the same.
func TestDemoWithoutRoutes(t *testing.T) {
	h := testHub(t)
	code, results, err := runDemo(t, h, demoOptions{wait: time.Second})
	if code != 1 || !errors.Is(err, errSteps) || len(results) != len(demoSteps) {
		t.Fatalf("exit code %d, %v, %d steps", code, err, len(results))
	}
	for _, r := range results {
		change := strings.Contains(r.Step, "change:")
		if r.OK == change {
			t.Errorf("%s: ok is %v (%s)", r.Step, r.OK, r.Error)
		}
		if change && !strings.Contains(r.Error, "--route ") {
			t.Errorf("%s does not say what to do: %s", r.Step, r.Error)
		}
	}
}

// TestDemoRefused breaks what comes first: a hub that does not accept the caller.
func TestDemoRefused(t *testing.T) {
	h := testHub(t, demoRoutes...)
	wrong := "HostName=localhost;SharedAccessKeyName=iothubowner;SharedAccessKey=MDEyMzQ1Njc4OUFCQ0RFRg=="
	code, out, log := cli(t, "demo", "--once", "-o", "json", "--hub", wrong, "--events", h.EventHubConnectionString)
	results := readResults(t, out)
	if code != 1 || len(results) != 1 || results[0].OK || !strings.Contains(results[0].Error, "401") || !strings.Contains(log, "connect: Thermostat") {
		t.Errorf("exit code %d\n%s\n%s", code, out, log)
	}
}

func TestCollector(t *testing.T) {
	c := newCollector()
	c.events = []*service.Event{{DeviceID: "a"}, {DeviceID: "b"}, {DeviceID: "a", Component: "2"}}
	ofA := func(e *service.Event) bool { return e.DeviceID == "a" }
	for _, want := range []string{"", "2"} {
		if e, err := c.take(t.Context(), ofA); err != nil || e.Component != want {
			t.Errorf("got %+v, %v, want component %q", e, err, want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.take(ctx, ofA); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	c.err = errors.New("the connection is gone")
	if _, err := c.take(t.Context(), ofA); !errors.Is(err, c.err) {
		t.Errorf("got %v, want %v", err, c.err)
	}
}

func TestModels(t *testing.T) {
	m, err := readModel(controllerModel)
	if err != nil || m.Name != "Temperature Controller" || strings.Join(m.thermostats(), " ") != "thermostat1 thermostat2" || strings.Join(m.Commands, " ") != "reboot" {
		t.Errorf("got %+v, %v", m, err)
	}
	if m, err = readModel(thermostatModel); err != nil || len(m.thermostats()) != 1 || strings.Join(m.Telemetry, " ") != "temperature" || len(m.Properties) != 2 {
		t.Errorf("got %+v, %v", m, err)
	}
	if _, err := readModel("dtmi:com:example:Nothing;1"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("unknown model: got %v", err)
	}
	licence, err := modelFiles.Open("models/LICENSE")
	if err != nil {
		t.Fatal(err)
	}
	defer licence.Close()
	if line, err := bufio.NewReader(licence).ReadString('\n'); err != nil || !strings.Contains(line, "MIT License") {
		t.Errorf("the models' licence begins with %q (%v)", line, err)
	}
}
