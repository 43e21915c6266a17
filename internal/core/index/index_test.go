package index

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/core/identity"
	"github.com/twinhub/twinhub/internal/engine"
	"github.com/twinhub/twinhub/internal/engine/local"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, partitions int) *local.Engine {
	t.Helper()
	e, err := local.Open(local.Options{Dir: "data", FS: vfs.NewMem(), Partitions: partitions})
	if err != nil {
		t.Fatalf("open engine: %v", err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Errorf("close engine: %v", err)
		}
	})
	return e
}

func write(t *testing.T, e engine.Engine, w engine.Write, device string) {
	t.Helper()
	if _, err := engine.Do(t.Context(), e, engine.Commit{Partition: engine.PartitionOf(e, device), Writes: []engine.Write{w}}); err != nil {
		t.Fatalf("write %s: %v", device, err)
	}
}

func create(t *testing.T, e engine.Engine, id string) {
	t.Helper()
	w, err := (&identity.Identity{DeviceID: id, Status: identity.Enabled}).Write(engine.Absent)
	if err != nil {
		t.Fatal(err)
	}
	write(t, e, w, id)
}

func remove(t *testing.T, e engine.Engine, id string) {
	t.Helper()
	write(t, e, engine.Write{Key: identity.Key(twinhub.ID{Device: id}), Expect: engine.Any}, id)
}

func TestDevices(t *testing.T) {
	for _, partitions := range []int{1, 3, 4, 64} {
		t.Run(fmt.Sprint(partitions), func(t *testing.T) {
			e := open(t, partitions)
			if list, more, err := Devices(e, "", 10); len(list) != 0 || more || err != nil {
				t.Errorf("empty: got %d, %v, %v", len(list), more, err)
			}
			var all []string
			for n := range 120 {
				all = append(all, fmt.Sprintf("d%d", n))
			}
			for _, n := range rand.Perm(len(all)) {
				create(t, e, all[n])
			}
			slices.Sort(all)
			for _, after := range []string{"", "d0", "d1", "d115x", "d5", "d99", "e", "\xff"} {
				for _, limit := range []int{1, 7, 119, 120, 121, 1000} {
					rest := all[len(all)-len(slices.DeleteFunc(slices.Clone(all), func(id string) bool { return id <= after })):]
					want := rest[:min(limit, len(rest))]
					list, more, err := Devices(e, after, limit)
					if err != nil {
						t.Fatalf("after %q, limit %d: %v", after, limit, err)
					}
					var got []string
					for _, i := range list {
						got = append(got, i.DeviceID)
					}
					if !slices.Equal(got, want) || more != (len(rest) > limit) {
						t.Errorf("after %q, limit %d: got %q, %v; want %q, %v", after, limit, got, more, want, len(rest) > limit)
					}
				}
			}
		})
	}
}

// names is a TwinReader whose twins are the ids, for the devices of an engine.
type names struct {
	engine engine.Engine
	// before, if set, is called before each read.
	before func(id string)
	err    error
}

func (n *names) Get(_ context.Context, id twinhub.ID) ([]byte, string, error) {
	if n.before != nil {
		n.before(id.Device)
	}
	if n.err != nil {
		return nil, "", n.err
	}
	if _, _, err := identity.Get(n.engine, id); err != nil {
		return nil, "", err
	}
	return []byte(id.Device), "", nil
}

func newService(t *testing.T, twins TwinReader, e engine.Engine, key byte) *Service {
	t.Helper()
	s, err := New(Options{Engine: e, Twins: twins, Key: bytes.Repeat([]byte{key}, 32)})
	if err != nil {
		t.Fatalf("make service: %v", err)
	}
	return s
}

const all = "SELECT * FROM devices"

func TestTokensOutliveTheService(t *testing.T) {
	e := open(t, 4)
	for n := range 5 {
		create(t, e, fmt.Sprintf("d%d", n))
	}
	page, err := newService(t, &names{engine: e}, e, 'k').Query(t.Context(), Request{Query: all, MaxItems: 3})
	if err != nil || page.Continuation == "" {
		t.Fatalf("first page: %+v, %v", page, err)
	}
	page, err = newService(t, &names{engine: e}, e, 'k').Query(t.Context(), Request{Query: all, MaxItems: 3, Continuation: page.Continuation})
	if err != nil {
		t.Fatalf("second page: %v", err)
	}
	if got := string(bytes.Join(page.Rows, []byte(" "))); got != "d3 d4" || page.Continuation != "" || page.Kind != Twins {
		t.Errorf("second page: got %q, continuation %q, kind %q", got, page.Continuation, page.Kind)
	}
}

