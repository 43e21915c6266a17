package registry

import (
	"encoding/base64"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/core/identity"
	"github.com/twinhub/twinhub/internal/core/twin"
)

// race runs f at once in several goroutines and returns how many succeeded; others must fail with the code.
func race(t *testing.T, n int, code twinhub.Code, f func(n int) error) int {
	t.Helper()
	var succeeded atomic.Int32
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			err := f(i)
			if err == nil {
				succeeded.Add(1)
			} else if !twinhub.HasCode(err, code) {
				t.Errorf("call %d: got %v, want %v", i, err, code)
			}
		})
	}
	wg.Wait()
	return int(succeeded.Load())
}

func TestRaces(t *testing.T) {
	c := newCore(t, lifecycle)
	create := func(int) error {
		_, err := c.Put(t.Context(), &Spec{DeviceID: "d1"}, "")
		return err
	}
	if got := race(t, 16, twinhub.CodeDeviceAlreadyExists, create); got != 1 {
		t.Errorf("%d of 16 creations succeeded, want 1", got)
	}
	first, err := c.Get(t.Context(), "d1")
	if err != nil {
		t.Fatal(err)
	}
	update := func(ifMatch string) func(int) error {
		return func(int) error {
			_, err := c.Put(t.Context(), &Spec{DeviceID: "d1"}, ifMatch)
			return err
		}
	}
	if got := race(t, 16, twinhub.CodePreconditionFailed, update(first.ETag)); got != 1 {
		t.Errorf("%d of 16 updates with the same etag succeeded, want 1", got)
	}
	if got := race(t, 16, 0, update("*")); got != 16 {
		t.Errorf("%d of 16 unconditional updates succeeded, want all", got)
	}
	before, _, err := identity.Get(c.engine, twinhub.ID{Device: "d1"})
	if err != nil {
		t.Fatal(err)
	}
	if text, _ := base64.StdEncoding.DecodeString(first.ETag); fmt.Sprint(before.Version-17) != string(text) {
		t.Errorf("version %d after %s and 17 updates", before.Version, text)
	}
	if got := race(t, 16, twinhub.CodeDeviceNotFound, func(int) error { return c.Delete(t.Context(), "d1", "*") }); got != 1 {
		t.Errorf("%d of 16 deletions succeeded, want 1", got)
	}
	events := strings.Join(c.records(t, "d1"), "\n")
	if created, deleted := strings.Count(events, opCreate), strings.Count(events, opDelete); created != 1 || deleted != 1 {
		t.Errorf("got %d creation and %d deletion events, want one each", created, deleted)
	}
}

// TestTwinLivesAndDiesWithIdentity creates, changes and deletes one device from all sides and then looks whether
// identity, twin and events agree.
func TestTwinLivesAndDiesWithIdentity(t *testing.T) {
	c := newCore(t, lifecycle)
	id := twinhub.ID{Device: "d1"}
	var wg sync.WaitGroup
	var created, deleted atomic.Int32
	for w := range 6 {
		wg.Go(func() {
			for range 30 {
				var err error
				switch w % 3 {
				case 0:
					if _, err = c.Put(t.Context(), &Spec{DeviceID: "d1"}, ""); err == nil {
						created.Add(1)
					}
				case 1:
					if err = c.Delete(t.Context(), "d1", "*"); err == nil {
						deleted.Add(1)
					}
				default:
					_, _, err = c.twins.Update(t.Context(), id, []byte(`{"tags":{"a":1}}`), "", false)
				}
				if err != nil && !twinhub.HasCode(err, twinhub.CodeDeviceNotFound) && !twinhub.HasCode(err, twinhub.CodeDeviceAlreadyExists) {
					t.Errorf("worker %d: %v", w, err)
				}
			}
		})
	}
	wg.Wait()
	if hasIdentity, hasTwin := c.stored(t, "d1", identity.Key(id)), c.stored(t, "d1", twin.Key(id)); hasIdentity != hasTwin {
		t.Errorf("identity stored: %v, twin stored: %v", hasIdentity, hasTwin)
	}
	for n, event := range c.records(t, "d1") {
		want := [2]string{opCreate, opDelete}[n%2]
		if !strings.Contains(event, want) {
			t.Errorf("event %d is not %s", n, want)
		}
	}
	if got := len(c.records(t, "d1")); got != int(created.Load()+deleted.Load()) {
		t.Errorf("got %d events for %d creations and %d deletions", got, created.Load(), deleted.Load())
	}
}
