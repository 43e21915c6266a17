package service

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// CallOptions are the time-outs of a direct method or a command. The zero value, and nil, leave both to the hub.
type CallOptions struct {
	// ConnectTimeout is how long the hub waits for a device that is offline: whole seconds up to 300, not more than
	// ResponseTimeout; 0 means not at all, and CodeDeviceNotOnline at once.
	ConnectTimeout time.Duration
	// ResponseTimeout is how long the hub waits for the device's answer: whole seconds from 5 to 300, and
	// CodeGatewayTimeout after that; 0 means the hub's default of 30 s.
	ResponseTimeout time.Duration
}

// MethodResult is a device's answer to a direct method or a command.
type MethodResult struct {
	// Status is the number the device answered with. It is the application's: by convention 200 means success, but any
	// other is no error of the call.
	Status int
	// Payload is JSON, "null" if the device sent nothing.
	Payload json.RawMessage
	// RequestID is the hub's id of the request, if it gave one.
	RequestID string
}

// Decode unmarshals the payload into v.
func (r *MethodResult) Decode(v any) error {
	if err := json.Unmarshal(r.Payload, v); err != nil {
		return fmt.Errorf("decode method payload: %w", err)
	}
	return nil
}

// ComponentMethod returns the direct method name that a component's command has: "component*command".
func ComponentMethod(component, command string) string { return component + "*" + command }

// InvokeMethod calls a direct method of a device and returns its answer. The payload is any value for JSON; nil leaves it
// out. Fails with CodeDeviceNotFound, CodeDeviceNotOnline if the device is not connected or does not listen for methods,
// or CodeGatewayTimeout if it does not answer in time. If ctx ends first the device may still act. A command of a DTDL
// component is a method too: see [ComponentMethod]. Sends POST /twins/{id}/methods.
func (c *Client) InvokeMethod(ctx context.Context, deviceID, method string, payload any, o *CallOptions) (*MethodResult, error) {
	return c.InvokeModuleMethod(ctx, deviceID, "", method, payload, o)
}

// InvokeModuleMethod is InvokeMethod for a module of the device.
func (c *Client) InvokeModuleMethod(ctx context.Context, deviceID, moduleID, method string, payload any, o *CallOptions) (*MethodResult, error) {
	if deviceID == "" {
		return nil, errNoID
	}
	what := func(err error) error {
		return fmt.Errorf("invoke method %s of %s: %w", method, name(deviceID, moduleID), err)
	}
	call := struct {
		Method   string          `json:"methodName"`
		Payload  json.RawMessage `json:"payload,omitempty"`
		Response int64           `json:"responseTimeoutInSeconds,omitempty"`
		Connect  int64           `json:"connectTimeoutInSeconds,omitempty"`
	}{Method: method}
	var err error
	if payload != nil {
		if call.Payload, err = encode(payload); err != nil {
			return nil, what(err)
		}
	}
	if o != nil {
		call.Response, call.Connect = seconds(o.ResponseTimeout), seconds(o.ConnectTimeout)
	}
	body, err := encode(call)
	if err != nil {
		return nil, what(err)
	}
	header, answer, err := c.do(ctx, request{method: http.MethodPost, path: twinPath(deviceID, moduleID) + "/methods", body: body})
	if err != nil {
		return nil, what(err)
	}
	var result struct {
		Status  int             `json:"status"`
		Payload json.RawMessage `json:"payload"`
	}
	if err := json.Unmarshal(answer, &result); err != nil {
		return nil, what(err)
	}
	return &MethodResult{Status: result.Status, Payload: orNull(result.Payload), RequestID: header.Get("x-ms-request-id")}, nil
}

// InvokeCommand calls a command of the device's default component and returns its answer. Payload and errors are as for
// InvokeMethod. Sends POST /digitaltwins/{id}/commands/{command}.
func (c *Client) InvokeCommand(ctx context.Context, deviceID, command string, payload any, o *CallOptions) (*MethodResult, error) {
	return c.command(ctx, deviceID, "", command, payload, o)
}

// InvokeComponentCommand calls a command of a component. Payload and errors are as for InvokeMethod. Sends POST
// /digitaltwins/{id}/components/{component}/commands/{command}.
func (c *Client) InvokeComponentCommand(ctx context.Context, deviceID, component, command string, payload any, o *CallOptions) (*MethodResult, error) {
	if component == "" {
		return nil, fmt.Errorf("invoke command %s of %s: the component is empty", command, deviceID)
	}
	return c.command(ctx, deviceID, component, command, payload, o)
}

func (c *Client) command(ctx context.Context, deviceID, component, command string, payload any, o *CallOptions) (*MethodResult, error) {
	if deviceID == "" {
		return nil, errNoID
	}
	what := func(err error) error {
		if component != "" {
			return fmt.Errorf("invoke command %s of %s/%s: %w", command, deviceID, component, err)
		}
		return fmt.Errorf("invoke command %s of %s: %w", command, deviceID, err)
	}
	r := request{method: http.MethodPost, path: digitalTwinPath(deviceID), query: url.Values{}}
	if component != "" {
		r.path += "/components/" + escape(component)
	}
	r.path += "/commands/" + escape(command)
	var err error
	if payload != nil {
		if r.body, err = encode(payload); err != nil {
			return nil, what(err)
		}
	}
	if o != nil && o.ConnectTimeout != 0 {
		r.query.Set("connectTimeoutInSeconds", strconv.FormatInt(seconds(o.ConnectTimeout), 10))
	}
	if o != nil && o.ResponseTimeout != 0 {
		r.query.Set("responseTimeoutInSeconds", strconv.FormatInt(seconds(o.ResponseTimeout), 10))
	}
	header, answer, err := c.do(ctx, r)
	if err != nil {
		return nil, what(err)
	}
	result := &MethodResult{Payload: orNull(answer), RequestID: header.Get("x-ms-request-id")}
	if text := header.Get("x-ms-command-statuscode"); text != "" {
		if result.Status, err = strconv.Atoi(text); err != nil {
			return nil, what(fmt.Errorf("x-ms-command-statuscode: %w", err))
		}
	}
	return result, nil
}

// seconds rounds up, so that a short time is not taken for none.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

func orNull(raw []byte) json.RawMessage {
	if len(raw) == 0 {
		return json.RawMessage("null")
	}
	return raw
}
