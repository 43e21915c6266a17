package httpfront

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/go-json-experiment/json"
)

// ids returns the device ids of a page.
func ids(t *testing.T, body string) []string {
	t.Helper()
	var rows []struct {
		DeviceID string `json:"deviceId"`
	}
	if err := json.Unmarshal([]byte(body), &rows); err != nil {
		t.Fatalf("page %s: %v", body, err)
	}
	var list []string
	for _, row := range rows {
		list = append(list, row.DeviceID)
	}
	return list
}

// pages follows a query to its end, as Node and C# do: until there is no continuation header.
func (h *testHub) pages(t *testing.T, query string, size int, between func()) [][]string {
	t.Helper()
	var all [][]string
	headers := []string{fmt.Sprintf("x-ms-max-item-count: %d", size)}
	for {
		a := h.send(t, http.MethodPost, "/devices/query"+version, query, headers...)
		if a.status != http.StatusOK || a.header.Get("x-ms-item-type") != "Twin" {
			t.Fatalf("got %d, item type %q: %s", a.status, a.header.Get("x-ms-item-type"), a.body)
		}
		all = append(all, ids(t, a.body))
		next := a.header.Values("x-ms-continuation")
		if len(next) == 0 {
			return all
		}
		if next[0] == "" {
			t.Fatal("the continuation header is empty, not absent")
		}
		headers = append(headers[:1], "x-ms-continuation: "+next[0])
		if between != nil {
			between()
		}
	}
}

func TestPaging(t *testing.T) {
	h := newHub(t)
	var want []string
	for n := range 25 {
		id := fmt.Sprintf("d%02d", n)
		h.create(t, id)
		want = append(want, id)
	}
	const all = `{"query":"SELECT * FROM devices"}`
	for _, size := range []int{1, 4, 5, 24, 25, 26, 100} {
		pages := h.pages(t, all, size, nil)
		if got := slices.Concat(pages...); !slices.Equal(got, want) {
			t.Errorf("size %d: got %q, want %q", size, got, want)
		}
		if wantPages := (25 + size - 1) / size; len(pages) != wantPages {
			t.Errorf("size %d: got %d pages, want %d", size, len(pages), wantPages)
		}
	}
	if a := h.send(t, http.MethodPost, "/devices/query"+version, all); len(ids(t, a.body)) != 25 {
		t.Errorf("without a size: got %d rows, want 25", len(ids(t, a.body)))
	}
}

func TestQueryWithoutDevices(t *testing.T) {
	h := newHub(t)
	a := h.send(t, http.MethodPost, "/devices/query"+version, `{"query":"select * from devices"}`)
	if a.status != http.StatusOK || a.body != "[]" || a.header.Values("x-ms-continuation") != nil {
		t.Errorf("got %d %s with continuation %q, want an empty array and none", a.status, a.body, a.header.Values("x-ms-continuation"))
	}
}

// TestPagingWhileDevicesComeAndGo lets writers create and delete devices between the ones that stay.
func TestPagingWhileDevicesComeAndGo(t *testing.T) {
	h := newHub(t)
	var stay []string
	for n := range 40 {
		id := fmt.Sprintf("d%03d-stays", n)
		h.create(t, id)
		stay = append(stay, id)
	}
	stop := make(chan struct{})
	var writers sync.WaitGroup
	for w := range 3 {
		writers.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				id := fmt.Sprintf("d%03d-w%d", (n*7)%40, w)
				if a := h.send(t, http.MethodPut, "/devices/"+id+version, `{"deviceId":"`+id+`"}`); a.status != http.StatusOK {
					t.Errorf("create %s: got %d %s", id, a.status, a.body)
				}
				if a := h.send(t, http.MethodDelete, "/devices/"+id+version, "", "If-Match: *"); a.status != http.StatusNoContent {
					t.Errorf("delete %s: got %d %s", id, a.status, a.body)
				}
			}
		})
	}
	for round := range 10 {
		got := slices.Concat(h.pages(t, `{"query":"SELECT * FROM devices"}`, 3+round, nil)...)
		if !slices.IsSorted(got) {
			t.Errorf("round %d: rows are not in order: %q", round, got)
		}
		got = slices.DeleteFunc(got, func(id string) bool { return !strings.HasSuffix(id, "-stays") })
		if !slices.Equal(got, stay) {
			t.Errorf("round %d: got %q, want each of the devices that stay once", round, got)
		}
	}
	close(stop)
	writers.Wait()
}

// TestQuerySeesAcknowledgedWrites asks right after each write.
func TestQuerySeesAcknowledgedWrites(t *testing.T) {
	h := newHub(t)
	for n := range 10 {
		id := fmt.Sprintf("d%d", n)
		h.create(t, id)
		h.send(t, http.MethodPatch, "/twins/"+id+version, fmt.Sprintf(`{"tags":{"n":%d}}`, n))
		a := h.send(t, http.MethodPost, "/devices/query"+version, `{"query":"SELECT * FROM devices WHERE deviceId = '`+id+`'"}`)
		if !strings.Contains(a.body, fmt.Sprintf(`"tags":{"n":%d}`, n)) {
			t.Errorf("got %s, want the tag just written", a.body)
		}
	}
}
