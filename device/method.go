package device

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Topics of methods. Reference: IoT Hub, "Communicate using the MQTT protocol", respond to a direct method.
const (
	methodCalls   = "$iothub/methods/POST/"
	methodAnswers = "$iothub/methods/res/"
)

// answerTimeout bounds the delivery of a method's answer. The hub waits for one for at most 300 s.
const answerTimeout = 300 * time.Second

// Statuses with which the client itself answers a call.
const (
	// StatusNotImplemented: no handler is set for the method.
	StatusNotImplemented = 501
	// StatusBusy: Options.MaxCalls handlers are running.
	StatusBusy = 429
	// StatusFailed: the handler's answer is no JSON, or too large.
	StatusFailed = 500
)

// MethodCall is a call of a direct method or a command.
type MethodCall struct {
	// Name is the method's name as it was called; for a command of a component "component*command".
	Name string
	// Payload is JSON, "null" if the caller gave none.
	Payload json.RawMessage
}

// Component returns the component and the command of a call; the component is "" for the default one, and for methods.
func (m MethodCall) Component() (component, command string) {
	if component, command, ok := strings.Cut(m.Name, "*"); ok {
		return component, command
	}
	return "", m.Name
}

// Decode unmarshals the payload into v.
func (m MethodCall) Decode(v any) error {
	if err := json.Unmarshal(m.Payload, v); err != nil {
		return fmt.Errorf("device: decode method payload: %w", err)
	}
	return nil
}

// MethodHandler answers a call with a status of its own, by convention like one of HTTP, and any value for JSON, at most
// 128 KiB. It may be called concurrently, and after the caller has given up. Ctx ends with Close.
type MethodHandler func(ctx context.Context, call MethodCall) (status int, payload any)

// HandleMethod makes fn the handler of a direct method and returns when the hub will send calls. It replaces the handler
// before; nil only ends that one. The name is case-sensitive. With "" for the name fn handles all methods that have no
// handler of their own; without it these are answered with StatusNotImplemented. An answer is delivered when the hub has
// acknowledged it, on the next connection if need be, as far as the hub still waits for it.
func (c *Client) HandleMethod(ctx context.Context, name string, fn MethodHandler) error {
	c.methods.set(name, fn)
	if fn == nil {
		return nil
	}
	if err := c.subscribe(ctx, methodCalls+allLevels); err != nil {
		return fmt.Errorf("device: handle method %s: %w", name, err)
	}
	return nil
}

// HandleCommand is HandleMethod for a command of a component; "" is the default component.
func (c *Client) HandleCommand(ctx context.Context, component, command string, fn MethodHandler) error {
	if component != "" {
		command = component + "*" + command
	}
	return c.HandleMethod(ctx, command, fn)
}

// methods are the handlers.
type methods struct {
	slots    chan struct{} // taken by running handlers
	refusals chan struct{} // taken by calls that are refused, which must not be without bound either

	// mu guards what follows.
	mu       sync.Mutex
	handlers map[string]MethodHandler
}

func (m *methods) init(most int) {
	m.slots, m.refusals = make(chan struct{}, most), make(chan struct{}, most)
	m.handlers = map[string]MethodHandler{}
}

func (m *methods) set(name string, fn MethodHandler) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if fn == nil {
		delete(m.handlers, name)
		return
	}
	m.handlers[name] = fn
}

func (m *methods) handler(name string) MethodHandler {
	m.mu.Lock()
	defer m.mu.Unlock()
	if fn := m.handlers[name]; fn != nil {
		return fn
	}
	return m.handlers[""]
}

// takeCall takes "{name}/?$rid={rid}".
func (c *Client) takeCall(rest string, payload []byte) error {
	name, rid, ok := strings.Cut(rest, "/?$rid=")
	if !ok || name == "" || rid == "" {
		return errors.New("no method name or request id")
	}
	call := MethodCall{Name: name, Payload: append([]byte(nil), payload...)}
	if len(call.Payload) == 0 {
		call.Payload = []byte("null")
	}
	fn, slots := c.methods.handler(name), c.methods.slots
	if fn == nil {
		fn, slots = constant(StatusNotImplemented, "this device has no method "+name), c.methods.refusals
	} else if len(slots) == cap(slots) { // only this goroutine fills it
		fn, slots = constant(StatusBusy, "the device is busy"), c.methods.refusals
	}
	select {
	case slots <- struct{}{}:
	default:
		return errors.New("too many calls: this one is not answered")
	}
	if !c.start(func() {
		defer func() { <-slots }()
		c.answerCall(rid, call, fn)
	}) {
		<-slots
	}
	return nil
}

// constant returns a handler that always answers the same.
func constant(status int, text string) MethodHandler {
	return func(context.Context, MethodCall) (int, any) { return status, map[string]string{"message": text} }
}

// answerCall calls the handler and delivers its answer.
func (c *Client) answerCall(rid string, call MethodCall, fn MethodHandler) {
	status, value := fn(c.ctx, call)
	body, err := encode(value)
	if err == nil && len(body) > maxPayloadBytes {
		err = fmt.Errorf("%w: the answer has %d bytes, the limit is %d", ErrTooLarge, len(body), maxPayloadBytes)
	}
	if err != nil {
		c.s.Logger.Error("method handler's answer cannot be sent", "device", c.s.id, "method", call.Name, "error", err)
		status, body = StatusFailed, []byte(`{"message":"the device's answer is not valid"}`)
	}
	ctx, cancel := context.WithTimeout(c.ctx, answerTimeout)
	defer cancel()
	if _, err := c.publish(ctx, methodAnswers+strconv.Itoa(status)+"/?$rid="+rid, body); err != nil {
		c.s.Logger.Warn("method not answered", "device", c.s.id, "method", call.Name, "error", err)
	}
}
