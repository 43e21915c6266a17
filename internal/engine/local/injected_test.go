package local

import (
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// inject returns fs with i asked before each operation. Pebble writes most of its logs into old files, and those
// errorfs.Wrap alone lets pass unseen.
func inject(fs vfs.FS, i errorfs.InjectorFunc) vfs.FS { return injected{errorfs.Wrap(fs, i), fs, i} }

type injected struct {
	vfs.FS
	under vfs.FS
	i     errorfs.InjectorFunc
}

// ReuseForWrite implements vfs.FS.
func (f injected) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := f.i(errorfs.Op{Kind: errorfs.OpReuseForWrite, Path: name}); err != nil {
		return nil, err
	}
	reused, err := f.under.ReuseForWrite(old, name, c)
	if err != nil {
		return nil, err
	}
	return errorfs.WrapFile(reused, errorfs.InjectorFunc(func(op errorfs.Op) error {
		op.Path = name
		return f.i(op)
	})), nil
}
