package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// choice is a flag that takes one of a few words.
type choice struct {
	value   string
	allowed []string
}

// String, Set and Type make it a pflag.Value.
func (c *choice) String() string { return c.value }

// Set refuses other words.
func (c *choice) Set(text string) error {
	if !slices.Contains(c.allowed, text) {
		return fmt.Errorf("use %s", strings.Join(c.allowed, ", "))
	}
	c.value = text
	return nil
}

// Type is what help shows when the usage names no placeholder.
func (c *choice) Type() string { return "word" }

// addChoice defines such a flag, which a shell can complete.
func addChoice(cmd *cobra.Command, name, short, value, usage string, allowed ...string) *choice {
	c := &choice{value: value, allowed: allowed}
	cmd.Flags().VarP(c, name, short, usage+": "+strings.Join(allowed, ", "))
	complete(cmd, name, cobra.FixedCompletions(allowed, cobra.ShellCompDirectiveNoFileComp))
	return c
}

// complete sets what a shell offers for a flag.
func complete(cmd *cobra.Command, flag string, fn cobra.CompletionFunc) {
	if err := cmd.RegisterFlagCompletionFunc(flag, fn); err != nil {
		panic(err) // no such flag, or twice: an error of this program
	}
}

func addOutput(cmd *cobra.Command) *choice {
	return addChoice(cmd, "output", "o", "table", "`format`", "table", "json")
}

// printer writes what a command found: for people, or for programs.
type printer struct {
	w     io.Writer
	json  bool
	color bool
}

func newPrinter(cmd *cobra.Command, format *choice) *printer {
	w := cmd.OutOrStdout()
	return &printer{w: w, json: format.value == "json", color: format.value != "json" && isTerminal(w)}
}

// isTerminal reports whether w is a terminal whose user has nothing against colours. Reference: no-color.org.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// The colours, as parameters of the terminal's SGR sequence.
const (
	bold   = "1"
	faint  = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
	cyan   = "36"
)

func (p *printer) paint(color, text string) string {
	if !p.color || color == "" || text == "" {
		return text
	}
	return "\x1b[" + color + "m" + text + "\x1b[0m"
}

func (p *printer) printf(format string, args ...any) error {
	_, err := fmt.Fprintf(p.w, format, args...)
	return err
}

// value writes v as indented JSON. A json.RawMessage keeps its order and the text of its numbers.
func (p *printer) value(v any) error {
	text, err := encodeJSON(v)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := json.Indent(&b, text, "", "  "); err != nil {
		return fmt.Errorf("print JSON: %w", err)
	}
	b.WriteByte('\n')
	_, err = b.WriteTo(p.w)
	return err
}

// line writes v as JSON in one line, for streams.
func (p *printer) line(v any) error {
	text, err := encodeJSON(v)
	if err != nil {
		return err
	}
	_, err = p.w.Write(append(text, '\n'))
	return err
}

// encodeJSON is encoding/json without its escaping for HTML.
func encodeJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("print JSON: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// table writes rows below a header, in columns two spaces apart.
func (p *printer) table(header []string, rows [][]string) error {
	widths := make([]int, len(header))
	for _, row := range append([][]string{header}, rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(printable(cell)))
		}
	}
	var b strings.Builder
	write := func(row []string, color string) {
		var line strings.Builder
		for i, cell := range row {
			cell = printable(cell)
			line.WriteString(cell)
			if i < len(row)-1 {
				line.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
			}
		}
		b.WriteString(p.paint(color, strings.TrimRight(line.String(), " ")) + "\n")
	}
	write(header, bold)
	for _, row := range rows {
		write(row, "")
	}
	_, err := io.WriteString(p.w, b.String())
	return err
}

// field is one line of fields.
type field struct{ name, value string }

// fields writes names and values, leaving out what is empty.
func (p *printer) fields(list ...field) error {
	width := 0
	for _, f := range list {
		if f.value != "" {
			width = max(width, utf8.RuneCountInString(f.name))
		}
	}
	var b strings.Builder
	for _, f := range list {
		if f.value != "" {
			b.WriteString(p.paint(bold, f.name) + strings.Repeat(" ", width-utf8.RuneCountInString(f.name)+2) + printable(f.value) + "\n")
		}
	}
	_, err := io.WriteString(p.w, b.String())
	return err
}

// printable makes what came from a device or a hub fit for a terminal: control characters could steer it.
func printable(s string) string {
	if utf8.ValidString(s) && strings.IndexFunc(s, unprintable) < 0 {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		_, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case unprintable(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

func unprintable(r rune) bool { return r != ' ' && !unicode.IsPrint(r) }
