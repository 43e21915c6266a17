package digitaltwin

import (
	"context"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/core/twin"
)

// A Service reads and writes digital twins of devices. It is safe for concurrent use. Its methods fail with
// CodeDeviceNotFound when the device does not exist; any device has a digital twin, with or without a model.
type Service struct {
	twins *twin.Service
}

// New makes a Service on top of the twins.
func New(twins *twin.Service) *Service { return &Service{twins: twins} }

// Get returns the digital twin, as JSON, and its unquoted etag, which is the twin's.
// Reference: IoT Hub REST, "Digital Twin - Get Digital Twin".
func (s *Service) Get(ctx context.Context, device string) (doc []byte, etag string, err error) {
	if err := ctx.Err(); err != nil {
		return nil, "", err
	}
	d, err := s.twins.Document(twinhub.ID{Device: device})
	if err != nil {
		return nil, "", err
	}
	return Show(device, d).Append(make([]byte, 0, 1024)), d.ETag(), nil
}

// Update applies a JSON Patch to the digital twin: all its operations become one write of desired properties, and one
// desired patch for the device. It returns the new unquoted etag when the change is on disk; a patch that leaves
// everything as it is, such as removals of what is absent, writes nothing. Operations are add, replace (which acts as
// add) and remove; paths are /property, /component and /component/property; the value of a whole component has the
// member "$metadata":{}.
//
// ifMatch is an If-Match header: see twin.Matches. Fails with CodePreconditionFailed; CodeInvalidDigitalTwinJsonPatch,
// CodeInvalidDigitalTwinPatchPath or CodeInvalidDigitalTwinPayload when the patch, a path or a value is not
// acceptable; CodeArgumentInvalid when the twin holds something under that name that does not follow the conventions,
// or would become too large. Reference: IoT Hub REST, "Digital Twin - Update Digital Twin"; IoT Plug and Play, "Manage
// digital twins".
func (s *Service) Update(ctx context.Context, device string, patch []byte, ifMatch string) (etag string, err error) {
	ops, err := parsePatch(patch)
	if err != nil {
		return "", err
	}
	return s.twins.EditDesired(ctx, twinhub.ID{Device: device}, ifMatch, func(d *twin.Document) (twin.DesiredEdit, error) {
		return translate(d, ops)
	})
}

// CommandMethod returns the name of the direct method that a command is to its device; component is empty for a
// command of the device itself. Reference: IoT Plug and Play, "Conventions", commands.
func CommandMethod(component, command string) string {
	if component == "" {
		return command
	}
	return component + "*" + command
}
