package sdks

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// pageDevice is the page's device; first a Thermostat, then, made anew, a TemperatureController.
const pageDevice = "my-pnp-device"

// answerWithin bounds what a client waits for in these tests, a first start of Python on a busy machine included.
const answerWithin = time.Minute

// TestPage runs the page's code as it is printed against our own device programs, which make the writes of
// Microsoft's samples, and compares what its reader prints with what the page shows.
func TestPage(t *testing.T) {
	p, h := readPage(t), sharedHub(t)
	generations := map[string]bool{}

	t.Run("Thermostat", func(t *testing.T) {
		r := startReader(t, h, p)
		device := startProcess(t, pythonCommand(t, h, "python/thermostat.py", registerPython(t, h, pageDevice)))
		device.untilPrefix("ready", answerWithin)
		device.say("12")
		device.untilPrefix("sent", answerWithin)
		twin, digital, telemetry := r.firsts(t, "")
		same(t, p.shown[shownTwin][0], twin)
		same(t, p.shown[shownDigitalTwin][0], digital)
		samePair(t, twin, digital)
		same(t, p.shown[shownTelemetry][0], telemetry)
		generations[telemetry.get("iothub-connection-auth-generation-id")] = true

		out := runBlock(t, h, p, blockTwin, pageDevice)
		printsTwin(t, out, pageDevice, "dtmi:com:example:Thermostat;1")
		if runBlock(t, h, p, blockUpdateTwin, pageDevice) != "" {
			t.Error("update_twin printed something")
		}
		sameJSON(t, "desired patch", device.untilPrefix("desired", answerWithin), `{"targetTemperature": 42, "$version": 2}`)
		device.untilPrefix("acknowledged", answerWithin)

		calls(t, device, "getMaxMinReport", func() string { return runBlock(t, h, p, blockMethod, pageDevice) })
		calls(t, device, "getMaxMinReport", func() string { return runBlock(t, h, p, blockCommand, pageDevice) })

		out = runBlock(t, h, p, blockDigitalTwin, pageDevice)
		printsDigitalTwin(t, out, "dtmi:com:example:Thermostat;1")
		if !regexp.MustCompile(`'targetTemperature': 42\b`).MatchString(out) ||
			!regexp.MustCompile(`'targetTemperature': \{'desiredValue': 42, 'desiredVersion': 2, 'ackVersion': 2, 'ackCode': 200, 'ackDescription': 'done', 'lastUpdateTime': '[^']+'\}`).MatchString(out) {
			t.Errorf("the digital twin does not show the acknowledged targetTemperature: %s", out)
		}
		if runBlock(t, h, p, blockUpdateDigitalTwin, pageDevice) != "" {
			t.Error("update_digital_twin printed something")
		}
		sameJSON(t, "desired patch", device.untilPrefix("desired", answerWithin), `{"targetTemperature": 42, "$version": 3}`)
		device.untilPrefix("acknowledged", answerWithin)
		if _, err := device.end(answerWithin); err != nil {
			t.Errorf("thermostat: %v\n%s", err, device.stderr)
		}
		r.interrupt(t)
	})

	t.Run("TemperatureController", func(t *testing.T) {
		r := startReader(t, h, p)
		device := startProcess(t, pythonCommand(t, h, "python/controller.py", registerPython(t, h, pageDevice)))
		device.untilPrefix("ready", answerWithin)
		device.say("thermostat1 45")
		device.untilPrefix("sent", answerWithin)
		device.say("thermostat2 49")
		device.untilPrefix("sent", answerWithin)
		twin, digital, telemetry := r.firsts(t, "thermostat1")
		same(t, p.shown[shownComponentTwin][0], twin)
		same(t, p.shown[shownComponentDigitalTwin][0], digital)
		samePair(t, twin, digital)
		same(t, p.shown[shownComponentTelemetry][0], telemetry)
		second := r.next(t, "Telemetry", "thermostat2")
		same(t, p.shown[shownComponentTelemetry][1], second)
		inOrder(t, telemetry, second)
		if generation := telemetry.get("iothub-connection-auth-generation-id"); generations[generation] {
			t.Errorf("the device made anew still has generation %s", generation)
		}

		printsTwin(t, runBlock(t, h, p, blockTwin, pageDevice), pageDevice, "dtmi:com:example:TemperatureController;1")
		runBlock(t, h, p, blockUpdateTwinComponent, pageDevice)
		sameJSON(t, "desired patch", device.untilPrefix("desired", answerWithin), `{"thermostat1": {"__t": "c", "targetTemperature": 42}, "$version": 2}`)
		device.untilPrefix("acknowledged", answerWithin)

		calls(t, device, "thermostat1*getMaxMinReport", func() string { return runBlock(t, h, p, blockComponentMethod, pageDevice) })
		calls(t, device, "thermostat1*getMaxMinReport", func() string { return runBlock(t, h, p, blockComponentCommand, pageDevice) })

		runBlock(t, h, p, blockUpdateDigitalTwinAgain, pageDevice) // the root path, as printed
		sameJSON(t, "desired patch", device.untilPrefix("desired", answerWithin), `{"targetTemperature": 42, "$version": 3}`)
		device.untilPrefix("acknowledged", answerWithin)
		p.code[blockUpdateDigitalTwinAgain] = strings.Replace(p.code[blockUpdateDigitalTwinAgain], `"/targetTemperature", "value": 42`, `"/thermostat1/targetTemperature", "value": 43`, 1)
		runBlock(t, h, p, blockUpdateDigitalTwinAgain, pageDevice) // what its text speaks of
		sameJSON(t, "desired patch", device.untilPrefix("desired", answerWithin), `{"thermostat1": {"__t": "c", "targetTemperature": 43}, "$version": 4}`)
		device.untilPrefix("acknowledged", answerWithin)
		out := runBlock(t, h, p, blockDigitalTwin, pageDevice)
		printsDigitalTwin(t, out, "dtmi:com:example:TemperatureController;1")
		if !regexp.MustCompile(`'thermostat1': \{'maxTempSinceLastReboot': 98.34, 'targetTemperature': 43, '\$metadata': \{`).MatchString(out) {
			t.Errorf("the digital twin does not show the component's targetTemperature: %s", out)
		}
		if _, err := device.end(answerWithin); err != nil {
			t.Errorf("controller: %v\n%s", err, device.stderr)
		}
		r.interrupt(t)
	})
}

