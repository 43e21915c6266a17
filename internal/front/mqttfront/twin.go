package mqttfront

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/engine"
	"github.com/twinhub/twinhub/internal/wire/mqtt"
)

// Twin: PUBLISH $iothub/twin/GET/?$rid={rid} and $iothub/twin/PATCH/properties/reported/?$rid={rid}[&$version={n}],
// answered on $iothub/twin/res/{status}/?$rid={rid}[&$version={n}]; desired changes come on
// $iothub/twin/PATCH/properties/desired/?$version={n}.
//
//   - 200 with both sections; 204 without a body once the patch is on disk; errors with a JSON body.
//   - Requests of one connection are served in order; the PUBACK of a request leaves before its answer.
//   - A device that does not subscribe to the answers gets none. Desired changes are not kept for later.
//   - A request without $rid closes the connection.
//
// Reference: IoT Hub, "MQTT support", retrieving and updating a device twin.

const (
	getTopic   = "$iothub/twin/GET/"
	patchTopic = "$iothub/twin/PATCH/properties/reported/"
)

func (c *conn) publishTwin(ctx context.Context, number uint64, p *mqtt.Publish) error {
	topic, query, _ := strings.Cut(p.Topic, "?")
	rid, version, err := parseRequest(query)
	if err != nil {
		return violates("use the documented twin topics", "twin request %q: %v", clip(p.Topic), err)
	}
	var status int
	var body []byte
	suffix := "/?$rid=" + rid
	switch topic {
	case getTopic:
		status = 200
		body, err = c.front.Twins.ForDevice(ctx, c.id)
	case patchTopic:
		var reported int64
		status = 204
		reported, err = c.front.Twins.Reported(ctx, c.id, bytes.Clone(p.Payload), version)
		suffix += "&$version=" + strconv.FormatInt(reported, 10)
	default:
		return violates("use the documented twin topics", "unknown twin topic %q", clip(topic))
	}
	if isFatal(err) {
		return err // the hub cannot say what became of the request
	}
	if err != nil {
		status, body = twinError(err, c.front.Clock.Now())
		suffix = "/?$rid=" + rid
		if status >= 500 {
			c.front.Logger.Error("twin request", "device", c.id.String(), "error", err)
		}
	}
	c.acks.finish(number, nil)
	if p.QoS > mqtt.QoS0 {
		// The PUBACKs of earlier messages are still to come, and this one's after them.
		if err := c.acks.drain(); err != nil {
			return err
		}
	}
	_, err = c.send(twinResponseFilter, "$iothub/twin/res/"+strconv.Itoa(status)+suffix, body)
	return err
}

// isFatal reports whether err leaves the outcome of a request unknown.
func isFatal(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, engine.ErrFailed) || errors.Is(err, engine.ErrClosed)
}

// maxRequestID bounds a request id, so that the topic of the answer, which repeats it, fits. Clients use UUIDs at most.
const maxRequestID = 1024

// parseRequest reads $rid and $version of a request topic. The request id is echoed byte for byte, so it is not
// decoded.
func parseRequest(query string) (rid string, version *int64, err error) {
	for pair := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		switch name {
		case "$rid", "%24rid":
			rid = value
		case "$version", "%24version":
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil {
				return "", nil, fmt.Errorf("$version %q is not a number", clip(value))
			}
			version = &n
		}
	}
	switch {
	case rid == "":
		return "", nil, errors.New("no $rid")
	case len(rid) > maxRequestID:
		return "", nil, fmt.Errorf("the $rid is longer than %d bytes", maxRequestID)
	}
	return rid, version, nil
}

// twinError returns status and body of a refused request. Clients parse the body and look for errorCode in it.
func twinError(err error, now time.Time) (status int, body []byte) {
	e := twinhub.AsError(err)
	body, err = json.Marshal(struct {
		ErrorCode    int    `json:"errorCode"`
		Message      string `json:"message"`
		TrackingID   string `json:"trackingId"`
		TimestampUTC string `json:"timestampUtc"`
	}{int(e.Code), e.Message, strings.ReplaceAll(uuid.NewString(), "-", ""), twinhub.FormatTime(now)})
	if err != nil {
		body = []byte(`{"errorCode":500001}`)
	}
	return e.Code.Status(), body
}

// Desired implements session.Link.
func (c *conn) Desired(version int64, patch []byte) {
	// An error means that the connection is ending, which its reader notices.
	_, _ = c.send(desiredFilter, "$iothub/twin/PATCH/properties/desired/?$version="+strconv.FormatInt(version, 10), patch)
}
