package registry

import (
	"bytes"
	"context"
	"errors"
	"testing"
)

func TestList(t *testing.T) {
	c := newCore(t)
	for _, id := range []string{"c", "a", "d", "b"} {
		c.put(t, &Spec{DeviceID: id, Status: p(map[bool]string{true: "disabled", false: "enabled"}[id == "c"])}, "")
	}
	for _, tt := range []struct {
		top  int
		want string
	}{{0, "abcd"}, {-1, "abcd"}, {1001, "abcd"}, {1, "a"}, {3, "abc"}, {4, "abcd"}, {1000, "abcd"}} {
		list, err := c.List(t.Context(), tt.top)
		var got bytes.Buffer
		for _, d := range list {
			got.WriteString(d.DeviceID)
		}
		if err != nil || got.String() != tt.want {
			t.Errorf("top %d: got %q, %v; want %q", tt.top, got.String(), err, tt.want)
		}
	}
	if got, err := c.Statistics(t.Context()); err != nil || got != (Statistics{Total: 4, Enabled: 3, Disabled: 1}) {
		t.Errorf("statistics: got %+v, %v", got, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Statistics(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("statistics after the end of ctx: got %v", err)
	}
	if _, err := c.Get(ctx, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("get after the end of ctx: got %v", err)
	}
}