// TestMicrosoftSamples runs Microsoft's own Plug and Play samples, device programs and service programs, from the
// checkouts that AZURE_IOT_SDK_PYTHON and AZURE_IOT_HUB_PYTHON name.
func TestMicrosoftSamples(t *testing.T) {
	devices, services := os.Getenv("AZURE_IOT_SDK_PYTHON"), os.Getenv("AZURE_IOT_HUB_PYTHON")
	if devices == "" {
		t.Skip("AZURE_IOT_SDK_PYTHON names no checkout of azure-iot-sdk-python")
	}
	p, h := readPage(t), sharedHub(t)
	sample := func(t *testing.T, name string) *process {
		t.Helper()
		cmd := pythonCommand(t, h, filepath.Join(devices, "samples/pnp", name))
		cmd.Env = append(cmd.Env, "IOTHUB_DEVICE_SECURITY_TYPE=connectionString", "IOTHUB_DEVICE_CONNECTION_STRING="+registerPython(t, h, pageDevice))
		return startProcess(t, cmd)
	}
	service := func(t *testing.T, name string, env ...string) string {
		t.Helper()
		if services == "" {
			t.Skip("AZURE_IOT_HUB_PYTHON names no checkout of azure-iot-hub-python")
		}
		cmd := pythonCommand(t, h, filepath.Join(services, "samples", name))
		cmd.Env = append(append(cmd.Env, "IOTHUB_DEVICE_ID="+pageDevice), env...)
		out, err := startProcess(t, cmd).end(answerWithin)
		text := strings.Join(out, "\n")
		if err != nil || strings.Contains(text, "error") || strings.Contains(text, "Traceback") || !strings.HasSuffix(text, name+" finished") {
			t.Errorf("%s: %v\n%s", name, err, text)
		}
		t.Logf("%s printed:\n%s", name, text)
		return text
	}
	command := []string{"IOTHUB_COMMAND_NAME=getMaxMinReport", "IOTHUB_COMMAND_PAYLOAD=2020-10-21T14:10:42Z"}
	anyTemperature := regexp.MustCompile(`^\{"temperature": \d+\}$`)

	t.Run("simple_thermostat", func(t *testing.T) {
		r := startReader(t, h, p)
		device := sample(t, "simple_thermostat.py")
		twin, digital, telemetry := r.firsts(t, "")
		same(t, p.shown[shownTwin][0], twin)
		same(t, p.shown[shownDigitalTwin][0], digital)
		samePair(t, twin, digital)
		if !anyTemperature.MatchString(telemetry.body) {
			t.Errorf("body: got %s, want a temperature", telemetry.body)
		}
		telemetry.body = p.shown[shownTelemetry][0].body
		same(t, p.shown[shownTelemetry][0], telemetry)

		out := service(t, "get_digital_twin_sample.py")
		if !strings.Contains(out, "'maxTempSinceLastReboot': 10.96") || !strings.Contains(out, "\nModel Id: dtmi:com:example:Thermostat;1\n") {
			t.Errorf("get_digital_twin_sample: %s", out)
		}
		if out := service(t, "update_digital_twin_sample.py"); !strings.Contains(out, "Patch has been successfully applied") {
			t.Errorf("update_digital_twin_sample: %s", out)
		}
		device.until("desired patch", answerWithin, func(line string) bool {
			return line == "the data in the desired properties patch was: {'targetTemperature': 42, '$version': 2}"
		})
		// The sample answers with a string that holds JSON, so that is what must come out.
		if out := service(t, "invoke_command_sample.py", command...); !regexp.MustCompile(`(?m)^\{"avgTemp": [\d.]+, "endTime": ".*"minTemp": .*\}$`).MatchString(out) {
			t.Errorf("invoke_command_sample: %s", out)
		}
		out = service(t, "registry_manager_pnp_sample.py", "IOTHUB_METHOD_NAME=getMaxMinReport", "IOTHUB_METHOD_PAYLOAD=2020-10-21T14:10:42Z")
		for _, want := range []string{"The Model ID for this device is:\ndtmi:com:example:Thermostat;1\n", "The twin patch has been successfully applied", "The device method has been successfully invoked"} {
			if !strings.Contains(out, want) {
				t.Errorf("registry_manager_pnp_sample: no %q in:\n%s", want, out)
			}
		}
		quit(t, device)
		r.interrupt(t)
	})

	t.Run("temp_controller_with_thermostats", func(t *testing.T) {
		r := startReader(t, h, p)
		device := sample(t, "temp_controller_with_thermostats.py")
		twin, digital, telemetry := r.firsts(t, "thermostat1")
		// It sends its four changes at once, from as many threads: the page's was the second to arrive.
		if v := twin.version(); v != 4 {
			t.Logf("thermostat1's change came as version %d", v)
			twin.body = strings.Replace(twin.body, fmt.Sprintf(`{"version":%d,`, v), `{"version":4,`, 1)
			twin.body = strings.Replace(twin.body, fmt.Sprintf(`"$version":%d}}}`, v-1), `"$version":3}}}`, 1)
		}
		same(t, p.shown[shownComponentTwin][0], twin)
		same(t, p.shown[shownComponentDigitalTwin][0], digital)
		samePair(t, twin, digital)
		second := r.next(t, "Telemetry", "thermostat2")
		inOrder(t, telemetry, second)
		for i, got := range []event{telemetry, second} {
			want := p.shown[shownComponentTelemetry][i]
			if !anyTemperature.MatchString(got.body) {
				t.Errorf("body: got %s, want a temperature", got.body)
			}
			got.body = want.body
			for i, f := range want.system { // the sample is of the model's next version
				if f.key == "dt-dataschema" {
					want.system[i].value = "dtmi:com:example:TemperatureController;2"
				}
			}
			same(t, want, got)
		}
		out := service(t, "invoke_component_command_sample.py", append(command, "IOTHUB_COMPONENT_NAME=thermostat1")...)
		if !regexp.MustCompile(`(?m)^\{'maxTemp': .*'avgTemp': .*'endTime': '.*'\}$`).MatchString(out) {
			t.Errorf("invoke_component_command_sample: %s", out)
		}
		quit(t, device)
		r.interrupt(t)
	})
}

