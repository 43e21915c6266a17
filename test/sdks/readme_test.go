package sdks

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestReadme runs the README's story in Python as it stands there.
func TestReadme(t *testing.T) {
	h := sharedHub(t)
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, begins := strings.Cut(string(text), "\n```python\n")
	program, _, ends := strings.Cut(rest, "\n```\n")
	if !begins || !ends {
		t.Fatal("the README has no program in Python")
	}
	file := filepath.Join(t.TempDir(), "readme.py")
	if err := os.WriteFile(file, []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	p := startProcess(t, pythonCommand(t, h, file))
	lines, err := p.end(time.Minute)
	if err != nil {
		t.Fatalf("%s: %v\n%s", p.name(), err, p.stderr)
	}
	said := strings.Join(lines, "\n")
	for what, want := range map[string]string{
		"telemetry":    `{"temperature": 12} {`,
		"digital twin": `{'$dtId': 'thermostat-1', `,
		"twin change":  `{"version":3,"properties":{"reported":{"maxTempSinceLastReboot":10.96,`,
		"change":       `[{"op":"add","path":"/$metadata/maxTempSinceLastReboot",`,
		"command":      `{'rebooted': True}`,
	} {
		if !strings.Contains(said, want) {
			t.Errorf("%s: the program did not print %s", what, want)
		}
	}
	if t.Failed() {
		t.Logf("it printed\n%s\n%s", said, p.stderr)
	}
}
