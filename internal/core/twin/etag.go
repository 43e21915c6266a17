package twin

import (
	"strings"

	"github.com/twinhub/twinhub"
)

// Matches reports whether an If-Match header allows a change of what has the unquoted etag. An empty header and *
// allow any; the value may be quoted or bare, with or without W/ before it.
func Matches(ifMatch, etag string) bool {
	tag := strings.TrimSpace(ifMatch)
	if tag == "" {
		return true
	}
	tag = strings.TrimPrefix(tag, "W/")
	if len(tag) >= 2 && tag[0] == '"' && tag[len(tag)-1] == '"' {
		tag = tag[1 : len(tag)-1]
	}
	return tag == "*" || tag == etag
}

func (d *Document) match(ifMatch string) error {
	if !Matches(ifMatch, d.ETag()) {
		return twinhub.Errorf(twinhub.CodePreconditionFailed, "PreconditionFailed, ETag may be invalid.")
	}
	return nil
}
