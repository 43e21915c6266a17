package mqttfront

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/twinhub/twinhub/internal/wire/mqtt"
)

// sent returns the packet ids of the PUBACKs that a held outbox has queued.
func sent(o *outbox) string {
	var ids []byte
	for b := o.queue; len(b) >= 4; b = b[4:] {
		ids = append(ids, b[3])
	}
	return fmt.Sprintf("%d", ids)
}

func TestAcksKeepOrder(t *testing.T) {
	tests := []struct {
		name   string
		ids    []uint16
		finish []int // in this order; negative: fails
		want   string
	}{
		{"in order", []uint16{1, 2, 3}, []int{0, 1, 2}, "[1 2 3]"},
		{"reversed", []uint16{1, 2, 3}, []int{2, 1, 0}, "[1 2 3]"},
		{"first is missing", []uint16{1, 2, 3}, []int{2, 1}, "[]"},
		{"QoS 0 between", []uint16{1, 0, 3}, []int{2, 0}, "[1]"},
		{"QoS 0 done", []uint16{1, 0, 3}, []int{2, 0, 1}, "[1 3]"},
		{"nothing after a failure", []uint16{1, 2, 3}, []int{0, -1, 2}, "[1]"},
		{"nothing before it that comes later", []uint16{1, 2, 3}, []int{-1, 0}, "[]"},
		{"the same id again", []uint16{7, 7}, []int{1, 0}, "[7 7]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var writers sync.WaitGroup
			a := newAcks(newOutbox(nil, &writers))
			var numbers []uint64
			for _, id := range tt.ids {
				n, err := a.begin(id)
				if err != nil {
					t.Fatal(err)
				}
				numbers = append(numbers, n)
			}
			failure := errors.New("lost")
			failed := false
			for _, n := range tt.finish {
				if n < 0 {
					failed = true
					a.finish(numbers[-n], failure)
					continue
				}
				a.finish(numbers[n], nil)
			}
			if got := sent(a.out); got != tt.want {
				t.Errorf("acknowledged %s, want %s", got, tt.want)
			}
			if _, err := a.begin(9); failed != errors.Is(err, failure) {
				t.Errorf("begin then returns %v", err)
			}
			if !failed {
				return // drain would wait for what is missing
			}
			if err := a.drain(); !errors.Is(err, failure) {
				t.Errorf("drain returns %v", err)
			}
		})
	}
}

func TestAcksStopTheReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var writers sync.WaitGroup
		a := newAcks(newOutbox(nil, &writers))
		for range maxUnacknowledged {
			if _, err := a.begin(0); err != nil {
				t.Fatal(err)
			}
		}
		begun := make(chan error, 1)
		go func() {
			_, err := a.begin(0)
			begun <- err
		}()
		synctest.Wait()
		select {
		case <-begun:
			t.Fatal("one more was taken")
		default:
		}
		a.finish(0, nil)
		if err := <-begun; err != nil {
			t.Error(err)
		}
		for n := range uint64(maxUnacknowledged) {
			a.finish(n+1, nil)
		}
		if err := a.drain(); err != nil || a.queue != nil {
			t.Errorf("drained with %v and a queue of capacity %d", err, cap(a.queue))
		}
	})
}

func TestPacketIDsSkipZero(t *testing.T) {
	var writers sync.WaitGroup
	c := &conn{subscriptions: subscriptions{desiredFilter: mqtt.QoS1}, lastPacketID: 65534}
	c.out = newOutbox(nil, &writers)
	for _, want := range []uint16{65535, 1, 2} {
		if sent, err := c.send(desiredFilter, "t", nil); !sent || err != nil || c.lastPacketID != want {
			t.Errorf("packet id %d, %v, want %d", c.lastPacketID, err, want)
		}
	}
}
