package device

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/twinhub/twinhub/internal/wire/mqtt"
)

// Topics of twins. Reference: IoT Hub, "Communicate using the MQTT protocol", retrieving a device twin's properties.
const (
	twinAnswers   = "$iothub/twin/res/"
	twinGet       = "$iothub/twin/GET/?$rid="
	twinReport    = "$iothub/twin/PATCH/properties/reported/?$rid="
	twinDesired   = "$iothub/twin/PATCH/properties/desired/"
	allLevels     = "#"
	maxPatchBytes = 256 << 10 // no hub takes more than 32 KiB of values, with their names and metadata
)

// Twin is a device's own view of its twin.
type Twin struct {
	// Desired and Reported are JSON objects with a member $version, which the two numbers repeat.
	Desired         json.RawMessage
	DesiredVersion  int64
	Reported        json.RawMessage
	ReportedVersion int64
}

// Twin returns the device's twin. It returns when the hub has answered; the request is repeated on the next connection
// if this one ends before that. Fails with an *Error if the hub refuses.
func (c *Client) Twin(ctx context.Context) (*Twin, error) {
	a, err := c.request(ctx, twinGet, []byte(" ")) // the hub ignores the body; Microsoft's clients send a space
	if err != nil {
		return nil, fmt.Errorf("device: get twin: %w", err)
	}
	var sections struct {
		Desired  json.RawMessage `json:"desired"`
		Reported json.RawMessage `json:"reported"`
	}
	if err := json.Unmarshal(a.body, &sections); err != nil {
		return nil, fmt.Errorf("device: get twin: %w", err)
	}
	t := &Twin{Desired: sections.Desired, Reported: sections.Reported}
	if t.DesiredVersion, err = versionOf(t.Desired); err == nil {
		t.ReportedVersion, err = versionOf(t.Reported)
	}
	if err != nil {
		return nil, fmt.Errorf("device: get twin: %w", err)
	}
	return t, nil
}

// UpdateReported merges patch, any value that is encoded as a JSON object, into the reported properties and returns
// their new version. A null member deletes. It returns when the hub has stored the change; the patch is sent again on
// the next connection if this one ends before that. A property of a component stands inside an object that is marked as
// one: {"thermostat1": {"__t": "c", "maxTempSinceLastReboot": 98.34}}. Fails with an *Error if the hub refuses, and with
// ErrTooLarge for a patch that no hub takes.
func (c *Client) UpdateReported(ctx context.Context, patch any) (version int64, err error) {
	body, err := encode(patch)
	switch {
	case err != nil:
	case len(body) == 0 || strings.TrimLeft(string(body), " \t\r\n")[0] != '{':
		err = errors.New("the patch is not a JSON object")
	case len(body) > maxPatchBytes:
		err = fmt.Errorf("%w: the patch has %d bytes, the limit is %d", ErrTooLarge, len(body), maxPatchBytes)
	}
	if err != nil {
		return 0, fmt.Errorf("device: update reported properties: %w", err)
	}
	a, err := c.request(ctx, twinReport, body)
	if err != nil {
		return 0, fmt.Errorf("device: update reported properties: %w", err)
	}
	return a.version, nil
}

// versionOf returns the $version of a section.
func versionOf(section json.RawMessage) (int64, error) {
	var v struct {
		Version int64 `json:"$version"`
	}
	if err := json.Unmarshal(section, &v); err != nil {
		return 0, fmt.Errorf("read $version: %w", err)
	}
	return v.Version, nil
}

// requests are the twin requests that await their answers.
type requests struct {
	// mu guards what follows.
	mu      sync.Mutex
	waiting map[string]chan answer
	count   uint64
	prefix  string // random, so that an answer for an earlier program is not taken for one of this
}

// answer is the hub's answer to a twin request.
type answer struct {
	status  int
	version int64 // 0 if there is none
	body    []byte
}

func (r *requests) begin() (rid string, answers chan answer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.waiting == nil {
		r.waiting = map[string]chan answer{}
		r.prefix = rand.Text()[:8] + "-"
	}
	r.count++
	rid = r.prefix + strconv.FormatUint(r.count, 36)
	answers = make(chan answer, 1)
	r.waiting[rid] = answers
	return rid, answers
}

func (r *requests) end(rid string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.waiting, rid)
}

// take hands an answer to the request that awaits it, if one does.
func (r *requests) take(rid string, a answer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if answers := r.waiting[rid]; answers != nil {
		delete(r.waiting, rid)
		answers <- a
	}
}

// request publishes a twin request and returns the answer of success.
func (c *Client) request(ctx context.Context, topic string, body []byte) (answer, error) {
	if err := c.subscribe(ctx, twinAnswers+allLevels); err != nil {
		return answer{}, err
	}
	rid, answers := c.requests.begin()
	defer c.requests.end(rid)
	for {
		l, err := c.publish(ctx, topic+rid, body)
		if err != nil {
			return answer{}, err
		}
		select {
		case a := <-answers:
			return check(a)
		case <-l.done: // the hub does not keep answers for the next connection
			select {
			case a := <-answers:
				return check(a)
			default:
			}
		case <-ctx.Done():
			return answer{}, ctx.Err()
		}
	}
}

func check(a answer) (answer, error) {
	if a.status < 200 || a.status > 299 {
		return answer{}, parseError(a.status, a.body)
	}
	return a, nil
}

// dispatch hands on what the hub has published. It does not wait, and keeps nothing of p. It reports false for a message
// that this client has no use for, such as a cloud-to-device message that an earlier program of the device had subscribed
// to: it is not acknowledged, so that the hub keeps it.
func (c *Client) dispatch(p *mqtt.Publish) (taken bool) {
	var err error
	taken = true
	if rest, ok := strings.CutPrefix(p.Topic, twinAnswers); ok {
		err = c.takeAnswer(rest, p.Payload)
	} else if _, ok := strings.CutPrefix(p.Topic, twinDesired); ok {
		err = c.takeDesired(p.Payload)
	} else if rest, ok := strings.CutPrefix(p.Topic, methodCalls); ok {
		err = c.takeCall(rest, p.Payload)
	} else {
		err, taken = errors.New("unexpected topic"), false
	}
	if err != nil {
		c.s.Logger.Warn("the hub sent something else than expected", "device", c.s.id, "topic", p.Topic, "error", err)
	}
	return taken
}

// takeAnswer takes "{status}/?$rid={rid}[&$version={n}]".
func (c *Client) takeAnswer(rest string, body []byte) error {
	statusText, bag, ok := strings.Cut(rest, "/?")
	if !ok {
		return errors.New("no request id")
	}
	a := answer{body: append([]byte(nil), body...)}
	var err error
	if a.status, err = strconv.Atoi(statusText); err != nil {
		return fmt.Errorf("status: %w", err)
	}
	rid := ""
	for pair := range strings.SplitSeq(bag, "&") {
		switch key, value, _ := strings.Cut(pair, "="); key {
		case "$rid":
			rid = value
		case "$version":
			if a.version, err = strconv.ParseInt(value, 10, 64); err != nil {
				return fmt.Errorf("version: %w", err)
			}
		}
	}
	c.requests.take(rid, a)
	return nil
}
