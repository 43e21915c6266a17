package local

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// disk stands between Pebble and the file system and makes the first failed write or sync final. Pebble itself
// cannot be trusted with such an error: on the log it panics with locks held (which ends the process), and a failed
// flush it repeats for ever. So, from the first failure on, disk changes nothing any more and lets Pebble believe
// that it did; only tables are refused, because readers would be sent to them, and new ones wait until Close, so
// that flushes do not spin. Whoever acknowledges asks failure after the sync: it is set before Pebble learns the
// outcome of the operation that failed.
type disk struct {
	vfs.FS
	failed  chan struct{} // closed at the first failure
	held    chan struct{} // closed when a table creation waits
	closing chan struct{} // closed when waiting table creations must return

	hold sync.Once // closes held

	mu    sync.Mutex
	cause error // guarded by mu; set before failed is closed
}

func newDisk(fs vfs.FS) *disk {
	return &disk{FS: fs, failed: make(chan struct{}), held: make(chan struct{}), closing: make(chan struct{})}
}

// failure returns the first failure, or nil.
func (d *disk) failure() error {
	select {
	case <-d.failed:
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.cause
	default:
		return nil
	}
}

// fail records err as the first failure, unless there was one.
func (d *disk) fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cause == nil {
		d.cause = err
		close(d.failed)
	}
}

// change runs an operation that changes the disk, unless an earlier one failed. An error is recorded and hidden.
func (d *disk) change(what, name string, op func() error) {
	if d.failure() != nil {
		return
	}
	if err := op(); err != nil {
		d.fail(fmt.Errorf("%s %s: %w", what, name, err))
	}
}

func isTable(name string) bool {
	return strings.HasSuffix(name, ".sst") || strings.HasSuffix(name, ".blob")
}

// open runs an operation that opens a file for writing. In place of one that cannot be had it returns a file without
// content.
func (d *disk) open(what, name string, op func() (vfs.File, error)) (vfs.File, error) {
	if isTable(name) {
		return d.openTable(what, name, op)
	}
	var f vfs.File = nothing{}
	d.change(what, name, func() error {
		opened, err := op()
		if err == nil {
			f = opened
		}
		return err
	})
	return &file{File: f, disk: d, name: name}, nil
}

func (d *disk) openTable(what, name string, op func() (vfs.File, error)) (vfs.File, error) {
	if err := d.failure(); err != nil {
		d.hold.Do(func() { close(d.held) })
		<-d.closing
		return nil, err
	}
	f, err := op()
	if err != nil {
		err = fmt.Errorf("%s %s: %w", what, name, err)
		d.fail(err)
		return nil, err
	}
	return &file{File: f, disk: d, name: name, table: true}, nil
}

// syncBefore makes the folder durable before the file name, if it is a marker of Pebble's manifest, comes or goes.
// Without that a power cut might leave the marker and not the manifest that it names, or neither marker: until it is
// synced, a folder may keep changes in any order.
func (d *disk) syncBefore(name string) {
	if !strings.HasPrefix(d.PathBase(name), "marker.manifest.") {
		return
	}
	folder := d.PathDir(name)
	d.change("sync", folder, func() error {
		f, err := d.FS.OpenDir(folder)
		if err != nil {
			return err
		}
		return errors.Join(f.Sync(), f.Close())
	})
}

// Create implements vfs.FS.
func (d *disk) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	d.syncBefore(name)
	return d.open("create", name, func() (vfs.File, error) { return d.FS.Create(name, c) })
}

// OpenReadWrite implements vfs.FS.
func (d *disk) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return d.open("open", name, func() (vfs.File, error) { return d.FS.OpenReadWrite(name, c, o...) })
}

// ReuseForWrite implements vfs.FS.
func (d *disk) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return d.open("reuse", name, func() (vfs.File, error) { return d.FS.ReuseForWrite(old, name, c) })
}

// OpenDir implements vfs.FS.
func (d *disk) OpenDir(name string) (vfs.File, error) {
	f, err := d.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &file{File: f, disk: d, name: name}, nil
}

// Link implements vfs.FS.
func (d *disk) Link(old, name string) error {
	d.change("link", name, func() error { return d.FS.Link(old, name) })
	return nil
}

// Rename implements vfs.FS.
func (d *disk) Rename(old, name string) error {
	d.change("rename", name, func() error { return d.FS.Rename(old, name) })
	return nil
}

// MkdirAll implements vfs.FS.
func (d *disk) MkdirAll(name string, perm os.FileMode) error {
	d.change("make", name, func() error { return d.FS.MkdirAll(name, perm) })
	return nil
}

