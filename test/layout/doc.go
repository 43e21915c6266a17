// Package layout holds the tests that keep the room plan: who may import whom, that each package says what it is for,
// and that docs/compat.md names tests that exist.
package layout
