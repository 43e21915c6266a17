package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const testKey = "MDEyMzQ1Njc4OUFCQ0RFRg=="

func policyOf(host string) string {
	return "HostName=" + host + ";SharedAccessKeyName=iothubowner;SharedAccessKey=" + testKey
}

func TestFind(t *testing.T) {
	writeEnv := func(t *testing.T, folder, host, port string) {
		t.Helper()
		if err := os.MkdirAll(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		text := "IOTHUB_CONNECTION_STRING='" + policyOf(host) + "'\nIOTHUB_CONNECTION_STRING_IP='" + policyOf("127.0.0.1") + "'\n" +
			"EVENTHUB_CONNECTION_STRING='events of " + host + "'\nTWINHUB_CA_FILE='/ca of " + host + "'\nTWINHUB_ENDPOINTS='https=127.0.0.1:" + port + " mqtts=0.0.0.0:8884'\n"
		if err := os.WriteFile(filepath.Join(folder, connectionFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, test := range map[string]struct {
		flags                   hubFlags
		env                     map[string]string
		host, https, ca, events string
		source                  string
	}{
		"data folder": {
			host: "filed", https: "127.0.0.1:1111", ca: "/ca of filed", events: "events of filed", source: "./twinhub-data/connection.env",
		},
		"environment before the folder": {
			env:  map[string]string{hubVariable: policyOf("env"), eventsVariable: "e", endpointsVariable: "https=[::1]:2222", caVariable: "/env"},
			host: "env", https: "[::1]:2222", ca: "/env", events: "e", source: "the environment",
		},
		"--data before the environment": {
			flags: hubFlags{data: "other"}, env: map[string]string{hubVariable: policyOf("env")},
			host: "other", https: "127.0.0.1:3333", ca: "/ca of other", events: "events of other", source: "other/connection.env",
		},
		"--login before all, nothing of other hubs": {
			flags: hubFlags{login: policyOf("my-hub.azure-devices.net")}, env: map[string]string{hubVariable: policyOf("env"), endpointsVariable: "https=[::1]:2222", caVariable: "/env"},
			host: "my-hub.azure-devices.net", source: "--login",
		},
		"--login of the hub in the folder": {
			flags: hubFlags{login: policyOf("FILED")},
			host:  "FILED", https: "127.0.0.1:1111", ca: "/ca of filed", events: "events of filed", source: "--login",
		},
		"--login by address of the hub in the folder": {
			flags: hubFlags{login: policyOf("127.0.0.1")},
			host:  "127.0.0.1", https: "127.0.0.1:1111", ca: "/ca of filed", events: "events of filed", source: "--login",
		},
		"--login of a device": {
			flags: hubFlags{login: "HostName=filed;DeviceId=d;SharedAccessKey=" + testKey},
			host:  "filed", https: "127.0.0.1:1111", ca: "/ca of filed", events: "events of filed", source: "--login",
		},
		"endpoints and trust alone": {
			flags: hubFlags{login: policyOf("any")}, env: map[string]string{endpointsVariable: "https=10.0.0.1:443", caVariable: "/env"},
			host: "any", https: "10.0.0.1:443", ca: "/env", source: "--login",
		},
	} {
		t.Run(name, func(t *testing.T) {
			cleanEnvironment(t)
			writeEnv(t, "twinhub-data", "filed", "1111")
			writeEnv(t, "other", "other", "3333")
			for name, value := range test.env {
				t.Setenv(name, value)
			}
			got, err := test.flags.find()
			if err != nil {
				t.Fatal(err)
			}
			host, err := hostOf(got.hub)
			if err != nil || host != test.host || got.endpoints["https"] != test.https || got.caFile != test.ca || got.events != test.events || got.source != test.source {
				t.Errorf("got host %q (%v), %+v; want %+v", host, err, got, test)
			}
			if strings.HasPrefix(test.https, "127.0.0.1:") && got.endpoints["mqtts"] != test.host+":8884" {
				t.Errorf("a door on every address: got %q, want that of the host", got.endpoints["mqtts"])
			}
		})
	}
}

func TestFindErrors(t *testing.T) {
	for name, test := range map[string]struct {
		flags hubFlags
		env   map[string]string
		file  string
		want  string
	}{
		"nothing":           {want: "no hub is known"},
		"no such folder":    {flags: hubFlags{data: "nowhere"}, want: "there is no nowhere/connection.env"},
		"connection string": {flags: hubFlags{login: "HostName=a"}, want: "--login"},
		"endpoints":         {env: map[string]string{hubVariable: policyOf("a"), endpointsVariable: "https"}, want: `"https" is not DOOR=HOST:PORT`},
		"line":              {file: "IOTHUB", want: "line 1: want NAME='value'"},
		"quote":             {file: "# comment\n\nA='b\n", want: "line 3: the quote does not end"},
	} {
		t.Run(name, func(t *testing.T) {
			cleanEnvironment(t)
			for name, value := range test.env {
				t.Setenv(name, value)
			}
			if test.file != "" {
				if err := errors.Join(os.Mkdir("twinhub-data", 0o700), os.WriteFile("twinhub-data/connection.env", []byte(test.file), 0o600)); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := test.flags.find(); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestTrustErrors(t *testing.T) {
	cleanEnvironment(t)
	if err := os.WriteFile("ca.pem", []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{"ca.pem": "ca.pem holds no certificate", "none.pem": "no such file"} {
		if _, err := (&target{caFile: file}).tls(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", file, err, want)
		}
	}
	if config, err := (&target{}).tls(); config != nil || err != nil {
		t.Errorf("without a file: got %v, %v, want the system's trust", config, err)
	}
}

func TestOwnEvents(t *testing.T) {
	for name, test := range map[string]struct {
		host, events string
		want         bool
	}{
		"the hub's":      {"localhost", "Endpoint=sb://localhost:5673/;SharedAccessKeyName=service;SharedAccessKey=a;EntityPath=e", true},
		"of Azure":       {"localhost", "Endpoint=sb://ns.servicebus.windows.net/;SharedAccessKeyName=service;SharedAccessKey=a", false},
		"without TLS":    {"localhost", "Endpoint=sb://localhost;UseDevelopmentEmulator=true", false},
		"something else": {"localhost", "abc", false},
	} {
		if got := (&target{hub: policyOf(test.host), events: test.events}).ownEvents(); got != test.want {
			t.Errorf("%s: got %v, want %v", name, got, test.want)
		}
	}
}
