package twin_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/engine"
)

// steppedIn is an engine where something happens between a writer's reading and its commit, the first time.
type steppedIn struct {
	engine.Engine
	done   atomic.Bool
	before func()
}

func (e *steppedIn) Submit(c engine.Commit, done func(engine.Result, error)) {
	if e.done.CompareAndSwap(false, true) {
		e.before()
	}
	e.Engine.Submit(c, done)
}

// A write that comes between another's reading and its commit makes it begin again, its etag check included.
func TestWriteInBetween(t *testing.T) {
	module := twinhub.ID{Device: device.Device, Module: "m"}
	tests := []struct {
		name    string
		id      twinhub.ID
		between func(*rig)
		want    twinhub.Code // 0: the update succeeds
		shows   string       // in the twin afterwards
	}{
		{"reported", device, func(r *rig) { r.reported(device, `{"r":1}`) }, 0, `"reported":{"r":1,`},
		{"tags", device, func(r *rig) { r.update(device, `{"tags":{"other":1}}`, "") }, twinhub.CodePreconditionFailed, `"tags":{"other":1}`},
		{"another twin", device, func(r *rig) { r.update(module, `{"tags":{"other":1}}`, "") }, 0, `"tags":{"mine":1}`},
		{"removal", device, func(r *rig) { r.remove(device) }, twinhub.CodeDeviceNotFound, ""},
		{"removal of a module", module, func(r *rig) { r.remove(module) }, twinhub.CodeModuleNotFound, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			r.create(device, `null`, `null`)
			r.create(module, `null`, `null`)
			plain := r.engine
			r.engine = &steppedIn{Engine: plain, before: func() { tt.between(r) }}
			slow := r.another()
			r.engine = plain
			_, etag := r.get(tt.id)
			_, _, err := slow.Update(t.Context(), tt.id, []byte(`{"tags":{"mine":1}}`), etag, false)
			if tt.want == 0 && err != nil || tt.want != 0 && !twinhub.HasCode(err, tt.want) {
				t.Errorf("got %v, want code %d", err, tt.want)
			}
			if tt.shows == "" {
				return
			}
			if doc, _ := r.get(tt.id); !strings.Contains(doc, tt.shows) {
				t.Errorf("twin %s\nlacks %s", doc, tt.shows)
			}
		})
	}
}

// deaf is an engine that takes commits and never answers.
type deaf struct{ engine.Engine }

func (deaf) Submit(engine.Commit, func(engine.Result, error)) {}

func TestWaitingWriterStopsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.create(device, `null`, `null`)
		plain := r.engine
		r.engine = deaf{plain}
		stuck := r.another()
		r.engine = plain
		ctx, cancel := context.WithCancel(t.Context())
		results := make(chan error, 2)
		for range 2 { // one waits for the engine, one for its turn
			go func() {
				_, err := stuck.Reported(ctx, device, []byte(`{"a":1}`), nil)
				results <- err
			}()
		}
		synctest.Wait()
		if len(results) != 0 {
			t.Fatal("a writer returned before the engine answered")
		}
		cancel()
		for range 2 {
			if err := <-results; !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want context.Canceled", err)
			}
		}
	})
}

// broken is an engine that has failed.
type broken struct{ engine.Engine }

func (broken) Submit(_ engine.Commit, done func(engine.Result, error)) {
	done(engine.Result{}, engine.ErrFailed)
}

func TestEngineFailure(t *testing.T) {
	r := newRig(t)
	r.create(device, `null`, `null`)
	link := new(fakeLink)
	r.sessions.Open(device, link)
	plain := r.engine
	r.engine = broken{plain}
	failing := r.another()
	r.engine = plain
	_, _, err := failing.Update(t.Context(), device, []byte(`{"properties":{"desired":{"a":1}}}`), "", false)
	if !errors.Is(err, engine.ErrFailed) {
		t.Errorf("got %v, want ErrFailed", err)
	}
	if len(link.patches) != 0 {
		t.Errorf("the device got %v of a change that was not stored", link.patches)
	}
}
