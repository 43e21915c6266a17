package local

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/twinhub/twinhub/internal/engine"
)

// TestQueued keeps the committer busy, so that commits have to wait.
func TestQueued(t *testing.T) {
	e, err := Open(Options{Dir: "data", FS: vfs.NewMem()})
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	defer e.Close()
	busy, idle := make(chan struct{}), make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		ended <- e.onCommitter(func() error {
			close(busy)
			<-idle
			return nil
		})
	}()
	<-busy
	const n = 3
	answers := make(chan error, n)
	size := 0
	for i := range n {
		c := engine.Commit{Writes: []engine.Write{{Key: "k", Value: make([]byte, 1000*i), Expect: engine.Any}}}
		more, err := e.validate(c)
		if err != nil {
			t.Fatal(err)
		}
		size += more
		e.Submit(c, func(_ engine.Result, err error) { answers <- err })
	}
	if commits, bytes := e.Queued(); commits != n || bytes != size || size < 3000 {
		t.Errorf("Queued: got %d commits of %d bytes, want %d of %d", commits, bytes, n, size)
	}
	close(idle)
	for range n {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if commits, bytes := e.Queued(); commits != 0 || bytes != 0 {
		t.Errorf("Queued, all answered: got %d commits of %d bytes, want none", commits, bytes)
	}
}
