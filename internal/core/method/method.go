// Package method calls direct methods on devices and waits for their answers. Plug and Play commands are methods too:
// those of a component are named "component*command".
package method

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/core/identity"
	"github.com/twinhub/twinhub/internal/core/session"
	"github.com/twinhub/twinhub/internal/engine"
)

// Bounds of a call. Reference: IoT Hub, "Direct methods".
const (
	// MaxName is the longest method name in bytes: component*command, each of 512 characters, the longest of DTDL v3.
	MaxName                = 1025
	MaxPayload             = 128 << 10
	DefaultResponseTimeout = 30 * time.Second
	MinResponseTimeout     = 5 * time.Second
	MaxTimeout             = 300 * time.Second
)

// A Request is a call of a method.
type Request struct {
	Name    string
	Payload []byte // JSON text, or empty
	// ConnectTimeout, 0 to 300 s, is how long to wait for a device that is not connected or does not listen.
	ConnectTimeout time.Duration
	// ResponseTimeout, 5 s to 300 s, bounds the whole call; it is not shorter than ConnectTimeout.
	ResponseTimeout time.Duration
}

// Service calls methods. It is safe for concurrent use.
type Service struct {
	engine   engine.Engine
	sessions *session.Directory
	calls    map[Outcome]*atomic.Uint64
}

// New makes a Service.
func New(e engine.Engine, d *session.Directory) *Service {
	return &Service{engine: e, sessions: d, calls: newCalls()}
}

// Invoke calls a method and returns the device's answer; its status is the device's own affair. Errors:
// CodeArgumentInvalid, also for a name that no device could be sent, CodeDeviceNotFound, CodeModuleNotFound,
// CodeDeviceNotOnline after ConnectTimeout, CodeGatewayTimeout after ResponseTimeout,
// CodeDeviceConnectionClosedRemotely when the connection ends before the answer,
// CodeDeviceMaximumInflightMethodExceeded.
func (s *Service) Invoke(ctx context.Context, id twinhub.ID, r Request) (session.Reply, error) {
	reply, err := s.invoke(ctx, id, r)
	s.calls[outcomeOf(err)].Add(1)
	return reply, err
}

func (s *Service) invoke(ctx context.Context, id twinhub.ID, r Request) (session.Reply, error) {
	if err := r.check(); err != nil {
		return session.Reply{}, err
	}
	if _, _, err := identity.Get(s.engine, id); err != nil {
		return session.Reply{}, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, r.ResponseTimeout, errNoResponse)
	defer cancel()
	link, err := s.connect(ctx, id, r.ConnectTimeout)
	if err != nil {
		return session.Reply{}, err
	}
	reply, err := link.Invoke(ctx, session.Call{Name: r.Name, Payload: r.Payload})
	switch {
	case err == nil:
		return reply, nil
	case errors.Is(err, session.ErrGone):
		return session.Reply{}, twinhub.Errorf(twinhub.CodeDeviceConnectionClosedRemotely, "The device's connection ended before it answered.")
	case errors.Is(err, session.ErrNotListening):
		return session.Reply{}, notOnline(r.ConnectTimeout)
	case errors.Is(err, session.ErrBusy):
		return session.Reply{}, twinhub.Errorf(twinhub.CodeDeviceMaximumInflightMethodExceeded, "Too many calls wait for this device.")
	case errors.Is(context.Cause(ctx), errNoResponse):
		return session.Reply{}, twinhub.Errorf(twinhub.CodeGatewayTimeout, "Timed out waiting for the response from device.")
	}
	return session.Reply{}, fmt.Errorf("invoke method: %w", err)
}

var (
	errNoResponse = errors.New("response time-out")
	errNoConnect  = errors.New("connect time-out")
)

// connect returns the link of a device that listens for methods, waiting at most timeout for it.
func (s *Service) connect(ctx context.Context, id twinhub.ID, timeout time.Duration) (session.Link, error) {
	wait, cancel := context.WithTimeoutCause(ctx, timeout, errNoConnect)
	defer cancel()
	link, err := s.sessions.AwaitMethods(wait, id)
	if err == nil {
		return link, nil
	}
	if cause := context.Cause(wait); errors.Is(cause, errNoConnect) || errors.Is(cause, errNoResponse) {
		return nil, notOnline(timeout)
	}
	return nil, fmt.Errorf("await device: %w", err)
}

// notOnline says that a device was not there, or did not listen, within the connect time-out.
func notOnline(timeout time.Duration) error {
	e := twinhub.Errorf(twinhub.CodeDeviceNotOnline, "The operation failed because the requested device isn't online or hasn't registered the direct method callback. To learn more, see https://aka.ms/iothub404103")
	e.Timeout = fmt.Sprintf("%02d:%02d:%02d", int(timeout.Hours()), int(timeout.Minutes())%60, int(timeout.Seconds())%60)
	return e
}

// checkName refuses names that no device could be sent: an MQTT topic carries the name between slashes as it stands,
// where # and + are wildcards. [MQTT-3.3.2-2] [MQTT-1.5.3-1] [MQTT-1.5.3-2]
func checkName(name string) error {
	switch {
	case name == "":
		return twinhub.Errorf(twinhub.CodeArgumentInvalid, "methodName must not be empty.")
	case len(name) > MaxName:
		return twinhub.Errorf(twinhub.CodeArgumentInvalid, "methodName has %d bytes; at most %d are allowed.", len(name), MaxName)
	case !utf8.ValidString(name):
		return twinhub.Errorf(twinhub.CodeArgumentInvalid, "methodName must be UTF-8.")
	}
	for _, r := range name {
		if strings.ContainsRune("#+/", r) || unicode.IsControl(r) {
			return twinhub.Errorf(twinhub.CodeArgumentInvalid, "methodName must not contain %q: no device could be sent that name.", r)
		}
	}
	return nil
}

func (r *Request) check() error {
	invalid := func(format string, args ...any) error {
		return twinhub.Errorf(twinhub.CodeArgumentInvalid, format, args...)
	}
	if err := checkName(r.Name); err != nil {
		return err
	}
	switch {
	case len(r.Payload) > MaxPayload:
		return invalid("The payload has %d bytes; at most %d are allowed.", len(r.Payload), MaxPayload)
	case r.ResponseTimeout < MinResponseTimeout || r.ResponseTimeout > MaxTimeout:
		return invalid("responseTimeoutInSeconds must be within [5; 300].")
	case r.ConnectTimeout < 0 || r.ConnectTimeout > MaxTimeout:
		return invalid("connectTimeoutInSeconds must be within [0; 300].")
	case r.ConnectTimeout > r.ResponseTimeout:
		return invalid("Device connection timeout %v cannot be longer than an overall call timeout %v.", r.ConnectTimeout, r.ResponseTimeout)
	}
	return nil
}
