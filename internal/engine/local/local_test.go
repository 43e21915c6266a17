package local_test

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/twinhub/twinhub/internal/clock"
	"github.com/twinhub/twinhub/internal/engine"
	"github.com/twinhub/twinhub/internal/engine/enginetest"
	"github.com/twinhub/twinhub/internal/engine/local"
)

func open(t testing.TB, o local.Options) *local.Engine {
	t.Helper()
	e, err := local.Open(o)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return e
}

func TestContract(t *testing.T) {
	t.Run("memory", func(t *testing.T) {
		enginetest.Run(t, func(*testing.T) enginetest.Opener {
			fs := vfs.NewMem()
			return func(t *testing.T, c clock.Clock) engine.Engine {
				return open(t, local.Options{Dir: "data", FS: fs, Clock: c})
			}
		})
	})
	t.Run("disk", func(t *testing.T) {
		enginetest.Run(t, func(t *testing.T) enginetest.Opener {
			dir := t.TempDir()
			return func(t *testing.T, c clock.Clock) engine.Engine {
				return open(t, local.Options{Dir: dir, Clock: c})
			}
		})
	})
}
