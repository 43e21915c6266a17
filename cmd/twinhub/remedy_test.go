package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/device"
	"github.com/twinhub/twinhub/service"
)

func TestRemedy(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		want string // a part; "" for no remedy
	}{
		"no hub":         {errNoHub, "twinhub serve"},
		"no events":      {errNoEvents, "--events"},
		"no route":       {noRouteError{twinhub.TwinChange}, "--route twinChangeEvents"},
		"refused device": {&device.RefusedError{Code: 5}, "twinhub device show"},
		"busy hub":       {&device.RefusedError{Code: 3}, "try again"},
		"unknown device": {&service.Error{Code: twinhub.CodeDeviceNotFound, Status: 404}, "twinhub device list"},
		"offline device": {&service.Error{Code: twinhub.CodeDeviceNotOnline, Status: 404}, "--connect-timeout"},
		"taken id":       {&service.Error{Code: twinhub.CodeDeviceAlreadyExists, Status: 409}, "device update"},
		"stale etag":     {&service.Error{Code: twinhub.CodePreconditionFailed, Status: 412}, "--etag"},
		"slow device":    {&service.Error{Code: twinhub.CodeGatewayTimeout, Status: 504}, "--timeout"},
		"no right":       {&service.Error{Code: twinhub.CodeIotHubUnauthorizedAccess, Status: 401}, "policy"},
		"bad request":    {&service.Error{Code: twinhub.CodeArgumentInvalid, Status: 400}, ""},
		"authority":      {x509.UnknownAuthorityError{}, "TWINHUB_CA_FILE"},
		"host name":      {x509.HostnameError{Host: "a", Certificate: &x509.Certificate{}}, "--hostname"},
		"nobody there":   {syscall.ECONNREFUSED, "twinhub serve"},
		"name":           {&net.DNSError{Name: "a"}, "hosts file"},
		"time":           {context.DeadlineExceeded, "twinhub doctor"},
		"anything":       {errors.New("anything"), ""},
	} {
		got := remedy(fmt.Errorf("while working: %w", test.err))
		if (got == "") != (test.want == "") || !strings.Contains(got, test.want) {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
}
