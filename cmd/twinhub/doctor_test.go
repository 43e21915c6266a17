package main

import (
	"errors"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// verdicts are the results by name.
func verdicts(checks []check) map[string]string {
	list := map[string]string{}
	for _, c := range checks {
		list[c.Name] = c.Result
	}
	return list
}

func TestDoctorHealthy(t *testing.T) {
	h := testHub(t)
	t.Setenv("SSL_CERT_FILE", h.CABundle)
	t.Setenv("REQUESTS_CA_BUNDLE", h.CABundle)
	t.Setenv("NODE_EXTRA_CA_CERTS", h.CAFile)
	checks := into[[]check](t, done(t, "doctor", "-o", "json"))
	got := verdicts(checks)
	for _, name := range []string{"hub", "name resolution", "door https", "door mqtts", "door amqps", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "clock", "connection string", "events"} {
		if got[name] != resultOK {
			t.Errorf("%s: got %q, want ok", name, got[name])
		}
	}
	if out := done(t, "doctor"); !strings.HasPrefix(out, "ok    hub ") || strings.Contains(out, "fail") {
		t.Errorf("got\n%s", out)
	}
}

func TestDoctorFindsFaults(t *testing.T) {
	h := testHub(t)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := closed.Addr().String()
	closed.Close()
	if err := os.WriteFile("other.pem", []byte("other"), 0o600); err != nil {
		t.Fatal(err)
	}
	good := "https=" + h.HTTPS + " mqtts=" + h.MQTTS + " amqps=" + h.AMQPS
	for name, test := range map[string]struct {
		env    map[string]string
		fails  string
		remedy string
	}{
		"nothing listens":      {map[string]string{endpointsVariable: strings.Replace(good, h.MQTTS, nobody, 1)}, "door mqtts", "start the hub"},
		"authority not known":  {map[string]string{caVariable: ""}, "door https", "TWINHUB_CA_FILE"},
		"authority not there":  {map[string]string{caVariable: "none.pem"}, "trust", "TWINHUB_CA_FILE"},
		"name leads elsewhere": {map[string]string{endpointsVariable: strings.ReplaceAll(good, "127.0.0.1", "127.0.0.9")}, "name resolution", "'127.0.0.9 localhost' to the hosts file"},
		"wrong key":            {map[string]string{hubVariable: policyOf("localhost")}, "connection string", "its policy has the right"},
		"wrong events":         {map[string]string{eventsVariable: "Endpoint=sb://localhost/;SharedAccessKeyName=service;SharedAccessKey=" + testKey + ";EntityPath=twinhub"}, "events", ""},
		"stale variable":       {map[string]string{"SSL_CERT_FILE": "none.pem"}, "SSL_CERT_FILE", "twinhub env"},
		"connection string":    {map[string]string{hubVariable: "HostName=a"}, "hub", ""},
	} {
		t.Run(name, func(t *testing.T) {
			for name, value := range test.env {
				t.Setenv(name, value)
			}
			code, out, log := cli(t, "doctor", "-o", "json")
			if code != 1 || !strings.Contains(log, "failed") {
				t.Errorf("exit code %d, %q", code, log)
			}
			found := false
			for _, c := range into[[]check](t, out) {
				if c.Name == test.fails {
					found = c.Result == resultFail && strings.Contains(c.Remedy, test.remedy)
				}
			}
			if !found {
				t.Errorf("%s did not fail with %q:\n%s", test.fails, test.remedy, out)
			}
		})
	}
	t.Run("variable of another hub", func(t *testing.T) {
		t.Setenv("NODE_EXTRA_CA_CERTS", "other.pem")
		if got := verdicts(into[[]check](t, done(t, "doctor", "-o", "json"))); got["NODE_EXTRA_CA_CERTS"] != resultWarn {
			t.Errorf("got %v, want a warning", got)
		}
	})
	t.Run("device", func(t *testing.T) {
		t.Setenv(hubVariable, "HostName=localhost;DeviceId=d;SharedAccessKey="+testKey)
		if got := verdicts(into[[]check](t, done(t, "doctor", "-o", "json"))); got["connection string"] != resultOK {
			t.Errorf("got %v", got)
		}
	})
}

func TestDoctorWithoutHub(t *testing.T) {
	cleanEnvironment(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, text, err := net.SplitHostPort(taken.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	checks := checkFreePorts([]port{{"mqtts", number}, {"https", 0}})
	if checks[0].Result != resultFail || !strings.Contains(checks[0].Remedy, "--mqtts-port") || checks[1].Result != resultOK {
		t.Errorf("got %+v", checks)
	}
	_, out, _ := cli(t, "doctor", "-o", "json") // the usual ports may be taken here
	got := verdicts(into[[]check](t, out))
	if got["data folder"] != resultOK || got["name resolution"] != resultOK || got["port 443"] == "" || got["port 9600"] == "" {
		t.Errorf("got %v", got)
	}
}

func TestCheckFolder(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, step := range []struct {
		name string
		do   func() error
		want string
	}{
		{"none", func() error { return nil }, resultFail},
		{"a file", func() error { return os.WriteFile("data", nil, 0o600) }, resultFail},
		{"not in use", func() error {
			if err := os.Remove("data"); err != nil {
				return err
			}
			return os.Mkdir("data", 0o700)
		}, resultWarn},
		{"left by a hub that was killed", func() error {
			return errors.Join(os.WriteFile("data/lock", nil, 0o600), os.WriteFile("data/pid", []byte("12\n"), 0o600))
		}, resultWarn},
		{"in use", func() error {
			lock, err := vfs.Default.Lock("data/lock")
			if err == nil {
				t.Cleanup(func() { lock.Close() })
			}
			return err
		}, resultOK},
		{"open to all", func() error { return os.Chmod("data", 0o755) }, resultWarn},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		if got := checkFolder("data"); got.Result != step.want {
			t.Errorf("%s: got %+v, want %s", step.name, got, step.want)
		}
	}
	if got := checkNewFolder("none/data"); got.Result != resultFail || got.Remedy == "" {
		t.Errorf("no place for a folder: got %+v", got)
	}
	if left, err := os.ReadDir("data"); err != nil || len(left) != 2 {
		t.Errorf("left in the folder: %v, %v", left, err)
	}
}

func TestJudgeClock(t *testing.T) {
	for _, test := range []struct {
		difference   time.Duration
		want, detail string
	}{
		{300 * time.Millisecond, resultOK, "within 1s"},
		{-29 * time.Second, resultOK, "within 30s"},
		{45 * time.Second, resultWarn, "45s ahead of"},
		{-6 * time.Minute, resultFail, "6m0s behind"},
		{24 * time.Hour, resultFail, "24h0m0s ahead of"},
	} {
		if got := judgeClock(test.difference); got.Result != test.want || !strings.Contains(got.Detail, test.detail) || (got.Remedy == "") != (test.want == resultOK) {
			t.Errorf("%v: got %+v, want %s and %q", test.difference, got, test.want, test.detail)
		}
	}
}
