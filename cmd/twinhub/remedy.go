package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"syscall"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/device"
	"github.com/twinhub/twinhub/service"
)

// remedy says what to do about an error, or "" if that is not known.
func remedy(err error) string {
	var noRoute noRouteError
	var refused *device.RefusedError
	var answer *service.Error
	switch {
	case errors.As(err, &noRoute):
		return fmt.Sprintf("route them to the built-in endpoint: 'twinhub serve --route %s', or in Azure a route of that data source to 'events'", noRoute.source)
	case errors.Is(err, errNoHub):
		return "run 'twinhub serve' in this folder, or name the hub's folder with --data, or give its connection string with --login or in " + hubVariable
	case errors.Is(err, errNoEvents):
		return "give it with --events, or in " + eventsVariable + " (in Azure: 'az iot hub connection-string show --default-eventhub -n HUB', or in the portal the Event Hub-compatible endpoint)"
	case errors.As(err, &refused):
		return refusedRemedy(refused)
	case errors.As(err, &answer):
		return answerRemedy(answer)
	}
	return networkRemedy(err)
}

func refusedRemedy(e *device.RefusedError) string {
	if e.Temporary() {
		return "try again; the hub is not ready"
	}
	return "see that the device exists, is enabled and has this key ('twinhub device show'), and that the clocks agree ('twinhub doctor'); the hub's log has the reason"
}

// answerRemedy explains the refusals that users of commands meet.
func answerRemedy(e *service.Error) string {
	switch e.Code {
	case twinhub.CodeDeviceNotFound:
		return "'twinhub device list' shows which devices there are"
	case twinhub.CodeDeviceNotOnline:
		return "start the device, and let it listen for methods; --connect-timeout makes the hub wait for it"
	case twinhub.CodeDeviceAlreadyExists:
		return "choose another id, or change the device with 'twinhub device update'"
	case twinhub.CodePreconditionFailed:
		return "somebody changed it in between: read it again and use its etag, or leave out --etag"
	case twinhub.CodeGatewayTimeout:
		return "the device did not answer in time: look at it, or allow more with --timeout (of a command: --response-timeout)"
	}
	if e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden {
		return "see that the connection string is of this hub and that its policy has the right; if the clocks differ tokens fail too ('twinhub doctor'); the hub's log has the reason"
	}
	return ""
}

func networkRemedy(err error) string {
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	var certificate *tls.CertificateVerificationError
	var dns *net.DNSError
	switch {
	case errors.As(err, &authority):
		return "set " + caVariable + " to the hub's certificate authority, or let this machine trust it: 'twinhub trust'"
	case errors.As(err, &name):
		return "use a host name that the hub's certificate has, or add this one with 'twinhub serve --hostname'"
	case errors.As(err, &certificate):
		return "'twinhub doctor' looks at the certificate"
	case isErrno(err, syscall.ECONNREFUSED, 10061):
		return "nothing listens there: start the hub with 'twinhub serve', or correct " + endpointsVariable
	case errors.As(err, &dns):
		return "the host name is not known here: correct it in the connection string, or add it to the hosts file"
	case errors.Is(err, context.DeadlineExceeded):
		return "'twinhub doctor' looks for what is in the way"
	}
	return ""
}

// isErrno reports whether err is a number of the operating system's; Windows has other numbers for sockets (WSAE...)
// than the names of package syscall stand for.
func isErrno(err error, number, onWindows syscall.Errno) bool {
	var got syscall.Errno
	return errors.As(err, &got) && (got == number || runtime.GOOS == "windows" && got == onWindows)
}
