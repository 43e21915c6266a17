package main

import (
	"embed"
	"encoding/json"
	"fmt"
	"path"
	"strings"
)

// modelFiles are Microsoft's example models, with their licence.
//
//go:embed models
var modelFiles embed.FS

// The models of the demo's devices.
const (
	thermostatModel = "dtmi:com:example:Thermostat;1"
	controllerModel = "dtmi:com:example:TemperatureController;1"
)

// model is what the demo needs to know of a DTDL interface.
type model struct {
	ID         string
	Name       string
	Telemetry  []string
	Properties []string
	Commands   []string
	Components []component
}

type component struct{ Name, Schema string }

// readModel reads a model of the embedded repository.
// Reference: "Device models repository", folder convention of dtmi.
func readModel(id string) (*model, error) {
	file := strings.ToLower(strings.ReplaceAll(strings.ReplaceAll(id, ":", "/"), ";", "-")) + ".json"
	text, err := modelFiles.ReadFile(path.Join("models", file))
	if err != nil {
		return nil, fmt.Errorf("model %s: %w", id, err)
	}
	var document struct {
		ID       string `json:"@id"`
		Name     string `json:"displayName"`
		Contents []struct {
			Type   json.RawMessage `json:"@type"`
			Name   string          `json:"name"`
			Schema json.RawMessage `json:"schema"`
		} `json:"contents"`
	}
	if err := json.Unmarshal(text, &document); err != nil {
		return nil, fmt.Errorf("model %s: %w", id, err)
	}
	m := &model{ID: document.ID, Name: document.Name}
	for _, c := range document.Contents {
		switch kind, err := firstType(c.Type); {
		case err != nil:
			return nil, fmt.Errorf("model %s: %s: %w", id, c.Name, err)
		case kind == "Telemetry":
			m.Telemetry = append(m.Telemetry, c.Name)
		case kind == "Property":
			m.Properties = append(m.Properties, c.Name)
		case kind == "Command":
			m.Commands = append(m.Commands, c.Name)
		case kind == "Component":
			var schema string
			if err := json.Unmarshal(c.Schema, &schema); err != nil {
				return nil, fmt.Errorf("model %s: %s: %w", id, c.Name, err)
			}
			m.Components = append(m.Components, component{c.Name, schema})
		}
	}
	return m, nil
}

// firstType returns what an element is; a semantic type may follow.
func firstType(raw json.RawMessage) (string, error) {
	var list []string
	if json.Unmarshal(raw, &list) == nil && len(list) > 0 {
		return list[0], nil
	}
	var one string
	err := json.Unmarshal(raw, &one)
	return one, err
}

// thermostats returns the components of a model that are thermostats; "" is the model itself.
func (m *model) thermostats() []string {
	if m.ID == thermostatModel {
		return []string{""}
	}
	var names []string
	for _, c := range m.Components {
		if c.Schema == thermostatModel {
			names = append(names, c.Name)
		}
	}
	return names
}
