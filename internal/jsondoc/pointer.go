package jsondoc

import (
	"errors"
	"strings"
)

// ErrPointer is returned for a text that is not a JSON pointer.
var ErrPointer = errors.New("not a JSON pointer: want / before each name and ~0 or ~1 after each ~")

// AppendPointer appends "/" and key, escaped, to the JSON pointer dst: ~ becomes ~0 and / becomes
// ~1. Reference: RFC 6901 section 3.
func AppendPointer(dst []byte, key string) []byte {
	dst = append(dst, '/')
	for i := range len(key) {
		switch key[i] {
		case '~':
			dst = append(dst, "~0"...)
		case '/':
			dst = append(dst, "~1"...)
		default:
			dst = append(dst, key[i])
		}
	}
	return dst
}

// ParsePointer returns the names of a JSON pointer, unescaped; none for "", which points to the
// whole document. It fails with ErrPointer. Reference: RFC 6901 section 4.
func ParsePointer(pointer string) ([]string, error) {
	if pointer == "" {
		return nil, nil
	}
	if pointer[0] != '/' {
		return nil, ErrPointer
	}
	names := strings.Split(pointer[1:], "/")
	for i, name := range names {
		for at := 0; at < len(name); at++ {
			if name[at] != '~' {
				continue
			}
			at++
			if at == len(name) || (name[at] != '0' && name[at] != '1') {
				return nil, ErrPointer
			}
		}
		names[i] = strings.ReplaceAll(strings.ReplaceAll(name, "~1", "/"), "~0", "~")
	}
	return names, nil
}
