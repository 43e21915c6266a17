package hub

import (
	"github.com/twinhub/twinhub/internal/core/auth"
	"github.com/twinhub/twinhub/internal/trust"
)

// Name returns the hub's name, which is the name of its event hub too.
func (h *Hub) Name() string { return h.config.Name }

// Doors lists the doors: https, mqtts, amqps, amqp and ops. A closed one has no addresses.
func (h *Hub) Doors() []*Door { return h.doors }

// CAFile returns the path of the certificate that clients trust, empty with a configured certificate.
func (h *Hub) CAFile() string { return h.trust.CAFile() }

// CAFingerprint returns its SHA-256, empty with a configured certificate.
func (h *Hub) CAFingerprint() string { return h.trust.CAFingerprint() }

// ReplacedCA says why a new certificate authority took the place of one that clients may trust: a clause such as "it
// does not permit hub.example". It is empty when the CA is the one of the last start, or the first.
func (h *Hub) ReplacedCA() string {
	a := h.trust.Authority()
	if a.Origin != trust.OriginReplaced {
		return ""
	}
	return a.Reason
}

// EnvFile returns the path of connection.env.
func (h *Hub) EnvFile() string { return h.folder.join(envFile) }

// Environment returns what connection.env holds.
func (h *Hub) Environment() []Variable { return h.variables() }

func (h *Hub) door(name string) *Door {
	for _, d := range h.doors {
		if d.Name == name {
			return d
		}
	}
	return &Door{Name: name}
}

// policy returns the policy of that name.
func (h *Hub) policy(name string) auth.Policy {
	for _, p := range h.policies {
		if p.Name == name {
			return p
		}
	}
	return auth.Policy{}
}

// certificateNames lists the host names and the addresses of the doors, for the certificate.
func (h *Hub) certificateNames() []string {
	names := append([]string(nil), h.config.Hostnames...)
	for _, addr := range h.config.Bind {
		if !addr.IsUnspecified() {
			names = append(names, addr.String())
		}
	}
	return names
}
