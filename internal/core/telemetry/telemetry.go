// Package telemetry takes in device-to-cloud messages: it checks them, stamps them with who sent them and when, and
// commits them to the logs that routing chose.
package telemetry

import (
	"fmt"
	"sync"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/clock"
	"github.com/twinhub/twinhub/internal/core/routing"
	"github.com/twinhub/twinhub/internal/engine"
)

// MaxMessage is the largest message in bytes: body, values of system properties, names and values of application
// properties. Reference: IoT Hub, "Create and read messages".
const MaxMessage = 256 << 10

// A Sender is what the hub knows of a connection that sends telemetry.
type Sender struct {
	ID           twinhub.ID
	AuthMethod   string // JSON, as events show it
	GenerationID string
	ModelID      string // empty when the device announced none
}

// Service takes messages in. It is safe for concurrent use.
type Service struct {
	engine engine.Engine
	router *routing.Router
	clock  clock.Clock

	counters counters
	messages sync.Pool // of *message
}

// New makes a Service.
func New(e engine.Engine, r *routing.Router, c clock.Clock) *Service {
	return &Service{engine: e, router: r, clock: c}
}

// Send takes ev from a sender, who set its message properties, subject, application properties and body; Send sets
// the rest. It returns at once, or waits while the engine is full. done is called once: with nil when the message is
// on disk everywhere it goes, with CodeMessageTooLarge before Send returns, or with the engine's error. Messages that
// one goroutine sends for one device keep their order. done must not block. Send keeps no reference to ev or what it
// points to once it has returned.
func (s *Service) Send(from *Sender, ev *twinhub.Event, done func(error)) {
	if n := size(ev); n > MaxMessage {
		s.counters.tooLarge.Add(1)
		done(twinhub.Errorf(twinhub.CodeMessageTooLarge, "The message has %d bytes; at most %d are allowed.", n, MaxMessage))
		return
	}
	ev.ID = from.ID
	ev.Source = twinhub.Telemetry
	ev.AuthMethod = from.AuthMethod
	ev.GenerationID = from.GenerationID
	ev.DataSchema = from.ModelID
	ev.EnqueuedTime = twinhub.CeilMilli(s.clock.Now())
	m, ok := s.messages.Get().(*message)
	if !ok {
		m = newMessage(s)
	}
	m.body, m.done = len(ev.Body), done
	appends := s.router.AppendsIn(&m.scratch, ev)
	if len(appends) == 0 {
		s.counters.unrouted.Add(1)
		m.settle(nil)
		return
	}
	s.engine.Submit(engine.Commit{Partition: engine.PartitionOf(s.engine, from.ID.Device), Appends: appends}, m.committed)
}

// message is a message on its way to the engine. It is used again and again: a hub that takes in messages by the
// hundred thousand would make garbage for nothing else.
type message struct {
	service   *Service
	scratch   routing.Scratch
	body      int
	done      func(error)
	committed func(engine.Result, error) // what the engine calls
}

func newMessage(s *Service) *message {
	m := &message{service: s}
	m.committed = func(_ engine.Result, err error) {
		if err != nil {
			err = fmt.Errorf("store telemetry: %w", err)
		}
		m.settle(err)
	}
	return m
}

// settle tells the sender of the outcome and gives m back.
func (m *message) settle(err error) {
	m.service.counters.settled(m.body, err)
	done := m.done
	m.done = nil
	m.service.messages.Put(m)
	done(err)
}

// size counts what MaxMessage bounds.
func size(ev *twinhub.Event) int {
	n := len(ev.Body) + len(ev.MessageID) + len(ev.UserID) + len(ev.To) + len(ev.CorrelationID) +
		len(ev.ContentType) + len(ev.ContentEncoding) + len(ev.Subject) + len(ev.InterfaceID)
	for _, p := range ev.Properties {
		n += len(p.Name) + len(p.Value)
	}
	return n
}
