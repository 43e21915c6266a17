package auth

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
)

// ExplainHandshake says what a failed TLS handshake most likely means and what the operator can do. Both are empty
// for a peer that merely went away, as port probes do, and for one the hub left as it ended. With TLS 1.3 a client
// refuses the server's certificate after the server has finished its part: the error then comes from the first read, in
// the forms that are recognised here too.
func ExplainHandshake(err error) (reason, remedy string) {
	text := err.Error()
	if op := (*net.OpError)(nil); errors.As(err, &op) {
		text = op.Err.Error() // without the addresses, so that what repeats looks the same
	}
	switch {
	case errors.Is(err, io.EOF), text == "EOF", strings.Contains(text, "connection reset"),
		errors.Is(err, net.ErrClosed), strings.Contains(text, net.ErrClosed.Error()), errors.Is(err, context.Canceled):
		return "", ""
	case strings.Contains(text, "unknown certificate authority"), strings.Contains(text, "unknown certificate"),
		strings.Contains(text, "bad certificate"), strings.Contains(text, "bad record MAC"):
		return "the client does not trust this hub's certificate, or asked for a host name that is not in it (" + text + ")",
			"give the client the CA file or bundle named in connection.env, and use a host name given with --hostname"
	case strings.Contains(text, "first record does not look like a TLS handshake"),
		strings.Contains(text, "client sent an HTTP request to an HTTPS server"): // as net/http says it
		return "the client spoke no TLS on a TLS port", "use the TLS form of the protocol"
	case strings.Contains(text, "i/o timeout"):
		return "the client did not finish the TLS handshake in time", "look for a stuck client or a port scan"
	}
	return "TLS handshake failed: " + text, "compare the TLS versions and ciphers of both sides; TLS 1.2 and 1.3 are served"
}
