package amqpfront

import (
	"strconv"
	"strings"
	"testing"
	"time"

	goamqp "github.com/Azure/go-amqp"

	"github.com/twinhub/twinhub/internal/engine"
	"github.com/twinhub/twinhub/internal/eventlog"
	"github.com/twinhub/twinhub/internal/wire/amqp"
)

// TestStart attaches a reader with every kind of start position to a partition that holds a, b and c, written a second
// apart, and then writes d. OFFSET and TIME stand for those of b, BEFORE for a millisecond before it.
func TestStart(t *testing.T) {
	for _, test := range []struct{ filter, want string }{
		{"", "a b c d"}, // no filter at all
		{"amqp.annotation.x-opt-offset > '-1'", "a b c d"},
		{"amqp.annotation.x-opt-offset > -1", "a b c d"},
		{"amqp.annotation.x-opt-offset >= '-1'", "a b c d"},
		{"amqp.annotation.x-opt-offset > '@latest'", "d"},
		{"amqp.annotation.x-opt-offset > @latest", "d"},
		{"amqp.annotation.x-opt-offset >= '@latest'", "c d"},
		{"amqp.annotation.x-opt-offset > 'OFFSET'", "c d"},
		{"amqp.annotation.x-opt-offset > OFFSET", "c d"},
		{"amqp.annotation.x-opt-offset >= 'OFFSET'", "b c d"},
		{"amqp.annotation.x-opt-offset >= OFFSET", "b c d"},
		{"amqp.annotation.x-opt-offset > '0'", "a b c d"},
		{"amqp.annotation.x-opt-offset >= '1023'", "a b c d"},
		{"amqp.annotation.x-opt-offset > '1023'", "a b c d"},
		{"amqp.annotation.x-opt-offset >= '1024'", "a b c d"},
		{"amqp.annotation.x-opt-offset > '1024'", "b c d"},
		{"amqp.annotation.x-opt-offset > '999'", "a b c d"}, // as text it would be past all of them
		{"amqp.annotation.x-opt-offset > '9000000000000000000'", "d"},
		{"amqp.annotation.x-opt-sequence-number > '-1'", "a b c d"},
		{"amqp.annotation.x-opt-sequence-number > '0'", "b c d"},
		{"amqp.annotation.x-opt-sequence-number > 0", "b c d"},
		{"amqp.annotation.x-opt-sequence-number >= '1'", "b c d"},
		{"amqp.annotation.x-opt-sequence-number >= 1", "b c d"},
		{"amqp.annotation.x-opt-sequence-number > '2'", "d"},
		{"amqp.annotation.x-opt-sequence-number > '9223372036854775807'", "d"},
		{"amqp.annotation.x-opt-enqueued-time > 'TIME'", "c d"},
		{"amqp.annotation.x-opt-enqueued-time > TIME", "c d"},
		{"amqp.annotation.x-opt-enqueued-time >= 'TIME'", "b c d"},
		{"amqp.annotation.x-opt-enqueued-time > BEFORE", "b c d"},
		{"amqp.annotation.x-opt-enqueued-time > '-62135596800000'", "a b c d"},
		{"amqp.annotation.x-opt-enqueued-time > '253402300799999'", "d"},
		{"amqp.annotation.x-opt-enqueuedtimeutc > 'TIME'", "c d"},
		{"amqp.annotation.x-opt-enqueuedtimeutc >= TIME", "b c d"},
		{"amqp.annotation.x-opt-enqueuedtimeutc > '9223372036854775807'", "d"},
	} {
		t.Run(test.filter, func(t *testing.T) {
			bubble(t, func(t *testing.T, h *testFront) {
				for _, body := range []string{"a", "b", "c"} {
					h.write(0, body)
					time.Sleep(time.Second)
				}
				records, err := h.engine.Read(0, eventlog.Name, 1, 1, 1)
				if err != nil || len(records) != 1 {
					t.Fatalf("read b: %v, %v", records, err)
				}
				ms := records[0].Time.UnixMilli()
				filter := strings.NewReplacer("OFFSET", eventlog.FormatOffset(records[0].Offset),
					"TIME", strconv.FormatInt(ms, 10), "BEFORE", strconv.FormatInt(ms-1, 10)).Replace(test.filter)
				o := from(filter)
				if filter == "" {
					o.Filters = nil
				}
				r := h.mustAttach(h.signedIn(), readerOf("0"), o)
				h.write(0, "d")
				h.expect(r, strings.Fields(test.want)...)
			})
		})
	}
}

// TestFilterForms puts the same expression under the descriptors that clients use, and without one.
func TestFilterForms(t *testing.T) {
	const text = "amqp.annotation.x-opt-sequence-number > '0'"
	for name, value := range map[string]any{
		"code of Go and JavaScript": amqp.Described{Descriptor: uint64(0x0000468C00000004), Value: text},
		"symbol of Python and Java": amqp.Described{Descriptor: amqp.Symbol(selectorFilter), Value: text},
		"code of .NET":              amqp.Described{Descriptor: uint64(0x000001370000000A), Value: text},
		"not described":             text,
	} {
		t.Run(name, func(t *testing.T) {
			start, err := parseStart(amqp.Map{{Key: amqp.Symbol("other"), Value: "x"}, {Key: amqp.Symbol(selectorFilter), Value: value}})
			if want := (eventlog.Start{From: eventlog.AtNumber}); err != nil || start != want {
				t.Errorf("got %+v, %v; want %+v", start, err, want)
			}
		})
	}
}

