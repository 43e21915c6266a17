package amqp

import (
	"net"
	"time"
)

// Config holds what a server decides for a connection. The zero Config works. Maps and slices in it are
// read, never changed, and may be shared by all connections.
type Config struct {
	ContainerID string // names this server in OPEN; default "amqp-server"
	Properties  Map    // sent in OPEN with symbol keys; nil sends none

	// Mechanisms are offered to peers that ask for SASL, in this order; nil offers MSSBCBS and ANONYMOUS,
	// which accept anyone. A peer may also leave SASL out.
	Mechanisms []Mechanism

	MaxFrameSize     uint32        // largest frame taken, bytes: 512 to 1 MiB, default 65,536
	MaxMessageSize   int           // largest message taken on a link, bytes; default 1 MiB
	IdleTimeout      time.Duration // a peer silent for so long is closed; default 240 s, at least 1 s
	HandshakeTimeout time.Duration // from the first byte to OPEN; default 20 s

	MaxSessions  int // sessions of a connection, 1 to 65,536; default 2,048
	MaxLinks     int // links of a connection, over all sessions; default 4,096
	MaxUnsettled int // deliveries of a connection sent and not yet settled; default 16,384

	// Buffers lends read and write buffers. Connections should share one; nil makes one for this connection.
	Buffers *Buffers
}

// Mechanism is one way to authenticate with SASL.
type Mechanism struct {
	Name Symbol

	// Authenticate checks the peer's only response and returns what Conn.Identity will give, or an error
	// to refuse the peer. It runs on the connection's reader goroutine. Nil accepts anyone.
	Authenticate func(SASLRequest) (identity any, err error)
}

// SASLRequest is what a peer says when it chooses a mechanism.
type SASLRequest struct {
	Response []byte // the initial response, nil when there was none; valid during the call
	Hostname string
	NetConn  net.Conn // as given to Serve, for EXTERNAL
}

const (
	defaultMaxFrame     = 65536
	defaultMaxMessage   = 1 << 20
	defaultIdle         = 240 * time.Second
	defaultHandshake    = 20 * time.Second
	defaultMaxSessions  = 2048
	defaultMaxLinks     = 4096
	defaultMaxUnsettled = 16384
)

const (
	// minFrame is the frame size every peer must accept. AMQP 2.8.12 (MIN-MAX-FRAME-SIZE).
	minFrame = 512
	// maxMaxFrame keeps one frame within one allocation of a sensible size.
	maxMaxFrame = 1 << 20
	// maxSASLFrame is more than the 512 of AMQP 5.3.1: PLAIN carries whole access tokens.
	maxSASLFrame = 65536
	// maxOpenFrame bounds the first frame of a peer about which nothing is known. User agents and
	// properties of real clients stay below 2 KiB.
	maxOpenFrame = 16 << 10
	// maxAttachFrame bounds what a link keeps: addresses, filters and properties take 1 KiB at most.
	maxAttachFrame = 16 << 10
	// maxAttachTotal bounds the same over all links of a connection.
	maxAttachTotal = 4 << 20
	// maxPartials bounds messages that have not arrived completely, over all links of a connection, in largest messages.
	maxPartials = 8
	// maxHeld is how much the handler may leave unsettled before the connection is no longer read.
	maxHeld = 4 << 20
	// outboxLimit is how much output may wait before senders wait and the connection is no longer read.
	outboxLimit = 256 << 10
	// incomingWindow is the session window we grant, in frames. Memory is bounded elsewhere (maxHeld), so
	// that it only has to be large enough never to slow a peer down.
	incomingWindow = 2048

	// writeTimeout is how long one write may wait for a peer that does not read.
	writeTimeout = 10 * time.Second
	// writePiece is how much the peer must then have taken at least.
	writePiece = 64 << 10
	// closeTimeout is how long a closing connection waits for the peer's own close.
	closeTimeout = 2 * time.Second
	// heartbeatFloor is the least time between empty frames, unless the peer's time-out forbids it.
	heartbeatFloor = 5 * time.Second
)

// filled returns the config with its defaults in place and its values within their bounds.
func (c Config) filled() Config {
	if c.ContainerID == "" {
		c.ContainerID = "amqp-server"
	}
	if c.Mechanisms == nil {
		c.Mechanisms = []Mechanism{{Name: "MSSBCBS"}, {Name: "ANONYMOUS"}}
	}
	c.MaxFrameSize = min(max(orDefault(c.MaxFrameSize, defaultMaxFrame), minFrame), maxMaxFrame)
	c.MaxMessageSize = orDefault(c.MaxMessageSize, defaultMaxMessage)
	c.IdleTimeout = max(orDefault(c.IdleTimeout, defaultIdle), time.Second)
	c.HandshakeTimeout = orDefault(c.HandshakeTimeout, defaultHandshake)
	c.MaxSessions = min(orDefault(c.MaxSessions, defaultMaxSessions), 1<<16)
	c.MaxLinks = orDefault(c.MaxLinks, defaultMaxLinks)
	c.MaxUnsettled = orDefault(c.MaxUnsettled, defaultMaxUnsettled)
	if c.Buffers == nil {
		c.Buffers = new(Buffers)
	}
	return c
}

func orDefault[T int | uint32 | time.Duration](v, def T) T {
	if v <= 0 {
		return def
	}
	return v
}
