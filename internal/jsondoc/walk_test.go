package jsondoc

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestWalk(t *testing.T) {
	v := parse(t, `{"a":{"b":[1,{"c/d":null}]},"skip":{"x":1},"e":"f"}`)
	var got []string
	err := v.Walk(func(c *Cursor) error {
		got = append(got, fmt.Sprintf("%s key=%s index=%d in=%v depth=%d objects=%d arrays=%d", c.Pointer(), c.Key(), c.Index(), c.Parent(), c.Depth(), c.Around(KindObject), c.Around(KindArray)))
		if c.Key() == "skip" {
			return SkipChildren
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		" key= index=-1 in=null depth=0 objects=0 arrays=0",
		"/a key=a index=-1 in=object depth=1 objects=1 arrays=0",
		"/a/b key=b index=-1 in=object depth=2 objects=2 arrays=0",
		"/a/b/0 key= index=0 in=array depth=3 objects=2 arrays=1",
		"/a/b/1 key= index=1 in=array depth=3 objects=2 arrays=1",
		"/a/b/1/c~1d key=c/d index=-1 in=object depth=4 objects=3 arrays=1",
		"/skip key=skip index=-1 in=object depth=1 objects=1 arrays=0",
		"/e key=e index=-1 in=object depth=1 objects=1 arrays=0",
	}
	if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w {
		t.Errorf("got\n%s\nwant\n%s", g, w)
	}

	stop := errors.New("stop")
	visited := 0
	err = v.Walk(func(c *Cursor) error {
		visited++
		if n, ok := c.Value().AsInt64(); ok && n == 1 {
			return stop
		}
		return nil
	})
	if !errors.Is(err, stop) || visited != 4 {
		t.Errorf("got %v after %d visits, want stop after 4", err, visited)
	}
}

func TestDepth(t *testing.T) {
	tests := []struct {
		text string
		want int
	}{
		{`null`, 0}, {`"x"`, 0}, {`1`, 0}, {`{}`, 1}, {`[]`, 1}, {`{"a":1}`, 1}, {`{"a":{}}`, 2}, {`[[],[[{}]]]`, 4}, {`{"a":{"b":{"c":1}},"d":2}`, 3},
	}
	for _, tt := range tests {
		if got := parse(t, tt.text).Depth(); got != tt.want {
			t.Errorf("Depth of %s: got %d, want %d", tt.text, got, tt.want)
		}
	}
}

func TestSize(t *testing.T) {
	rule := SizeRule{Bool: 4, Number: 8}
	skipping := rule
	skipping.Skip = func(depth int, key string) bool { return depth == 0 && strings.HasPrefix(key, "$") }
	tests := []struct {
		name, text string
		rule       SizeRule
		want       int
	}{
		{"string", `"abc"`, rule, 3},
		{"UTF-8", `"é漢😀"`, rule, 2 + 3 + 4},
		{"control characters", `"a\u0000\u001f\u007f\u0085\n"`, rule, 1},
		{"number", `123456789`, rule, 8},
		{"boolean", `[true,false]`, rule, 8},
		{"null", `null`, rule, 0},
		{"null counted", `[null,null]`, SizeRule{Null: 3}, 6},
		{"keys count, nesting does not", `{"ab":{"c":{"d":[[1]]}}}`, rule, 4 + 8},
		{"zero rule counts texts", `{"ab":1,"c":"de"}`, SizeRule{}, 5},
		{"skipped at the top only", `{"$version":5,"$metadata":{"a":1},"a":{"$x":true}}`, skipping, 1 + 2 + 4},
		{"empty", `{}`, rule, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := parse(t, tt.text).Size(tt.rule); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}
