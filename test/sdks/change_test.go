package sdks

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azeventhubs/v2"
	jsonpatch "github.com/evanphx/json-patch/v5"
)

// changes is how many random changes TestChangesDescribeThemselves makes.
const changes = 1000

// change is one write, and what was read before and after it.
type change struct {
	what                      string
	twinBefore, twinAfter     []byte // version, tags, properties
	digitalBefore, digitalNow []byte
}

// TestChangesDescribeThemselves makes random changes to random twins while other devices of every partition send,
// and reads the events through Microsoft's Go client. Each change has a pair of events at neighbouring places that
// agree in all they share, or only a twin event where the digital twin is as before. The twin event applied to the twin
// read before gives the one read after, and the digital twin event's JSON Patch does so for the digital twin.
func TestChangesDescribeThemselves(t *testing.T) {
	h := sharedHub(t)
	s, c := newService(t, h), consumer(t, h, true)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	before := heads(t, c)

	devices := make([]*rawDevice, 5)
	made := map[string][]change{} // by device
	for i := range devices {
		id := fmt.Sprintf("change-%d", i)
		devices[i] = s.connect(h, id, s.register(id), "dtmi:com:example:Thermostat;1")
	}
	noise := make([]*rawDevice, 8) // enough for every partition
	for i := range noise {
		id := fmt.Sprintf("noise-%d", i)
		noise[i] = s.connect(h, id, s.register(id), "")
	}
	for range changes {
		d := devices[r.IntN(len(devices))]
		cg := change{twinBefore: s.twin(d.id), digitalBefore: s.digitalTwin(d.id)}
		for _, n := range noise { // sent now, so that it comes in between if it can
			n.send("devices/"+n.id+"/messages/events/", "noise")
		}
		cg.what = s.randomChange(r, d)
		cg.twinAfter, cg.digitalNow = s.twin(d.id), s.digitalTwin(d.id)
		made[d.id] = append(made[d.id], cg)
		for _, n := range noise {
			take(n, n.acks, "PUBACK")
		}
	}

	events := map[string][]*azeventhubs.ReceivedEventData{}
	partitionOf := map[*azeventhubs.ReceivedEventData]string{}
	for partition, last := range heads(t, c) {
		if start := before[partition]; last > start {
			f := startFollow(t, c, partition, azeventhubs.StartPosition{SequenceNumber: &start})
			for e := f.next(); ; e = f.next() {
				id, _ := e.SystemProperties["iothub-connection-device-id"].(string)
				events[id] = append(events[id], e)
				partitionOf[e] = partition
				if e.SequenceNumber == last {
					break
				}
			}
		}
	}
	pairs, unchanged := 0, 0
	for _, d := range devices {
		queue := events[d.id]
		if len(queue) > 0 && source(queue[0]) == "digitalTwinChangeEvents" {
			queue = queue[1:] // the model's announcement
		}
		for i, cg := range made[d.id] {
			if sameDocument(cg.twinBefore, cg.twinAfter) {
				unchanged++ // to remove what is not there is no change
				continue
			}
			if len(queue) == 0 || source(queue[0]) != "twinChangeEvents" {
				t.Fatalf("%s, change %d, %s: no twin event", d.id, i, cg.what)
			}
			twin := queue[0]
			queue = queue[1:]
			got, err := applyTwinEvent(cg.twinBefore, twin)
			if err != nil || !sameDocument(got, cg.twinAfter) {
				t.Fatalf("%s, change %d, %s: %v\n event %s\nbefore %s\n gives %s\n  want %s", d.id, i, cg.what, err, twin.Body, cg.twinBefore, got, cg.twinAfter)
			}
			if sameDocument(cg.digitalBefore, cg.digitalNow) {
				if len(queue) > 0 && source(queue[0]) == "digitalTwinChangeEvents" {
					t.Fatalf("%s, change %d, %s: the digital twin is as before, and yet %s", d.id, i, cg.what, queue[0].Body)
				}
				continue
			}
			if len(queue) == 0 || source(queue[0]) != "digitalTwinChangeEvents" {
				t.Fatalf("%s, change %d, %s: no digital twin event\nbefore %s\n after %s", d.id, i, cg.what, cg.digitalBefore, cg.digitalNow)
			}
			digital := queue[0]
			queue = queue[1:]
			pairs++
			got, err = applyPatch(cg.digitalBefore, digital.Body)
			if err != nil || !sameDocument(got, cg.digitalNow) {
				t.Fatalf("%s, change %d, %s: %v\n patch %s\nbefore %s\n gives %s\n  want %s", d.id, i, cg.what, err, digital.Body, cg.digitalBefore, got, cg.digitalNow)
			}
			checkPair(t, twin, digital, partitionOf)
		}
		if len(queue) > 0 {
			t.Errorf("%s: %d events too many, the first: %s", d.id, len(queue), queue[0].Body)
		}
	}
	for _, n := range noise {
		if got := len(events[n.id]); got != changes {
			t.Errorf("events of %s: got %d, want %d", n.id, got, changes)
		}
	}
	if unchanged > changes/20 || pairs < changes/2 {
		t.Errorf("of %d changes %d changed nothing and %d had a pair of events: too weak a test", changes, unchanged, pairs)
	}
	t.Logf("%d changes, %d of them with a pair of events, %d that changed nothing, among %d events of other devices", changes, pairs, unchanged, len(noise)*changes)
}

