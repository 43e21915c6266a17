package amqpfront

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	goamqp "github.com/Azure/go-amqp"
)

// epoch makes options of a reader of new events with an owner level.
func epoch(level any) *goamqp.ReceiverOptions {
	o := from(latest)
	o.Properties = map[string]any{"com.microsoft:epoch": level}
	return o
}

// TestEpochs attaches readers one after the other, each on a connection of its own: n without an epoch, otherwise with
// this one. Then the readers named in left are still there.
func TestEpochs(t *testing.T) {
	for _, test := range []struct{ attach, left, refused string }{
		{"0 0", "1", ""},  // equal steals
		{"0 1", "1", ""},  // higher steals
		{"1 0", "0", "1"}, // lower is refused
		{"5 6 5 6", "3", "2"},
		{"n 0", "1", ""}, // any epoch ends readers without one
		{"n n n n n 3", "5", ""},
		{"0 n", "0", "1"}, // none is refused beside one
		{"-1 n", "0", "1"},
		{"n n n n n", "0 1 2 3 4", ""},
		{"n n n n n n n", "0 1 2 3 4", "5 6"}, // no more than five
		{"1 0 n 1", "3", "1 2"},
	} {
		t.Run(test.attach, func(t *testing.T) {
			bubble(t, func(t *testing.T, h *testFront) {
				readers := map[string]*goamqp.Receiver{}
				var refused []string
				for i, level := range strings.Fields(test.attach) {
					o := from(latest)
					if level != "n" {
						var n int64
						fmt.Sscan(level, &n)
						o = epoch(n)
					}
					name := fmt.Sprint(i)
					r, err := h.attach(h.signedIn(), readerOf("0"), o)
					if err == nil {
						readers[name] = r
						continue
					}
					refused = append(refused, name)
					want := goamqp.ErrCondStolen
					if level == "n" && i == 5+len(refused)-1 {
						want = goamqp.ErrCondResourceLimitExceeded
					}
					if e := h.linkError(err); e.Condition != want {
						t.Errorf("reader %s: refused with %v, want %s", name, e, want)
					}
				}
				if got := strings.Join(refused, " "); got != test.refused {
					t.Errorf("refused: got %q, want %q", got, test.refused)
				}
				h.write(0, "new")
				left := strings.Fields(test.left)
				if got := h.Readers(); len(got) != len(left) {
					t.Errorf("readers: got %v, want %d", got, len(left))
				}
				for _, name := range left {
					h.expect(readers[name], "new")
					delete(readers, name)
				}
				for name, r := range readers {
					if e := h.detached(r); e.Condition != goamqp.ErrCondStolen {
						t.Errorf("reader %s: detached with %v, want %s", name, e, goamqp.ErrCondStolen)
					}
				}
			})
		})
	}
}

// TestEpochTypes takes an owner level in every integer type that clients send.
func TestEpochTypes(t *testing.T) {
	bubble(t, func(t *testing.T, h *testFront) {
		c := h.signedIn()
		for i, level := range []any{int64(1), int32(2), uint32(3), uint64(4)} {
			h.mustAttach(c, readerOf("0"), epoch(level))
			e := h.refused(c, readerOf("0"), epoch(int64(i)), goamqp.ErrCondStolen)
			if !strings.Contains(e.Description, fmt.Sprintf("epoch %d", level)) {
				t.Errorf("the description %q does not name the epoch %d", e.Description, level)
			}
		}
	})
}

// TestIndependence checks that readers compete only within one partition and consumer group, in any case of its name.
func TestIndependence(t *testing.T) {
	bubble(t, func(t *testing.T, h *testFront) {
		c := h.signedIn()
		first := h.mustAttach(c, eventHub+"/ConsumerGroups/$Default/Partitions/0", epoch(int64(9)))
		otherPartition := h.mustAttach(c, eventHub+"/ConsumerGroups/$Default/Partitions/1", epoch(int64(0)))
		otherGroup := h.mustAttach(c, eventHub+"/ConsumerGroups/second/Partitions/0", epoch(int64(0)))
		h.refused(c, strings.ToUpper(eventHub)+"/CONSUMERGROUPS/$DEFAULT/PARTITIONS/0", epoch(int64(8)), goamqp.ErrCondStolen)
		h.write(0, "zero")
		h.write(1, "one")
		h.expect(first, "zero")
		h.expect(otherPartition, "one")
		h.expect(otherGroup, "zero")
	})
}

