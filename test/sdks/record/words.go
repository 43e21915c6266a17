package record

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twinhub/twinhub/internal/sas"
	"github.com/twinhub/twinhub/internal/wire/mqtt"
)

// Words are what a client said in one step: a value for each thing worth comparing.
type Words map[string]string

// NewWords returns what requests and packets say.
func NewWords(t testing.TB, requests []*Request, packets []mqtt.Packet) Words {
	t.Helper()
	w := Words{}
	w.requests(t, requests)
	w.packets(t, packets)
	return w
}

// requests adds HTTP requests. An etag that an earlier answer gave is called so, since its value is the hub's.
func (w Words) requests(t testing.TB, requests []*Request) {
	t.Helper()
	etags := map[string]bool{}
	for i, q := range requests {
		name := "request "
		if len(requests) > 1 {
			name = fmt.Sprintf("request %d ", i+1)
		}
		w[name+"method"], w[name+"path"] = q.Method, q.Path
		for key, values := range q.Query {
			w[name+"query "+key] = strings.Join(values, ",")
		}
		for _, key := range []string{"If-Match", "Content-Type", "Accept", "X-Ms-Max-Item-Count", "X-Ms-Continuation"} {
			if value := q.Header.Get(key); value != "" {
				if etags[value] {
					value = "the etag that was read"
				}
				w[name+key] = value
			}
		}
		if len(q.Body) > 0 {
			body := canonical(q.Body)
			for etag := range etags {
				body = strings.ReplaceAll(body, etag, `"the etag that was read"`)
			}
			w[name+"body"] = body
		}
		w.token(t, name, q.Header.Get("Authorization"))
		if q.ETag != "" {
			etags[q.ETag] = true
		}
	}
}

// token adds what a token claims.
func (w Words) token(t testing.TB, name, text string) {
	t.Helper()
	token, err := sas.Parse(text)
	if err != nil {
		t.Errorf("%stoken: %v", name, err)
		return
	}
	w[name+"token resource"] = token.URI
	w[name+"token policy"] = token.KeyName
	w[name+"token life"] = time.Until(token.Expiry).Round(time.Minute).String()
}

// packets adds MQTT packets.
func (w Words) packets(t testing.TB, packets []mqtt.Packet) {
	t.Helper()
	for _, p := range packets {
		switch p := p.(type) {
		case *mqtt.Connect:
			w["CONNECT client id"] = p.ClientID
			w["CONNECT clean session"] = fmt.Sprint(p.CleanSession)
			w["CONNECT keep alive"] = p.KeepAlive.String()
			w["CONNECT will"] = fmt.Sprint(p.Will != nil)
			name, query, _ := strings.Cut(p.Username, "?")
			w["CONNECT user name"] = name
			for key, value := range bag(t, query) {
				if key == "DeviceClientType" {
					value = "the SDK's name"
				}
				w["CONNECT user name "+key] = value
			}
			w.token(t, "CONNECT ", string(p.Password))
		case *mqtt.Subscribe:
			for _, s := range p.Subscriptions {
				w["SUBSCRIBE "+s.Filter] = fmt.Sprintf("QoS %d", s.QoS)
			}
		case *mqtt.Unsubscribe:
			for _, filter := range p.Filters {
				w["UNSUBSCRIBE "+filter] = "yes"
			}
		case *mqtt.Publish:
			path, query, _ := strings.Cut(p.Topic, "?")
			if prefix, rest, ok := strings.Cut(p.Topic, "/messages/events/"); ok {
				path, query = prefix+"/messages/events/", rest
			}
			name := "PUBLISH " + path + " "
			w[name+"delivery"] = fmt.Sprintf("QoS %d, retain %v, duplicate %v", p.QoS, p.Retain, p.Dup)
			for key, value := range bag(t, query) {
				if key == "$rid" {
					value = "an id"
				}
				w[name+key] = value
			}
			w[name+"body"] = canonical(p.Payload)
		case *mqtt.Disconnect:
			w["DISCONNECT"] = "yes"
		}
	}
}

// bag reads a property bag.
func bag(t testing.TB, text string) map[string]string {
	t.Helper()
	values := map[string]string{}
	for pair := range strings.SplitSeq(text, "&") {
		key, value, _ := strings.Cut(pair, "=")
		k, err := url.PathUnescape(key)
		if err != nil {
			t.Errorf("property bag %q: %v", text, err)
		}
		v, err := url.PathUnescape(value)
		if err != nil {
			t.Errorf("property bag %q: %v", text, err)
		}
		if pair != "" {
			values[k] = v
		}
	}
	return values
}

// canonical writes JSON without white space and with its members in order, keeping numbers as they are written; what is
// no JSON stays as it is.
func canonical(text []byte) string {
	if len(text) == 0 {
		return "nothing"
	}
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return fmt.Sprintf("%q", text)
	}
	out, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprintf("%q", text)
	}
	return string(out)
}

// difference is one thing said differently.
type difference struct{ step, sdk, what, theirs, ours string }

func (d difference) String() string {
	return fmt.Sprintf("| %s | %s | %s | %s | %s |", d.step, d.sdk, code(d.what), code(d.theirs), code(d.ours))
}

// absent stands in the table for what was not said.
const absent = "(absent)"

func code(s string) string {
	if s == "" {
		return absent
	}
	return "`" + s + "`"
}

// differences compares step by step.
func differences(sdk string, theirs, ours map[string]Words) []difference {
	var all []difference
	for _, step := range slices.Sorted(maps.Keys(theirs)) {
		keys := maps.Clone(theirs[step])
		maps.Copy(keys, ours[step])
		for _, key := range slices.Sorted(maps.Keys(keys)) {
			if a, b := theirs[step][key], ours[step][key]; a != b {
				all = append(all, difference{step, sdk, key, a, b})
			}
		}
	}
	return all
}

// listed reads the table of a file for an SDK. A row of step * stands for every step.
func listed(t testing.TB, file, sdk string) []difference {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var rows []difference
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.TrimSpace(line), " | ")
		if !strings.HasPrefix(line, "| ") || len(cells) != 6 || strings.TrimPrefix(cells[1], "| ") != sdk {
			continue
		}
		for i := range cells {
			if cells[i] = strings.Trim(cells[i], "| `"); cells[i] == absent {
				cells[i] = ""
			}
		}
		if cells[5] == "" {
			t.Errorf("this row of %s has no reason: %s", file, line)
		}
		rows = append(rows, difference{cells[0], cells[1], cells[2], cells[3], cells[4]})
	}
	return rows
}

// Compare fails for each difference of two clients, step by step, that the table in file does not list for the SDK, and for
// each of its rows that nothing proves.
func Compare(t *testing.T, file, sdk string, theirs, ours map[string]Words) {
	t.Helper()
	for step, w := range theirs {
		if len(w) == 0 && len(ours[step]) == 0 {
			t.Errorf("%s: neither said anything", step)
		}
	}
	rows := listed(t, file, sdk)
	seen := make([]bool, len(rows))
	for _, d := range differences(sdk, theirs, ours) {
		found := false
		for i, row := range rows {
			if row == d || row.step == "*" && row == (difference{"*", d.sdk, d.what, d.theirs, d.ours}) {
				seen[i], found = true, true
			}
		}
		if !found {
			t.Errorf("not in %s:\n%v", file, d)
		}
	}
	for i, row := range rows {
		if !seen[i] {
			t.Errorf("%s lists what is no longer so:\n%v", file, row)
		}
	}
}