func TestForeignTokens(t *testing.T) {
	e := open(t, 4)
	create(t, e, "d1")
	s := newService(t, &names{engine: e}, e, 'k')
	good := s.seal(token{query: hash(all), last: "d0"})
	raw, err := base64.RawURLEncoding.DecodeString(good)
	if err != nil {
		t.Fatal(err)
	}
	sealed := func(content []byte) string { return base64.RawURLEncoding.EncodeToString(s.sign(content)) }
	body := func() []byte { return bytes.Clone(raw[:len(raw)-32]) }
	other, left := body(), body()
	other[0] = 2
	left[33] = 7
	tests := []struct{ name, token string }{
		{"another hub's", newService(t, &names{engine: e}, e, 'x').seal(token{query: hash(all), last: "d0"})},
		{"another query's", s.seal(token{query: hash(all + " "), last: "d0"})},
		{"cut", good[:len(good)-4]},
		{"longer", good + "AAAA"},
		{"padded", good + "="},
		{"not base64", "***"},
		{"nothing in it", sealed(nil)},
		{"no position", sealed(body()[:33])},
		{"of another version", sealed(other)},
		{"of a query with TOP", sealed(left)},
		{"enormous", strings.Repeat("A", 1<<20)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if page, err := s.Query(t.Context(), Request{Query: all, MaxItems: 1, Continuation: tt.token}); !twinhub.HasCode(err, twinhub.CodeArgumentInvalid) {
				t.Errorf("got %+v, %v; want CodeArgumentInvalid", page, err)
			}
		})
	}
	for bit := range len(raw) * 8 {
		forged := bytes.Clone(raw)
		forged[bit/8] ^= 1 << (bit % 8)
		if _, err := s.open(base64.RawURLEncoding.EncodeToString(forged)); !errors.Is(err, errToken) {
			t.Errorf("bit %d changed: got error %v", bit, err)
		}
	}
	if page, err := s.Query(t.Context(), Request{Query: all, MaxItems: 1, Continuation: good}); err != nil || len(page.Rows) != 1 {
		t.Errorf("good token: got %+v, %v", page, err)
	}
}

func TestQueryErrors(t *testing.T) {
	e := open(t, 4)
	create(t, e, "d1")
	s := newService(t, &names{engine: e}, e, 'k')
	for _, r := range []Request{{Query: all, MaxItems: 0}, {Query: all, MaxItems: -1}, {Query: all, MaxItems: 101}, {Query: "SELECT", MaxItems: 1}} {
		if page, err := s.Query(t.Context(), r); !twinhub.HasCode(err, twinhub.CodeArgumentInvalid) {
			t.Errorf("%+v: got %+v, %v; want CodeArgumentInvalid", r, page, err)
		}
	}
	broken := errors.New("broken")
	s = newService(t, &names{engine: e, err: broken}, e, 'k')
	for _, q := range []string{all, all + " WHERE deviceId = 'd1'"} {
		if page, err := s.Query(t.Context(), Request{Query: q, MaxItems: 1}); !errors.Is(err, broken) {
			t.Errorf("%s: got %+v, %v; want the reader's error", q, page, err)
		}
	}
	if _, err := New(Options{Engine: e, Twins: &names{engine: e}, Key: make([]byte, 31)}); err == nil {
		t.Error("a short key was taken")
	}
}

func TestOneDevice(t *testing.T) {
	e := open(t, 4)
	create(t, e, "d1")
	s := newService(t, &names{engine: e}, e, 'k')
	tests := []struct{ id, want string }{{"d1", "d1"}, {"D1", ""}, {"d", ""}, {"no such id/", ""}, {"", ""}}
	for _, tt := range tests {
		page, err := s.Query(t.Context(), Request{Query: "select * from devices where deviceId = '" + tt.id + "'", MaxItems: 1})
		if got := string(bytes.Join(page.Rows, []byte(" "))); err != nil || got != tt.want || page.Continuation != "" {
			t.Errorf("%q: got %q, continuation %q, %v; want %q", tt.id, got, page.Continuation, err, tt.want)
		}
	}
}

// TestDeletedBetween deletes devices after they were listed and before they were read.
func TestDeletedBetween(t *testing.T) {
	e := open(t, 4)
	for n := range 4 {
		create(t, e, fmt.Sprintf("d%d", n))
	}
	reader := &names{engine: e}
	reader.before = func(id string) {
		if id == "d1" {
			remove(t, e, id)
		}
	}
	s := newService(t, reader, e, 'k')
	page, err := s.Query(t.Context(), Request{Query: all, MaxItems: 2})
	if got := string(bytes.Join(page.Rows, []byte(" "))); err != nil || got != "d0" || page.Continuation == "" {
		t.Fatalf("first page: got %q, continuation %q, %v; want d0 and a continuation", got, page.Continuation, err)
	}
	page, err = s.Query(t.Context(), Request{Query: all, MaxItems: 2, Continuation: page.Continuation})
	if got := string(bytes.Join(page.Rows, []byte(" "))); err != nil || got != "d2 d3" || page.Continuation != "" {
		t.Errorf("second page: got %q, continuation %q, %v; want d2 d3 and none", got, page.Continuation, err)
	}
}
