package hub

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b")
	f, err := openFolder(path, false)
	if err != nil {
		t.Fatal(err)
	}
	if f.path != path {
		t.Errorf("path: got %s, want %s", f.path, path)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("folder: got %v, %v; want mode 0700", info.Mode(), err)
	}
	if text, err := os.ReadFile(filepath.Join(path, ".gitignore")); err != nil || string(text) != "*\n" {
		t.Errorf(".gitignore: got %q, %v", text, err)
	}

	_, err = openFolder(path, false)
	want := fmt.Sprintf("data folder %s is in use by PID %d: end that process, or give another folder with --data", path, os.Getpid())
	if err == nil || err.Error() != want {
		t.Errorf("a second hub: got %v, want %s", err, want)
	}
	if _, err := os.Stat(filepath.Join(path, "pid")); err != nil {
		t.Errorf("the pid file of the first hub: %v", err)
	}

	if pid, err := HeldBy(path); err != nil || pid != fmt.Sprint(os.Getpid()) {
		t.Errorf("held by: got %q, %v; want this process", pid, err)
	}

	if err := f.close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if _, err := os.Stat(filepath.Join(path, "pid")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the pid file after close: got %v, want none", err)
	}
	// What a killed hub leaves does not stop the next one.
	if err := os.WriteFile(filepath.Join(path, "pid"), []byte("1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, unused := range []string{path, t.TempDir()} {
		if pid, err := HeldBy(unused); err != nil || pid != "" {
			t.Errorf("%s is held by: got %q, %v; want nobody", unused, pid, err)
		}
	}
	f, err = openFolder(path, false)
	if err != nil {
		t.Fatalf("open again: %v", err)
	}
	if pid, err := os.ReadFile(f.join("pid")); err != nil || string(pid) != fmt.Sprintln(os.Getpid()) {
		t.Errorf("pid file: got %q, %v", pid, err)
	}
	if err := f.close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

// TestStoreIsPrivate opens a folder that was made for the hub, as service managers do, and one of a careless past.
func TestStoreIsPrivate(t *testing.T) {
	path := t.TempDir()
	if err := os.Chmod(path, 0o755); err != nil {
		t.Fatal(err)
	}
	store := filepath.Join(path, storeFolder)
	for _, before := range []os.FileMode{0, 0o755} {
		if before != 0 {
			if err := os.Chmod(store, before); err != nil {
				t.Fatal(err)
			}
		}
		f, err := openFolder(path, false)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(store); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("store with mode %04o before: got %v, %v; want mode 0700", before, info.Mode(), err)
		}
		if err := f.close(); err != nil {
			t.Error(err)
		}
	}
}

func TestRelativeFolder(t *testing.T) {
	t.Chdir(t.TempDir())
	f, err := openFolder("data", false)
	if err != nil {
		t.Fatal(err)
	}
	if !filepath.IsAbs(f.path) || filepath.Base(f.path) != "data" {
		t.Errorf("path: got %s, want an absolute one", f.path)
	}
	if err := f.close(); err != nil {
		t.Error(err)
	}
}

func TestImpossibleFolder(t *testing.T) {
	file := write(t, "file", "")
	if _, err := openFolder(file, false); err == nil || !strings.Contains(err.Error(), "data folder") {
		t.Errorf("a file as folder: got %v", err)
	}
}

func TestFolderThatCannotBeLocked(t *testing.T) {
	path := t.TempDir()
	if err := os.WriteFile(filepath.Join(path, "pid"), []byte("1\n"), 0o600); err != nil { // of a killed hub
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(path, "lock"), 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := openFolder(path, false)
	if err == nil || !strings.Contains(err.Error(), "cannot be locked") || strings.Contains(err.Error(), "in use") {
		t.Errorf("got %v, want that it cannot be locked, and no process to blame", err)
	}
}

func TestTemporaryFolder(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	f, err := openFolder("ignored", true)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(f.join("file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(f.path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the temporary folder after close: got %v, want none", err)
	}
}
