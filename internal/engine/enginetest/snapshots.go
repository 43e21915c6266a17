package enginetest

import (
	"errors"
	"fmt"
	"sync"

	"github.com/twinhub/twinhub/internal/engine"
)

var snapshots = []test{
	{"isolation", func(s *suite) {
		s.put(0, "a", "1")
		s.put(0, "b", "1")
		s.put(1, "a", "1")
		snapshot, err := s.e.Snapshot()
		if err != nil {
			s.Fatalf("Snapshot: %v", err)
		}
		s.commit(0, []engine.Write{put("a", "2"), remove("b"), put("c", "2")})
		for range 2 {
			s.want(snapshot, 0, "a", "1")
			s.want(snapshot, 0, "b", "1")
			s.want(snapshot, 0, "c", absent)
			if docs, err := snapshot.Scan(0, "", "", 10); err != nil || len(docs) != 2 {
				s.Errorf("Scan of the snapshot = %v, %v; want a and b", keys(docs), err)
			}
			for p, n := range map[engine.Partition]uint64{0: 2, 1: 1, engine.Hub: 0} {
				if got := snapshot.Position(p); got != (engine.Position{Partition: p, N: n}) {
					s.Errorf("position %+v, want commit %d of partition %d", got, n, p)
				}
			}
			for i := range 200 {
				s.put(0, numbered(i), "later")
			}
		}
		s.want(s.e, 0, "a", "2")
		if err := snapshot.Close(); err != nil {
			s.Errorf("Close: %v", err)
		}
		if _, err := snapshot.Get(0, "a"); !errors.Is(err, engine.ErrClosed) {
			s.Errorf("Get of a closed snapshot: %v, want ErrClosed", err)
		}
		if _, err := snapshot.Scan(0, "", "", 1); !errors.Is(err, engine.ErrClosed) {
			s.Errorf("Scan of a closed snapshot: %v, want ErrClosed", err)
		}
	}},
	{"commits are whole", func(s *suite) {
		const writers, each = 4, 100
		write := func(value string) {
			s.commit(0, []engine.Write{put("a", value), put("b", value)})
			s.commit(1, []engine.Write{put("a", value), put("b", value)})
		}
		write("first")
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for i := range each {
					write(fmt.Sprint(w, i))
				}
			})
		}
		finished := make(chan struct{})
		go func() {
			wg.Wait()
			close(finished)
		}()
		for done := false; !done; {
			select {
			case <-finished:
				done = true
			default:
			}
			snapshot, err := s.e.Snapshot()
			if err != nil {
				s.Fatalf("Snapshot: %v", err)
			}
			for p := range engine.Partition(2) {
				docs, err := snapshot.Scan(p, "", "", 10)
				if err != nil || len(docs) != 2 || string(docs[0].Value) != string(docs[1].Value) || docs[0].Revision != docs[1].Revision {
					s.Fatalf("partition %d shows %+v, %v; want a and b alike", p, docs, err)
				}
				d := s.want(snapshot, p, "a", string(docs[0].Value))
				if d.Revision != docs[0].Revision {
					s.Fatalf("Get and Scan of a snapshot differ: %d and %d", d.Revision, docs[0].Revision)
				}
			}
			if err := snapshot.Close(); err != nil {
				s.Errorf("Close: %v", err)
			}
		}
	}},
}
