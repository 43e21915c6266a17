package hub

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// folder is the data folder, locked by this process.
type folder struct {
	path      string // absolute
	lock      io.Closer
	temporary bool
}

// storeFolder is where the engine keeps its files, in the data folder.
const storeFolder = "data"

// openFolder makes the folder if need be and locks it. An ephemeral hub gets a temporary one.
func openFolder(path string, ephemeral bool) (*folder, error) {
	if ephemeral {
		dir, err := os.MkdirTemp("", "twinhub-")
		if err != nil {
			return nil, fmt.Errorf("temporary folder: %w", err)
		}
		return &folder{path: dir, temporary: true}, nil
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	if err := os.MkdirAll(abs, 0o700); err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	f := &folder{path: abs}
	if f.lock, err = vfs.Default.Lock(f.join("lock")); err != nil {
		return nil, f.explainLock(err)
	}
	// What is stored has the keys of all policies and devices in it. The folder around it may have been made for us with
	// any mode.
	if err := errors.Join(
		os.MkdirAll(f.join(storeFolder), 0o700), os.Chmod(f.join(storeFolder), 0o700),
		os.WriteFile(f.join("pid"), []byte(strconv.Itoa(os.Getpid())+"\n"), 0o600),
		os.WriteFile(f.join(".gitignore"), []byte("*\n"), 0o600),
	); err != nil {
		return nil, errors.Join(fmt.Errorf("data folder: %w", err), f.lock.Close())
	}
	return f, nil
}

// HeldBy returns the id of the process whose hub uses a data folder; "" if none does, whatever one that was killed has
// left behind.
func HeldBy(path string) (pid string, err error) {
	lock := filepath.Join(path, "lock")
	if _, err := os.Stat(lock); errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if l, err := vfs.Default.Lock(lock); err == nil {
		return "", l.Close()
	}
	text, err := os.ReadFile(filepath.Join(path, "pid"))
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(text)), nil
}

// explainLock tells a lock that is held from a file that cannot be opened: beside that one, a killed process may have
// left its PID.
func (f *folder) explainLock(err error) error {
	var unopened *fs.PathError
	pid, readErr := os.ReadFile(f.join("pid"))
	if readErr != nil || errors.As(err, &unopened) {
		return fmt.Errorf("data folder %s cannot be locked: %w", f.path, err)
	}
	return fmt.Errorf("data folder %s is in use by PID %s: end that process, or give another folder with --data", f.path, strings.TrimSpace(string(pid)))
}

func (f *folder) join(name string) string { return filepath.Join(f.path, name) }

// close unlocks the folder, and removes a temporary one.
func (f *folder) close() error {
	if f.temporary {
		return os.RemoveAll(f.path)
	}
	return errors.Join(os.Remove(f.join("pid")), f.lock.Close())
}
