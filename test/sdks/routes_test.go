package sdks

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azeventhubs/v2"
)

// TestRoutes looks at what reaches the built-in endpoint of hubs with other routes. Each device sends telemetry, changes
// its twin, and sends telemetry again.
func TestRoutes(t *testing.T) {
	sharedHub(t) // the other hubs must live beside it
	config := func(text string) string {
		path := filepath.Join(t.TempDir(), "twinhub.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const telemetry, twin, digital = "Telemetry", "twinChangeEvents", "digitalTwinChangeEvents"
	tests := []struct {
		name string
		args []string
		want []string // sources, without the announcement of the model
	}{
		{"no routes", nil, []string{telemetry, telemetry}},
		{"twin changes by flag", []string{"--route", twin}, []string{telemetry, twin, telemetry}},
		{"digital twin changes by flag", []string{"--route", digital}, []string{telemetry, digital, telemetry}},
		{"twin changes, fallback off", []string{"--config", config("routes:\n- {name: twins, source: TwinChangeEvents}\nfallback: false\n")}, []string{twin}},
		{"telemetry and twin changes, fallback off", []string{"--config", config("routes:\n- {name: messages, source: DeviceMessages}\n- {name: twins, source: TwinChangeEvents}\nfallback: false\n")},
			[]string{telemetry, twin, telemetry}},
		{"a route that is off, fallback off", []string{"--config", config("routes:\n- {name: messages, source: DeviceMessages, enabled: false}\n- {name: twins, source: TwinChangeEvents}\nfallback: false\n")},
			[]string{twin}},
		{"two routes to one endpoint", []string{"--config", config("routes:\n- {name: one, source: DeviceMessages}\n- {name: two, source: DeviceMessages}\n")},
			[]string{telemetry, telemetry}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := otherHub(t, "127.0.0.9", test.args...)
			s, c := newService(t, h), consumer(t, h, false)
			d := s.connect(h, "routed", s.register("routed"), "")
			d.telemetry("", "first")
			d.report(204, `{"a":1}`)
			d.telemetry("", "second")
			var got []string
			earliest := true
			for partition, last := range heads(t, c) {
				if last < 0 {
					continue
				}
				f := startFollow(t, c, partition, azeventhubs.StartPosition{Earliest: &earliest})
				for {
					e := f.next()
					got = append(got, source(e))
					if e.SequenceNumber == last {
						break
					}
				}
			}
			if len(got) != len(test.want) {
				t.Fatalf("events: got %v, want %v", got, test.want)
			}
			for i := range got {
				if got[i] != test.want[i] {
					t.Errorf("events: got %v, want %v", got, test.want)
				}
			}
		})
	}
}
