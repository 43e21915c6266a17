package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/twinhub/twinhub/service"
)

// The time-outs of commands, as the page has them.
const (
	commandConnectTimeout  = 3 * time.Second
	commandResponseTimeout = 7 * time.Second
)

// sinceBefore is how long ago the reports that commands ask for begin, as on the page.
const sinceBefore = 2 * time.Minute

// steps are those of the page, in its order, after the two that make the devices.
func (s *story) steps() []step {
	return []step{
		s.register(thermostatModel, &s.thermostat),
		s.register(controllerModel, &s.controller),
		s.getTwin(&s.thermostat),
		s.getTwin(&s.controller),
		s.updateTwin(&s.thermostat, ""),
		s.updateTwin(&s.controller, "thermostat1"),
		s.callMethod(&s.thermostat, ""),
		s.callMethod(&s.controller, "thermostat1"),
		s.getDigitalTwin(&s.thermostat, ""),
		s.getDigitalTwin(&s.controller, "thermostat1"),
		s.updateDigitalTwin(&s.thermostat, ""),
		s.updateDigitalTwin(&s.controller, "thermostat1"),
		s.callCommand(&s.thermostat, ""),
		s.callCommand(&s.controller, "thermostat1"),
		s.readTelemetry(&s.thermostat, ""),
		s.readTelemetry(&s.controller, "thermostat1"),
		s.readTelemetry(&s.controller, "thermostat2"),
		s.readTwinChange(&s.thermostat, ""),
		s.readTwinChange(&s.controller, "thermostat1"),
		s.readDigitalTwinChange(&s.thermostat, ""),
		s.readDigitalTwinChange(&s.controller, "thermostat1"),
	}
}

// A device is given by the place where register puts it, since steps are listed before any is taken.
type place = **simulated

// labelOf is what people call the device of a model.
func labelOf(model string) string {
	if model == thermostatModel {
		return "Thermostat"
	}
	return "TemperatureController"
}

// title names a step, its device and its component.
func (s *story) title(what string, p place, component string) string {
	model := thermostatModel
	if p == &s.controller {
		model = controllerModel
	}
	what += ": " + labelOf(model)
	if component != "" {
		what += ", " + component
	}
	return what
}

// register makes a device in the registry and connects it, announcing its model.
func (s *story) register(modelID string, to place) step {
	type registered struct {
		DeviceID string          `json:"deviceId"`
		Status   string          `json:"status"`
		Desired  json.RawMessage `json:"desired"`
		Reported json.RawMessage `json:"reported"`
	}
	label := labelOf(modelID)
	id := "demo-thermostat-" + s.run
	if modelID == controllerModel {
		id = "demo-controller-" + s.run
	}
	return step{
		heading: "Register and connect the devices", name: "connect: " + label, vital: true,
		do: func(ctx context.Context) (any, any, error) {
			sent := map[string]string{"deviceId": id, "modelId": modelID}
			m, err := readModel(modelID)
			if err != nil {
				return sent, nil, err
			}
			d, err := s.service.CreateDevice(ctx, &service.Device{DeviceID: id})
			if err != nil {
				return sent, nil, err
			}
			s.registered = append(s.registered, id)
			if *to, err = connectSimulated(ctx, s.hub, label, id, s.service.ConnectionString(d), m); err != nil {
				return sent, nil, err
			}
			if err := (*to).start(ctx); err != nil {
				return sent, nil, err
			}
			twin, err := (*to).client.Twin(ctx)
			if err != nil {
				return sent, nil, err
			}
			return sent, registered{d.DeviceID, d.Status, twin.Desired, twin.Reported}, nil
		},
		judge: judged(func(got registered) error {
			var reported map[string]json.RawMessage
			for _, patch := range (*to).reported {
				if err := json.Unmarshal(patch, &reported); err != nil {
					return err
				}
			}
			var kept map[string]json.RawMessage
			if err := json.Unmarshal(got.Reported, &kept); err != nil {
				return err
			}
			for name, value := range reported {
				if err := same("reported "+name, compact(kept[name]), compact(value)); err != nil {
					return err
				}
			}
			return firstOf(same("deviceId", got.DeviceID, id), same("status", got.Status, "enabled"))
		}),
	}
}

func (s *story) getTwin(p place) step {
	return step{
		heading: "Get the device twin and model ID", name: s.title("get twin", p, ""),
		do: func(ctx context.Context) (any, any, error) {
			twin, err := until(ctx,
				func() (*service.Twin, error) { return s.service.GetTwin(ctx, (*p).id) },
				func(t *service.Twin) bool { return t.ModelID != "" })
			if err != nil {
				return (*p).id, nil, err
			}
			return (*p).id, twin.Raw, nil
		},
		judge: judged(func(got service.Twin) error {
			return firstOf(same("deviceId", got.DeviceID, (*p).id), same("modelId", got.ModelID, (*p).model.ID))
		}),
	}
}

// changed is what came of a change of desired properties: the back end's answer, and what the device got.
type changed struct {
	Answer json.RawMessage `json:"answer"`
	Device json.RawMessage `json:"device"`
}

// updateTwin reads the twin for its etag and changes a desired property, if nobody did in between.
func (s *story) updateTwin(p place, component string) step {
	target := newTemperature()
	return step{
		heading: "Update device twin", name: s.title("update twin", p, component),
		do: func(ctx context.Context) (any, any, error) {
			twin, err := s.service.GetTwin(ctx, (*p).id)
			if err != nil {
				return nil, nil, err
			}
			(*p).wanted[component] = target
			patch := service.TwinPatch{Desired: inComponent(component, "targetTemperature", target)}
			sent := struct {
				ETag  string            `json:"etag"`
				Patch service.TwinPatch `json:"patch"`
			}{twin.ETag, patch}
			updated, err := s.service.UpdateTwin(ctx, (*p).id, patch, twin.ETag)
			if err != nil {
				return sent, nil, err
			}
			got, err := (*p).nextDesired(ctx)
			return sent, changed{updated.Raw, got}, err
		},
		judge: judged(func(got changed) error {
			twin, err := service.DecodeTwin(got.Answer)
			if err != nil {
				return err
			}
			return firstOf(
				sameTarget("the twin's desired properties", twin.Properties.Desired, component, target),
				sameTarget("the device's change", got.Device, component, target))
		}),
	}
}