// quit ends one of Microsoft's device samples as its user would.
func quit(t *testing.T, device *process) {
	t.Helper()
	device.say("Q")
	if out, err := device.end(answerWithin); err != nil {
		t.Errorf("%s: %v\n%s\n%s", device.name(), err, strings.Join(out, "\n"), device.stderr)
	}
}

// registerPython makes the device anew with the registry manager and returns its connection string.
func registerPython(t testing.TB, h *hub, id string) string {
	t.Helper()
	p := startProcess(t, pythonCommand(t, h, "python/register.py", id))
	out, err := p.end(answerWithin)
	if err != nil || len(out) != 1 {
		t.Fatalf("register %s: %v\n%s\n%s", id, err, strings.Join(out, "\n"), p.stderr)
	}
	return out[0]
}

// runBlock runs a block of the page to its end and returns what it printed.
func runBlock(t testing.TB, h *hub, p page, block int, deviceID string) string {
	t.Helper()
	program := startProcess(t, pythonCommand(t, h, p.script(t, block, deviceID, h)))
	out, err := program.end(answerWithin)
	if err != nil {
		t.Fatalf("block %d of the page: %v\n%s\n%s", block+1, err, strings.Join(out, "\n"), program.stderr)
	}
	return strings.Join(out, "\n")
}

