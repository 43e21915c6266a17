package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// How much the heap may grow between two garbage collections: by gcPercent of what is live, and at least by gcHeadroom.
// Go's default, by all that is live, doubles the memory of a large fleet that idles, and has a small one that is busy
// collect several times a second: its live heap is a few megabytes, for the storage engine's tables are not in it.
const (
	gcPercent  = 50
	gcHeadroom = 64 << 20
)

// growthPercent returns what GOGC has to be while so many bytes are live. Below 4 MiB the runtime reckons with 4 MiB.
func growthPercent(live uint64) int {
	return int(max(gcPercent, gcHeadroom*100/max(live, 4<<20)))
}

// keepHeadroom adapts GOGC after every collection, for as long as the process lives.
func keepHeadroom() {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	var adapt func(struct{})
	adapt = func(struct{}) {
		metrics.Read(live)
		debug.SetGCPercent(growthPercent(live[0].Value.Uint64()))
		runtime.AddCleanup(new(*int), adapt, struct{}{}) // unreachable at once: the next collection finds it
	}
	adapt(struct{}{})
}
