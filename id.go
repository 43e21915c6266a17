package twinhub

import "strings"

// An ID names a device, or a module of a device when Module is not empty. Ids are case-sensitive.
type ID struct {
	Device string
	Module string
}

// String returns "device" or "device/module".
func (id ID) String() string {
	if id.Module == "" {
		return id.Device
	}
	return id.Device + "/" + id.Module
}

// IsModule reports whether the identity is a module's.
func (id ID) IsModule() bool { return id.Module != "" }

// MaxIDLength is the longest device or module id, in bytes. Reference: IoT Hub, "Identity registry", device identity properties.
const MaxIDLength = 128

// idMarks are the characters of ids beside ASCII letters and digits.
const idMarks = "-:.+%_#*?!(),=@;$'"

// ValidID reports whether s may be a device or module id: 1 to MaxIDLength ASCII letters, digits and - : . + % _ # * ? ! ( ) , = @ ; $ '.
func ValidID(s string) bool {
	if s == "" || len(s) > MaxIDLength {
		return false
	}
	for i := range len(s) {
		c := s[i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !letter && strings.IndexByte(idMarks, c) < 0 {
			return false
		}
	}
	return true
}
