package trust

import (
	"bytes"
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// visit makes a handshake and returns whether it resumed a session.
func visit(t *testing.T, server, client *tls.Config) bool {
	t.Helper()
	_, state, err := handshake(server, client)
	if err != nil {
		t.Fatalf("handshake: %v", err)
	}
	return state.DidResume
}

// newClient has a session cache of its own.
func newClient(tr *Trust, version uint16) *tls.Config {
	return &tls.Config{ServerName: "localhost", RootCAs: tr.CAPool(), MaxVersion: version, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
}

func TestTicketsResume(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			dir := t.TempDir()
			tr := mustOpen(t, Options{Dir: dir})
			client := newClient(tr, version)
			if visit(t, tr.ServerConfig(), client) {
				t.Error("the first visit resumed")
			}
			if !visit(t, tr.ServerConfig(), client) {
				t.Error("the second visit, at another door, did not resume")
			}
			if !visit(t, mustOpen(t, Options{Dir: dir}).ServerConfig(), client) {
				t.Error("the visit after a restart did not resume")
			}
			if err := os.Remove(filepath.Join(dir, "tickets")); err != nil {
				t.Fatal(err)
			}
			if visit(t, mustOpen(t, Options{Dir: dir}).ServerConfig(), client) {
				t.Error("resumed although the keys were removed")
			}
		})
	}
}

// TestTicketsKeepIdentity checks that a resumed session still shows the device's certificate.
func TestTicketsKeepIdentity(t *testing.T) {
	tr := mustOpen(t, Options{})
	client := newClient(tr, tls.VersionTLS13)
	client.Certificates = []tls.Certificate{selfSigned(t, "device", time.Now().Add(-time.Hour), 2*time.Hour)}
	visit(t, tr.ServerConfig(), client)
	state, _, err := handshake(tr.ServerConfig(), client)
	if err != nil || !state.DidResume {
		t.Fatalf("second visit: resumed %v, %v", state.DidResume, err)
	}
	if len(state.PeerCertificates) != 1 || !state.PeerCertificates[0].Equal(client.Certificates[0].Leaf) {
		t.Errorf("the hub sees %d certificates, want the device's", len(state.PeerCertificates))
	}
}

func TestTicketsRotate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		tr := mustOpen(t, Options{Dir: dir})
		run(t, tr)
		door := tr.ServerConfig()
		clients := map[int]*tls.Config{} // by the days they stay away
		for _, days := range []int{1, 3, 6, 8} {
			clients[days] = newClient(tr, tls.VersionTLS13)
			visit(t, door, clients[days])
		}
		seen := map[[32]byte]bool{}
		for today := 1; today <= 8; today++ {
			time.Sleep(day)
			synctest.Wait()
			stored, err := tr.loadTickets()
			if err != nil {
				t.Fatalf("day %d: %v", today, err)
			}
			if got, want := len(stored), min(today+1, ticketKeep); got != want {
				t.Errorf("day %d: %d keys stored, want %d", today, got, want)
			}
			if seen[stored[0].bytes] {
				t.Errorf("day %d: tickets are sealed with an old key", today)
			}
			seen[stored[0].bytes] = true
			client, ok := clients[today]
			if !ok {
				continue
			}
			if got, want := visit(t, door, client), today < ticketKeep; got != want {
				t.Errorf("day %d: resumed %v, want %v", today, got, want)
			}
		}
	})
}

// TestTicketsAfterAPause checks that keys of a hub that was off for long are not used again.
func TestTicketsAfterAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		old, err := mustOpen(t, Options{Dir: dir}).loadTickets()
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * day)
		mid := mustOpen(t, Options{Dir: dir})
		if len(mid.tickets) != 2 || mid.tickets[1] != old[0] {
			t.Errorf("after 3 days: %d keys, want a new one and the old one", len(mid.tickets))
		}
		time.Sleep(7 * day)
		if late := mustOpen(t, Options{Dir: dir}); len(late.tickets) != 1 || late.tickets[0] == mid.tickets[0] {
			t.Errorf("after 7 more: %d keys, want a new one alone", len(late.tickets))
		}
	})
}

