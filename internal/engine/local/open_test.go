package local

import (
	"bufio"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/twinhub/twinhub/internal/engine"
	"github.com/twinhub/twinhub/internal/engine/enginetest"
)

func TestPartitions(t *testing.T) {
	for _, tt := range []struct {
		made, asked, want int
		err               string
	}{
		{0, 0, 4, ""},
		{7, 0, 7, ""},
		{7, 7, 7, ""},
		{1024, 1024, 1024, ""},
		{4, 8, 0, "the data have 4 partitions, 8 are asked for"},
		{0, -1, 0, "-1 partitions; 1 to 1024 are allowed"},
		{0, 1025, 0, "1025 partitions; 1 to 1024 are allowed"},
	} {
		o := Options{Dir: "data", FS: vfs.NewMem(), Partitions: tt.made}
		e, err := Open(o)
		if err != nil {
			t.Fatalf("Open with %d partitions: %v", tt.made, err)
		}
		if err := e.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		o.Partitions = tt.asked
		e, err = Open(o)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("made with %d, opened with %d: %v, want %q", tt.made, tt.asked, err, tt.err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("made with %d, opened with %d: %v", tt.made, tt.asked, err)
		}
		if e.Partitions() != tt.want {
			t.Errorf("made with %d, opened with %d: %d partitions, want %d", tt.made, tt.asked, e.Partitions(), tt.want)
		}
		if err := e.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
}

func TestInUse(t *testing.T) {
	dir := t.TempDir()
	e, err := Open(Options{Dir: dir})
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	working, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	relative, err := filepath.Rel(working, dir)
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{dir, relative, link} {
		if _, err := Open(Options{Dir: name}); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), dir) {
			t.Errorf("Open(%s) while it is open: %v, want ErrInUse", name, err)
		}
	}
	if err := e.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if e, err = Open(Options{Dir: dir}); err != nil {
		t.Fatalf("Open after Close: %v", err)
	}
	if err := e.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// TestInUseElsewhere opens the data of another process: this program, started again as a holder.
func TestInUseElsewhere(t *testing.T) {
	const holder = "TWINHUB_TEST_HOLDER"
	if dir := os.Getenv(holder); dir != "" {
		e, err := Open(Options{Dir: dir})
		if err != nil {
			t.Fatalf("Open: %v", err)
		}
		fmt.Println("open")
		_, _ = io.Copy(io.Discard, os.Stdin) // until the other has looked
		if err := e.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		return
	}
	dir := t.TempDir()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	other := exec.CommandContext(t.Context(), program, "-test.run=^TestInUseElsewhere$")
	other.Env = append(os.Environ(), holder+"="+dir)
	stdin, err := other.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	said := bufio.NewReader(stdout)
	if line, err := said.ReadString('\n'); line != "open\n" {
		t.Fatalf("the other process said %q, %v", line, err)
	}
	if _, err := Open(Options{Dir: dir}); !errors.Is(err, ErrInUse) {
		t.Errorf("Open: %v, want ErrInUse", err)
	}
	if err := stdin.Close(); err != nil {
		t.Error(err)
	}
	rest, _ := io.ReadAll(said)
	if err := other.Wait(); err != nil {
		t.Fatalf("the other process: %v\n%s", err, rest)
	}
	e, err := Open(Options{Dir: dir})
	if err != nil {
		t.Fatalf("Open when the other has ended: %v", err)
	}
	if err := e.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	set := func(key, value []byte) func(*testing.T, *pebble.DB) {
		return func(t *testing.T, db *pebble.DB) {
			if err := db.Set(key, value, pebble.Sync); err != nil {
				t.Fatalf("Set: %v", err)
			}
		}
	}
	number := binary.BigEndian.AppendUint32(nil, formatVersion+1)
	for _, tt := range []struct {
		name   string
		change func(*testing.T, *pebble.DB)
		want   string
	}{
		{"a newer format", set(metaKey(metaFormat), number), "format version 2, this program knows versions up to 1"},
		{"a malformed format", set(metaKey(metaFormat), []byte{1}), "malformed data"},
		{"a malformed number of partitions", set(metaKey(metaPartitions), nil), "malformed data"},
		{"a malformed position", set(positionKey(0), []byte{1}), "malformed data"},
		{"a malformed head", set(headKey(0, "log"), []byte{1}), "malformed data"},
		{"somebody else's database", func(t *testing.T, db *pebble.DB) {
			if err := db.Delete(metaKey(metaFormat), pebble.Sync); err != nil {
				t.Fatalf("Delete: %v", err)
			}
		}, "a Pebble database of something else"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fs := vfs.NewMem()
			e := openSmall(t, fs)
			if _, err := engine.Do(t.Context(), e, engine.Commit{Appends: []engine.Append{{Log: "log", Records: [][]byte{{1}}}}}); err != nil {
				t.Fatalf("commit: %v", err)
			}
			tt.change(t, e.store.db)
			if err := e.Close(); err != nil {
				t.Fatalf("Close: %v", err)
			}
			for range 2 { // refusing must leave the folder closed
				if _, err := Open(Options{Dir: "data", FS: fs}); err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("Open: %v, want %q", err, tt.want)
				}
			}
		})
	}
	if _, err := Open(Options{}); err == nil {
		t.Error("Open without a folder: no error")
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Dir: file}); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("Open of a file: %v, want an error that names it", err)
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "LOCK"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Dir: dir}); err == nil || errors.Is(err, ErrInUse) {
		t.Errorf("Open of a folder whose lock cannot be opened: %v, want an error that is not ErrInUse", err)
	}
}

