package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/service"
)

// readTelemetry sends a temperature that nobody can know and waits until it comes out at the other end.
func (s *story) readTelemetry(p place, component string) step {
	var sent json.RawMessage
	return step{
		heading: "Read device telemetry", name: s.title("telemetry", p, component),
		do: func(ctx context.Context) (any, any, error) {
			var err error
			if sent, err = (*p).send(ctx, component); err != nil {
				return sent, nil, err
			}
			return s.await(ctx, sent, func(e *service.Event) bool {
				return e.DeviceID == (*p).id && e.Source == twinhub.Telemetry && e.Component == component
			})
		},
		judge: judged(func(got eventView) error {
			return firstOf(same("body", compact(got.Body), compact(sent)),
				got.system("iothub-message-source", string(twinhub.Telemetry)), got.system("iothub-connection-device-id", (*p).id),
				got.system("dt-dataschema", (*p).model.ID), got.system("dt-subject", component),
				got.system("content-type", "application/json"), got.system("content-encoding", "utf-8"))
		}),
	}
}

// await waits for an event and returns it beside what was sent.
func (s *story) await(ctx context.Context, sent any, fits func(*service.Event) bool) (any, any, error) {
	e, err := s.events.take(ctx, fits)
	if err != nil {
		return sent, nil, err
	}
	return sent, viewEvent(e), nil
}

func (s *story) readTwinChange(p place, component string) step {
	st := s.readChange(p, component, twinhub.TwinChange, "twinChangeNotification", func(body json.RawMessage) (float64, error) {
		var change struct {
			Properties struct {
				Reported json.RawMessage `json:"reported"`
			} `json:"properties"`
		}
		if err := json.Unmarshal(body, &change); err != nil {
			return 0, err
		}
		return reportedHighest(change.Properties.Reported, component)
	})
	st.heading, st.name = "Read device twin change notifications", s.title("twin change", p, component)
	return st
}

func (s *story) readDigitalTwinChange(p place, component string) step {
	st := s.readChange(p, component, twinhub.DigitalTwinChange, "digitalTwinChangeNotification", func(body json.RawMessage) (float64, error) {
		var patch []struct {
			Op    string          `json:"op"`
			Path  string          `json:"path"`
			Value json.RawMessage `json:"value"`
		}
		if err := json.Unmarshal(body, &patch); err != nil {
			return 0, err
		}
		for _, op := range patch {
			switch {
			case component == "" && op.Path == "/maxTempSinceLastReboot" && op.Op == "add":
				var v float64
				return v, json.Unmarshal(op.Value, &v)
			case component != "" && op.Path == "/"+component && op.Op == "add":
				return highestIn(op.Value)
			}
		}
		return 0, fmt.Errorf("no step of the patch adds maxTempSinceLastReboot")
	})
	st.heading, st.name = "Read digital twin change notifications", s.title("digital twin change", p, component)
	return st
}

const (
	// changeWait is how long a notification may take. It is about a change made before the telemetry that has already
	// come, so it should be there. Once a source has kept silent its next notification gets lateWait.
	changeWait = 15 * time.Second
	lateWait   = time.Second
)

func (s *story) patience(source twinhub.Source) time.Duration {
	if s.silent[source] {
		return lateWait
	}
	return changeWait
}

// readChange waits for the notification of what the device reported when it started; value reads it from the body.
func (s *story) readChange(p place, component string, source twinhub.Source, schema string, value func(body json.RawMessage) (float64, error)) step {
	return step{
		do: func(ctx context.Context) (any, any, error) {
			ctx, cancel := context.WithTimeout(ctx, s.patience(source))
			defer cancel()
			sent, got, err := s.await(ctx, (*p).reported[component], func(e *service.Event) bool {
				_, err := value(e.Body)
				return e.DeviceID == (*p).id && e.Source == source && err == nil
			})
			if err != nil {
				s.silent[source] = true
				err = fmt.Errorf("%w: %w", noRouteError{source}, err)
			}
			return sent, got, err
		},
		judge: judged(func(got eventView) error {
			want, err := reportedHighest((*p).reported[component], component)
			if err != nil {
				return err
			}
			highest, err := value(got.Body)
			return firstOf(err, same("maxTempSinceLastReboot", highest, want),
				got.system("iothub-message-source", string(source)), got.system("iothub-connection-device-id", (*p).id),
				got.property("iothub-message-schema", schema), got.property("opType", "updateTwin"), got.property("deviceId", (*p).id))
		}),
	}
}
