package hub

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/twinhub/twinhub/internal/core/auth"
	"github.com/twinhub/twinhub/internal/core/routing"
)

// file is the form of a configuration file. Flags win over it.
type file struct {
	HubName    string   `yaml:"hubName"`
	Hostnames  []string `yaml:"hostnames"`
	Partitions int      `yaml:"partitions"`
	Retention  struct {
		Age   string `yaml:"age"`   // as in 24h
		Bytes uint64 `yaml:"bytes"` // of one partition
	} `yaml:"retention"`
	Policies []struct {
		Name         string `yaml:"name"`
		Rights       string `yaml:"rights"` // as in "RegistryRead, ServiceConnect"
		PrimaryKey   string `yaml:"primaryKey"`
		SecondaryKey string `yaml:"secondaryKey"`
	} `yaml:"policies"`
	ConsumerGroups []string `yaml:"consumerGroups"`
	Routes         []struct {
		Name     string `yaml:"name"`
		Source   string `yaml:"source"`
		Endpoint string `yaml:"endpoint"`
		Enabled  *bool  `yaml:"enabled"`
	} `yaml:"routes"`
	Fallback *bool `yaml:"fallback"`
}

// ReadFile reads a YAML configuration file into c, over what c holds. Unknown keys are errors.
func (c *Config) ReadFile(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	var f file
	if err := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict()).Decode(&f); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("configuration %s: %s", path, yaml.FormatError(err, false, false)) // [line:column], without the text there: it may be a key
	}
	if err := c.apply(&f); err != nil {
		return fmt.Errorf("configuration %s: %w", path, err)
	}
	return nil
}

func (c *Config) apply(f *file) error {
	if f.HubName != "" {
		c.Name = f.HubName
	}
	if len(f.Hostnames) > 0 {
		c.Hostnames = f.Hostnames
	}
	if f.Partitions != 0 {
		c.Partitions = f.Partitions
	}
	if f.Retention.Age != "" {
		age, err := time.ParseDuration(f.Retention.Age)
		if err != nil || age <= 0 {
			return fmt.Errorf("retention.age %q: use a positive duration such as 24h", f.Retention.Age)
		}
		c.Retention.Age = age
	}
	if f.Retention.Bytes != 0 {
		c.Retention.Bytes = f.Retention.Bytes
	}
	for _, p := range f.Policies {
		rights, err := auth.ParseRights(p.Rights)
		if err != nil {
			return fmt.Errorf("policy %q: %w", p.Name, err)
		}
		if p.Name == "" {
			return errors.New("a policy has no name")
		}
		c.Policies = append(c.Policies, auth.Policy{Name: p.Name, Rights: rights, PrimaryKey: p.PrimaryKey, SecondaryKey: p.SecondaryKey})
	}
	c.ConsumerGroups = append(c.ConsumerGroups, f.ConsumerGroups...)
	for _, r := range f.Routes {
		source, err := routing.ParseSource(r.Source)
		if err != nil {
			return fmt.Errorf("route %q: %w", r.Name, err)
		}
		endpoint := r.Endpoint
		if endpoint == "" {
			endpoint = routing.BuiltIn
		}
		c.Routing.Routes = append(c.Routing.Routes, routing.Route{Name: r.Name, Source: source, Endpoint: endpoint, Disabled: r.Enabled != nil && !*r.Enabled})
	}
	if f.Fallback != nil {
		c.Routing.FallbackOff = !*f.Fallback
	}
	return nil
}
