package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
)

// columns are the figures of the table, those that some measurement has.
var columns = []struct{ key, title string }{
	{"cpuMicros", "CPU µs"}, {"perSecond", "per second"}, {"p50ms", "p50 ms"}, {"p99ms", "p99 ms"}, {"lateP99ms", "generator late, p99 ms"},
	{"clientCPUMicros", "client CPU µs"}, {"kibPerDevice", "KiB per device"}, {"millisToReady", "ms to ready"}, {"rssMiB", "RSS MiB"},
}

// table turns lines of a name, a tab and a result, as bench.sh writes them, into a table in Markdown: the median of
// each figure over the lines of the same name, and the lowest and highest where there are several.
func table(_ context.Context, _ options) (result, error) {
	return nil, writeTable(os.Stdout, os.Stdin)
}

func writeTable(w io.Writer, r io.Reader) error {
	var names []string
	runs := map[string][]map[string]float64{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		name, text, _ := strings.Cut(lines.Text(), "\t")
		var figures map[string]float64
		if err := json.Unmarshal([]byte(text), &figures); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if runs[name] == nil {
			names = append(names, name)
		}
		runs[name] = append(runs[name], figures)
	}
	if err := lines.Err(); err != nil {
		return err
	}
	b := []byte("| measurement |")
	for _, c := range columns {
		b = append(b, " "+c.title+" |"...)
	}
	b = append(b, "\n|"+strings.Repeat(" --- |", len(columns)+1)+"\n"...)
	for _, name := range names {
		b = append(b, "| "+name+" |"...)
		for _, c := range columns {
			b = append(b, " "+spread(runs[name], c.key)+" |"...)
		}
		b = append(b, '\n')
	}
	_, err := w.Write(b)
	return err
}

// spread writes the median of a figure and, in brackets, its lowest and highest value.
func spread(runs []map[string]float64, key string) string {
	var values []float64
	for _, r := range runs {
		if v, ok := r[key]; ok {
			values = append(values, v)
		}
	}
	if len(values) == 0 {
		return ""
	}
	slices.SortFunc(values, cmp.Compare)
	median := short(values[len(values)/2])
	if len(values) == 1 {
		return median
	}
	return fmt.Sprintf("%s (%s to %s)", median, short(values[0]), short(values[len(values)-1]))
}

// short writes three significant digits of a figure below a thousand, and whole hundreds of others.
func short(v float64) string {
	if v >= 1000 {
		return strconv.FormatFloat(v/1000, 'f', 1, 64) + " k"
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}
