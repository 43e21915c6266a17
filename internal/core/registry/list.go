package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/twinhub/twinhub/internal/core/identity"
	"github.com/twinhub/twinhub/internal/engine"
)

// MaxList is how many devices List returns at most, and by default.
const MaxList = 1000

// List returns the first top devices in the order of their ids; a top that is not within [1; MaxList] means MaxList.
func (s *Service) List(ctx context.Context, top int) ([]*Device, error) {
	if top < 1 || top > MaxList {
		top = MaxList
	}
	if err := s.engine.Barrier(ctx); err != nil {
		return nil, fmt.Errorf("await earlier writes: %w", err)
	}
	var identities []*identity.Identity
	for p := range engine.Partition(s.engine.Partitions()) {
		page, err := identity.Devices(s.engine, p, "", top)
		if err != nil {
			return nil, fmt.Errorf("list devices: %w", err)
		}
		identities = append(identities, page...)
		slices.SortFunc(identities, func(a, b *identity.Identity) int { return cmp.Compare(a.DeviceID, b.DeviceID) })
		identities = identities[:min(len(identities), top)]
	}
	list := make([]*Device, len(identities))
	for n, i := range identities {
		d, err := s.show(i)
		if err != nil {
			return nil, err
		}
		list[n] = d
	}
	return list, nil
}

// Statistics counts the devices of the registry. Its JSON form is that of the service API.
type Statistics struct {
	Total    int64 `json:"totalDeviceCount"`
	Enabled  int64 `json:"enabledDeviceCount"`
	Disabled int64 `json:"disabledDeviceCount"`
}

// countPage is how many records Statistics reads at a time.
const countPage = 1000

// Statistics counts all devices by reading each, and returns the error of ctx when it ends first.
func (s *Service) Statistics(ctx context.Context) (Statistics, error) {
	var count Statistics
	if err := s.engine.Barrier(ctx); err != nil {
		return count, fmt.Errorf("await earlier writes: %w", err)
	}
	for p := range engine.Partition(s.engine.Partitions()) {
		for after, more := "", true; more; {
			if err := ctx.Err(); err != nil {
				return count, err
			}
			page, err := identity.Devices(s.engine, p, after, countPage)
			if err != nil {
				return count, fmt.Errorf("count devices: %w", err)
			}
			for _, i := range page {
				count.Total++
				if i.Status == identity.Enabled {
					count.Enabled++
				} else {
					count.Disabled++
				}
				after = i.DeviceID
			}
			more = len(page) == countPage
		}
	}
	return count, nil
}

// Connected returns how many devices are connected.
func (s *Service) Connected() int { return s.sessions.Connected() }

// Stopped reports whether err says that the hub's storage has failed or was closed, so that nothing can be read or
// written until the hub starts again. It is for errors of any package of the core.
func Stopped(err error) bool {
	return errors.Is(err, engine.ErrFailed) || errors.Is(err, engine.ErrClosed)
}
