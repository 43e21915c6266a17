package twin

import "testing"

func TestETag(t *testing.T) {
	for counter, want := range map[uint64]string{
		1: "AAAAAAAAAAE=", 2: "AAAAAAAAAAI=", 255: "AAAAAAAAAP8=", 256: "AAAAAAAAAQA=",
	} {
		if got := (&Document{Counter: counter}).ETag(); got != want {
			t.Errorf("etag of %d = %s, want %s", counter, got, want)
		}
	}
}

func TestMatches(t *testing.T) {
	const etag = "AAAAAAAAAAE="
	tests := []struct {
		name, header string
		want         bool
	}{
		{"absent", "", true},
		{"blank", "  ", true},
		{"bare", etag, true},
		{"quoted", `"` + etag + `"`, true},
		{"weak", `W/"` + etag + `"`, true},
		{"weak and bare", `W/` + etag, true},
		{"white space", ` "` + etag + `" `, true},
		{"wildcard", `*`, true},
		{"quoted wildcard", `"*"`, true},
		{"another", `"AAAAAAAAAAI="`, false},
		{"another bare", `AAAAAAAAAAI=`, false},
		{"quoted twice", `""` + etag + `""`, false},
		{"one quote", `"` + etag, false},
		{"quote alone", `"`, false},
		{"empty value", `""`, false},
		{"other case", `aaaaaaaaaae=`, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := Matches(tt.header, etag); got != tt.want {
				t.Errorf("Matches(%q) = %v, want %v", tt.header, got, tt.want)
			}
		})
	}
}
