package local

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// formatVersion is that of the bytes described in keys.go.
const formatVersion = 1

const (
	metaFormat     = "format"
	metaPartitions = "partitions"
)

// format checks the version of the data, or marks new data, and returns their number of partitions.
func (s *store) format(requested int) (partitions int, err error) {
	b, err := s.meta(metaFormat)
	if err != nil {
		return 0, err
	}
	if b == nil {
		return s.begin(requested)
	}
	if len(b) != 4 {
		return 0, fmt.Errorf("format version of %d bytes: %w", len(b), errMalformed)
	}
	if v := binary.BigEndian.Uint32(b); v > formatVersion {
		return 0, fmt.Errorf("the data have format version %d, this program knows versions up to %d: use a newer program", v, formatVersion)
	}
	b, err = s.meta(metaPartitions)
	if err != nil {
		return 0, err
	}
	if len(b) != 2 {
		return 0, fmt.Errorf("number of partitions of %d bytes: %w", len(b), errMalformed)
	}
	partitions = int(binary.BigEndian.Uint16(b))
	if requested != 0 && requested != partitions {
		return 0, fmt.Errorf("the data have %d partitions, %d are asked for: the number is fixed when the data are made", partitions, requested)
	}
	return partitions, nil
}

// meta reads a value about the data, nil if absent.
func (s *store) meta(name string) ([]byte, error) {
	b, closer, err := s.db.Get(metaKey(name))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	defer closer.Close()
	return append([]byte(nil), b...), nil
}

// begin marks new data.
func (s *store) begin(partitions int) (int, error) {
	it, err := s.db.NewIter(nil)
	if err != nil {
		return 0, fmt.Errorf("look for data: %w", err)
	}
	foreign := it.First()
	if err := it.Close(); err != nil {
		return 0, fmt.Errorf("look for data: %w", err)
	}
	if foreign {
		return 0, errors.New("the folder holds a Pebble database of something else")
	}
	if partitions == 0 {
		partitions = defaultPartitions
	}
	b := s.db.NewBatch()
	_ = b.Set(metaKey(metaFormat), binary.BigEndian.AppendUint32(nil, formatVersion), nil)
	_ = b.Set(metaKey(metaPartitions), binary.BigEndian.AppendUint16(nil, uint16(partitions)), nil)
	if err := b.Commit(pebble.Sync); err != nil {
		return 0, fmt.Errorf("mark new data: %w", err)
	}
	if err := s.disk.failure(); err != nil {
		return 0, fmt.Errorf("mark new data: %w", err)
	}
	return partitions, b.Close()
}
