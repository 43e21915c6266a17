package main

import (
	"os"
	"os/exec"
	"runtime"
	"runtime/metrics"
	"strings"
	"testing"
	"time"
)

func TestGrowthPercent(t *testing.T) {
	for _, tt := range []struct {
		live uint64
		want int
	}{{0, 1600}, {1 << 20, 1600}, {8 << 20, 800}, {64 << 20, 100}, {128 << 20, 50}, {10 << 30, 50}} {
		if got := growthPercent(tt.live); got != tt.want {
			t.Errorf("%d bytes live: got %d, want %d", tt.live, got, tt.want)
		}
	}
}

// TestKeepHeadroom runs in a process of its own, for it changes the runtime.
func TestKeepHeadroom(t *testing.T) {
	const inner = "TWINHUB_TEST_HEADROOM"
	if os.Getenv(inner) == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKeepHeadroom$", "-test.v")
		cmd.Env = append(os.Environ(), inner+"=1")
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS") {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	keepHeadroom()
	collectUntil(t, func(percent uint64) bool { return percent > 100 })
	kept := make([]byte, 256<<20)
	collectUntil(t, func(percent uint64) bool { return percent == gcPercent })
	runtime.KeepAlive(kept)
	collectUntil(t, func(percent uint64) bool { return percent > 100 })
}

// collectUntil collects until GOGC is as wanted; it changes some time after a collection.
func collectUntil(t *testing.T, want func(percent uint64) bool) {
	t.Helper()
	percent := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	for deadline := time.Now().Add(20 * time.Second); ; runtime.GC() {
		metrics.Read(percent)
		switch {
		case want(percent[0].Value.Uint64()):
			return
		case time.Now().After(deadline):
			t.Fatalf("GOGC stays %d", percent[0].Value.Uint64())
		}
	}
}
