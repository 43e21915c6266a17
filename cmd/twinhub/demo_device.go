package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/twinhub/twinhub/device"
)

// simulated is a device of the demo: it does what its model says of thermostats.
type simulated struct {
	label  string // for people
	id     string
	model  *model
	client *device.Client
	// reported are the patches it sent when it started, by component, in order.
	reported map[string]json.RawMessage
	// wanted are the target temperatures that the back end set in the twin, by component.
	wanted map[string]float64
	// desired brings each change of desired properties, once the device has acknowledged it in its reported properties.
	desired chan desiredChange

	// mu guards what follows.
	mu    sync.Mutex
	temps map[string][]float64 // by component
}

// desiredChange is a patch as the device got it, or why it could not be acknowledged.
type desiredChange struct {
	patch json.RawMessage
	err   error
}

// connectSimulated connects a device and sets its handlers.
func connectSimulated(ctx context.Context, t *target, label, id, connectionString string, m *model) (*simulated, error) {
	s := &simulated{
		label: label, id: id, model: m,
		reported: map[string]json.RawMessage{}, wanted: map[string]float64{}, desired: make(chan desiredChange, 16), temps: map[string][]float64{},
	}
	var err error
	if s.client, err = t.connect(ctx, connectionString, device.Options{ModelID: m.ID, Product: "twinhub-demo"}); err != nil {
		return nil, err
	}
	if err := s.handle(ctx); err != nil {
		return nil, closeAfter(s.client, err)
	}
	return s, nil
}

// closeAfter closes a client that is of no use after err, and returns err.
func closeAfter(c *device.Client, err error) error {
	ctx, cancel := context.WithTimeout(context.Background(), cleanupTime)
	defer cancel()
	if closeErr := c.Close(ctx); closeErr != nil {
		return fmt.Errorf("%w (and %w)", err, closeErr)
	}
	return err
}

func (s *simulated) handle(ctx context.Context) error {
	for _, component := range s.model.thermostats() {
		s.measure(component)
		if err := s.client.HandleCommand(ctx, component, "getMaxMinReport", s.report); err != nil {
			return err
		}
	}
	return s.client.HandleDesired(ctx, func(ctx context.Context, d device.Desired) {
		err := s.acknowledge(ctx, d)
		select {
		case s.desired <- desiredChange{d.Properties, err}:
		case <-ctx.Done():
		}
	})
}

// start reports what the device knows of itself: a controller its serial number, and each thermostat the highest
// temperature since it started.
func (s *simulated) start(ctx context.Context) error {
	if s.model.ID == controllerModel {
		if _, err := s.client.UpdateReported(ctx, map[string]any{"serialNumber": s.id}); err != nil {
			return err
		}
	}
	for _, component := range s.model.thermostats() {
		highest, _, _ := summary(s.measured(component))
		patch, err := encodeJSON(inComponent(component, "maxTempSinceLastReboot", highest))
		if err != nil {
			return err
		}
		if _, err := s.client.UpdateReported(ctx, json.RawMessage(patch)); err != nil {
			return err
		}
		s.reported[component] = patch
	}
	return nil
}

// inComponent makes the patch of one property. Reference: IoT Plug and Play conventions, properties of components.
func inComponent(component, property string, value any) map[string]any {
	if component == "" {
		return map[string]any{property: value}
	}
	return map[string]any{component: map[string]any{"__t": "c", property: value}}
}

// measure takes a temperature at random.
func (s *simulated) measure(component string) float64 {
	t := math.Round((10+40*rand.Float64())*100) / 100 // #nosec G404 -- a temperature, no secret
	s.mu.Lock()
	defer s.mu.Unlock()
	s.temps[component] = append(s.temps[component], t)
	return t
}

func (s *simulated) measured(component string) []float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]float64(nil), s.temps[component]...)
}

// send sends a new temperature and returns the message's body.
func (s *simulated) send(ctx context.Context, component string) (json.RawMessage, error) {
	m, err := device.JSONMessage(map[string]any{"temperature": s.measure(component)})
	if err != nil {
		return nil, err
	}
	m.Component = component
	return m.Body, s.client.Send(ctx, m)
}

// temperatureReport is what getMaxMinReport answers.
type temperatureReport struct {
	Max   float64   `json:"maxTemp"`
	Min   float64   `json:"minTemp"`
	Avg   float64   `json:"avgTemp"`
	Start string    `json:"startTime"`
	End   time.Time `json:"endTime"`
}

// report answers getMaxMinReport, whose payload is the time since when.
func (s *simulated) report(_ context.Context, call device.MethodCall) (int, any) {
	component, _ := call.Component()
	var since string
	if err := call.Decode(&since); err != nil {
		return 400, map[string]string{"message": "the payload must be a time, such as \"2020-10-21T14:10:42Z\""}
	}
	r := temperatureReport{Start: since, End: time.Now().UTC().Truncate(time.Second)}
	r.Max, r.Min, r.Avg = summary(s.measured(component))
	return 200, r
}

// summary returns the highest, lowest and average temperature.
func summary(temps []float64) (highest, lowest, average float64) {
	highest, lowest = math.Inf(-1), math.Inf(1)
	sum := 0.0
	for _, t := range temps {
		highest, lowest, sum = max(highest, t), min(lowest, t), sum+t
	}
	return highest, lowest, math.Round(sum/float64(len(temps))*100) / 100
}

// acknowledge reports each target temperature of a patch as reached.
// Reference: IoT Plug and Play conventions, writable properties, acknowledgement responses.
func (s *simulated) acknowledge(ctx context.Context, d device.Desired) error {
	var wanted map[string]json.RawMessage
	if err := d.Decode(&wanted); err != nil {
		return err
	}
	for _, component := range s.model.thermostats() {
		properties := wanted
		if component != "" {
			properties = nil
			if raw := wanted[component]; raw != nil {
				if err := json.Unmarshal(raw, &properties); err != nil {
					return fmt.Errorf("desired properties of %s: %w", component, err)
				}
			}
		}
		value, ok := properties["targetTemperature"]
		if !ok {
			continue
		}
		answer := map[string]any{"value": value, "ac": 200, "av": d.Version, "ad": "done"}
		if _, err := s.client.UpdateReported(ctx, inComponent(component, "targetTemperature", answer)); err != nil {
			return err
		}
	}
	return nil
}

// nextDesired waits for the next change of desired properties.
func (s *simulated) nextDesired(ctx context.Context) (json.RawMessage, error) {
	select {
	case d := <-s.desired:
		return d.patch, d.err
	case <-ctx.Done():
		return nil, fmt.Errorf("the device got no change of desired properties: %w", ctx.Err())
	}
}
