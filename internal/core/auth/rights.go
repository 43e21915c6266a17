package auth

import (
	"fmt"
	"strings"
)

// Rights is a set of permissions of a shared access policy.
type Rights uint8

// The rights. RegistryWrite implies RegistryRead.
// Reference: IoT Hub, "Control access by using shared access signatures", access control and permissions.
const (
	RegistryRead   Rights = 1
	RegistryWrite  Rights = 2 | RegistryRead
	ServiceConnect Rights = 4
	DeviceConnect  Rights = 8
)

// rightNames lists the words of configurations, in the order in which String writes them.
var rightNames = []struct {
	name  string
	right Rights
}{
	{"RegistryRead", RegistryRead},
	{"RegistryWrite", RegistryWrite},
	{"ServiceConnect", ServiceConnect},
	{"DeviceConnect", DeviceConnect},
}

// Has reports whether r includes all of want.
func (r Rights) Has(want Rights) bool { return r&want == want }

// String lists the rights, separated by a comma and a space.
func (r Rights) String() string {
	var names []string
	for _, n := range rightNames {
		if r.Has(n.right) {
			names = append(names, n.name)
		}
	}
	return strings.Join(names, ", ")
}

// ParseRights reads a comma-separated list of rights, in any case.
func ParseRights(text string) (Rights, error) {
	var r Rights
words:
	for _, word := range strings.Split(text, ",") {
		for _, n := range rightNames {
			if strings.EqualFold(strings.TrimSpace(word), n.name) {
				r |= n.right
				continue words
			}
		}
		return 0, fmt.Errorf("unknown right %q: use RegistryRead, RegistryWrite, ServiceConnect or DeviceConnect", strings.TrimSpace(word))
	}
	return r, nil
}

// A Policy is a named set of rights with two keys.
type Policy struct {
	Name         string
	Rights       Rights
	PrimaryKey   string // base64
	SecondaryKey string
}

// The names of the policies that every hub has.
const (
	OwnerPolicy   = "iothubowner"
	ServicePolicy = "service"
)

// BuiltInPolicies lists the policies that every hub has, without keys.
func BuiltInPolicies() []Policy {
	return []Policy{
		{Name: OwnerPolicy, Rights: RegistryRead | RegistryWrite | ServiceConnect | DeviceConnect},
		{Name: ServicePolicy, Rights: ServiceConnect},
		{Name: "device", Rights: DeviceConnect},
		{Name: "registryRead", Rights: RegistryRead},
		{Name: "registryReadWrite", Rights: RegistryWrite},
	}
}
