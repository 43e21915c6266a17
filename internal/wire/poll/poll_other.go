//go:build !linux

package poll

import (
	"context"
	"errors"
	"net"
)

// A Loop cannot be made on this system.
type Loop struct{}

// New fails with errors.ErrUnsupported.
func New() (*Loop, error) { return nil, errors.ErrUnsupported }

// Run does nothing.
func (*Loop) Run(context.Context) {}

// Take fails with errors.ErrUnsupported.
func (*Loop) Take(*net.TCPConn, Handler) (*Socket, error) { return nil, errors.ErrUnsupported }

// A Socket cannot be made on this system.
type Socket struct{ net.Conn }

// Pause does nothing.
func (*Socket) Pause() {}

// Resume does nothing.
func (*Socket) Resume() {}

// Again does nothing.
func (*Socket) Again() {}

// Wake does nothing.
func (*Socket) Wake() {}

// Pending returns errors.ErrUnsupported.
func (*Socket) Pending() (int, error) { return 0, errors.ErrUnsupported }
