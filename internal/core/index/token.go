package index

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"

	"github.com/twinhub/twinhub"
)

// tokenVersion begins every continuation token. What follows it:
//
//	SHA-256 of the query text   32 bytes
//	rows that TOP still allows  unsigned varint; 0 means no bound, and the language has no TOP yet
//	id of the last row          the rest
//	HMAC-SHA256 of all before   32 bytes
//
// On the wire it is base64 with the URL alphabet, without padding.
const tokenVersion = 1

// maxToken is the longest token on the wire: 1 + 32 + 10 + 128 + 32 bytes in base64.
var maxToken = base64.RawURLEncoding.EncodedLen(1 + sha256.Size + binary.MaxVarintLen64 + twinhub.MaxIDLength + sha256.Size)

// A token is where a query goes on.
type token struct {
	query [sha256.Size]byte
	last  string
}

func hash(query string) [sha256.Size]byte { return sha256.Sum256([]byte(query)) }

// seal returns the text of a token.
func (s *Service) seal(t token) string {
	b := append([]byte{tokenVersion}, t.query[:]...)
	b = binary.AppendUvarint(b, 0)
	b = append(b, t.last...)
	return base64.RawURLEncoding.EncodeToString(s.sign(b))
}

// open reads the text of a token that seal made, with this key. Every error is errToken.
func (s *Service) open(text string) (t token, err error) {
	if len(text) > maxToken {
		return t, errToken
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(b) < 1+2*sha256.Size {
		return t, errToken
	}
	content := b[:len(b)-sha256.Size]
	if !hmac.Equal(s.sign(content[:len(content):len(content)]), b) || content[0] != tokenVersion {
		return t, errToken
	}
	rest := content[1+copy(t.query[:], content[1:]):]
	left, n := binary.Uvarint(rest)
	if n <= 0 || left != 0 {
		return t, errToken
	}
	t.last = string(rest[n:])
	return t, nil
}

// sign appends the MAC of b to b.
func (s *Service) sign(b []byte) []byte {
	mac := hmac.New(sha256.New, s.key)
	mac.Write([]byte("continuation\x00")) // the key may sign other things too
	mac.Write(b)
	return mac.Sum(b)
}
