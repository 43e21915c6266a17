package mqttfront

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/core/session"
	"github.com/twinhub/twinhub/internal/wire/mqtt"
)

// Direct methods: PUBLISH $iothub/methods/POST/{name}/?$rid={rid} to the device, which answers on
// $iothub/methods/res/{status}/?$rid={rid}.
//
//   - The request id is a lower-case hexadecimal counter; nothing follows it. The name is not percent-encoded.
//   - Payloads pass as they are. An answer to an unknown request id came too late and is dropped.
//
// Reference: IoT Hub, "MQTT support", respond to a direct method.

// maxCalls bounds the calls that wait for one device.
const maxCalls = 1000

// Invoke implements session.Link.
func (c *conn) Invoke(ctx context.Context, call session.Call) (session.Reply, error) {
	reply := make(chan session.Reply, 1)
	rid, err := c.expect(reply)
	if err != nil {
		return session.Reply{}, err
	}
	defer c.forget(rid)
	c.mu.Lock()
	fits := c.out.fits(len(call.Payload))
	var sent bool
	if fits {
		sent, err = c.sendLocked(methodsFilter, "$iothub/methods/POST/"+call.Name+"/?$rid="+rid, call.Payload)
	}
	c.mu.Unlock()
	switch {
	case !fits:
		return session.Reply{}, session.ErrBusy
	case errors.Is(err, mqtt.ErrMalformed), errors.Is(err, mqtt.ErrTooLarge):
		return session.Reply{}, twinhub.Errorf(twinhub.CodeArgumentInvalid, "methodName cannot be part of an MQTT topic.")
	case err != nil:
		return session.Reply{}, session.ErrGone
	case !sent:
		return session.Reply{}, session.ErrNotListening
	}
	select {
	case r, ok := <-reply:
		if !ok {
			return session.Reply{}, session.ErrGone
		}
		return r, nil
	case <-ctx.Done():
		return session.Reply{}, ctx.Err()
	}
}

// expect registers a call and returns its request id.
func (c *conn) expect(reply chan session.Reply) (rid string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.gone:
		return "", session.ErrGone
	case len(c.calls) >= maxCalls:
		return "", session.ErrBusy
	case c.calls == nil:
		c.calls = map[string]chan session.Reply{}
	}
	c.lastCall++
	rid = strconv.FormatUint(c.lastCall, 16)
	c.calls[rid] = reply
	return rid, nil
}

func (c *conn) forget(rid string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if delete(c.calls, rid); len(c.calls) == 0 {
		c.calls = nil
	}
}

// publishMethodReply hands the answer of a device to the caller who waits for it.
func (c *conn) publishMethodReply(number uint64, p *mqtt.Publish) error {
	rid, status, err := parseReply(strings.TrimPrefix(p.Topic, "$iothub/methods/res/"))
	if err != nil {
		return violates("answer on $iothub/methods/res/{status}/?$rid={rid}", "method answer %q: %v", clip(p.Topic), err)
	}
	c.mu.Lock()
	call := c.calls[rid]
	delete(c.calls, rid) // the first answer counts
	c.mu.Unlock()
	if call != nil {
		call <- session.Reply{Status: status, Payload: bytes.Clone(p.Payload)}
	}
	c.acks.finish(number, nil)
	return nil
}

func parseReply(s string) (rid string, status int, err error) {
	text, query, _ := strings.Cut(s, "/")
	if status, err = strconv.Atoi(text); err != nil {
		return "", 0, fmt.Errorf("status %q is not a number", text)
	}
	rid, _, err = parseRequest(strings.TrimPrefix(query, "?"))
	return rid, status, err
}
