package main

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestTrustAdvice(t *testing.T) {
	h := testHub(t)
	for _, test := range []struct {
		args []string
		want []string
	}{
		{[]string{"--os", "linux"}, []string{
			"sudo cp '" + h.CAFile + "' /usr/local/share/ca-certificates/twinhub.crt", "sudo update-ca-certificates", "sudo update-ca-trust",
			"export SSL_CERT_FILE='" + h.CABundle + "'", "export REQUESTS_CA_BUNDLE=", "export NODE_EXTRA_CA_CERTS='" + h.CAFile + "'", "keytool -importcert",
			"twinhub trust --python .venv", "OPTION_TRUSTED_CERT", ".NET"}},
		{[]string{"--os", "macos"}, []string{"sudo security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain '" + h.CAFile + "'"}},
		{[]string{"--os", "windows"}, []string{`certutil -user -addstore Root "` + h.CAFile + `"`, "$env:SSL_CERT_FILE = '"}},
		{[]string{"--os", "all", "--remove"}, []string{
			"sudo rm -f /usr/local/share/ca-certificates/twinhub.crt", "sudo update-ca-certificates --fresh", "security delete-certificate -Z ",
			"certutil -user -delstore Root ", "unset SSL_CERT_FILE", "keytool -delete", "twinhub trust --python .venv --remove"}},
	} {
		out := done(t, append([]string{"trust"}, test.args...)...)
		for _, want := range test.want {
			if !strings.Contains(out, want) {
				t.Errorf("%v: no %q in\n%s", test.args, want, out)
			}
		}
	}
	list := into[[]advice](t, done(t, "trust", "-o", "json"))
	for _, a := range list {
		if a.For == "" || len(a.Commands) == 0 && a.Note == "" {
			t.Errorf("says nothing: %+v", a)
		}
	}
	if len(list) < 8 {
		t.Errorf("only %d items", len(list))
	}
}

// A virtual environment, as far as certifi goes. The file has a second name, as installers make them.
func virtualEnv(t *testing.T, text string) (folder, file, twin string) {
	t.Helper()
	folder = filepath.Join(t.TempDir(), "my [venv]")
	packages := filepath.Join(folder, "lib", "python3.11", "site-packages", "certifi")
	if runtime.GOOS == "windows" {
		packages = filepath.Join(folder, "Lib", "site-packages", "certifi")
	}
	if err := os.MkdirAll(packages, 0o700); err != nil {
		t.Fatal(err)
	}
	file, twin = filepath.Join(packages, "cacert.pem"), filepath.Join(t.TempDir(), "cached.pem")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(file, twin); err != nil {
		t.Fatal(err)
	}
	return folder, file, twin
}

func TestTrustPython(t *testing.T) {
	h := testHub(t)
	ca, err := os.ReadFile(h.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	for name, before := range map[string]string{"usual": "# roots\nROOTS\n", "no newline at the end": "ROOTS", "empty": ""} {
		t.Run(name, func(t *testing.T) {
			folder, file, twin := virtualEnv(t, before)
			for i, want := range []bool{true, false, false} {
				got := into[map[string]any](t, done(t, "trust", "--python", folder, "-o", "json"))
				if got["changed"] != want || got["file"] != file {
					t.Errorf("call %d: got %v, want %s changed %v", i, got, file, want)
				}
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(string(text), before) || strings.Count(string(text), strings.TrimSpace(string(ca))) != 1 || !strings.HasSuffix(string(text), "\n"+markEnd+"\n") {
				t.Errorf("got\n%s", text)
			}
			if info, err := os.Stat(file); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o644 {
				t.Errorf("mode %v, %v", info.Mode(), err)
			}
			if shared, err := os.ReadFile(twin); err != nil || string(shared) != before {
				t.Errorf("the file's other name changed: %q, %v", shared, err)
			}
			// Another hub's authority takes the place of the first.
			other := strings.Replace(string(text), "-----BEGIN CERTIFICATE-----\n", "-----BEGIN CERTIFICATE-----\nAAAA", 1)
			if err := os.WriteFile(file, []byte(other), 0o644); err != nil {
				t.Fatal(err)
			}
			if out := done(t, "trust", "--python", folder); out != file+" now trusts the hub.\n" {
				t.Errorf("got %q", out)
			}
			if again, err := os.ReadFile(file); err != nil || string(again) != string(text) {
				t.Errorf("got\n%s\nwant\n%s", again, text)
			}
			for _, want := range []string{"now", "already"} {
				if out := done(t, "trust", "--python", folder, "--remove"); out != file+" "+want+" does not trust the hub.\n" {
					t.Errorf("remove: got %q", out)
				}
			}
			if after, err := os.ReadFile(file); err != nil || strings.TrimSuffix(string(after), "\n") != strings.TrimSuffix(before, "\n") {
				t.Errorf("after removal: got %q, want %q", after, before)
			}
			if left, err := filepath.Glob(filepath.Join(filepath.Dir(escapeGlob(file)), ".twinhub-*")); err != nil || len(left) != 0 {
				t.Errorf("files left: %v %v", left, err)
			}
		})
	}
}

func TestTrustPythonErrors(t *testing.T) {
	testHub(t)
	empty := t.TempDir()
	broken, _, _ := virtualEnv(t, "ROOTS\n"+markBegin+"\nAAAA\n")
	for python, want := range map[string]string{
		filepath.Join(empty, "none"): "no such file",
		empty:                        "has no certifi: name a virtual environment",
		broken:                       "install certifi again",
	} {
		if code, _, log := cli(t, "trust", "--python", python); code != 1 || !strings.Contains(log, want) {
			t.Errorf("%s: exit code %d, %q, want %q", python, code, log, want)
		}
	}
	if _, err := ownCertifi("/etc/ssl/certs/ca-certificates.crt"); err == nil {
		t.Error("the operating system's own file was taken for certifi's")
	}
}

// An interpreter is asked; this one answers as Python would.
func TestTrustPythonInterpreter(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a script that stands for Python needs a POSIX shell")
	}
	testHub(t)
	_, file, _ := virtualEnv(t, "ROOTS\n")
	python := filepath.Join(t.TempDir(), "python3")
	for answer, want := range map[string]int{"echo " + quoted(file): 0, "exit 1": 1} {
		if err := os.WriteFile(python, []byte("#!/bin/sh\n"+answer+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		if code, _, log := cli(t, "trust", "--python", python); code != want {
			t.Errorf("%s: exit code %d, want %d\n%s", answer, code, want, log)
		}
	}
}
