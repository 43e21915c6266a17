package local

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/twinhub/twinhub/internal/engine"
)

// Bytes on disk, format version 1. All integers are big-endian. Every key begins with the partition's number in two
// bytes and the byte of its space:
//
//	partition space rest                     value
//	0xffff    0x00  "format"                 version uint32
//	0xffff    0x00  "partitions"             number of device partitions, uint16
//	p         0x01                           commits so far uint64, time of the last one in ms since 1970 uint64
//	p         0x02  document key             revision uint64, content
//	p         0x03  log name                 first, next, next offset, last offset, time in ms: uint64 each
//	p         0x04  log name 0x00 number u64 a block of records, of which this is the first
//
// A block holds consecutive records: the first one's offset uint64 and time in ms uint64, and then for each record the
// ms since the one before it in the block (0 for the first) uvarint, its size uvarint, and its content.
//
// A log's name has no zero byte, so that one log's records are never between those of another.
const (
	spaceMeta     = 0x00
	spacePosition = 0x01
	spaceDocument = 0x02
	spaceHead     = 0x03
	spaceRecord   = 0x04
)

const (
	prefixSize       = 3
	positionSize     = 16
	documentOverhead = 8
	headSize         = 40
	blockHead        = 16
)

var errMalformed = errors.New("malformed data")

func appendPrefix(b []byte, p engine.Partition, space byte) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(p)), space)
}

func metaKey(name string) []byte { return append(appendPrefix(nil, engine.Hub, spaceMeta), name...) }

func positionKey(p engine.Partition) []byte { return appendPrefix(nil, p, spacePosition) }

func documentKey(p engine.Partition, key string) []byte {
	b := make([]byte, 0, prefixSize+len(key)+1)
	return append(appendPrefix(b, p, spaceDocument), key...)
}

// putDocumentKey fills b, which has the size of the key.
func putDocumentKey(b []byte, p engine.Partition, key string) {
	binary.BigEndian.PutUint16(b, uint16(p))
	b[2] = spaceDocument
	copy(b[prefixSize:], key)
}

func headKey(p engine.Partition, log string) []byte {
	b := make([]byte, 0, prefixSize+len(log))
	return append(appendPrefix(b, p, spaceHead), log...)
}

func recordKeySize(log string) int { return prefixSize + len(log) + 1 + 8 }

func appendRecordKey(b []byte, p engine.Partition, log string, number uint64) []byte {
	b = append(appendPrefix(b, p, spaceRecord), log...)
	return binary.BigEndian.AppendUint64(append(b, 0), number)
}

func recordKey(p engine.Partition, log string, number uint64) []byte {
	return appendRecordKey(make([]byte, 0, recordKeySize(log)), p, log, number)
}

// after returns the least key greater than every key that begins with prefix, which must not be all 0xff bytes.
func after(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}

// position is the stored state of a partition.
type position struct {
	n      uint64
	millis int64
}

func (p position) encode() []byte {
	b := make([]byte, 0, positionSize)
	b = binary.BigEndian.AppendUint64(b, p.n)
	return binary.BigEndian.AppendUint64(b, uint64(p.millis))
}

func decodePosition(b []byte) (position, error) {
	if len(b) != positionSize {
		return position{}, fmt.Errorf("position of %d bytes: %w", len(b), errMalformed)
	}
	return position{binary.BigEndian.Uint64(b), int64(binary.BigEndian.Uint64(b[8:]))}, nil
}

// head is engine.Head with the time as it is stored.
type head struct {
	first, next, nextOffset, last uint64
	millis                        int64
}

func (h head) encode() []byte {
	b := make([]byte, 0, headSize)
	for _, v := range [...]uint64{h.first, h.next, h.nextOffset, h.last, uint64(h.millis)} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	return b
}

func decodeHead(b []byte) (head, error) {
	if len(b) != headSize {
		return head{}, fmt.Errorf("log head of %d bytes: %w", len(b), errMalformed)
	}
	u := binary.BigEndian.Uint64
	return head{u(b), u(b[8:]), u(b[16:]), u(b[24:]), int64(u(b[32:]))}, nil
}

func decodeDocument(b []byte) (engine.Revision, []byte, error) {
	if len(b) < documentOverhead {
		return 0, nil, fmt.Errorf("document of %d bytes: %w", len(b), errMalformed)
	}
	return engine.Revision(binary.BigEndian.Uint64(b)), b[documentOverhead:], nil
}

// endOfSpan returns the end of what key belongs to: the records of one log, or what a partition has besides records.
// Nil is the end of all keys.
func endOfSpan(key []byte) []byte {
	if len(key) < prefixSize {
		return nil
	}
	if key[2] < spaceRecord {
		return appendPrefix(nil, engine.Partition(binary.BigEndian.Uint16(key)), spaceRecord)
	}
	name := bytes.IndexByte(key[prefixSize:], 0)
	if name < 0 {
		return nil
	}
	return append(bytes.Clone(key[:prefixSize+name]), 1)
}
