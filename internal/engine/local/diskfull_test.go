package local

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// fullFS is a disk with so much room left for what is written. The write that does not fit in stores its beginning.
type fullFS struct {
	vfs.FS
	left *atomic.Int64
}

// Create implements vfs.FS.
func (f fullFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	created, err := f.FS.Create(name, c)
	return fullFile{created, f.left}, err
}

// ReuseForWrite implements vfs.FS.
func (f fullFS) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	reused, err := f.FS.ReuseForWrite(old, name, c)
	return fullFile{reused, f.left}, err
}

type fullFile struct {
	vfs.File
	left *atomic.Int64
}

// Write implements vfs.File.
func (f fullFile) Write(b []byte) (int, error) {
	rest := f.left.Add(-int64(len(b)))
	if rest >= 0 {
		return f.File.Write(b)
	}
	n, err := f.File.Write(b[:max(int64(len(b))+rest, 0)])
	return n, errors.Join(err, syscall.ENOSPC)
}

// TestDiskFull lets the disk run full under load, and later opens the data while it is full still, and with room.
func TestDiskFull(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 7))
	for i := range 20 {
		room := 10_000 + random.Int64N(3_000_000)
		t.Run(fmt.Sprintf("after %d bytes", room), func(t *testing.T) {
			disk := vfs.NewCrashableMem()
			var left atomic.Int64
			left.Store(room)
			e := openSmall(t, fullFS{disk, &left})
			h := newHistory()
			l := startLoad(t, e, h, uint64(i))
			<-e.Failed()
			l.end()
			if !errors.Is(e.Err(), syscall.ENOSPC) {
				t.Errorf("Err() = %v, want ENOSPC", e.Err())
			}
			visible := h.sight()
			if err := e.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
			left.Store(0)
			// A copy, because what could not be opened may still be locked.
			full := fullFS{disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: random}), &left}
			if e, err := Open(Options{Dir: "data", FS: full, memTable: smallMemTable}); !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("Open while the disk is full: %v, want ENOSPC", err)
				if err == nil {
					_ = e.Close()
				}
			}
			for name, rest := range map[string]*vfs.MemFS{"as it was": disk, "after opening it full": full.FS.(*vfs.MemFS)} {
				kept := rest.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: random})
				if err := verifyCut(t, h, kept, visible); err != nil {
					t.Errorf("%s, with room again: %v", name, err)
				}
			}
		})
	}
}
