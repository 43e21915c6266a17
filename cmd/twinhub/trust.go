package main

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"

	"github.com/spf13/cobra"
)

// The words of --os.
const (
	osLinux   = "linux"
	osMac     = "macos"
	osWindows = "windows"
)

func trustCommand() *cobra.Command {
	var data, python string
	var remove bool
	cmd := &cobra.Command{
		Use:   "trust",
		Short: "Make this machine and its SDKs trust the hub's certificate authority",
		Long: `Print, for this operating system and each SDK, the commands that make it trust the hub's own certificate authority.
Nothing is changed, except with --python: Python's Event Hubs client trusts the file of the package certifi and no other,
so that file of a virtual environment gets the authority added, between two marker lines. It may be repeated; installing
certifi again undoes it. --remove is the way back.`,
		Example: `  twinhub trust
  twinhub trust --python .venv
  twinhub trust --python .venv --remove`,
		Args: cobra.NoArgs,
	}
	own := map[string]string{"linux": osLinux, "darwin": osMac, "windows": osWindows}[runtime.GOOS]
	if own == "" {
		own = osLinux
	}
	cmd.Flags().StringVar(&data, "data", "", "data `folder` of the hub (default "+defaultData+", else the environment)")
	cmd.Flags().StringVar(&python, "python", "", "virtual `environment`, or Python interpreter, whose certifi is to be changed")
	cmd.Flags().BoolVar(&remove, "remove", false, "take trust back instead")
	system := addChoice(cmd, "os", "", own, "operating `system` to print commands for", osLinux, osMac, osWindows, "all")
	out := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		p := newPrinter(cmd, out)
		if python != "" && remove {
			return untrustPython(cmd.Context(), p, python)
		}
		a, err := findAuthority(data)
		if err != nil {
			return err
		}
		if python != "" {
			return trustPython(cmd.Context(), p, python, a)
		}
		return showAdvice(p, a.advice(system.value, remove))
	}
	return cmd
}

// authority is the hub's own certificate authority.
type authority struct {
	file, bundle string
	certificate  *x509.Certificate
	pem          []byte // of the certificate alone
}

// errNoAuthority says that the hub was given a certificate, so that whoever issued that is to be trusted.
var errNoAuthority = errors.New("the hub has no certificate authority of its own: it was given a certificate with --cert; trust whoever issued that")

func findAuthority(data string) (*authority, error) {
	list, err := findEnv(data)
	get := lookup(list)
	if err != nil {
		if get = os.Getenv; data != "" || !errors.Is(err, errNoHub) || get(caVariable) == "" {
			return nil, err
		}
	}
	a := &authority{file: get(caVariable), bundle: get("TWINHUB_CA_BUNDLE")}
	if a.file == "" {
		return nil, errNoAuthority
	}
	text, err := os.ReadFile(a.file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", caVariable, err)
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, fmt.Errorf("%s: %s holds no certificate", caVariable, a.file)
	}
	if a.certificate, err = x509.ParseCertificate(block.Bytes); err != nil {
		return nil, fmt.Errorf("%s: %w", a.file, err)
	}
	a.pem = pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes})
	return a, nil
}

// advice is what to run for something to trust the hub.
type advice struct {
	For      string   `json:"for"`
	Commands []string `json:"commands"`
	Note     string   `json:"note,omitempty"`
}

// advice lists the commands for an operating system, or for all, and for the SDKs there.
func (a *authority) advice(system string, remove bool) []advice {
	var list []advice
	for _, s := range []string{osLinux, osMac, osWindows} {
		if s == system || system == "all" {
			list = append(list, a.systemAdvice(s, remove)...)
		}
	}
	shell := "bash"
	if system == osWindows {
		shell = "powershell"
	}
	return append(list, a.sdkAdvice(shell, remove)...)
}

