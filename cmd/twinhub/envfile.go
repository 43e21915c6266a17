package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// connectionFile is what serve writes into the data folder.
const connectionFile = "connection.env"

// defaultData is the data folder that serve uses unless told otherwise.
const defaultData = "./twinhub-data"

// A variable is a name and a value of an environment.
type variable struct {
	Name, Value string
}

// readEnvFile reads lines NAME='value' in the shell's quoting, as serve writes them. Empty lines, comments, export and
// values without quotes are understood too.
func readEnvFile(path string) ([]variable, error) {
	text, err := os.ReadFile(path) // #nosec G703 -- the user names it
	if err != nil {
		return nil, err
	}
	var list []variable
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, value, ok := strings.Cut(strings.TrimPrefix(line, "export "), "=")
		if !ok {
			return nil, fmt.Errorf("%s line %d: want NAME='value'", path, number)
		}
		if strings.HasPrefix(value, "'") {
			inner, closed := strings.CutSuffix(value[1:], "'")
			if !closed {
				return nil, fmt.Errorf("%s line %d: the quote does not end", path, number)
			}
			value = strings.ReplaceAll(inner, `'\''`, "'")
		}
		list = append(list, variable{name, value})
	}
	return list, nil
}

// dataEnv reads connection.env of a data folder.
func dataEnv(folder string) ([]variable, error) {
	path := filepath.Join(folder, connectionFile)
	list, err := readEnvFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: there is no %s", errNoHub, path)
	}
	return list, err
}

// lookup returns a function like os.Getenv over a list.
func lookup(list []variable) func(string) string {
	return func(name string) string {
		for _, v := range list {
			if v.Name == name {
				return v.Value
			}
		}
		return ""
	}
}
