package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/twinhub/twinhub/device"
	"github.com/twinhub/twinhub/internal/hub"
	"github.com/twinhub/twinhub/service"
)

const (
	// checkTime bounds each thing that doctor waits for.
	checkTime = 5 * time.Second
	// clockWarn and clockFail are differences between the clocks. Tokens are good for an hour as a rule, and the hub
	// grants nothing beyond.
	clockWarn = 30 * time.Second
	clockFail = 5 * time.Minute
)

// A port is one that a hub listens on.
type port struct {
	door   string
	number int
}

func usualPorts() []port {
	return []port{{"https", 443}, {"mqtts", 8883}, {"amqps", 5671}, {"amqp", 5672}, {"ops", 9600}}
}

// checkFreePorts looks whether a hub could listen.
func checkFreePorts(ports []port) []check {
	var checks []check
	for _, p := range ports {
		name := "port " + strconv.Itoa(p.number)
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(p.number)))
		flag := fmt.Sprintf("'twinhub serve --%s-port'", p.door)
		switch {
		case err == nil:
			l.Close()
			checks = append(checks, passed(name, "free for "+p.door))
		case isErrno(err, syscall.EADDRINUSE, 10048):
			checks = append(checks, failed(name, "another program listens on it", "end that program, or choose another port with "+flag+"; official SDKs take only the usual ones"))
		case isErrno(err, syscall.EACCES, 10013):
			checks = append(checks, failed(name, "needs permission", lowPortRemedy()+", or choose another with "+flag))
		default:
			checks = append(checks, failedBy(name, err))
		}
	}
	return checks
}

// lowPortRemedy is how an ordinary user gets a port below 1024.
func lowPortRemedy() string {
	if runtime.GOOS != "linux" {
		return "run the hub as administrator"
	}
	return "run 'sudo sysctl net.ipv4.ip_unprivileged_port_start=443', or 'sudo setcap cap_net_bind_service=+ep' on the program"
}

// checkNewFolder looks whether a data folder could be made.
func checkNewFolder(folder string) check {
	const name = "data folder"
	if _, err := os.Stat(folder); err == nil {
		return checkFolder(folder)
	}
	probe, err := os.MkdirTemp(filepath.Dir(folder), ".twinhub-*")
	if err != nil {
		return failed(name, err.Error(), "go to a folder you may write to, or name one with --data")
	}
	if err := os.Remove(probe); err != nil {
		return failedBy(name, err)
	}
	return passed(name, folder+" will be made by 'twinhub serve'")
}

