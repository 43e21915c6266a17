package jsondoc

import (
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestParsePointer(t *testing.T) {
	tests := []struct {
		pointer string
		want    []string
		ok      bool
	}{
		{"", nil, true},
		{"/", []string{""}, true},
		{"/a/b", []string{"a", "b"}, true},
		{"/a/", []string{"a", ""}, true},
		{"/a~1b/m~0n", []string{"a/b", "m~n"}, true},
		{"/~01", []string{"~1"}, true},
		{"a", nil, false},
		{"a/b", nil, false},
		{"/a~", nil, false},
		{"/a~2", nil, false},
		{"/~/0", nil, false},
	}
	for _, tt := range tests {
		t.Run(tt.pointer, func(t *testing.T) {
			got, err := ParsePointer(tt.pointer)
			if (err == nil) != tt.ok || !slices.Equal(got, tt.want) {
				t.Errorf("got %q, %v; want %q, ok %v", got, err, tt.want, tt.ok)
			}
			if err != nil && !errors.Is(err, ErrPointer) {
				t.Errorf("got %v, want ErrPointer", err)
			}
		})
	}
}

func TestPointerRoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		keys := rapid.SliceOfN(rapid.StringMatching(`[a~/01é]{0,6}`), 0, 5).Draw(rt, "keys")
		var pointer []byte
		for _, key := range keys {
			pointer = AppendPointer(pointer, key)
		}
		got, err := ParsePointer(string(pointer))
		if err != nil || !slices.Equal(got, keys) {
			rt.Fatalf("%q: got %q, %v; want %q", pointer, got, err, keys)
		}
	})
}
