package mqtt

// Pingreq asks the server for a sign of life (section 3.12).
type Pingreq struct{}

// Pingresp answers a Pingreq (section 3.13).
type Pingresp struct{}

// Disconnect ends a session: the client closes the connection and the server forgets its will (section 3.14)
// [MQTT-3.1.2-10]. A server cannot send one in MQTT 3.1.1.
type Disconnect struct{}

// Type returns TypePingreq.
func (p *Pingreq) Type() Type { return TypePingreq }

// Type returns TypePingresp.
func (p *Pingresp) Type() Type { return TypePingresp }

// Type returns TypeDisconnect.
func (p *Disconnect) Type() Type { return TypeDisconnect }

// Validate returns nil.
func (p *Pingreq) Validate() error { return nil }

// Validate returns nil.
func (p *Pingresp) Validate() error { return nil }

// Validate returns nil.
func (p *Disconnect) Validate() error { return nil }

// AppendTo implements Packet.
func (p *Pingreq) AppendTo(b []byte) []byte { return appendHeader(b, TypePingreq, 0, 0) }

// AppendTo implements Packet.
func (p *Pingresp) AppendTo(b []byte) []byte { return appendHeader(b, TypePingresp, 0, 0) }

// AppendTo implements Packet.
func (p *Disconnect) AppendTo(b []byte) []byte { return appendHeader(b, TypeDisconnect, 0, 0) }
