package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

func TestAssignment(t *testing.T) {
	for shell, want := range map[string]string{
		"bash":       `export NAME='it'\''s \ $HOME'`,
		"fish":       `set -gx NAME 'it\'s \\ $HOME'`,
		"powershell": `$env:NAME = 'it''s \ $HOME'`,
	} {
		if got := assignment(shell, variable{"NAME", `it's \ $HOME`}); got != want {
			t.Errorf("%s: got %s, want %s", shell, got, want)
		}
	}
	if got, want := assignment("powershell", variable{"N", "a\u2019b"}), "$env:N = 'a\u2019\u2019b'"; got != want {
		t.Errorf("typographic quote: got %s, want %s", got, want)
	}
}

func TestDefaultShell(t *testing.T) {
	for _, test := range []struct{ system, shell, want string }{
		{"linux", "/usr/bin/fish", "fish"}, {"linux", "/bin/zsh", "bash"}, {"linux", "", "bash"}, {"windows", "", "powershell"}, {"windows", "/usr/bin/bash", "bash"},
	} {
		if got := defaultShell(test.system, test.shell); got != test.want {
			t.Errorf("%s %s: got %s, want %s", test.system, test.shell, got, test.want)
		}
	}
}

func TestEnv(t *testing.T) {
	cleanEnvironment(t)
	text := "IOTHUB_CONNECTION_STRING='" + policyOf("localhost") + "'\nTWINHUB_CA_FILE='/it'\\''s/ca.pem'\nTWINHUB_CA_BUNDLE='/it'\\''s/bundle.pem'\n"
	if err := os.Mkdir("data", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("data/connection.env", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		hubVariable: policyOf("localhost"), caVariable: "/it's/ca.pem", "TWINHUB_CA_BUNDLE": "/it's/bundle.pem",
		"SSL_CERT_FILE": "/it's/bundle.pem", "REQUESTS_CA_BUNDLE": "/it's/bundle.pem", "NODE_EXTRA_CA_CERTS": "/it's/ca.pem",
	}
	got := into[map[string]string](t, done(t, "env", "--data", "data", "-o", "json"))
	for name, value := range want {
		if got[name] != value || len(got) != len(want) {
			t.Errorf("%s: got %q, want %q", name, got[name], value)
		}
	}
	t.Run("through the environment", func(t *testing.T) {
		t.Setenv("TWINHUB_DATA", "data")
		if out := done(t, "env", "--shell", "fish"); !strings.Contains(out, `set -gx TWINHUB_CA_FILE '/it\'s/ca.pem'`+"\n") {
			t.Errorf("got\n%s", out)
		}
	})
	t.Run("in bash", func(t *testing.T) {
		bash, err := exec.LookPath("bash")
		if err != nil {
			t.Skip("no bash here")
		}
		out, err := exec.Command(bash, "-c", done(t, "env", "--data", "data", "--shell", "bash")+`printf %s "$SSL_CERT_FILE"`).CombinedOutput()
		if err != nil || string(out) != "/it's/bundle.pem" {
			t.Errorf("got %q, %v", out, err)
		}
	})
	t.Run("with a certificate of the user's", func(t *testing.T) {
		if err := os.WriteFile("data/connection.env", []byte("IOTHUB_CONNECTION_STRING='a'\nTWINHUB_CA_FILE=''\nTWINHUB_CA_BUNDLE=''\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if out := done(t, "env", "--data", "data", "--shell", "bash"); strings.Contains(out, "SSL_CERT_FILE") {
			t.Errorf("got\n%s", out)
		}
		if code, _, log := cli(t, "trust", "--data", "data"); code != 1 || !strings.Contains(log, "--cert") {
			t.Errorf("trust: exit code %d\n%s", code, log)
		}
	})
}