// printsTwin checks what the page's first block prints.
func printsTwin(t *testing.T, out, deviceID, model string) {
	t.Helper()
	want := `(?s)^The device twin is: \n\n\{'additional_properties': \{'modelId': '` + regexp.QuoteMeta(model) +
		`'\}, 'device_id': '` + deviceID + `', .*\}\n\nThe Model ID for this device is:\n` + regexp.QuoteMeta(model) + `\n$`
	if !regexp.MustCompile(want).MatchString(out) {
		t.Errorf("get_twin printed\n%s\nwant a match of %s", out, want)
	}
}

// printsDigitalTwin checks what the page's block for a digital twin prints.
func printsDigitalTwin(t *testing.T, out, model string) {
	t.Helper()
	want := `^\{'\$dtId': '` + pageDevice + `', .*, '\$metadata': \{'\$model': '` + regexp.QuoteMeta(model) + `'.*\}\}\nModel Id: ` + regexp.QuoteMeta(model) + `$`
	if !regexp.MustCompile(want).MatchString(out) {
		t.Errorf("get_digital_twin printed\n%s\nwant a match of %s", out, want)
	}
}

// calls runs a block that calls a command. The device must get the block's time as a JSON string, and the block print
// the device's report, which holds that string.
func calls(t *testing.T, device *process, method string, run func() string) {
	t.Helper()
	out := run()
	call := device.untilPrefix("method", answerWithin)
	name, payload, _ := strings.Cut(call, " ")
	if name != method {
		t.Errorf("the device was asked for %s, want %s", name, method)
	}
	var at time.Time
	if err := json.Unmarshal([]byte(payload), &at); err != nil || time.Since(at).Abs() > 26*time.Hour {
		t.Errorf("the device got payload %s, want the block's time as a string", payload)
	}
	if !strings.Contains(out, "'maxTemp'") || !strings.Contains(out, "'startTime': '"+strings.Trim(payload, `"`)+"'") {
		t.Errorf("the block printed %q, want the device's report with %s", out, payload)
	}
}

// reader is the page's reader at work.
type reader struct {
	*process
	events []event // read, and kept for a later next
}

// startReader starts the page's reader and returns when it is attached to every partition.
func startReader(t *testing.T, h *hub, p page) *reader {
	t.Helper()
	h.awaitReceivers(t, 0)
	r := &reader{process: startProcess(t, pythonCommand(t, h, p.script(t, blockReader, pageDevice, h)))}
	h.awaitReceivers(t, 4)
	return r
}