// checkPair checks what the two events of one change share.
func checkPair(t *testing.T, twin, digital *azeventhubs.ReceivedEventData, partitionOf map[*azeventhubs.ReceivedEventData]string) {
	t.Helper()
	if partitionOf[twin] != partitionOf[digital] || twin.SequenceNumber+1 != digital.SequenceNumber {
		t.Errorf("the pair lies at %s/%d and %s/%d, want neighbours", partitionOf[twin], twin.SequenceNumber, partitionOf[digital], digital.SequenceNumber)
	}
	for name, of := range map[string]func(e *azeventhubs.ReceivedEventData) any{
		"correlation-id":      func(e *azeventhubs.ReceivedEventData) any { return e.CorrelationID },
		"operationTimestamp":  func(e *azeventhubs.ReceivedEventData) any { return e.Properties["operationTimestamp"] },
		"iothub-enqueuedtime": func(e *azeventhubs.ReceivedEventData) any { return e.SystemProperties["iothub-enqueuedtime"] },
	} {
		if of(twin) != of(digital) {
			t.Errorf("%s of a pair: %v and %v, want one", name, of(twin), of(digital))
		}
	}
	if id, _ := twin.CorrelationID.(string); !forms["correlation-id"].MatchString(id) {
		t.Errorf("correlation-id: got %v, want 12 hexadecimal digits", twin.CorrelationID)
	}
	text, _ := twin.Properties["operationTimestamp"].(string)
	operation, err := time.Parse("2006-01-02T15:04:05.0000000-07:00", text)
	if err != nil || !forms["operationTimestamp"].MatchString(text) {
		t.Errorf("operationTimestamp: got %q, want 7 decimals and +00:00", text)
	}
	short := `"$lastUpdated":"` + strings.TrimRight(strings.TrimRight(operation.UTC().Format("2006-01-02T15:04:05.0000000"), "0"), ".") + `Z"`
	if !bytes.Contains(twin.Body, []byte(short)) {
		t.Errorf("the twin event of %s has no %s: %s", text, short, twin.Body)
	}
	accepted, _ := twin.SystemProperties["iothub-enqueuedtime"].(time.Time)
	if operation.After(accepted) || accepted.After(*twin.EnqueuedTime) || accepted.After(*digital.EnqueuedTime) {
		t.Errorf("operationTimestamp %v, iothub-enqueuedtime %v, x-opt-enqueued-time %v and %v: want them in order", operation, accepted, twin.EnqueuedTime, digital.EnqueuedTime)
	}
}

func source(e *azeventhubs.ReceivedEventData) string {
	s, _ := e.SystemProperties["iothub-message-source"].(string)
	return s
}

// twin reads what a twin event speaks of.
func (s *service) twin(id string) []byte {
	s.t.Helper()
	type twin struct {
		Version    int             `json:"version"`
		Tags       json.RawMessage `json:"tags,omitempty"`
		Properties json.RawMessage `json:"properties"`
	}
	b, err := json.Marshal(get[twin](s, "/twins/"+id))
	if err != nil {
		s.t.Fatal(err)
	}
	return b
}

func (s *service) digitalTwin(id string) []byte {
	s.t.Helper()
	return s.want(http.StatusOK, http.MethodGet, "/digitaltwins/"+id, "")
}

// randomChange makes one write and says which.
func (s *service) randomChange(r *rand.Rand, d *rawDevice) string {
	s.t.Helper()
	method, path, body, status := http.MethodPatch, "/twins/"+d.id, "", http.StatusOK
	switch r.IntN(10) {
	case 0, 1, 2, 3:
		body = randomSection(r, true)
		d.report(204, body)
		return "reported " + body
	case 4:
		body = fmt.Sprintf(`{"tags":%s}`, randomSection(r, true))
	case 5, 6:
		body = fmt.Sprintf(`{"properties":{"desired":%s}}`, randomSection(r, true))
	case 7:
		body = fmt.Sprintf(`{"tags":%s,"properties":{"desired":%s}}`, randomSection(r, true), randomSection(r, true))
	case 8:
		method, body = http.MethodPut, fmt.Sprintf(`{"tags":%s,"properties":{"desired":%s}}`, randomSection(r, false), randomSection(r, false))
	case 9:
		path, status, body = "/digitaltwins/"+d.id, http.StatusAccepted, randomPatch(r)
		if got, answer, _ := s.do(method, path, body); got == http.StatusBadRequest {
			// The patch clashed with what other changes have put there: then it must change nothing.
			body = fmt.Sprintf(`{"properties":{"desired":%s}}`, randomSection(r, true))
			s.want(http.StatusOK, method, "/twins/"+d.id, body)
			return fmt.Sprintf("refused digital twin patch (%s), then %s", answer, body)
		} else if got != status {
			s.t.Fatalf("%s %s %s: got %d %s", method, path, body, got, answer)
		}
		return "digital twin patch " + body
	}
	s.want(status, method, path, body)
	return fmt.Sprintf("%s %s %s", method, path, body)
}

