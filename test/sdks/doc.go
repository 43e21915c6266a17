// Package sdks runs Microsoft's published clients, unmodified, against the real twinhub binary on its real ports: they
// are the judges of what the hub says, on the wire and in time. It holds tests only, and is not for testing parts.
//
// One hub (443, 8883, 5671, 5672, 9600) is started for the package and serves every test; a test that needs a hub of
// another configuration starts it on another loopback address. The clients live in environments made once in the
// user's cache folder from the requirements and lock files here: programs in python/ run in a virtual environment,
// those in node/ over node_modules. Each program prints one line of JSON for each thing it checked, and the Go test
// shows it as a subtest.
//
// Invariant: nothing of a client is changed but the trust it is given, and a missing tool fails the test where
// CI=true; elsewhere it skips in one line.
package sdks