// TestBadFilter checks that what is no start position refuses the link rather than starting anywhere.
func TestBadFilter(t *testing.T) {
	bubble(t, func(t *testing.T, h *testFront) {
		c := h.signedIn()
		for _, filter := range []string{
			" ",
			"nonsense",
			"amqp.annotation.x-opt-offset",
			"amqp.annotation.x-opt-offset >",
			"amqp.annotation.x-opt-offset = '1'",
			"amqp.annotation.x-opt-offset < '1'",
			"amqp.annotation.x-opt-offset > ''",
			"amqp.annotation.x-opt-offset > '1",
			"amqp.annotation.x-opt-offset > 'one'",
			"amqp.annotation.x-opt-offset > '12:34'",
			"amqp.annotation.x-opt-offset > '99999999999999999999'",
			"amqp.annotation.x-opt-offset > '1' AND 1=1",
			"amqp.annotation.x-opt-sequence-number > '@latest'",
			"amqp.annotation.x-opt-enqueued-time > '2020-10-21T14:10:42Z'",
			"amqp.annotation.x-opt-partition-key > '1'",
			"x-opt-offset > '1'",
		} {
			e := h.refused(c, readerOf("0"), from(filter), "com.microsoft:argument-error")
			if !strings.Contains(e.Description, "amqp.annotation.NAME") {
				t.Errorf("filter %q: the description %q does not show the form", filter, e.Description)
			}
		}
		o := &goamqp.ReceiverOptions{Filters: []goamqp.LinkFilter{goamqp.NewLinkFilter(selectorFilter, 0x0000468C00000004, int64(5))}}
		h.refused(c, readerOf("0"), o, "com.microsoft:argument-error")
		h.logged("use a start position of an Event Hubs client")
	})
}

// TestResume reads on from where another reader stopped, by offset and by sequence number.
func TestResume(t *testing.T) {
	for _, by := range []string{"x-opt-offset", "x-opt-sequence-number"} {
		t.Run(by, func(t *testing.T) {
			bubble(t, func(t *testing.T, h *testFront) {
				for _, body := range []string{"a", "bb", "ccc", "dddd"} {
					h.write(2, body)
				}
				c := h.signedIn()
				o := from(earliest)
				o.Credit = 2
				r := h.mustAttach(c, readerOf("2"), o)
				h.next(r)
				last := h.next(r)
				if got := string(last.GetData()); got != "bb" {
					t.Fatalf("second event: got %q, want bb", got)
				}
				offset, number := last.Annotations["x-opt-offset"], last.Annotations["x-opt-sequence-number"]
				if number != int64(1) || offset == "1" {
					t.Fatalf("sequence number and offset of the second event: got %T %v and %T %v, want int64 1 and another text", number, number, offset, offset)
				}
				if err := r.Close(t.Context()); err != nil {
					t.Fatal(err)
				}
				position := map[string]string{"x-opt-offset": offset.(string), "x-opt-sequence-number": "1"}[by]
				h.expect(h.mustAttach(c, readerOf("2"), from("amqp.annotation."+by+" > '"+position+"'")), "ccc", "dddd")
			})
		})
	}
}

// TestTrimmed checks that a reader goes on, and rests, when what it would have read next has been trimmed.
func TestTrimmed(t *testing.T) {
	bubble(t, func(t *testing.T, h *testFront) {
		const written = pumpRecords + 100
		h.write(0, numbered(written)...)
		o := from(earliest)
		o.Credit = -1
		r := h.mustAttach(h.signedIn(), readerOf("0"), o)
		time.Sleep(20 * time.Minute)
		h.engine.SetRetention(eventlog.Name, engine.Retention{Age: 10 * time.Minute})
		time.Sleep(time.Minute)
		if head, err := h.engine.Head(0, eventlog.Name); err != nil || head.First != written {
			t.Fatalf("head after trimming: got %+v, %v; want first %d", head, err, written)
		}
		if err := r.IssueCredit(2 * written); err != nil {
			t.Fatal(err)
		}
		h.expect(r, numbered(pumpRecords)...) // which had been read from the log before
		h.write(0, "new")
		h.expect(r, "new")
	})
}

func TestFindSelector(t *testing.T) {
	text := "amqp.annotation.x-opt-offset > '-1'"
	for name, test := range map[string]struct {
		filters amqp.Map
		want    any
	}{
		"key and symbol":     {amqp.Map{{Key: amqp.Symbol(selectorFilter), Value: amqp.Described{Descriptor: amqp.Symbol(selectorFilter), Value: text}}}, text},
		"key and other code": {amqp.Map{{Key: amqp.Symbol(selectorFilter), Value: amqp.Described{Descriptor: uint64(0x13700000A), Value: text}}}, text},
		"key alone":          {amqp.Map{{Key: amqp.Symbol(selectorFilter), Value: text}}, text},
		"symbol alone":       {amqp.Map{{Key: amqp.Symbol("selector"), Value: amqp.Described{Descriptor: amqp.Symbol(selectorFilter), Value: text}}}, text},
		"code alone":         {amqp.Map{{Key: amqp.Symbol("selector"), Value: amqp.Described{Descriptor: uint64(selectorCode), Value: text}}}, text},
		"another filter":     {amqp.Map{{Key: amqp.Symbol("no-local"), Value: amqp.Described{Descriptor: amqp.Symbol("apache.org:no-local-filter:list"), Value: amqp.List{}}}}, nil},
		"none":               {nil, nil},
	} {
		if got, ok := findSelector(test.filters); got != test.want || ok != (test.want != nil) {
			t.Errorf("%s: got %v, %v, want %v", name, got, ok, test.want)
		}
	}
}
