package trust

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twinhub/twinhub/internal/clock"
)

func (c fixedClock) Now() time.Time { return c.now }

func (c fixedClock) AfterFunc(time.Duration, func()) clock.Timer { return stopped{} }

type stopped struct{}

func (stopped) Stop() bool { return true }

func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "secret")
	// What a crash left behind, with a mode that must not leak into the new file.
	if err := os.WriteFile(filepath.Join(dir, ".secret.tmp"), []byte("a longer rest of before"), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, content := range []string{"first", "2"} {
		if err := writeFile(path, []byte(content), privateMode); err != nil {
			t.Fatalf("writeFile: %v", err)
		}
		got, err := os.ReadFile(path)
		info, statErr := os.Stat(path)
		if err != nil || statErr != nil || string(got) != content || info.Mode().Perm() != privateMode {
			t.Errorf("got %q, mode %v, %v, %v; want %q, 0600", got, info.Mode(), err, statErr, content)
		}
	}
	if got := listDir(t, dir); len(got) != 1 {
		t.Errorf("files: %q, want one", got)
	}
}

// TestWriteFileFails checks that a failure names the file and leaves nothing behind.
func TestWriteFileFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "taken")
	write(t, filepath.Join(path, "inside"))
	if err := writeFile(path, []byte("x"), publicMode); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("over a folder: got %v, want an error that names %s", err, path)
	}
	if got := listDir(t, dir); len(got) != 1 {
		t.Errorf("files: %q, want the folder alone", got)
	}
	missing := filepath.Join(dir, "missing", "file")
	if err := writeFile(missing, nil, publicMode); err == nil || !strings.Contains(err.Error(), missing) {
		t.Errorf("in no folder: got %v, want an error that names %s", err, missing)
	}
}

func TestReadFileBound(t *testing.T) {
	path := filepath.Join(t.TempDir(), "big")
	write(t, path, make([]byte, maxFile))
	if content, err := readFile(path); err != nil || len(content) != maxFile {
		t.Errorf("at the bound: %d bytes, %v", len(content), err)
	}
	write(t, path, make([]byte, maxFile+1))
	if _, err := readFile(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("past the bound: got %v, want an error that names the file", err)
	}
}
