package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/spf13/cobra"
)

func envCommand() *cobra.Command {
	var data string
	cmd := &cobra.Command{
		Use:   "env",
		Short: "Print what a shell needs to reach the hub",
		Long: `Print the hub's connection.env as commands of a shell: connection strings, the certificate authority, and the
variables with which Python, Node and programs that use OpenSSL's defaults find it. Run the output:

  bash, zsh    eval "$(twinhub env)"
  fish         twinhub env --shell fish | source
  PowerShell   twinhub env --shell powershell | Out-String | Invoke-Expression`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().StringVar(&data, "data", "", "data `folder` of the hub (default "+defaultData+", else TWINHUB_DATA)")
	shell := addChoice(cmd, "shell", "", defaultShell(runtime.GOOS, os.Getenv("SHELL")), "`shell` that will read it", "bash", "fish", "powershell")
	out := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		list, err := clientEnv(data)
		if err != nil {
			return err
		}
		p := newPrinter(cmd, out)
		if p.json {
			object := map[string]string{}
			for _, v := range list {
				object[v.Name] = v.Value
			}
			return p.value(object)
		}
		for _, v := range list {
			if err := p.printf("%s\n", assignment(shell.value, v)); err != nil {
				return err
			}
		}
		return nil
	}
	return cmd
}

// defaultShell guesses the user's shell.
func defaultShell(system, shell string) string {
	switch {
	case filepath.Base(shell) == "fish":
		return "fish"
	case system == "windows" && shell == "":
		return "powershell"
	}
	return "bash"
}

// clientEnv returns connection.env of a folder, and what makes clients trust the hub.
func clientEnv(data string) ([]variable, error) {
	list, err := findEnv(data)
	if err != nil {
		return nil, err
	}
	get := lookup(list)
	for _, v := range []struct{ name, from string }{
		{"SSL_CERT_FILE", "TWINHUB_CA_BUNDLE"}, {"REQUESTS_CA_BUNDLE", "TWINHUB_CA_BUNDLE"}, {"NODE_EXTRA_CA_CERTS", caVariable},
	} {
		if path := get(v.from); path != "" {
			list = append(list, variable{v.name, path})
		}
	}
	return list, nil
}

// findEnv reads connection.env of the folder that was named, else of the default one, else of the one in the environment.
func findEnv(data string) ([]variable, error) {
	if data != "" {
		return dataEnv(data)
	}
	list, err := dataEnv(defaultData)
	if folder := os.Getenv("TWINHUB_DATA"); errors.Is(err, errNoHub) && folder != "" {
		return dataEnv(folder)
	}
	return list, err
}

var powershellQuotes = strings.NewReplacer("'", "''", "\u2018", "\u2018\u2018", "\u2019", "\u2019\u2019", "\u201a", "\u201a\u201a", "\u201b", "\u201b\u201b")

// assignment sets a variable in a shell, for its child processes too.
func assignment(shell string, v variable) string {
	switch shell {
	case "fish": // inside single quotes only \ and ' are special
		return fmt.Sprintf("set -gx %s '%s'", v.Name, strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(v.Value))
	case "powershell": // inside single quotes only the quote itself is special, in each of the forms taken for one
		return fmt.Sprintf("$env:%s = '%s'", v.Name, powershellQuotes.Replace(v.Value))
	}
	return fmt.Sprintf("export %s='%s'", v.Name, strings.ReplaceAll(v.Value, "'", `'\''`))
}
