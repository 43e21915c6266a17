// Package twinhub is the vocabulary of an IoT hub: identities, events and the errors that clients see. It holds data
// and checks, does no I/O and imports the standard library only. The hub itself is in internal/hub, its programs in
// cmd/twinhub.
package twinhub
