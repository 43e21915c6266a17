package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// The lines around what trust --python adds to a file.
const (
	markBegin = "# >>> twinhub: certificate authority of a local hub; taken out by 'twinhub trust --python VENV --remove'"
	markEnd   = "# <<< twinhub"
)

// trustPython adds the authority to certifi of a virtual environment.
func trustPython(ctx context.Context, p *printer, python string, a *authority) error {
	block := markBegin + "\n" + strings.TrimSpace(string(a.pem)) + "\n" + markEnd + "\n"
	return editCertifi(ctx, p, python, block, "trusts the hub")
}

// untrustPython takes out whatever trustPython added.
func untrustPython(ctx context.Context, p *printer, python string) error {
	return editCertifi(ctx, p, python, "", "does not trust the hub")
}

func editCertifi(ctx context.Context, p *printer, python, block, state string) error {
	file, err := findCertifi(ctx, python)
	if err != nil {
		return err
	}
	before, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	after, err := withBlock(before, block)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	different := !bytes.Equal(before, after)
	if different {
		if err := replaceFile(file, after); err != nil {
			return err
		}
	}
	if p.json {
		return p.value(map[string]any{"file": file, "changed": different})
	}
	how := "already"
	if different {
		how = "now"
	}
	return p.printf("%s %s %s.\n", file, how, state)
}

// withBlock takes earlier blocks out of a text and puts the new one at its end; "" puts none.
func withBlock(text []byte, block string) ([]byte, error) {
	rest := string(text)
	for {
		begin := strings.Index(rest, markBegin)
		if begin < 0 {
			break
		}
		length := strings.Index(rest[begin:], markEnd)
		if length < 0 {
			return nil, errors.New("the line that ends the hub's block is missing: install certifi again")
		}
		after := strings.TrimPrefix(strings.TrimPrefix(rest[begin+length+len(markEnd):], "\r"), "\n")
		rest = rest[:begin] + after
	}
	if block != "" && rest != "" && !strings.HasSuffix(rest, "\n") {
		rest += "\n"
	}
	return []byte(rest + block), nil
}

// findCertifi returns the file of certifi in a virtual environment, or of a Python interpreter.
func findCertifi(ctx context.Context, python string) (string, error) {
	info, err := os.Stat(python)
	if err != nil {
		return "", fmt.Errorf("--python: %w", err)
	}
	if !info.IsDir() {
		out, err := exec.CommandContext(ctx, python, "-c", "import certifi; print(certifi.where())").Output() // #nosec G204 -- the user names it
		if err != nil {
			return "", fmt.Errorf("%s has no certifi: install azure-eventhub or certifi there first (%w)", python, err)
		}
		return ownCertifi(strings.TrimSpace(string(out)))
	}
	var found []string
	for _, pattern := range []string{"lib/python*/site-packages", "Lib/site-packages", "lib64/python*/site-packages"} {
		matches, err := filepath.Glob(filepath.Join(escapeGlob(python), pattern, "certifi", "cacert.pem"))
		if err != nil {
			return "", fmt.Errorf("--python %s: %w", python, err)
		}
		found = append(found, matches...)
	}
	if len(found) == 0 {
		return "", fmt.Errorf("%s has no certifi: name a virtual environment in which azure-eventhub or certifi is installed, or its Python interpreter", python)
	}
	return ownCertifi(found[0])
}

// ownCertifi refuses a file of the operating system, which some distributions put in place of certifi's own.
func ownCertifi(file string) (string, error) {
	if filepath.Base(filepath.Dir(file)) != "certifi" {
		return "", fmt.Errorf("this Python uses the operating system's %s: let the system trust the hub ('twinhub trust'), or use a virtual environment", file)
	}
	return filepath.Abs(file)
}

// escapeGlob keeps the letters of a path from meaning anything to Glob.
func escapeGlob(path string) string {
	if os.PathSeparator == '\\' {
		return path // Glob has no escape there
	}
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// replaceFile puts a new file in the place of an old one, whose content other names may share: installers link certifi
// into many environments.
func replaceFile(path string, text []byte) (err error) {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".twinhub-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(text)
	if err = errors.Join(err, f.Chmod(info.Mode().Perm()), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