// checkFolder looks at a data folder: it must be writable, and it holds keys that are nobody else's business.
func checkFolder(folder string) check {
	const name = "data folder"
	info, err := os.Stat(folder)
	switch {
	case err != nil:
		return failedBy(name, err)
	case !info.IsDir():
		return failed(name, folder+" is a file", "move it away, or name another folder with --data")
	}
	probe, err := os.CreateTemp(folder, ".doctor-*")
	if err != nil {
		return failed(name, err.Error(), "make the folder yours, or run as the user who runs the hub")
	}
	if err := errors.Join(probe.Close(), os.Remove(probe.Name())); err != nil {
		return failedBy(name, err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return warned(name, folder+" is open to other users of this machine", "chmod 700 "+quoted(folder))
	}
	pid, err := hub.HeldBy(folder)
	switch {
	case err != nil:
		return failedBy(name, err)
	case pid == "":
		return warned(name, folder+" is used by no hub now", "twinhub serve --data "+quoted(folder))
	}
	return passed(name, folder+" is used by process "+pid)
}

// checkName looks whether the hub's name leads to where it listens.
func checkName(host, endpoint string) check {
	const name = "name resolution"
	ctx, cancel := context.WithTimeout(context.Background(), checkTime)
	defer cancel()
	found, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil {
		return failedBy(name, err)
	}
	detail := host + " is " + strings.Join(found, ", ")
	at, _, err := net.SplitHostPort(endpoint)
	if err != nil || net.ParseIP(at) == nil || contains(found, net.ParseIP(at)) {
		return passed(name, detail)
	}
	return failed(name, fmt.Sprintf("%s, but the hub listens on %s", detail, at), fmt.Sprintf("add the line '%s %s' to the hosts file", at, host))
}

func contains(list []string, ip net.IP) bool {
	for _, text := range list {
		if net.ParseIP(text).Equal(ip) {
			return true
		}
	}
	return false
}

// address is where a door is reached.
func (t *target) address(door, host string) string {
	if at := t.endpoints[door]; at != "" {
		return at
	}
	for _, p := range usualPorts() {
		if p.door == door {
			return net.JoinHostPort(host, strconv.Itoa(p.number))
		}
	}
	return ""
}

// checkDoors connects to each door that clients use, with TLS and this program's trust. It reports whether HTTPS works.
func checkDoors(ctx context.Context, t *target, host string) (checks []check, open bool) {
	config, err := t.tls()
	if err != nil {
		return []check{failed("trust", err.Error(), "correct "+caVariable+", or leave it out")}, false
	}
	for _, door := range []string{"https", "mqtts", "amqps"} {
		at := t.address(door, host)
		state, err := handshake(ctx, at, host, config)
		if err != nil {
			checks = append(checks, failed("door "+door, at+": "+err.Error(), remedy(err)))
			continue
		}
		open = open || door == "https"
		leaf := state.PeerCertificates[0]
		checks = append(checks, passed("door "+door, fmt.Sprintf("%s, certificate good until %s", at, leaf.NotAfter.UTC().Format(time.DateOnly))))
	}
	return checks, open
}

// handshake connects to an address with TLS, for a host name.
func handshake(ctx context.Context, address, host string, config *tls.Config) (tls.ConnectionState, error) {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	if config = config.Clone(); config == nil {
		config = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	config.ServerName = host
	conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", address)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer conn.Close()
	return conn.(*tls.Conn).ConnectionState(), nil
}

// checkMachine looks whether programs that are told nothing trust the hub.
func checkMachine(ctx context.Context, t *target, host string) check {
	const name = "system trust"
	if _, err := handshake(ctx, t.address("https", host), host, nil); err != nil {
		return warned(name, "this machine does not trust the hub; SDKs need to be told", "'twinhub env' sets what they look at, 'twinhub trust' has the commands for each")
	}
	return passed(name, "this machine trusts the hub")
}

// checkVariables looks at what Python and Node are told to trust.
func checkVariables(t *target) []check {
	var checks []check
	ca, err := os.ReadFile(t.caFile)
	if err != nil {
		return []check{failedBy("trust", err)}
	}
	for _, name := range []string{"SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"} {
		file := os.Getenv(name)
		if file == "" {
			continue
		}
		text, err := os.ReadFile(file) // #nosec G703 -- the user's own setting
		switch {
		case err != nil:
			checks = append(checks, failed(name, err.Error(), `run 'eval "$(twinhub env)"'`))
		case !bytes.Contains(text, bytes.TrimSpace(ca)):
			checks = append(checks, warned(name, file+" does not hold the hub's certificate authority", `run 'eval "$(twinhub env)"'`))
		default:
			checks = append(checks, passed(name, file+" holds the hub's certificate authority"))
		}
	}
	return checks
}

// checkClock compares the clocks by the date of the hub's answer.
func checkClock(ctx context.Context, t *target, host string) check {
	const name = "clock"
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	config, err := t.tls()
	if err != nil {
		return failedBy(name, err)
	}
	transport := &http.Transport{TLSClientConfig: config, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, t.address("https", host))
	}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+host+"/", nil)
	if err != nil {
		return failedBy(name, err)
	}
	res, err := transport.RoundTrip(req)
	if err != nil {
		return failedBy(name, err)
	}
	if err := res.Body.Close(); err != nil {
		return failedBy(name, err)
	}
	date, err := http.ParseTime(res.Header.Get("Date"))
	if err != nil {
		return warned(name, "the hub does not say its time", "")
	}
	now := time.Now()
	return judgeClock(now.Sub(date))
}

// judgeClock says what a difference means: positive if this machine is ahead.
func judgeClock(difference time.Duration) check {
	const name = "clock"
	off := difference.Abs()
	direction := "ahead of"
	if difference < 0 {
		direction = "behind"
	}
	detail := fmt.Sprintf("this machine is %v %s the hub", off.Round(time.Second), direction)
	const set = "set the clock, best by NTP: tokens are refused when they seem expired"
	switch {
	case off >= clockFail:
		return failed(name, detail, set)
	case off >= clockWarn:
		return warned(name, detail, set)
	}
	return passed(name, "agrees with the hub's to within "+(off.Truncate(time.Second)+time.Second).String())
}

// checkAnswers asks the hub something with the connection strings.
func checkAnswers(ctx context.Context, t *target) []check {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	if id, err := device.ParseConnectionString(t.hub); err == nil {
		return []check{passed("connection string", "is of device "+id.DeviceID+"; not tried, since that would disconnect it")}
	}
	c, err := t.service()
	if err != nil {
		return []check{failedBy("connection string", err)}
	}
	defer c.Close()
	var checks []check
	if _, err := c.ListDevices(ctx, 1); err != nil {
		checks = append(checks, failedBy("connection string", err))
	} else {
		checks = append(checks, passed("connection string", "the hub accepts it"))
	}
	if t.events == "" {
		return checks
	}
	events, err := t.read(ctx, service.EventsOptions{})
	if err == nil {
		err = events.Close(ctx)
	}
	if err != nil {
		return append(checks, failedBy("events", err))
	}
	return append(checks, passed("events", "the built-in endpoint answers"))
}
