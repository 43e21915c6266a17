package main

import (
	"strings"
	"testing"
)

func TestTable(t *testing.T) {
	in := "a\t{\"cpuMicros\":3,\"perSecond\":52345.6}\nb\t{\"millisToReady\":65}\na\t{\"cpuMicros\":1.234,\"perSecond\":999}\na\t{\"cpuMicros\":2,\"perSecond\":100}\n"
	var out strings.Builder
	if err := writeTable(&out, strings.NewReader(in)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"| a | 2 (1.23 to 3) | 999 (100 to 52.3 k) |", "| b | ", " 65 |"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if err := writeTable(&out, strings.NewReader("a\tnothing\n")); err == nil {
		t.Error("a line that is no JSON: no error")
	}
}
