package system

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"
)

// ackedPerRound is how many acknowledgements a round has at least before the hub is killed.
const ackedPerRound = 10_000

// everyEvent routes all that a change can announce, so that the log shows each commit.
var everyEvent = []string{"--route", "twinChangeEvents", "--route", "deviceLifecycleEvents", "--route", "deviceConnectionStateEvents"}

// TestKill kills the hub with SIGKILL at random moments under load and restarts it on the same data: nothing that was
// acknowledged or observed is lost, reordered or doubled.
func TestKill(t *testing.T) {
	n := *rounds
	if testing.Short() {
		n = min(n, 3)
	}
	data, secrets := t.TempDir(), new(secretSet)
	h := startHub(t, data, secrets, everyEvent...)
	f := newFleet(t, h)
	for range n {
		l := f.start(t, h)
		l.await(t, ackedPerRound)
		time.Sleep(rand.N(200 * time.Millisecond)) // the moment is what this test is about
		h.kill()
		h = f.restarted(t, l, data, secrets, everyEvent...)
		t.Logf("round %d: %d acknowledged, %d by REST in all rounds", f.round, l.acked(), f.byREST.Load())
		if t.Failed() {
			break
		}
	}
	f.auditAll(t, h)
	line := fmt.Sprintf("rounds=%d acked=%d lost=%d reordered=%d", f.round, f.acked.Load(), f.ledger.lost, f.ledger.reordered)
	t.Log(line)
	t.Logf("%d events were seen by readers before a kill and were the same after it", f.ledger.observed)
	fmt.Fprintln(os.Stdout, line)
	if f.ledger.observed == 0 {
		t.Error("no reader saw any event before a kill")
	}
	if err := h.terminate(); err != nil {
		t.Error(err)
	}
}

// TestTerminate ends the hub with SIGTERM under load and with readers attached.
func TestTerminate(t *testing.T) {
	data, secrets := t.TempDir(), new(secretSet)
	h := startHub(t, data, secrets, everyEvent...)
	f := newFleet(t, h)
	for range 3 {
		l := f.start(t, h)
		l.await(t, ackedPerRound/2)
		began := time.Now()
		if err := h.terminate(); err != nil {
			t.Fatal(err)
		}
		t.Logf("SIGTERM after %d acknowledgements: exit status 0 after %v", l.acked(), time.Since(began).Round(time.Millisecond))
		before := lasting(t, h)
		h = f.restarted(t, l, data, secrets, everyEvent...)
		if after := lasting(t, h); after != before {
			t.Errorf("after the restart connection.env and certificate authority are %s, were %s", after, before)
		}
	}
	f.auditAll(t, h)
}
