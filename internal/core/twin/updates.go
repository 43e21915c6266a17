package twin

import "sync/atomic"

// Updates say how many writes changed each section of a twin. A write that changes tags and desired properties counts
// in both.
type Updates struct {
	Tags, Desired, Reported uint64
}

// updates are the Updates as they grow.
type updates struct {
	tags, desired, reported atomic.Uint64
}

// add counts a change that is stored.
func (u *updates) add(c *change) {
	if c.tags != nil {
		u.tags.Add(1)
	}
	if c.desired != nil {
		u.desired.Add(1)
	}
	if c.reported != nil {
		u.reported.Add(1)
	}
}

// Updates returns the writes of the Service that are on disk, since it was made.
func (s *Service) Updates() Updates {
	return Updates{Tags: s.updates.tags.Load(), Desired: s.updates.desired.Load(), Reported: s.updates.reported.Load()}
}
