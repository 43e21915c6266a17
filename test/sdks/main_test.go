package sdks

import (
	"fmt"
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if err := stopShared(); err != nil {
		fmt.Fprintln(os.Stderr, "the package's hub:", err)
		code = max(code, 1)
	}
	if err := forgetTrust(); err != nil {
		fmt.Fprintln(os.Stderr, "certifi:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// skipOrFail ends t because something is missing here: in CI that is a failure, elsewhere a skip of one line.
func skipOrFail(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}