// TestTicketsOfTheFuture is a clock set back by a year: a key must not seal tickets for all that time.
func TestTicketsOfTheFuture(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	dir := t.TempDir()
	future := mustOpen(t, Options{Dir: dir, Clock: fixedClock{now.AddDate(1, 0, 0)}})
	then := mustOpen(t, Options{Dir: dir, Clock: fixedClock{now}})
	if len(then.tickets) != 1 || then.tickets[0] == future.tickets[0] {
		t.Errorf("%d keys, want a new one alone", len(then.tickets))
	}
}

func TestDamagedTickets(t *testing.T) {
	for name, content := range map[string]string{
		"empty":           "",
		"noise":           "\x00\x01",
		"another version": "-----BEGIN TWINHUB TICKET KEY-----\nMade: 2030-01-01T00:00:00Z\nVersion: 2\n\nAAAA\n-----END TWINHUB TICKET KEY-----\n",
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			mustOpen(t, Options{Dir: dir})
			if err := os.WriteFile(filepath.Join(dir, "tickets"), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			logger, log := logBuffer()
			tr := mustOpen(t, Options{Dir: dir, Logger: logger})
			if !strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), filepath.Join(dir, "tickets")) {
				t.Errorf("log does not warn about the file:\n%s", log)
			}
			if stored, err := tr.loadTickets(); err != nil || len(stored) != 1 {
				t.Errorf("stored afterwards: %d keys, %v; want 1", len(stored), err)
			}
		})
	}
}

// TestTicketsV1 reads a file as the first version wrote it.
func TestTicketsV1(t *testing.T) {
	content, err := os.ReadFile(filepath.Join("testdata", "tickets-v1"))
	if err != nil {
		t.Fatal(err)
	}
	keys, err := parseTickets(content)
	if err != nil || len(keys) != 2 {
		t.Fatalf("parseTickets: %d keys, %v; want 2", len(keys), err)
	}
	for i, want := range []time.Time{time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC), time.Date(2030, 1, 1, 3, 4, 5, 0, time.UTC)} {
		if !keys[i].made.Equal(want) || keys[i].bytes != [32]byte(bytes.Repeat([]byte{byte(0xA0 + i)}, 32)) {
			t.Errorf("key %d: got %v %x", i, keys[i].made, keys[i].bytes)
		}
	}
	if got := encodeTickets(keys); !bytes.Equal(got, content) {
		t.Errorf("written again:\n%s\nwant:\n%s", got, content)
	}
}

// FuzzParseTickets: no panic; at most ticketKeep keys, at least one; what was read can be written and read again.
func FuzzParseTickets(f *testing.F) {
	content, err := os.ReadFile(filepath.Join("testdata", "tickets-v1"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(content)
	f.Add([]byte(nil))
	f.Add(bytes.Repeat(content, 5))
	f.Add(bytes.Replace(content, []byte("oKCg"), nil, 1))
	f.Add(bytes.Replace(content, []byte("2030"), []byte("30"), 1))
	f.Fuzz(func(t *testing.T, content []byte) {
		keys, err := parseTickets(content)
		if err != nil {
			if keys != nil {
				t.Fatalf("keys beside the error %v", err)
			}
			return
		}
		if len(keys) < 1 || len(keys) > ticketKeep {
			t.Fatalf("%d keys", len(keys))
		}
		again, err := parseTickets(encodeTickets(keys))
		if err != nil || len(again) != len(keys) {
			t.Fatalf("read again: %d keys, %v; want %d", len(again), err, len(keys))
		}
		for i := range keys {
			if again[i].bytes != keys[i].bytes {
				t.Fatalf("key %d differs", i)
			}
		}
	})
}
