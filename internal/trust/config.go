package trust

import "crypto/tls"

// ServerConfig returns a new configuration for a door: TLS 1.2 and 1.3, curves and cipher suites as Go chooses them, no
// ALPN. The caller owns it and may set NextProtos and clone it; renewed certificates and rotated ticket keys reach
// every copy, because the functions in it look them up at each handshake.
//
// A client certificate is requested and never required. It is not verified either: a handshake proves only that the
// client has its key. PeerCertificates of a resumed session are those of the session's first handshake.
//
// Nothing is kept per connection. Sessions live with the client: tickets are sealed by a configuration of our own whose
// keys SetSessionTicketKeys rotates daily; older keys open tickets for a week, and survive a restart.
func (t *Trust) ServerConfig() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		ClientAuth: tls.RequestClientCert,
		Time:       t.clock.Now,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return t.shown.Load(), nil
		},
		WrapSession: func(cs tls.ConnectionState, ss *tls.SessionState) ([]byte, error) {
			return t.seal.EncryptTicket(cs, ss)
		},
		UnwrapSession: func(identity []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
			return t.seal.DecryptTicket(identity, cs)
		},
	}
}
