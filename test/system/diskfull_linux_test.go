package system

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Sizes of the disk. The first fills up within seconds; recovery has room on the second.
const (
	smallDisk = "48m"
	largeDisk = "512m"
	// failWithin is how long the hub may take to end once its disk is full: to fill it, and to close everything.
	failWithin = 2 * time.Minute
)

// TestDiskFull fills the disk under load. The hub ends and says why; on a larger disk it comes back with everything
// that was acknowledged.
func TestDiskFull(t *testing.T) {
	data := t.TempDir()
	if err := syscall.Mount("tmpfs", data, "tmpfs", 0, "size="+smallDisk); err != nil {
		t.Skipf("no small disk to be had: mount tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(data, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	secrets := new(secretSet)
	h := startHub(t, data, secrets, everyEvent...)
	f := newFleet(t, h)
	filler := &sender{fleet: f, id: "filler", key: h.register(t, "filler"), padding: 100 << 10}
	f.senders = append(f.senders, filler)
	l := f.start(t, h)
	select {
	case <-h.exited:
	case <-time.After(failWithin):
		l.end()
		t.Fatalf("the hub still runs %v after it began to fill a disk of %s: %s", failWithin, smallDisk, usage(t, data))
	}
	t.Logf("the hub ended after %d acknowledgements: %s", l.acked(), usage(t, data))
	wantNoSpace(t, h.cmd.ProcessState.ExitCode(), h.log.String())

	// As long as the disk is full, a start fails in the same way, or works; it does not hang, and harms nothing.
	l.end()
	if again, err := runHub(data, secrets, everyEvent...); err == nil {
		again.kill()
	} else if !strings.Contains(err.Error(), "exit status 1") || !strings.Contains(err.Error(), syscall.ENOSPC.Error()) || strings.Contains(err.Error(), "goroutine ") {
		t.Errorf("a start on the full disk: got %v, want exit status 1 and %q", err, syscall.ENOSPC)
	}
	if err := syscall.Mount("tmpfs", data, "tmpfs", syscall.MS_REMOUNT, "size="+largeDisk); err != nil {
		t.Fatal(err)
	}
	h = f.restarted(t, l, data, secrets, everyEvent...)
	t.Logf("acked=%d lost=%d reordered=%d", f.acked.Load(), f.ledger.lost, f.ledger.reordered)
	// It is a whole hub again.
	l = f.start(t, h)
	l.await(t, 1000)
	h.kill()
	f.restarted(t, l, data, secrets, everyEvent...)
}

// wantNoSpace expects the end of a hub that could not write.
func wantNoSpace(t testing.TB, code int, stderr string) {
	t.Helper()
	oneLine(t, code, stderr, syscall.ENOSPC.Error())
	if strings.Contains(stderr, "goroutine ") || strings.Contains(stderr, "panic") {
		t.Errorf("the hub panicked:\n%.3000s", stderr)
	}
}

// usage tells how full a disk is.
func usage(t testing.TB, path string) string {
	t.Helper()
	var s syscall.Statfs_t
	if err := syscall.Statfs(path, &s); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d of %d KiB are free", int64(s.Bavail)*s.Bsize>>10, int64(s.Blocks)*s.Bsize>>10)
}
