package local_test

import (
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/twinhub/twinhub/internal/engine"
	"github.com/twinhub/twinhub/internal/engine/local"
)

// BenchmarkSubmit measures acknowledged commits of one 700-byte record each, on the real disk, with a number of
// callers that each have one commit under way.
func BenchmarkSubmit(b *testing.B) {
	for _, callers := range []int{1, 16, 512} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) { benchmarkSubmit(b, callers, false) })
	}
	b.Run("callers=512,document", func(b *testing.B) { benchmarkSubmit(b, 512, true) })
}

func benchmarkSubmit(b *testing.B, callers int, withDocument bool) {
	var groups int
	e, err := local.Open(local.Options{Dir: b.TempDir(), Observe: func(local.Group) { groups++ }})
	if err != nil {
		b.Fatal(err)
	}
	value := make([]byte, 700)
	for i := range value {
		value[i] = byte(i * 7)
	}
	b.SetBytes(int64(len(value)))
	b.ResetTimer()
	var wg sync.WaitGroup
	wg.Add(callers)
	for i := range callers {
		left := b.N / callers
		if i < b.N%callers {
			left++
		}
		c := engine.Commit{
			Partition: engine.Partition(i % e.Partitions()),
			Appends:   []engine.Append{{Log: "events", Records: [][]byte{value}}},
		}
		if withDocument {
			c.Writes = []engine.Write{{Key: fmt.Sprintf("twin/device-%04d", i), Value: value, Expect: engine.Any}}
		}
		go func() {
			defer wg.Done()
			answered := make(chan error, 1)
			done := func(_ engine.Result, err error) { answered <- err }
			for range left {
				e.Submit(c, done)
				if err := <-answered; err != nil {
					b.Error(err)
					return
				}
			}
		}()
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
	if err := e.Close(); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N)/float64(groups), "commits/group")
	b.ReportMetric(float64(runtime.GOMAXPROCS(0)), "cpus")
}