// TestRoomAfterClose checks that a reader that leaves makes room at once, also while it has events to take.
func TestRoomAfterClose(t *testing.T) {
	bubble(t, func(t *testing.T, h *testFront) {
		h.write(0, numbered(2000)...)
		c := h.signedIn()
		var last *goamqp.Receiver
		for range 5 {
			last = h.mustAttach(c, readerOf("0"), from(earliest))
		}
		for range 50 {
			if err := last.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			last = h.mustAttach(c, readerOf("0"), from(earliest))
		}
		h.refused(c, readerOf("0"), from(earliest), goamqp.ErrCondResourceLimitExceeded)
		h.logged("close the other receivers, or read with another consumer group")
	})
}

// TestSameLinkName attaches a link of the same name again on one connection, as the Python client does after an error:
// the newer one takes over, also without an epoch.
func TestSameLinkName(t *testing.T) {
	bubble(t, func(t *testing.T, h *testFront) {
		c := h.signedIn()
		o := from(latest)
		o.Name = "receiver-link"
		var old *goamqp.Receiver
		for range 7 { // more than may share
			r := h.mustAttach(c, readerOf("0"), o)
			if old != nil {
				if e := h.detached(old); e.Condition != goamqp.ErrCondStolen {
					t.Errorf("the older link: detached with %v, want %s", e, goamqp.ErrCondStolen)
				}
			}
			old = r
		}
		elsewhere := h.mustAttach(h.signedIn(), readerOf("0"), o) // names count within a connection
		h.write(0, "new")
		h.expect(old, "new")
		h.expect(elsewhere, "new")
	})
}

// TestReaders checks that the list is exact: who is attached, to what, since when.
func TestReaders(t *testing.T) {
	bubble(t, func(t *testing.T, h *testFront) {
		expect := func(want ...string) {
			t.Helper()
			synctest.Wait()
			var got []string
			for _, r := range h.Readers() {
				got = append(got, fmt.Sprintf("%s|%s|%s|%s|%s", r.Address, r.ConsumerGroup, r.Partition, r.Remote, r.Since.Format(time.TimeOnly)))
			}
			if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w {
				t.Errorf("readers: got\n%s\nwant\n%s", g, w)
			}
		}
		expect()
		c := h.signedIn()
		first := h.mustAttach(c, "amqps://"+hubHost+"/"+eventHub+"/consumergroups/$default/partitions/1", from(latest))
		time.Sleep(time.Second)
		h.mustAttach(c, readerOf("0"), epoch(int64(1)))
		zero, one := eventHub+"/ConsumerGroups/$Default/Partitions/0|$Default|0|pipe|00:00:01", eventHub+"/ConsumerGroups/$default/Partitions/1|$default|1|pipe|00:00:00"
		expect(zero, one)
		h.refused(c, readerOf("0"), epoch(int64(0)), goamqp.ErrCondStolen)
		h.refused(c, readerOf("7"), nil, "com.microsoft:argument-out-of-range")
		expect(zero, one)
		if err := first.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		expect(zero)
		time.Sleep(time.Second)
		h.mustAttach(h.signedIn(), readerOf("0"), epoch(int64(1)))
		expect(strings.Replace(zero, "00:00:01", "00:00:02", 1))
		c.Close()
		expect(strings.Replace(zero, "00:00:01", "00:00:02", 1))
	})
}

// TestTakeoverStorm lets many connections steal one partition from each other at once: one reader is left, and none
// stays behind on the hub.
func TestTakeoverStorm(t *testing.T) {
	bubble(t, func(t *testing.T, h *testFront) {
		const peers = 8
		done := make(chan *goamqp.Conn)
		for range peers {
			c := h.signedIn()
			go func() {
				for range 20 {
					s, err := c.NewSession(t.Context(), nil)
					if err != nil {
						t.Errorf("new session: %v", err)
						break
					}
					// An error means that another one stole the link before it was answered.
					_, _ = s.NewReceiver(t.Context(), readerOf("0"), epoch(int64(0)))
				}
				done <- c
			}()
		}
		var conns []*goamqp.Conn
		for range peers {
			conns = append(conns, <-done)
		}
		synctest.Wait()
		if got := h.Readers(); len(got) != 1 {
			t.Errorf("readers after the storm: got %v, want one", got)
		}
		for _, c := range conns {
			c.Close()
		}
		synctest.Wait()
		if got := h.Readers(); len(got) != 0 {
			t.Errorf("readers after all have left: got %v, want none", got)
		}
	})
}
