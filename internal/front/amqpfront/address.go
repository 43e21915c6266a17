package amqpfront

import (
	"net/url"
	"strings"
)

// Link addresses. All forms that clients use are accepted: with a leading slash or without, as a full URI, with
// percent-encoding; fixed words, event hub and consumer group compare without regard to case.
//
//	$cbs
//	$management, {event hub}/$management
//	{event hub}/ConsumerGroups/{group}/Partitions/{partition}
//	messages/events/...                                        the old form, which is redirected
//
// Reference: Event Hubs, "AMQP 1.0 protocol guide".

// segments splits an address into its decoded path segments.
func segments(address string) []string {
	if _, rest, ok := strings.Cut(address, "://"); ok {
		_, address, _ = strings.Cut(rest, "/")
	}
	parts := strings.Split(strings.Trim(address, "/"), "/")
	for i, p := range parts {
		if decoded, err := url.PathUnescape(p); err == nil {
			parts[i] = decoded
		}
	}
	return parts
}

// pathOf returns an address without the authority of a URI, where a client may have put a password.
func pathOf(parts []string) string { return strings.Join(parts, "/") }

// isNode reports whether the address is that of a node, alone or below an entity.
func isNode(parts []string, node string) bool {
	return len(parts) <= 2 && strings.EqualFold(parts[len(parts)-1], node)
}

// isHubAddress reports whether the address is the built-in endpoint as the hub's own host names it.
func isHubAddress(parts []string) bool {
	return len(parts) >= 2 && strings.EqualFold(parts[0], "messages") && strings.EqualFold(parts[1], "events")
}

// A readerAddress names a partition as a consumer group sees it.
type readerAddress struct{ eventHub, group, partition string }

func parseReader(parts []string) (readerAddress, bool) {
	if len(parts) != 5 || !strings.EqualFold(parts[1], "ConsumerGroups") || !strings.EqualFold(parts[3], "Partitions") {
		return readerAddress{}, false
	}
	return readerAddress{eventHub: parts[0], group: parts[2], partition: parts[4]}, true
}

func (a readerAddress) String() string {
	return a.eventHub + "/ConsumerGroups/" + a.group + "/Partitions/" + a.partition
}