// TestOpenIsFast keeps the start of an empty hub short.
func TestOpenIsFast(t *testing.T) {
	begin := time.Now()
	e, err := Open(Options{Dir: "data", FS: vfs.NewMem()})
	took := time.Since(begin)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	if err := e.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if took > time.Second {
		t.Errorf("an empty engine opened in %v", took)
	}
}

var writeOldData = flag.Bool("write-old-data", false, "make the folder in testdata that TestOldData opens")

// oldDataTime is the hub time at which the data in testdata were made.
var oldDataTime = time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)

const oldData = "testdata/format1"

// TestOldData opens data as version 1 of the format has them, in tables and in the log.
func TestOldData(t *testing.T) {
	if *writeOldData {
		makeOldData(t)
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(oldData)); err != nil {
		t.Fatalf("copy: %v", err)
	}
	e, err := Open(Options{Dir: dir})
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	defer e.Close()
	if e.Partitions() != 3 {
		t.Errorf("%d partitions, want 3", e.Partitions())
	}
	for _, p := range []engine.Partition{0, 2, engine.Hub} {
		docs, err := e.Scan(p, "", "", 100)
		if err != nil || len(docs) != 12 {
			t.Fatalf("Scan of partition %d: %d documents, %v; want 12", p, len(docs), err)
		}
		for i, d := range docs {
			if want := fmt.Sprintf("%d/%02d", p, i); d.Key != fmt.Sprintf("twin/%02d", i) || string(d.Value) != want || d.Revision != engine.Revision(i+1) {
				t.Errorf("document %+v, want %s with revision %d", d, want, i+1)
			}
		}
		want := engine.Head{First: 4, Next: 12, NextOffset: 66, Last: 55, Time: oldDataTime.Add(11 * time.Second)}
		for i := range 12 {
			if i == 0 {
				want.NextOffset, want.Last = 0, 0
			}
			want.Last = want.NextOffset
			want.NextOffset += uint64(len(fmt.Sprintf("%d/%02d", p, i)))
		}
		if h, err := e.Head(p, "events"); err != nil || h != want {
			t.Errorf("Head = %+v, %v; want %+v", h, err, want)
		}
		records, err := e.Read(p, "events", 0, 100, 1<<20)
		if err != nil || len(records) != 8 {
			t.Fatalf("%d records, %v; want 8", len(records), err)
		}
		for i, r := range records {
			if want := fmt.Sprintf("%d/%02d", p, i+4); string(r.Value) != want || r.Number != uint64(i+4) || !r.Time.Equal(oldDataTime.Add(time.Duration(i+4)*time.Second)) {
				t.Errorf("record %+v, want %s", r, want)
			}
		}
	}
	r, err := engine.Do(t.Context(), e, engine.Commit{Appends: []engine.Append{{Log: "events", Records: [][]byte{{1}}}}})
	if err != nil || r.First[0] != 12 || r.Position.N != 13 {
		t.Errorf("commit: %+v, %v; want record 12, commit 13", r, err)
	}
}

// makeOldData makes the folder. Do that again only for a new version, in a new folder: old data stay for ever.
func makeOldData(t *testing.T) {
	c := enginetest.NewClock(oldDataTime)
	dir := t.TempDir()
	e, err := Open(Options{Dir: dir, Partitions: 3, Clock: c})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 12 {
		for _, p := range []engine.Partition{0, 2, engine.Hub} {
			value := fmt.Appendf(nil, "%d/%02d", p, i)
			_, err := engine.Do(t.Context(), e, engine.Commit{
				Partition: p,
				Writes:    []engine.Write{{Key: fmt.Sprintf("twin/%02d", i), Value: value, Expect: engine.Absent}},
				Appends:   []engine.Append{{Log: "events", Records: [][]byte{value}}},
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		c.Move(time.Second)
		if i == 7 {
			if err := e.store.db.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for slot := range 4 {
		if l := e.logs.find(slot, "events"); l != nil {
			e.trimmer.apply(&trim{log: l, first: 4, end: 4, done: make(chan struct{})})
		}
	}
	// A copy has not the space that was reserved for the logs.
	if err := errors.Join(e.Close(), os.RemoveAll(oldData), os.CopyFS(oldData, os.DirFS(dir))); err != nil {
		t.Fatal(err)
	}
}
