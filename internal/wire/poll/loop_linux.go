package poll

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxEvents is how many sockets one look at the kernel finds.
const maxEvents = 64

// A Loop calls the Handlers of its Sockets. Its methods are safe for concurrent use.
type Loop struct {
	epoll  *os.File
	wait   syscall.RawConn // of epoll
	event  int             // an eventfd, which ends a wait
	output chan struct{}   // holds a token while somebody is in woken

	mu         sync.Mutex
	sockets    []*Socket // by slot; nil is free
	free       []int32   // slots
	generation int32     // of the Socket taken last
	again      []*Socket // to be told that they are readable
	woken      []*Socket // to be told that they are writable
	asleep     bool      // whoever adds to again must end the wait
	closed     bool

	// Used by the reading goroutine alone.
	events [maxEvents]unix.EpollEvent
	ready  []readiness
	// Used by the writing goroutine alone.
	writable []*Socket
}

// readiness is what is to be told to a Socket.
type readiness struct {
	socket *Socket
	events uint32
}

// eventSlot marks the event of the eventfd.
const eventSlot = -1

// New makes a Loop, which serves once Run runs. Fails with the system's error when the process has no file left, and
// with errors.ErrUnsupported on systems other than Linux.
func New() (*Loop, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make a poll loop: %w", os.NewSyscallError("epoll_create1", err))
	}
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("make a poll loop: %w", os.NewSyscallError("eventfd", err))
	}
	l := &Loop{event: event, output: make(chan struct{}, 1)}
	// The Go runtime waits for the epoll file as for any other, so the wait takes no thread.
	err = unix.SetNonblock(fd, true)
	if err == nil {
		l.epoll = os.NewFile(uintptr(fd), "epoll")
		l.wait, err = l.epoll.SyscallConn()
	}
	if err == nil {
		err = unix.EpollCtl(fd, unix.EPOLL_CTL_ADD, event, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: eventSlot})
	}
	if err != nil {
		return nil, fmt.Errorf("make a poll loop: %w", err)
	}
	return l, nil
}

// Run calls Handlers until ctx ends, and then frees what New took. No Handler is called after it returns. A Socket must be
// closed by then: it would not be served any more.
func (l *Loop) Run(ctx context.Context) {
	defer l.end()
	stop := context.AfterFunc(ctx, l.interrupt)
	defer stop()
	var writing sync.WaitGroup
	defer writing.Wait()
	ended := make(chan struct{})
	defer close(ended)
	writing.Go(func() { l.write(ended) })
	for ctx.Err() == nil {
		l.collect(l.poll())
		for i := range l.ready {
			l.ready[i].socket.tell(l.ready[i].events)
		}
		clear(l.ready)
		// Others that use the processor are what the Handlers wait for.
		runtime.Gosched()
	}
}

// write tells Sockets that they are writable.
func (l *Loop) write(ended <-chan struct{}) {
	for {
		select {
		case <-l.output:
		case <-ended:
			return
		}
		l.mu.Lock()
		l.writable, l.woken = l.woken, l.writable[:0]
		for _, s := range l.writable {
			s.woken = false
		}
		l.mu.Unlock()
		for _, s := range l.writable {
			s.handler.Writable()
		}
		clear(l.writable)
	}
}

func (l *Loop) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	_ = l.epoll.Close()
	_ = unix.Close(l.event)
}

// poll returns how many events there are, waiting for one unless a Socket is to be told again. The kernel refuses only
// what is no epoll file, so that there is no error that could be handled.
func (l *Loop) poll() (n int) {
	l.mu.Lock()
	l.asleep = len(l.again) == 0
	mayWait := l.asleep
	l.mu.Unlock()
	err := l.wait.Read(func(fd uintptr) bool {
		n = epollWait(fd, l.events[:])
		return n > 0 || !mayWait
	})
	if err != nil {
		panic(fmt.Sprintf("poll: wait for events: %v", err))
	}
	l.mu.Lock()
	l.asleep = false
	l.mu.Unlock()
	return n
}

// collect notes whom to tell what.
func (l *Loop) collect(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ready = l.ready[:0]
	for _, ev := range l.events[:n] {
		if ev.Fd == eventSlot {
			continue
		}
		if s := l.sockets[ev.Fd]; s != nil && s.generation == ev.Pad {
			l.ready = append(l.ready, readiness{s, ev.Events})
		}
	}
	for i, s := range l.again {
		l.ready = append(l.ready, readiness{s, unix.EPOLLIN})
		l.again[i] = nil
	}
	l.again = l.again[:0]
}

// readAgain has s told that it is readable.
func (l *Loop) readAgain(s *Socket) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.again = append(l.again, s)
	if l.asleep {
		l.asleep = false
		l.signal()
	}
}

// wake has s told that it is writable.
func (l *Loop) wake(s *Socket) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.woken {
		return
	}
	s.woken = true
	l.woken = append(l.woken, s)
	if len(l.woken) == 1 {
		select {
		case l.output <- struct{}{}:
		default:
		}
	}
}

// interrupt ends a wait.
func (l *Loop) interrupt() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.signal()
	}
}

// signal makes an event. It needs no answer: the eventfd is edge-triggered, and 2^64 signals do not come. l.mu is held.
func (l *Loop) signal() {
	_, _ = unix.Write(l.event, []byte{1, 0, 0, 0, 0, 0, 0, 0})
}

// Take makes the Loop serve a connection: from now on its Socket has it, whatever is done to nc, which is closed. h is
// not called readable before Resume. Fails, with nc as it was, when nc is closed or the process has no file left.
func (l *Loop) Take(nc *net.TCPConn, h Handler) (*Socket, error) {
	raw, err := nc.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("take over a socket: %w", err)
	}
	// A duplicate is unknown to the Go runtime, which would wait for it, too.
	var fd int
	var dupErr error
	err = raw.Control(func(original uintptr) { fd, dupErr = unix.FcntlInt(original, unix.F_DUPFD_CLOEXEC, 0) })
	if err == nil {
		err = dupErr
	}
	if err != nil {
		return nil, fmt.Errorf("take over a socket: %w", err)
	}
	s := &Socket{loop: l, handler: h, fd: fd, local: nc.LocalAddr(), remote: nc.RemoteAddr()}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("take over a socket: %w", net.ErrClosed)
	}
	if n := len(l.free); n > 0 {
		s.slot, l.free = l.free[n-1], l.free[:n-1]
	} else {
		s.slot = int32(len(l.sockets))
		l.sockets = append(l.sockets, nil)
	}
	l.generation++
	s.generation = l.generation
	l.sockets[s.slot] = s
	_ = nc.Close()
	return s, nil
}

// forget frees the slot of a Socket that is closed.
func (l *Loop) forget(s *Socket) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sockets[s.slot] = nil
	l.free = append(l.free, s.slot)
}

// epollWait looks for events without waiting.
func epollWait(fd uintptr, events []unix.EpollEvent) int {
	for {
		n, _, e := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, fd, uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), 0, 0, 0)
		switch e {
		case 0:
			return int(n)
		case unix.EINTR:
		default:
			panic(fmt.Sprintf("poll: epoll_pwait: %v", e))
		}
	}
}

// rawReceive and rawSend never wait, so they need not tell the scheduler.
func rawReceive(fd int, b []byte) (int, syscall.Errno) {
	n, _, e := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), unix.MSG_DONTWAIT, 0, 0)
	return int(n), e
}

func rawSend(fd int, b []byte) (int, syscall.Errno) {
	n, _, e := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	return int(n), e
}
