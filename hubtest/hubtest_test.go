package hubtest_test

import (
	"crypto/tls"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/twinhub/twinhub/hubtest"
	"github.com/twinhub/twinhub/internal/sas"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// request sends a request of the owner and returns the status.
func request(t *testing.T, h *hubtest.Hub, method, path, body string) int {
	t.Helper()
	cs, err := sas.ParseHubConnectionString(h.ConnectionString)
	if err != nil {
		t.Fatal(err)
	}
	key, err := sas.HubKey(cs.SharedAccessKey)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), method, "https://"+h.HTTPS+path+"?api-version=2021-04-12", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Host = cs.HostName
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", sas.Sign(cs.HostName, key, cs.SharedAccessKeyName, time.Now().Add(time.Minute)))
	transport := &http.Transport{TLSClientConfig: h.ClientTLS()}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

func TestStart(t *testing.T) {
	h := hubtest.Start(t, hubtest.Options{Name: "my-hub", Hostnames: []string{"localhost", "hub.example"}, Routes: []string{"twinChangeEvents"}})
	if h.Name != "my-hub" || !strings.Contains(h.EventHubConnectionString, "EntityPath=my-hub") || !strings.Contains(h.EmulatorConnectionString, "UseDevelopmentEmulator=true") {
		t.Errorf("got name %s and %s", h.Name, h.EventHubConnectionString)
	}
	for name, address := range map[string]string{"mqtts": h.MQTTS, "amqps": h.AMQPS, "https": h.HTTPS} {
		nc, err := tls.Dial("tcp", address, h.ClientTLS())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		nc.Close()
	}
	if status := request(t, h, http.MethodPut, "/devices/d1", `{"deviceId":"d1"}`); status != http.StatusOK {
		t.Errorf("create: %d", status)
	}
	if status := request(t, h, http.MethodGet, "/devices/d1", ""); status != http.StatusOK {
		t.Errorf("get: %d", status)
	}
}

func TestDataOutliveAHub(t *testing.T) {
	dir := t.TempDir()
	t.Run("first", func(t *testing.T) {
		h := hubtest.Start(t, hubtest.Options{DataDir: dir})
		if status := request(t, h, http.MethodPut, "/devices/d1", `{"deviceId":"d1"}`); status != http.StatusOK {
			t.Errorf("create: %d", status)
		}
	})
	t.Run("second", func(t *testing.T) {
		h := hubtest.Start(t, hubtest.Options{DataDir: dir})
		if status := request(t, h, http.MethodGet, "/devices/d1", ""); status != http.StatusOK {
			t.Errorf("get: %d", status)
		}
	})
}
