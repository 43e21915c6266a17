package system

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
)

// rounds is how often TestKill kills the hub.
var rounds = flag.Int("rounds", 20, "kill rounds; 3 with -short unless given")

func TestMain(m *testing.M) {
	flag.Parse()
	// Most parallel tests here wait for a limit of the hub to pass and compute nothing.
	if err := flag.Set("test.parallel", strconv.Itoa(16)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	if _, err := program(); err != nil { // said once, not by every test
		fmt.Fprintln(os.Stderr, "system:", err)
		os.Exit(1)
	}
	code := m.Run()
	if err := errors.Join(stopShared(), removeProgram()); err != nil {
		fmt.Fprintln(os.Stderr, "system:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// program builds the binary and returns its path.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "twinhub-system-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "twinhub")
	if out, err := exec.Command("go", "build", "-o", path, "github.com/twinhub/twinhub/cmd/twinhub").CombinedOutput(); err != nil {
		return "", errors.Join(fmt.Errorf("go build: %w\n%s", err, out), os.RemoveAll(dir))
	}
	return path, nil
})

func removeProgram() error {
	path, err := program()
	if err != nil {
		return nil // it was never there, and the tests have said so
	}
	return os.RemoveAll(filepath.Dir(path))
}
