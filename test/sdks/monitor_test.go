package sdks

import "testing"

// TestMonitor reads the built-in endpoint as the Azure CLI does, which starts at the hub's own address.
func TestMonitor(t *testing.T) {
	runChecks(t, pythonCommand(t, sharedHub(t), "python/monitor.py"), 4)
}
