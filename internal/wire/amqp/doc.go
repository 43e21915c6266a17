// Package amqp is the server side of AMQP 1.0: its type system, frames, message sections, and the
// machinery of one connection with its sessions and links.
//
// It knows nothing of what a message means and chooses no address: [Serve] runs one connection and
// asks a [Handler] about every open, attach and transfer. Code that only needs bytes uses the type
// encoders (AppendString, OpenMap, ...), [DecodeValue], [DecodeMessage] and [AppendMessage], which
// need no connection.
//
// The words sender and receiver are always ours: a [Sender] is a link on which this process sends.
//
// One invariant: whatever a peer sends, a connection ends in an orderly way, holds memory bounded by
// the limits of its [Config], and leaves no goroutine behind once Serve has returned.
//
// Reference: OASIS AMQP 1.0, parts 1 (types), 2 (transport), 3 (messaging) and 5 (security).
package amqp