// answered is a device's answer to a method or command.
type answered struct {
	Status  int             `json:"status"`
	Payload json.RawMessage `json:"payload"`
}

func (s *story) callMethod(p place, component string) step {
	name := "getMaxMinReport"
	if component != "" {
		name = service.ComponentMethod(component, name)
	}
	since := time.Now().Add(-sinceBefore).UTC().Format(time.RFC3339)
	return step{
		heading: "Call command (direct method)", name: s.title("invoke method", p, component),
		do: func(ctx context.Context) (any, any, error) {
			sent := map[string]string{"method": name, "payload": since}
			r, err := s.service.InvokeMethod(ctx, (*p).id, name, since, nil)
			if err != nil {
				return sent, nil, err
			}
			return sent, answered{r.Status, r.Payload}, nil
		},
		judge: s.judgeReport(p, component, since),
	}
}

func (s *story) getDigitalTwin(p place, component string) step {
	return step{
		heading: "Get the digital twin and model ID", name: s.title("get digital twin", p, ""),
		do: func(ctx context.Context) (any, any, error) {
			twin, err := until(ctx,
				func() (*service.DigitalTwin, error) { return s.service.GetDigitalTwin(ctx, (*p).id) },
				func(t *service.DigitalTwin) bool { return t.ModelID != "" })
			if err != nil {
				return (*p).id, nil, err
			}
			return (*p).id, twin.Raw, nil
		},
		judge: func(received json.RawMessage) error {
			var root struct {
				ID       string `json:"$dtId"`
				Metadata struct {
					Model string `json:"$model"`
				} `json:"$metadata"`
			}
			if err := json.Unmarshal(received, &root); err != nil {
				return err
			}
			inner := received
			if component != "" {
				var members map[string]json.RawMessage
				if err := json.Unmarshal(received, &members); err != nil {
					return err
				}
				inner = members[component]
			}
			var got struct {
				Target   float64 `json:"targetTemperature"`
				Highest  float64 `json:"maxTempSinceLastReboot"`
				Metadata struct {
					Target struct {
						Desired float64 `json:"desiredValue"`
						Code    int     `json:"ackCode"`
					} `json:"targetTemperature"`
				} `json:"$metadata"`
			}
			if err := json.Unmarshal(inner, &got); err != nil {
				return fmt.Errorf("component %q: %w", component, err)
			}
			highest, err := reportedHighest((*p).reported[component], component)
			return firstOf(err,
				same("$dtId", root.ID, (*p).id), same("$model", root.Metadata.Model, (*p).model.ID),
				same("maxTempSinceLastReboot", got.Highest, highest),
				same("ackCode of targetTemperature", got.Metadata.Target.Code, 200),
				same("desiredValue of targetTemperature", got.Metadata.Target.Desired, (*p).wanted[component]),
				same("targetTemperature", got.Target, (*p).wanted[component]))
		},
	}
}

func (s *story) updateDigitalTwin(p place, component string) step {
	target, path := newTemperature(), "/targetTemperature"
	if component != "" {
		path = "/" + component + path
	}
	patch := []service.PatchOperation{{Op: "add", Path: path, Value: target}}
	type answer struct {
		ETag string `json:"etag"`
	}
	return step{
		heading: "Update digital twin", name: s.title("update digital twin", p, component),
		do: func(ctx context.Context) (any, any, error) {
			etag, err := s.service.UpdateDigitalTwin(ctx, (*p).id, patch, "")
			if err != nil {
				return patch, nil, err
			}
			text, err := encodeJSON(answer{etag})
			if err != nil {
				return patch, nil, err
			}
			got, err := (*p).nextDesired(ctx)
			return patch, changed{text, got}, err
		},
		judge: judged(func(got changed) error {
			var a answer
			if err := json.Unmarshal(got.Answer, &a); err != nil || a.ETag == "" {
				return errors.New("the answer has no etag")
			}
			return sameTarget("the device's change", got.Device, component, target)
		}),
	}
}

func (s *story) callCommand(p place, component string) step {
	since := time.Now().Add(-sinceBefore).UTC().Format(time.RFC3339)
	options := &service.CallOptions{ConnectTimeout: commandConnectTimeout, ResponseTimeout: commandResponseTimeout}
	return step{
		heading: "Call command (digital twin)", name: s.title("invoke command", p, component),
		do: func(ctx context.Context) (any, any, error) {
			sent := map[string]string{"command": "getMaxMinReport", "payload": since}
			var r *service.MethodResult
			var err error
			if component == "" {
				r, err = s.service.InvokeCommand(ctx, (*p).id, "getMaxMinReport", since, options)
			} else {
				sent["component"] = component
				r, err = s.service.InvokeComponentCommand(ctx, (*p).id, component, "getMaxMinReport", since, options)
			}
			if err != nil {
				return sent, nil, err
			}
			return sent, answered{r.Status, r.Payload}, nil
		},
		judge: s.judgeReport(p, component, since),
	}
}

// newTemperature is a temperature to want, at random, with one decimal.
func newTemperature() float64 {
	return math.Round((15+15*rand.Float64())*10) / 10 // #nosec G404 -- a temperature, no secret
}
