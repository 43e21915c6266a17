// Package system treats the real twinhub binary badly: it kills it under load, fills its disk, and sends it whatever
// strangers, broken clients and dead networks send, over the real doors. It holds tests only. Every hub here listens
// on picked ports, so that the package runs beside others.
//
// Invariant: a test of bad input asserts both the answer and that a bystander, a device with a reader and a back end
// on the same hub, noticed nothing; and no key or token that a test used is in any hub's log.
package system