// names are members' names. Few, so that changes meet; some of them need escapes in a JSON Pointer.
var names = []string{"a", "b", "temperature", "a/b", "m~n", "é", "thermostat1", "thermostat2"}

// randomSection returns a random object of properties; in a patch nulls may delete.
func randomSection(r *rand.Rand, nulls bool) string {
	return randomObject(r, 0, nulls)
}

func randomObject(r *rand.Rand, depth int, nulls bool) string {
	members := map[string]string{}
	for range 1 + r.IntN(3) {
		name := names[r.IntN(len(names))]
		switch {
		case strings.HasPrefix(name, "thermostat") && depth == 0:
			members[name] = strings.Replace(randomObject(r, 1, nulls), "{", `{"__t":"c",`, 1)
		case nulls && r.IntN(5) == 0:
			members[name] = "null"
		default:
			members[name] = randomValue(r, depth+1, nulls)
		}
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(members)) {
		key, _ := json.Marshal(name) // a string always can be
		parts = append(parts, string(key)+":"+members[name])
	}
	return "{" + strings.Join(parts, ",") + "}"
}

func randomValue(r *rand.Rand, depth int, nulls bool) string {
	values := []string{"0", "1", "1.0", "-7.25", "1e3", "true", "false", `""`, `"x"`, `"é\n"`, "[]", `[1,"a",{"b":2}]`, "{}",
		`{"value":21.5,"ac":200,"av":3}`, `{"value":"v","ac":203,"av":1,"ad":"said"}`}
	if depth < 4 && r.IntN(4) == 0 {
		return randomObject(r, depth, nulls)
	}
	return values[r.IntN(len(values))]
}

// randomPatch returns a patch of a digital twin.
func randomPatch(r *rand.Rand) string {
	paths := []string{"/a", "/b", "/temperature", "/thermostat1/a", "/thermostat2/temperature"}
	values := []string{"1", "2.50", `"x"`, "true", `{"k":1}`}
	var ops []string
	for range 1 + r.IntN(2) {
		path := paths[r.IntN(len(paths))]
		switch r.IntN(4) {
		case 0:
			ops = append(ops, fmt.Sprintf(`{"op":"remove","path":%q}`, path))
		case 1:
			ops = append(ops, fmt.Sprintf(`{"op":"replace","path":%q,"value":%s}`, path, values[r.IntN(len(values))]))
		default:
			ops = append(ops, fmt.Sprintf(`{"op":"add","path":%q,"value":%s}`, path, values[r.IntN(len(values))]))
		}
	}
	return "[" + strings.Join(ops, ",") + "]"
}

// applyPatch applies a JSON Patch.
func applyPatch(document, patch []byte) ([]byte, error) {
	p, err := jsonpatch.DecodePatch(patch)
	if err != nil {
		return nil, err
	}
	return p.Apply(document)
}

// applyTwinEvent applies a twin event to version, tags and properties: a replacement says all of them, an update is a
// merge patch, in which the metadata of what is gone does not appear.
func applyTwinEvent(document []byte, e *azeventhubs.ReceivedEventData) ([]byte, error) {
	switch op := e.Properties["opType"]; op {
	case "replaceTwin":
		var whole map[string]json.RawMessage
		if err := json.Unmarshal(e.Body, &whole); err != nil {
			return nil, err
		}
		for name := range whole {
			if name != "version" && name != "tags" && name != "properties" {
				delete(whole, name)
			}
		}
		return json.Marshal(whole)
	case "updateTwin":
		merged, err := jsonpatch.MergePatch(document, e.Body)
		if err != nil {
			return nil, err
		}
		twin, err := decode(merged)
		if err != nil {
			return nil, err
		}
		if tags, ok := twin["tags"].(map[string]any); ok && len(tags) == 0 {
			delete(twin, "tags")
		}
		properties, _ := twin["properties"].(map[string]any)
		for _, name := range []string{"desired", "reported"} {
			section, _ := properties[name].(map[string]any)
			metadata, _ := section["$metadata"].(map[string]any)
			forget(metadata, section)
		}
		return json.Marshal(twin)
	default:
		return nil, fmt.Errorf("opType %v", op)
	}
}

// forget removes the metadata of what value does not hold.
func forget(metadata map[string]any, value any) {
	object, _ := value.(map[string]any)
	for name, below := range metadata {
		if strings.HasPrefix(name, "$") {
			continue
		}
		child, ok := object[name]
		if !ok {
			delete(metadata, name)
			continue
		}
		if m, ok := below.(map[string]any); ok {
			forget(m, child)
		}
	}
}

// decode reads a JSON object and keeps the text of its numbers.
func decode(b []byte) (map[string]any, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var v map[string]any
	return v, d.Decode(&v)
}

// sameDocument compares two JSON objects, numbers by their text.
func sameDocument(a, b []byte) bool {
	x, errX := decode(a)
	y, errY := decode(b)
	return errX == nil && errY == nil && reflect.DeepEqual(x, y)
}
