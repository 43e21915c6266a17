package system

import (
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestBystander stops the hub's process for a while: whoever is a bystander must notice that, or it would notice
// nothing.
func TestBystander(t *testing.T) {
	t.Parallel()
	h := startHub(t, t.TempDir(), new(secretSet))
	finish := startBystander(t, h)
	if err := h.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	time.Sleep(noticeable + time.Second) // there is nothing to wait for: the hub does nothing
	if err := h.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	noticed := strings.Join(finish(), "; ")
	for _, what := range []string{"PUBACK", "twin"} {
		if !strings.Contains(noticed, what+" took") {
			t.Errorf("the hub stood still for %v, and the bystander noticed %q, want a slow %s", noticeable+time.Second, noticed, what)
		}
	}
}
