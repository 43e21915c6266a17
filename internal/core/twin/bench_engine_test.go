package twin_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/twinhub/twinhub"
)

// BenchmarkReportedThroughEngine is a device's patch until it is acknowledged, on a disk in memory, by many devices
// at once. Events of both kinds are made.
func BenchmarkReportedThroughEngine(b *testing.B) {
	r := newRig(b, twinhub.TwinChange, twinhub.DigitalTwinChange)
	const devices = 64
	id := func(n int64) twinhub.ID { return twinhub.ID{Device: fmt.Sprint("device", n%devices)} }
	for n := range int64(devices) {
		r.create(id(n), `null`, `null`)
		r.reported(id(n), `{"a":1,"b":2.5,"c":"text","d":{"x":1,"y":2},"e":true}`)
	}
	var next atomic.Int64
	body := []byte(`{"a":21.5,"component":{"__t":"c","temperature":19.75}}`)
	b.ReportAllocs()
	b.SetParallelism(devices / 2)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		me := id(next.Add(1))
		for pb.Next() {
			if _, err := r.twins.Reported(context.Background(), me, body, nil); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
