package mqtt

import "encoding/binary"

// cursor takes fields off the front of a packet's body. The first field that does not fit sets err; from
// then on every field is empty, so a decoder checks once, at the end.
type cursor struct {
	body []byte
	of   Type
	err  error
}

// malformed keeps the first error.
func (c *cursor) malformed(clause, reason string) {
	if c.err == nil {
		c.err = &MalformedError{Type: c.of, Clause: clause, Reason: reason}
	}
}

// take returns the next n bytes, which belong to the body, or nil if there are fewer.
func (c *cursor) take(n int, field string) []byte {
	if c.err != nil {
		return nil
	}
	if len(c.body) < n {
		c.malformed("MQTT-4.8.0-1", "ends inside its "+field)
		return nil
	}
	b := c.body[:n]
	c.body = c.body[n:]
	return b
}

func (c *cursor) uint8(field string) byte {
	if b := c.take(1, field); b != nil {
		return b[0]
	}
	return 0
}

func (c *cursor) uint16(field string) uint16 { // section 1.5.2: big-endian
	if b := c.take(2, field); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

// bytes returns a field of a two-byte length and as many bytes. They belong to the body.
func (c *cursor) bytes(field string) []byte {
	return c.take(int(c.uint16(field)), field)
}

// string returns a field of bytes as a copy. Whether it is UTF-8 is for Validate to say.
func (c *cursor) string(field string) string {
	return string(c.bytes(field))
}

// finish returns the first error, or one if bytes are left over.
func (c *cursor) finish() error {
	if c.err == nil && len(c.body) > 0 {
		c.malformed("MQTT-4.8.0-1", "has bytes after its last field")
	}
	return c.err
}

// checkID refuses packet id 0 [MQTT-2.3.1-1].
func checkID(t Type, id uint16) error {
	if id == 0 {
		return &MalformedError{Type: t, Clause: "MQTT-2.3.1-1", Reason: "packet id is 0"}
	}
	return nil
}

// checkLength refuses a body that the header cannot express.
func checkLength(t Type, length int) error {
	if length > MaxRemainingLength {
		return &TooLargeError{Type: t, Unit: "bytes", Size: length, Limit: MaxRemainingLength}
	}
	return nil
}

// appendHeader appends a fixed header (section 2.2).
func appendHeader(b []byte, t Type, flags byte, length int) []byte {
	b = append(b, byte(t)<<4|flags)
	for length >= 0x80 {
		b = append(b, byte(length)|0x80)
		length >>= 7
	}
	return append(b, byte(length))
}

// appendString appends a two-byte length and s, which has been found to fit.
func appendString[T string | []byte](b []byte, s T) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
	return append(b, s...)
}

// appendID appends a packet that is only a packet id.
func appendID(b []byte, t Type, id uint16) []byte {
	return binary.BigEndian.AppendUint16(appendHeader(b, t, kinds[t].flags, 2), id)
}