// next returns the next event of that source and component, "" for none; the others are kept for later.
func (r *reader) next(t *testing.T, source, component string) event {
	t.Helper()
	for i, e := range r.events {
		if matches(e, source, component) {
			r.events = append(r.events[:i:i], r.events[i+1:]...)
			return e
		}
	}
	for {
		lines := r.until("event "+source+" "+component, answerWithin, func(line string) bool { return strings.HasPrefix(line, lineSystem) })
		events, err := parseEvents(lines)
		if err != nil {
			t.Fatalf("the reader printed what the page does not show: %v\n%s", err, r.stderr)
		}
		e := events[len(events)-1]
		if matches(e, source, component) {
			return e
		}
		r.events = append(r.events, e)
	}
}

func matches(e event, source, component string) bool {
	if e.get("iothub-message-source") != source {
		return false
	}
	if source == "Telemetry" {
		return e.get("dt-subject") == component
	}
	return component == "" || strings.Contains(e.body, component)
}

// firsts returns the device's first twin event, or its first of component, the digital twin event of the same change, and
// its first telemetry. A controller makes four changes.
func (r *reader) firsts(t *testing.T, component string) (twin, digital, telemetry event) {
	t.Helper()
	versions := map[int]bool{}
	count := 1
	if component != "" {
		count = 4
	}
	for len(versions) < count {
		e := r.next(t, "twinChangeEvents", "")
		if v := e.version(); versions[v] || v < 3 || v >= 3+count {
			t.Fatalf("twin event %d has version %d, want %d versions from 3:\n%v", len(versions)+1, v, count, e)
		}
		versions[e.version()] = true
		if component == "" || strings.Contains(e.body, `"`+component+`"`) {
			twin = e
		}
	}
	for digital = r.next(t, "digitalTwinChangeEvents", ""); digital.get("correlation-id") != twin.get("correlation-id"); {
		modelOnly := `^\[\{"op":"replace","path":"/\$metadata/\$model","value":"dtmi:[^"]+"\}\]$`
		if component == "" && !regexp.MustCompile(modelOnly).MatchString(digital.body) {
			t.Fatalf("before the first digital twin event of a property only its model may be announced, got:\n%v", digital)
		}
		digital = r.next(t, "digitalTwinChangeEvents", "")
	}
	telemetry = r.next(t, "Telemetry", component)
	for _, e := range []event{telemetry, twin, digital} {
		t.Logf("printed:\n%v\n", e)
	}
	return twin, digital, telemetry
}

// interrupt ends the reader as its user would, and expects the page's farewell.
func (r *reader) interrupt(t *testing.T) {
	t.Helper()
	if err := r.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	out, err := r.end(answerWithin)
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signaled() {
		t.Errorf("the reader did not end by itself: %v\n%s", err, r.stderr)
	}
	if text := strings.Join(out, "\n"); err != nil || !strings.Contains(text, "Receiving has stopped.") || strings.Contains(text, "on_error") {
		t.Errorf("the reader ended with %v, want \"Receiving has stopped.\" and no error:\n%s\n%s", err, text, r.stderr)
	}
}

// times are what differs in a body from one run to the next.
var times = regexp.MustCompile(`"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{0,6}[1-9])?Z"`)

