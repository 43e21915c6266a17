package system

import (
	"bufio"
	"context"
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"
)

// live makes the hub collect its garbage and returns what it still holds, heap and stacks, in bytes. Resident memory
// does not tell: it has what was freed too, as much of it as the hub lets gather between two collections.
func (h *hub) live(ctx context.Context) (int64, error) {
	least := int64(math.MaxInt64)
	for range 3 { // each also counts the garbage made since it collected: on a busy machine that may be much, once
		n, err := h.collect(ctx)
		if err != nil {
			return 0, err
		}
		least = min(least, n)
	}
	return least, nil
}

// collect is one measurement of live.
func (h *hub) collect(ctx context.Context) (int64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+h.doors["ops"]+"/debug/pprof/heap?gc=1&debug=1", nil)
	if err != nil {
		return 0, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	var heap, stacks int64
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		text := lines.Text()
		if strings.HasPrefix(text, "# HeapAlloc = ") {
			_, err = fmt.Sscanf(text, "# HeapAlloc = %d", &heap)
		} else if strings.HasPrefix(text, "# Stack = ") {
			_, err = fmt.Sscanf(text, "# Stack = %d", &stacks)
		}
		if err != nil {
			return 0, fmt.Errorf("heap profile: line %q: %w", text, err)
		}
	}
	if err := lines.Err(); err != nil {
		return 0, fmt.Errorf("heap profile: %w", err)
	}
	if res.StatusCode != http.StatusOK || heap == 0 || stacks == 0 {
		return 0, fmt.Errorf("heap profile: got %s, heap %d, stacks %d", res.Status, heap, stacks)
	}
	return heap + stacks, nil
}

// mustLive is live for a test.
func (h *hub) mustLive(t testing.TB) int64 {
	t.Helper()
	n, err := h.live(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// peakLive measures again and again what the hub holds. The function it returns, which must be called, ends that and
// returns the most.
func (h *hub) peakLive(t testing.TB) func() int64 {
	t.Helper()
	const between = 100 * time.Millisecond
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan struct{})
	var most int64
	var failure error
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			n, err := h.live(context.WithoutCancel(ctx))
			if err != nil {
				failure = err
				return
			}
			most = max(most, n)
			select {
			case <-time.After(between):
			case <-ctx.Done():
			}
		}
	}()
	return func() int64 {
		t.Helper()
		stop()
		<-done
		if failure != nil {
			t.Fatal(failure)
		}
		return most
	}
}
