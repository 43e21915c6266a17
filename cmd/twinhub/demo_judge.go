package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/twinhub/twinhub"
)

// judged makes a judge of a function that looks at the decoded value.
func judged[T any](fn func(got T) error) func(json.RawMessage) error {
	return func(raw json.RawMessage) error {
		var v T
		if err := json.Unmarshal(raw, &v); err != nil {
			return fmt.Errorf("what came back cannot be read: %w", err)
		}
		return fn(v)
	}
}

// same complains when a value is another than expected.
func same[T comparable](what string, got, want T) error {
	if got != want {
		return fmt.Errorf("%s is %v, expected %v", what, got, want)
	}
	return nil
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// compact removes space, for comparing; text that is no JSON stays as it is.
func compact(raw json.RawMessage) string {
	var b bytes.Buffer
	if json.Compact(&b, raw) != nil {
		return string(raw)
	}
	return b.String()
}

// sameTarget looks for the target temperature of a component, marked as one, in desired properties.
func sameTarget(what string, properties json.RawMessage, component string, want float64) error {
	type target struct {
		Mark   string  `json:"__t"`
		Target float64 `json:"targetTemperature"`
	}
	var got target
	if component == "" {
		if err := json.Unmarshal(properties, &got); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	} else {
		var members map[string]json.RawMessage
		if err := json.Unmarshal(properties, &members); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		if err := json.Unmarshal(members[component], &got); err != nil {
			return fmt.Errorf("%s: %s: %w", what, component, err)
		}
		if err := same(what+": __t of "+component, got.Mark, "c"); err != nil {
			return err
		}
	}
	return same(what+": targetTemperature", got.Target, want)
}

// errNoHighest says that properties do not hold maxTempSinceLastReboot.
var errNoHighest = errors.New("no maxTempSinceLastReboot")

// reportedHighest reads maxTempSinceLastReboot of a component from reported properties.
func reportedHighest(properties json.RawMessage, component string) (float64, error) {
	if component == "" {
		return highestIn(properties)
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(properties, &members); err != nil {
		return 0, err
	}
	return highestIn(members[component])
}

func highestIn(object json.RawMessage) (float64, error) {
	var got struct {
		Highest *float64 `json:"maxTempSinceLastReboot"`
	}
	switch err := json.Unmarshal(object, &got); {
	case len(object) == 0:
		return 0, errNoHighest
	case err != nil:
		return 0, err
	case got.Highest == nil:
		return 0, errNoHighest
	}
	return *got.Highest, nil
}

// judgeReport compares a device's report with the temperatures that the device has measured.
func (s *story) judgeReport(p place, component, since string) func(json.RawMessage) error {
	return judged(func(got answered) error {
		if err := same("status", got.Status, 200); err != nil {
			return err
		}
		var r temperatureReport
		if err := json.Unmarshal(got.Payload, &r); err != nil {
			return fmt.Errorf("payload: %w", err)
		}
		highest, lowest, average := summary((*p).measured(component))
		return firstOf(same("startTime", r.Start, since),
			same("maxTemp", r.Max, highest), same("minTemp", r.Min, lowest), same("avgTemp", r.Avg, average))
	})
}

// system compares a property set by the hub; "" means that there is none.
func (v *eventView) system(name, want string) error { return sameText(v.System, name, want) }

// property compares an application property.
func (v *eventView) property(name, want string) error { return sameText(v.Properties, name, want) }

func sameText(properties map[string]any, name, want string) error {
	got, ok := properties[name]
	if !ok && want == "" {
		return nil
	}
	return same(name, fmt.Sprint(got), want)
}

// noRouteError says that no notification of a source came, which most hubs do not send unless they are told to.
type noRouteError struct{ source twinhub.Source }

func (e noRouteError) Error() string { return fmt.Sprintf("the hub announces no %s", e.source) }