// Remove implements vfs.FS. What cannot be removed is only in the way, so that an error is not a failure.
func (d *disk) Remove(name string) error {
	d.syncBefore(name)
	if d.failure() != nil {
		return nil
	}
	return d.FS.Remove(name)
}

// RemoveAll implements vfs.FS.
func (d *disk) RemoveAll(name string) error {
	if d.failure() != nil {
		return nil
	}
	return d.FS.RemoveAll(name)
}

// Lock implements vfs.FS.
func (d *disk) Lock(name string) (io.Closer, error) {
	l, err := d.FS.Lock(name)
	var path *fs.PathError
	switch {
	case errors.As(err, &path):
		return nil, err // the file cannot even be opened
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrInUse, err)
	}
	return l, nil
}

// GetDiskUsage implements vfs.FS. Pebble takes an error for a failure in the background, but none is needed here.
func (d *disk) GetDiskUsage(name string) (vfs.DiskUsage, error) {
	u, err := d.FS.GetDiskUsage(name)
	if err != nil {
		return vfs.DiskUsage{}, vfs.ErrUnsupported
	}
	return u, nil
}

// Unwrap implements vfs.FS.
func (d *disk) Unwrap() vfs.FS { return d.FS }

// file is a file open for writing, or a directory.
type file struct {
	vfs.File
	disk  *disk
	name  string
	table bool
}

// change is disk.change, except that a table's writer learns the truth.
func (f *file) change(what string, op func() error) error {
	f.disk.change(what, f.name, op)
	if f.table {
		return f.disk.failure()
	}
	return nil
}

// Write implements vfs.File.
func (f *file) Write(b []byte) (int, error) {
	err := f.change("write", func() error {
		_, err := f.File.Write(b)
		return err
	})
	if err != nil {
		return 0, err
	}
	return len(b), nil
}

// WriteAt implements vfs.File.
func (f *file) WriteAt(b []byte, offset int64) (int, error) {
	err := f.change("write", func() error {
		_, err := f.File.WriteAt(b, offset)
		return err
	})
	if err != nil {
		return 0, err
	}
	return len(b), nil
}

// Sync implements vfs.File.
func (f *file) Sync() error { return f.change("sync", f.File.Sync) }

// SyncData implements vfs.File.
func (f *file) SyncData() error { return f.change("sync", f.File.SyncData) }

// SyncTo implements vfs.File.
func (f *file) SyncTo(length int64) (full bool, err error) {
	err = f.change("sync", func() (err error) {
		full, err = f.File.SyncTo(length)
		return err
	})
	return full, err
}

// Preallocate implements vfs.File. It only makes writes cheaper, and they will tell when the space is missing.
func (f *file) Preallocate(offset, length int64) error {
	if f.disk.failure() == nil {
		_ = f.File.Preallocate(offset, length)
	}
	return nil
}

// Close implements vfs.File. It closes the file in any case.
func (f *file) Close() error {
	err := f.File.Close()
	if err == nil {
		return nil
	}
	return f.change("close", func() error { return err })
}

// nothing is the file Pebble gets when there is none.
type nothing struct{}

func (nothing) Close() error                           { return nil }
func (nothing) Read([]byte) (int, error)               { return 0, io.EOF }
func (nothing) ReadAt([]byte, int64) (int, error)      { return 0, io.EOF }
func (nothing) Write(b []byte) (int, error)            { return len(b), nil }
func (nothing) WriteAt(b []byte, _ int64) (int, error) { return len(b), nil }
func (nothing) Preallocate(_, _ int64) error           { return nil }
func (nothing) Stat() (vfs.FileInfo, error)            { return nothingInfo{}, nil }
func (nothing) Sync() error                            { return nil }
func (nothing) SyncTo(int64) (bool, error)             { return true, nil }
func (nothing) SyncData() error                        { return nil }
func (nothing) Prefetch(_, _ int64) error              { return nil }
func (nothing) Fd() uintptr                            { return vfs.InvalidFd }

type nothingInfo struct{}

func (nothingInfo) Name() string           { return "" }
func (nothingInfo) Size() int64            { return 0 }
func (nothingInfo) Mode() fs.FileMode      { return 0o600 }
func (nothingInfo) ModTime() time.Time     { return time.Time{} }
func (nothingInfo) IsDir() bool            { return false }
func (nothingInfo) Sys() any               { return nil }
func (nothingInfo) DeviceID() vfs.DeviceID { return vfs.DeviceID{} }

// ErrInUse says that another engine, in this process or another, has the data folder open.
var ErrInUse = errors.New("data folder is in use")
