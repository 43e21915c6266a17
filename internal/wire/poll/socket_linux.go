package poll

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A Socket is a TCP connection that never blocks. It implements net.Conn; deadlines mean nothing to it. Its methods are
// safe for concurrent use, but one goroutine at a time reads and one at a time writes.
type Socket struct {
	loop          *Loop
	handler       Handler
	slot          int32
	generation    int32 // tells events of this Socket from those of an earlier one with its slot
	local, remote net.Addr
	woken         bool // guarded by loop.mu: Writable is to be called

	mu      sync.Mutex // guards what follows; held during system calls, so that none meets a file that was closed
	fd      int
	closed  bool
	reading bool
	drained bool // there was nothing more to read; the next event says that there is
	ending  bool // the peer has sent its end, for which there is no further event
	watched uint32
	pending []byte // taken by Write, not by the kernel
	failed  error  // of sending what was pending
}

// tell passes events on to the Handler.
func (s *Socket) tell(events uint32) {
	s.mu.Lock()
	readable := s.reading && (events&^unix.EPOLLOUT != 0 || s.closed)
	if readable {
		s.drained = false
	}
	if events&^(unix.EPOLLIN|unix.EPOLLOUT) != 0 {
		s.ending = true
	}
	waited := len(s.pending) > 0
	if waited && events&^unix.EPOLLIN != 0 { // errors are told without being asked for
		s.flush()
	}
	sent := waited && len(s.pending) == 0
	s.mu.Unlock()
	if sent {
		s.Wake()
	}
	if readable {
		s.handler.Readable()
	}
}

// flush sends what is pending, as far as the kernel takes it. s.mu is held.
func (s *Socket) flush() {
	for len(s.pending) > 0 && !s.closed && s.failed == nil {
		n, e := rawSend(s.fd, s.pending)
		switch e {
		case 0:
			s.pending = s.pending[n:]
		case unix.EINTR:
		case unix.EAGAIN:
			return
		default:
			s.failed = s.error("sendto", e)
		}
	}
	s.pending = nil
	s.watch()
}

// watch tells the kernel which events are wanted. s.mu is held.
func (s *Socket) watch() {
	var events uint32
	if s.reading {
		events |= unix.EPOLLIN | unix.EPOLLRDHUP
	}
	if len(s.pending) > 0 {
		events |= unix.EPOLLOUT
	}
	if events != 0 {
		events |= unix.EPOLLET
	}
	if s.closed || events == s.watched {
		return
	}
	operation := unix.EPOLL_CTL_MOD
	switch {
	case s.watched == 0:
		operation = unix.EPOLL_CTL_ADD
	case events == 0:
		operation = unix.EPOLL_CTL_DEL // else an end is told even to one who wants nothing
	}
	s.watched = events
	err := s.loop.control(operation, s.fd, &unix.EpollEvent{Events: events, Fd: s.slot, Pad: s.generation})
	if err != nil && s.failed == nil {
		s.failed = os.NewSyscallError("epoll_ctl", err)
	}
}

// control changes what the kernel watches.
func (l *Loop) control(operation, fd int, ev *unix.EpollEvent) (err error) {
	ctlErr := l.wait.Control(func(epoll uintptr) { err = unix.EpollCtl(int(epoll), operation, fd, ev) })
	if err == nil {
		err = ctlErr
	}
	return err
}

// Resume has Readable called from now on, and soon in any case.
func (s *Socket) Resume() {
	s.mu.Lock()
	s.reading, s.drained = true, false
	s.watch()
	s.mu.Unlock()
	s.Again()
}

// Again has Readable called soon, unless the Socket is paused.
func (s *Socket) Again() { s.loop.readAgain(s) }

// Pause has Readable called no more, until Resume. A call that goes on is not waited for.
func (s *Socket) Pause() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reading = false
	s.watch()
}

// Wake has Writable called soon.
func (s *Socket) Wake() { s.loop.wake(s) }

// Read implements net.Conn. It returns ErrAgain when there is nothing to read now, and net.ErrClosed after Close.
func (s *Socket) Read(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.closed:
			return 0, net.ErrClosed
		case s.failed != nil:
			return 0, s.failed
		case s.drained:
			return 0, ErrAgain
		case len(b) == 0:
			return 0, nil
		}
		n, e := rawReceive(s.fd, b)
		switch {
		case e == unix.EINTR:
			continue
		case e == unix.EAGAIN:
			s.drained = true
			return 0, ErrAgain
		case e != 0:
			return 0, s.error("recvfrom", e)
		case n == 0:
			return 0, io.EOF
		}
		s.drained = n < len(b) && !s.ending // epoll(7): a stream that fills less than the buffer has no more
		return n, nil
	}
}

// Write implements net.Conn. It takes all of b: what the kernel does not take at once is sent when it can be, and Writable
// is called then. It is up to the caller to write no more while Pending says that something is left.
func (s *Socket) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rest := b
	for len(s.pending) == 0 && len(rest) > 0 {
		switch {
		case s.closed:
			return 0, net.ErrClosed
		case s.failed != nil:
			return 0, s.failed
		}
		n, e := rawSend(s.fd, rest)
		switch e {
		case 0:
			rest = rest[n:]
		case unix.EINTR:
		case unix.EAGAIN:
			s.pending = append([]byte(nil), rest...)
			s.watch()
			return len(b), nil
		default:
			s.failed = s.error("sendto", e)
			return 0, s.failed
		}
	}
	s.pending = append(s.pending, rest...)
	return len(b), nil
}

// Pending returns how many bytes were written and not sent yet, or why they will not be.
func (s *Socket) Pending() (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, net.ErrClosed
	}
	return len(s.pending), s.failed
}

// Close implements net.Conn. It does not block. What is pending is dropped, and both methods of the Handler are called,
// Readable unless the Socket is paused. Later calls return net.ErrClosed.
func (s *Socket) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return net.ErrClosed
	}
	s.closed, s.pending = true, nil
	err := unix.Close(s.fd)
	s.mu.Unlock()
	s.loop.forget(s)
	s.Again()
	s.Wake()
	return os.NewSyscallError("close", err)
}

func (s *Socket) error(operation string, e syscall.Errno) error {
	return &net.OpError{Op: operation, Net: "tcp", Source: s.local, Addr: s.remote, Err: os.NewSyscallError(operation, e)}
}

// LocalAddr implements net.Conn.
func (s *Socket) LocalAddr() net.Addr { return s.local }

// RemoteAddr implements net.Conn.
func (s *Socket) RemoteAddr() net.Addr { return s.remote }

// SetDeadline implements net.Conn. It does nothing.
func (s *Socket) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.Conn. It does nothing.
func (s *Socket) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.Conn. It does nothing.
func (s *Socket) SetWriteDeadline(time.Time) error { return nil }
