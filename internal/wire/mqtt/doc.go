// Package mqtt turns MQTT 3.1.1 packets into bytes and back, for the server and for the client side of a
// connection. It knows the OASIS standard and nothing about hubs: topics, sessions, tokens and timers belong
// to its callers.
//
// A [Reader] takes packets off a connection; every packet has AppendTo, which appends its bytes to a slice,
// and Validate, which says whether the standard allows it. [ValidTopic], [ValidFilter] and [Match] are the
// topic rules. QoS 2 is recognised and refused ([ErrQoS2]), as is every protocol version but 3.1.1
// ([ProtocolVersionError]).
//
// Invariants: what a Reader returns is valid; what AppendTo writes is a whole, valid packet or nothing; a
// Reader with nothing to decode holds no buffer. A clause of the standard that a line enforces stands beside
// it in brackets, as in [MQTT-3.1.2-1].
package mqtt
