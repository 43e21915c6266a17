package telemetry

import (
	"testing"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/core/routing"
)

func TestCounts(t *testing.T) {
	s, e := newService(t, routing.Config{})
	expect := func(when string, want Counts) {
		t.Helper()
		if got := s.Counts(); got != want {
			t.Errorf("%s: got %+v, want %+v", when, got, want)
		}
	}
	expect("new", Counts{})
	for _, body := range []string{"", "12345", "1234567"} {
		if err := send(s, &twinhub.Event{Body: []byte(body), Properties: []twinhub.Property{{Name: "not", Value: "counted"}}}); err != nil {
			t.Fatal(err)
		}
	}
	expect("three messages", Counts{Messages: 3, Bytes: 12})
	if err := send(s, &twinhub.Event{Body: make([]byte, MaxMessage+1)}); !twinhub.HasCode(err, twinhub.CodeMessageTooLarge) {
		t.Fatal(err)
	}
	expect("a large one", Counts{Messages: 3, Bytes: 12, TooLarge: 1})
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if err := send(s, &twinhub.Event{Body: []byte("lost")}); err == nil {
		t.Fatal("a closed engine took a message")
	}
	expect("one that was not stored", Counts{Messages: 3, Bytes: 12, TooLarge: 1, Failed: 1})
}

func TestCountsOfUnroutedMessages(t *testing.T) {
	s, _ := newService(t, routing.Config{FallbackOff: true, Routes: []routing.Route{{Source: twinhub.TwinChange, Endpoint: routing.BuiltIn}}})
	if err := send(s, &twinhub.Event{Body: []byte("123")}); err != nil {
		t.Fatal(err)
	}
	if got, want := s.Counts(), (Counts{Messages: 1, Bytes: 3, Unrouted: 1}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
