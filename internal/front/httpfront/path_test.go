package httpfront

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/twinhub/twinhub"
)

func TestSplitPath(t *testing.T) {
	tests := []struct {
		name, target string
		want         []string
	}{
		{"plain", "/devices/d1?api-version=x", []string{"devices", "d1"}},
		{"slash at the end", "/devices/?top=1", []string{"devices"}},
		{"encoded slash at the end", "/devices%2F?top=1", []string{"devices"}},
		{"whole path encoded", "/twins%2Fd1%2fmethods", []string{"twins", "d1", "methods"}},
		{"plus is itself", "/devices/a+b", []string{"devices", "a+b"}},
		{"encoded plus", "/devices/a%2Bb", []string{"devices", "a+b"}},
		{"encoded percent", "/devices/a%25b", []string{"devices", "a%b"}},
		{"twice encoded slash is text", "/devices/a%252Fb", []string{"devices", "a%2Fb"}},
		{"question mark and hash", "/devices/a%3Fb%23c?x", []string{"devices", "a?b#c"}},
		{"semicolon and equals", "/devices/a;b=c", []string{"devices", "a;b=c"}},
		{"dots are not directories", "/devices/../d1/.", []string{"devices", "..", "d1", "."}},
		{"two slashes", "/devices//d1", []string{"devices", "", "d1"}},
		{"root", "/", []string{""}},
		{"absolute form", "https://hub.example.net/devices/a%25b?x", []string{"devices", "a%b"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := splitPath(httptest.NewRequest(http.MethodGet, tt.target, nil))
			if err != nil || !slices.Equal(got, tt.want) {
				t.Errorf("got %q (%v), want %q", got, err, tt.want)
			}
		})
	}
	broken := httptest.NewRequest(http.MethodGet, "/devices/d1", nil)
	broken.RequestURI = "/devices/%zz"
	if got, err := splitPath(broken); err == nil {
		t.Errorf("broken encoding: got %q, want an error", got)
	}
}

// TestEveryIDTravels encodes ids as clients do and finds them again in paths of every form.
func TestEveryIDTravels(t *testing.T) {
	table := routes()
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.StringMatching(`[A-Za-z0-9\-:.+%_#*?!(),=@;$']{1,128}`).Draw(t, "id")
		if !twinhub.ValidID(id) {
			t.Fatalf("%q is not valid", id)
		}
		for _, target := range []string{
			"/twins/" + url.PathEscape(id) + "/methods",
			"/twins/" + url.QueryEscape(id) + "/methods/",
			"/" + url.PathEscape("twins/"+id+"/methods"),
		} {
			r := httptest.NewRequest(http.MethodPost, target+version, nil)
			segments, err := splitPath(r)
			if err != nil {
				t.Fatalf("%s: %v", target, err)
			}
			m, ok := find(table, http.MethodPost, segments)
			if !ok || m.ids["device"] != id || m.path != "/twins/"+id+"/methods" {
				t.Errorf("%s: got %q and path %q (%v), want %q", target, m.ids["device"], m.path, ok, id)
			}
		}
	})
}
