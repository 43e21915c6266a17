package identity

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/engine"
	"github.com/twinhub/twinhub/internal/engine/local"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newEngine(t *testing.T) *local.Engine {
	t.Helper()
	e, err := local.Open(local.Options{Dir: "data", FS: vfs.NewMem(), Partitions: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil && !errors.Is(err, engine.ErrClosed) {
			t.Error(err)
		}
	})
	return e
}

func put(t *testing.T, e engine.Engine, i *Identity) engine.Revision {
	t.Helper()
	w, err := i.Write(engine.Absent)
	if err != nil {
		t.Fatal(err)
	}
	r, err := engine.Do(t.Context(), e, engine.Commit{Partition: engine.PartitionOf(e, i.DeviceID), Writes: []engine.Write{w}})
	if err != nil {
		t.Fatal(err)
	}
	return r.Revision
}

func TestWriteAndGet(t *testing.T) {
	e := newEngine(t)
	want := &Identity{
		DeviceID: "d1", ModuleID: "m1", GenerationID: "638", Version: 3, Status: Disabled, StatusReason: "r",
		StatusUpdatedTime: time.Date(2026, 3, 4, 5, 6, 7, 891234500, time.UTC),
		Auth:              Auth{Type: AuthSAS, PrimaryKey: "cHJpbWFyeQ==", SecondaryKey: "c2Vjb25kYXJ5"},
		Edge:              true, DeviceScope: "s", ParentScopes: []string{"p"},
	}
	revision := put(t, e, want)
	got, r, err := Get(e, twinhub.ID{Device: "d1", Module: "m1"})
	if err != nil || r != revision || fmt.Sprintf("%#v", got) != fmt.Sprintf("%#v", want) {
		t.Errorf("got %#v, revision %d, %v\nwant %#v, revision %d", got, r, err, want, revision)
	}
	if got.ID() != (twinhub.ID{Device: "d1", Module: "m1"}) || got.ETag() != "Mw==" {
		t.Errorf("id %v, etag %s", got.ID(), got.ETag())
	}
	if text := fmt.Sprintf("%v %s %+v", got.Auth, got.Auth, *got); strings.Contains(text, "cHJpbWFyeQ") || strings.Contains(text, "c2Vjb25kYXJ5") {
		t.Errorf("printed with its keys: %s", text)
	}
}

func TestGetWhatIsNotThere(t *testing.T) {
	e := newEngine(t)
	put(t, e, &Identity{DeviceID: "d1"})
	if _, _, err := Get(e, twinhub.ID{Device: "d"}); !twinhub.HasCode(err, twinhub.CodeDeviceNotFound) {
		t.Errorf("device: %v", err)
	}
	if _, _, err := Get(e, twinhub.ID{Device: "d1", Module: "m"}); !twinhub.HasCode(err, twinhub.CodeModuleNotFound) {
		t.Errorf("module: %v", err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Get(e, twinhub.ID{Device: "d1"}); !errors.Is(err, engine.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
	if _, err := Devices(e, 0, "", 1); !errors.Is(err, engine.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

func TestDevices(t *testing.T) {
	e := newEngine(t)
	for _, id := range []string{"b", "a", "c", "a-1"} {
		put(t, e, &Identity{DeviceID: id})
		put(t, e, &Identity{DeviceID: id, ModuleID: "m"}) // not a device
	}
	tests := []struct {
		after string
		limit int
		want  string
	}{
		{"", 10, "a a-1 b c"}, {"", 2, "a a-1"}, {"a", 2, "a-1 b"}, {"a-1", 10, "b c"}, {"a0", 10, "b c"}, {"c", 10, ""},
	}
	for _, tt := range tests {
		list, err := Devices(e, 0, tt.after, tt.limit)
		var got []string
		for _, i := range list {
			got = append(got, i.DeviceID)
		}
		if err != nil || strings.Join(got, " ") != tt.want {
			t.Errorf("Devices(after %q, %d) = %v, %v, want %s", tt.after, tt.limit, got, err, tt.want)
		}
	}
}

func TestDamagedRecord(t *testing.T) {
	e := newEngine(t)
	c := engine.Commit{Writes: []engine.Write{{Key: Key(twinhub.ID{Device: "d1"}), Value: []byte("{"), Expect: engine.Any}}}
	if _, err := engine.Do(t.Context(), e, c); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Get(e, twinhub.ID{Device: "d1"}); err == nil || !strings.Contains(err.Error(), `"d/d1"`) {
		t.Errorf("got %v, want an error that names the document", err)
	}
	if _, err := Devices(e, 0, "", 10); err == nil {
		t.Error("a damaged record was listed")
	}
}
