// Package poll serves many TCP connections that are idle most of the time without a goroutine, and so without a stack,
// for each: a Loop waits for all of its Sockets at once and calls their Handlers one after the other. It knows nothing
// of what the connections carry.
//
// It exists for Linux, where it uses epoll; elsewhere New fails with errors.ErrUnsupported and a connection needs a
// goroutine of its own. The one invariant: a Socket never blocks.
package poll

// ErrAgain says that a Socket has nothing to read now. It is a temporary error: a tls.Conn that gets it from its
// connection passes it on, keeps what it has and can be read again.
var ErrAgain error = again{}

type again struct{}

func (again) Error() string   { return "nothing to read yet" }
func (again) Temporary() bool { return true }
func (again) Timeout() bool   { return false }

// A Handler serves one Socket. Neither method may block, for all other Sockets of the Loop wait; each is called by one
// goroutine of the Loop, one at a time, while the other may be running.
type Handler interface {
	// Readable is called when the Socket has bytes, has come to its end or was closed, between Resume and Pause. It
	// reads until ErrAgain, or else calls Again.
	Readable()
	// Writable is called after Wake, and when all that was pending has been sent or cannot be.
	Writable()
}
