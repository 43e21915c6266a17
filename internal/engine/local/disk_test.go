package local

import (
	"errors"
	"io/fs"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestDiskAfterFailure checks that a disk that failed changes nothing, and does not say so except for tables.
func TestDiskAfterFailure(t *testing.T) {
	mem := vfs.NewMem()
	d := newDisk(mem)
	log, err := d.Create("log", vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatalf("Create: %v", err)
	}
	table, err := d.Create("1.sst", vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatalf("Create: %v", err)
	}
	d.fail(errBroken)
	d.fail(errors.New("a later failure"))
	if err := d.failure(); !errors.Is(err, errBroken) {
		t.Errorf("failure() = %v, want the first", err)
	}
	write := func(f vfs.File) error {
		n, err := f.Write([]byte("late"))
		if err == nil && n != 4 {
			t.Errorf("Write = %d", n)
		}
		return err
	}
	for name, call := range map[string]func() error{
		"write":      func() error { return write(log) },
		"sync":       log.Sync,
		"sync data":  log.SyncData,
		"sync to":    func() error { _, err := log.SyncTo(10); return err },
		"write at":   func() error { _, err := log.WriteAt([]byte("late"), 0); return err },
		"make room":  func() error { return log.Preallocate(0, 10) },
		"rename":     func() error { return d.Rename("log", "log2") },
		"link":       func() error { return d.Link("log", "log2") },
		"make":       func() error { return d.MkdirAll("dir", fs.ModePerm) },
		"remove":     func() error { return d.Remove("log") },
		"remove all": func() error { return d.RemoveAll("log") },
		"create": func() error {
			f, err := d.Create("log2", vfs.WriteCategoryUnspecified)
			if err != nil {
				return err
			}
			info, err := f.Stat()
			if err != nil || info.Size() != 0 {
				t.Errorf("Stat of a file that is not = %v, %v", info, err)
			}
			return errors.Join(write(f), f.Sync(), f.Close())
		},
		"reuse": func() error { _, err := d.ReuseForWrite("log", "log2", ""); return err },
		"open":  func() error { _, err := d.OpenReadWrite("log2", ""); return err },
		"close": log.Close,
	} {
		if err := call(); err != nil {
			t.Errorf("%s after the failure: %v, want silence", name, err)
		}
	}
	if err := write(table); !errors.Is(err, errBroken) {
		t.Errorf("write to a table after the failure: %v, want the cause", err)
	}
	if err := table.Sync(); !errors.Is(err, errBroken) {
		t.Errorf("sync of a table after the failure: %v, want the cause", err)
	}
	created := make(chan error)
	go func() {
		_, err := d.Create("2.sst", vfs.WriteCategoryUnspecified)
		created <- err
	}()
	<-d.held
	close(d.closing)
	if err := <-created; !errors.Is(err, errBroken) {
		t.Errorf("a new table after the failure: %v, want the cause", err)
	}
	if names, err := mem.List(""); err != nil || len(names) != 2 {
		t.Errorf("the disk has %v, %v; want the two first files", names, err)
	}
	if info, err := mem.Stat("log"); err != nil || info.Size() != 0 {
		t.Errorf("Stat(log) = %v, %v; want an empty file", info, err)
	}
}

// badClose is a file whose Close fails, as that of a network disk can.
type badClose struct{ vfs.File }

func (badClose) Close() error { return errBroken }

type badCloseFS struct{ vfs.FS }

func (b badCloseFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := b.FS.Create(name, c)
	return badClose{f}, err
}

func TestDiskClose(t *testing.T) {
	for name, visible := range map[string]bool{"1.log": false, "1.sst": true} {
		d := newDisk(badCloseFS{vfs.NewMem()})
		f, err := d.Create(name, "")
		if err != nil {
			t.Fatalf("Create: %v", err)
		}
		if err := f.Close(); errors.Is(err, errBroken) != visible {
			t.Errorf("Close of %s: %v", name, err)
		}
		if !errors.Is(d.failure(), errBroken) {
			t.Errorf("Close of %s: failure() = %v, want the error", name, d.failure())
		}
	}
}
