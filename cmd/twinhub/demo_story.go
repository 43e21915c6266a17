package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/service"
)

// story is the demo at work: a back end and two devices on one hub.
type story struct {
	hub     *target
	service *service.Client
	events  *collector
	run     string        // tells this run's devices from others
	wait    time.Duration // how long to wait for something to come

	thermostat, controller *simulated
	registered             []string                // ids of devices to delete afterwards
	silent                 map[twinhub.Source]bool // sources that sent nothing when something was due

	// show is told of each step when it is over.
	show func(heading string, r result) error
	// alter, if not nil, changes what came back from a step before it is judged. Tests break steps with it.
	alter func(step string, received json.RawMessage) json.RawMessage
}

// result is what a step sent and what came back.
type result struct {
	Step     string          `json:"step"`
	Sent     json.RawMessage `json:"sent"`
	Received json.RawMessage `json:"received"`
	OK       bool            `json:"ok"`
	Error    string          `json:"error,omitempty"`
}

// step is one thing to do. It returns what it sent and what came back as values for JSON; judge looks at the JSON of the
// latter, and at nothing else, so that what is shown is what was judged.
type step struct {
	heading string // of the page's section that shows it
	name    string
	do      func(ctx context.Context) (sent, received any, err error)
	judge   func(received json.RawMessage) error
	// vital steps end the story when they fail.
	vital bool
}

// errSteps says that steps failed; each was shown when it did.
var errSteps = errors.New("the demo failed")

// tell goes through the steps, all of them unless a vital one fails.
func (s *story) tell(ctx context.Context, steps []step) error {
	failed := 0
	for _, st := range steps {
		ok, err := s.take(ctx, st)
		switch {
		case err != nil:
			return err
		case !ok && st.vital:
			return fmt.Errorf("%w: %s", errSteps, st.name)
		case !ok:
			failed++
		}
	}
	if failed > 0 {
		return fmt.Errorf("%w: %d of %d steps", errSteps, failed, len(steps))
	}
	return nil
}

// take does one step and shows it. The error is of showing, or says that ctx ended.
func (s *story) take(ctx context.Context, st step) (ok bool, err error) {
	limited, cancel := context.WithTimeout(ctx, s.wait)
	defer cancel()
	sent, received, err := st.do(limited)
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	r := result{Step: st.name}
	if r.Sent, r.Received, err = s.judge(st, sent, received, err); err != nil {
		r.Error = err.Error()
		if text := remedy(err); text != "" {
			r.Error += "; " + text
		}
	}
	r.OK = err == nil
	return r.OK, s.show(st.heading, r)
}

// judge returns the JSON of both values, null for what is missing, and what is wrong with the step.
func (s *story) judge(st step, sent, received any, failed error) (sentJSON, receivedJSON json.RawMessage, err error) {
	if sentJSON, err = encodeJSON(sent); err != nil {
		return nil, nil, err
	}
	if failed != nil {
		received = nil
	}
	if receivedJSON, err = encodeJSON(received); err != nil {
		return sentJSON, nil, err
	}
	if failed != nil {
		return sentJSON, receivedJSON, failed
	}
	if s.alter != nil {
		receivedJSON = s.alter(st.name, receivedJSON)
	}
	return sentJSON, receivedJSON, st.judge(receivedJSON)
}

// until repeats a read until it shows what is to be seen; a hub may take a moment.
func until[T any](ctx context.Context, read func() (T, error), seen func(T) bool) (T, error) {
	const pause = 200 * time.Millisecond
	for {
		v, err := read()
		if err != nil || seen(v) {
			return v, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return v, nil // the judge says what is missing
		}
	}
}

// cleanupTime bounds what is done after the story.
const cleanupTime = 10 * time.Second

// cleanUp closes the devices and deletes them from the hub, whatever happened before.
func (s *story) cleanUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
	defer cancel()
	var errs []error
	for _, d := range []*simulated{s.thermostat, s.controller} {
		if d != nil {
			errs = append(errs, d.client.Close(ctx))
		}
	}
	for _, id := range s.registered {
		errs = append(errs, s.service.DeleteDevice(ctx, id, ""))
	}
	return errors.Join(errs...)
}