// quoted is a path for a POSIX shell.
func quoted(path string) string { return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'" }

func (a *authority) systemAdvice(system string, remove bool) []advice {
	const debian, fedora = "/usr/local/share/ca-certificates/twinhub.crt", "/etc/pki/ca-trust/source/anchors/twinhub.pem"
	const keychain = "/Library/Keychains/System.keychain"
	fingerprint := fmt.Sprintf("%X", sha256.Sum256(a.certificate.Raw))
	switch {
	case system == osLinux && remove:
		return []advice{
			{For: "Debian, Ubuntu, Alpine", Commands: []string{"sudo rm -f " + debian, "sudo update-ca-certificates --fresh"}},
			{For: "Fedora, RHEL, SUSE", Commands: []string{"sudo rm -f " + fedora, "sudo update-ca-trust"}},
		}
	case system == osLinux:
		return []advice{
			{For: "Debian, Ubuntu, Alpine", Commands: []string{"sudo cp " + quoted(a.file) + " " + debian, "sudo update-ca-certificates"}},
			{For: "Fedora, RHEL, SUSE", Commands: []string{"sudo cp " + quoted(a.file) + " " + fedora, "sudo update-ca-trust"}},
		}
	case system == osMac && remove:
		return []advice{{For: "macOS", Commands: []string{"sudo security delete-certificate -Z " + fingerprint + " -t " + keychain}}}
	case system == osMac:
		return []advice{{For: "macOS", Commands: []string{"sudo security add-trusted-cert -d -r trustRoot -k " + keychain + " " + quoted(a.file)}}}
	case remove:
		return []advice{{For: "Windows", Commands: []string{fmt.Sprintf("certutil -user -delstore Root %x", a.certificate.SerialNumber)}}}
	}
	return []advice{{For: "Windows", Commands: []string{`certutil -user -addstore Root "` + a.file + `"`}, Note: "For this user alone; for services run it as administrator without -user."}}
}

func (a *authority) sdkAdvice(shell string, remove bool) []advice {
	setting := func(names ...string) []string {
		var lines []string
		for _, name := range names {
			value := a.bundle
			if name == "NODE_EXTRA_CA_CERTS" {
				value = a.file
			}
			if line := assignment(shell, variable{name, value}); !remove {
				lines = append(lines, line)
			} else if shell == "powershell" {
				lines = append(lines, "Remove-Item Env:"+name)
			} else {
				lines = append(lines, "unset "+name)
			}
		}
		return lines
	}
	python, store := "twinhub trust --python .venv", "keytool -importcert -noprompt -alias twinhub -file "+quoted(a.file)+" -keystore hub.p12 -storepass changeit"
	if remove {
		python, store = python+" --remove", "keytool -delete -alias twinhub -keystore hub.p12 -storepass changeit"
	}
	java := advice{For: "Java", Commands: []string{store}}
	c := advice{For: "C", Commands: []string{}, Note: "No setting: the program hands the text of " + a.file + " to the option OPTION_TRUSTED_CERT."}
	net := advice{For: ".NET", Commands: []string{}, Note: "It trusts what the operating system trusts: see above."}
	if !remove {
		java.Commands = append(java.Commands, "java -Djavax.net.ssl.trustStore=hub.p12 -Djavax.net.ssl.trustStorePassword=changeit ...")
		java.Note = "The SDK refuses a host name without a dot: use IOTHUB_CONNECTION_STRING_IP. A trust store replaces Java's own."
	}
	return []advice{
		{For: "Python: azure-iot-device, azure-iot-hub", Commands: setting("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")},
		{For: "Python: azure-eventhub", Commands: []string{python}, Note: "It trusts the file of the package certifi of its virtual environment and no other."},
		{For: "Node", Commands: setting("NODE_EXTRA_CA_CERTS")},
		{For: "Go", Commands: setting("SSL_CERT_FILE"), Note: "Not on macOS and Windows, where Go asks the operating system. Or put " + a.file + " into tls.Config.RootCAs."},
		java, net, c,
	}
}

func showAdvice(p *printer, list []advice) error {
	if p.json {
		return p.value(list)
	}
	for i, a := range list {
		if i > 0 {
			if err := p.printf("\n"); err != nil {
				return err
			}
		}
		if err := p.printf("%s\n", p.paint(bold, a.For)); err != nil {
			return err
		}
		for _, c := range a.Commands {
			if err := p.printf("  %s\n", c); err != nil {
				return err
			}
		}
		if a.Note != "" {
			if err := p.printf("  %s\n", p.paint(faint, "("+a.Note+")")); err != nil {
				return err
			}
		}
	}
	return nil
}
