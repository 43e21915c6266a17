package sdks

import (
	"os"
	"strings"
	"testing"
)

// TestETags asks Python's service clients when an etag still holds.
func TestETags(t *testing.T) {
	runChecks(t, pythonCommand(t, sharedHub(t), "python/etags.py"), 8)
}

// TestPayloads compares what Python's service clients say with what Python's device client hears, and back.
func TestPayloads(t *testing.T) {
	runChecks(t, pythonCommand(t, sharedHub(t), "python/payloads.py"), 13)
}

// TestTimeouts measures the time-outs of methods and commands.
func TestTimeouts(t *testing.T) {
	runChecks(t, pythonCommand(t, sharedHub(t), "python/timeouts.py"), 18)
}

// TestPositions reads the built-in endpoint from every kind of position.
func TestPositions(t *testing.T) {
	h := sharedHub(t)
	h.awaitReceivers(t, 0)
	runChecks(t, pythonCommand(t, h, "python/positions.py"), 14)
}

// TestTrust lets Python's three clients meet the hub with and without trust in its CA. Without it they must fail, and
// the hub must say why.
func TestTrust(t *testing.T) {
	h := sharedHub(t)
	device := registerPython(t, h, "trust-device")
	t.Run("trusted", func(t *testing.T) {
		runChecks(t, pythonCommand(t, h, "python/trust.py", "trusted", device), 4)
	})
	t.Run("untrusted", func(t *testing.T) {
		cmd := pythonCommand(t, h, "python/trust.py", "untrusted", device)
		if err := trust(python(t)); err != nil { // nobody
			t.Fatal(err)
		}
		cmd.Env = clientEnv(h)
		already := len(h.log.String())
		runChecks(t, cmd, 4)
		for _, door := range []string{"mqtt", "https", "amqp"} {
			said := false
			for _, line := range strings.Split(h.log.String()[already:], "\n") {
				said = said || strings.Contains(line, door) && strings.Contains(line, "trust") && strings.Contains(line, "remedy")
			}
			if !said {
				t.Errorf("no line of the hub's log explains the refusal at the %s door:\n%s", door, h.log.String()[already:])
			}
		}
	})
	for _, secret := range []string{strings.SplitAfter(device, "SharedAccessKey=")[1], os.Getenv("TWINHUB_OWNER_KEY")} {
		if secret != "" && strings.Contains(h.log.String(), secret) {
			t.Error("the hub's log holds a key")
		}
	}
}
