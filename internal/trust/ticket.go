package trust

import (
	"bytes"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"
)

const (
	ticketsFile = "tickets"

	ticketEvery = 24 * time.Hour // a key encrypts new tickets for this long
	ticketKeep  = 7              // keys in use, the newest included: with ticketEvery, as long as a ticket may live (RFC 8446 4.6.1)

	ticketBlock   = "TWINHUB TICKET KEY"
	ticketVersion = "1"
)

// ticketKey encrypts the tickets by which clients resume TLS sessions.
type ticketKey struct {
	made  time.Time
	bytes [32]byte
}

// openTickets reads the stored keys and rotates if due. The file only saves clients a full handshake after a restart, so
// one that can not be read is replaced.
func (t *Trust) openTickets() error {
	if !t.ephemeral {
		keys, err := t.loadTickets()
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.log.Warn("session ticket keys are made anew, clients make one full handshake", "reason", err.Error())
		}
		t.tickets = keys
	}
	return t.rotateTickets()
}

func (t *Trust) loadTickets() ([]ticketKey, error) {
	path := t.path(ticketsFile)
	content, err := t.readPrivate(path)
	if err != nil {
		return nil, err
	}
	keys, err := parseTickets(content)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return keys, nil
}

// rotateTickets drops keys that are too old, or of the future, adds one if none is young enough to encrypt with, and
// puts them to use. If the file can not be written they are used all the same.
func (t *Trust) rotateTickets() error {
	now := t.clock.Now()
	live := slices.DeleteFunc(slices.Clone(t.tickets), func(k ticketKey) bool {
		return now.Sub(k.made) >= ticketKeep*ticketEvery || k.made.After(now.Add(ticketEvery))
	})
	fresh := len(live) > 0 && now.Sub(live[0].made) < ticketEvery
	if !fresh {
		key := ticketKey{made: now.Truncate(time.Second)}
		rand.Read(key.bytes[:]) // never fails
		live = slices.Insert(live, 0, key)
	}
	live = live[:min(len(live), ticketKeep)]
	unchanged := slices.Equal(live, t.tickets)
	t.tickets = live
	t.useTickets()
	if unchanged || t.ephemeral {
		return nil
	}
	if err := writeFile(t.path(ticketsFile), encodeTickets(live), privateMode); err != nil {
		return fmt.Errorf("store session ticket keys: %w", err)
	}
	return nil
}

func (t *Trust) useTickets() {
	keys := make([][32]byte, len(t.tickets))
	for i, key := range t.tickets {
		keys[i] = key.bytes
	}
	t.seal.SetSessionTicketKeys(keys)
}

// encodeTickets writes the tickets file: one PEM block per key, the newest first, each with the headers Made (RFC 3339,
// UTC) and Version; the body is the key's 32 bytes.
func encodeTickets(keys []ticketKey) []byte {
	var b bytes.Buffer
	for _, key := range keys {
		b.Write(pem.EncodeToMemory(&pem.Block{
			Type:    ticketBlock,
			Headers: map[string]string{"Made": key.made.UTC().Format(time.RFC3339), "Version": ticketVersion},
			Bytes:   key.bytes[:],
		}))
	}
	return b.Bytes()
}

// parseTickets is the inverse of encodeTickets. It returns at most ticketKeep keys.
func parseTickets(content []byte) ([]ticketKey, error) {
	var keys []ticketKey
	for rest := content; len(keys) < ticketKeep; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		key := ticketKey{}
		made, err := time.Parse(time.RFC3339, block.Headers["Made"])
		switch {
		case block.Type != ticketBlock || block.Headers["Version"] != ticketVersion:
			return nil, fmt.Errorf("block %d is no ticket key of version %s", len(keys), ticketVersion)
		case err != nil:
			return nil, fmt.Errorf("block %d: when it was made: %w", len(keys), err)
		case len(block.Bytes) != len(key.bytes):
			return nil, fmt.Errorf("block %d has %d bytes, a key has %d", len(keys), len(block.Bytes), len(key.bytes))
		}
		key.made = made
		copy(key.bytes[:], block.Bytes)
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, errors.New("there is no key in it")
	}
	return keys, nil
}