// forms are the forms of system fields and properties that differ from the page's.
var forms = map[string]*regexp.Regexp{
	"correlation-id":                       regexp.MustCompile(`^[0-9a-f]{12}$`),
	"iothub-connection-auth-generation-id": regexp.MustCompile(`^\d{18}$`),
	"iothub-enqueuedtime":                  regexp.MustCompile(`^\d{13}$`),
	"x-opt-sequence-number":                regexp.MustCompile(`^\d+$`),
	"x-opt-offset":                         regexp.MustCompile(`^(0|[1-9]\d*)$`),
	"x-opt-enqueued-time":                  regexp.MustCompile(`^\d{13}$`),
	"operationTimestamp":                   regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}\+00:00$`),
}

// same compares an event with the one the page shows: key for key, in the same order, none more, and its body byte for
// byte once times are replaced. Values that differ from run to run must have their form.
func same(t *testing.T, want, got event) {
	t.Helper()
	if _, err := strconv.Atoi(got.partition); err != nil {
		t.Errorf("partition: got %q, want a number", got.partition)
	}
	if g, w := times.ReplaceAllString(got.body, `"TIME"`), times.ReplaceAllString(want.body, `"TIME"`); g != w {
		t.Errorf("body:\n got %s\nwant %s", g, w)
	}
	sameFields(t, "properties", want.properties, got.properties)
	sameFields(t, "system properties", want.system, got.system)
	if got.get("x-opt-offset") == got.get("x-opt-sequence-number") {
		t.Errorf("the offset is the sequence number, %s", got.get("x-opt-offset"))
	}
	accepted, enqueued := got.number("iothub-enqueuedtime"), got.number("x-opt-enqueued-time")
	if accepted > enqueued || time.Since(time.UnixMilli(accepted)).Abs() > 5*time.Minute {
		t.Errorf("iothub-enqueuedtime %d, x-opt-enqueued-time %d: want the last minutes, in order", accepted, enqueued)
	}
}

func sameFields(t *testing.T, what string, want, got []field) {
	t.Helper()
	if g, w := keys(got), keys(want); g != w {
		t.Errorf("%s:\n got keys %s\nwant keys %s", what, g, w)
		return
	}
	for i, w := range want {
		g := got[i]
		form := forms[w.key]
		if w.key == "user-id" { // the page's reader showed rubbish after some
			w.value = hubName
		}
		switch {
		case w.bytes != g.bytes:
			t.Errorf("%s: %s is bytes: got %v, want %v", what, w.key, g.bytes, w.bytes)
		case form != nil && !form.MatchString(g.value):
			t.Errorf("%s: %s: got %q, want the form %v", what, w.key, g.value, form)
		case form != nil && !form.MatchString(w.value):
			t.Errorf("%s: %s: the page's own %q has not the form %v", what, w.key, w.value, form)
		case form == nil && g.value != w.value:
			t.Errorf("%s: %s: got %q, want %q", what, w.key, g.value, w.value)
		}
	}
}

func keys(fields []field) string {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.key
	}
	return strings.Join(names, " ")
}

// samePair checks that a twin event and a digital twin event announce one change.
func samePair(t *testing.T, twin, digital event) {
	t.Helper()
	for _, key := range []string{"correlation-id", "iothub-enqueuedtime"} {
		if twin.get(key) != digital.get(key) {
			t.Errorf("%s of the pair: %s and %s, want one", key, twin.get(key), digital.get(key))
		}
	}
	at := find(twin.properties, "operationTimestamp")
	if other := find(digital.properties, "operationTimestamp"); at != other {
		t.Errorf("operationTimestamp of the pair: %s and %s, want one", at, other)
	}
	if twin.partition != digital.partition || twin.number("x-opt-sequence-number")+1 != digital.number("x-opt-sequence-number") {
		t.Errorf("the pair lies at %s/%s and %s/%s, want neighbours", twin.partition, twin.get("x-opt-sequence-number"), digital.partition, digital.get("x-opt-sequence-number"))
	}
	operation, err := time.Parse("2006-01-02T15:04:05.0000000-07:00", at)
	if err != nil {
		t.Fatalf("operationTimestamp: %v", err)
	}
	if operation.After(time.UnixMilli(twin.number("iothub-enqueuedtime"))) {
		t.Errorf("operationTimestamp %s is after iothub-enqueuedtime %d", at, twin.number("iothub-enqueuedtime"))
	}
	short := `"` + strings.TrimRight(strings.TrimRight(operation.Format("2006-01-02T15:04:05.0000000"), "0"), ".") + `Z"`
	for _, e := range []event{twin, digital} {
		for _, stamp := range times.FindAllString(e.body, -1) {
			if stamp != short {
				t.Errorf("a time in the body is %s, want the instant of the operation, %s", stamp, short)
			}
		}
	}
}

// inOrder checks that two events of one device lie in one partition in the order they were sent.
func inOrder(t *testing.T, first, second event) {
	t.Helper()
	if first.partition != second.partition || first.number("x-opt-sequence-number") >= second.number("x-opt-sequence-number") ||
		first.number("x-opt-offset") >= second.number("x-opt-offset") {
		t.Errorf("two events of one device in order:\n%v\n%v", first, second)
	}
}

// sameJSON compares two texts, which must be JSON and equal, members in the same order.
func sameJSON(t *testing.T, what, got, want string) {
	t.Helper()
	if !json.Valid([]byte(got)) || got != want {
		t.Errorf("%s: got %s, want %s", what, got, want)
	}
}
