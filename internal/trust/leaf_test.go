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

const day = 24 * time.Hour

func clientConfig(tr *Trust) *tls.Config {
	return &tls.Config{ServerName: "localhost", RootCAs: tr.CAPool()}
}

// TestRenewal lets almost two years pass in a bubble, with one door open all the time.
func TestRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		tr := mustOpen(t, Options{Dir: dir})
		run(t, tr)
		door, client := tr.ServerConfig().Clone(), clientConfig(tr)
		first := tr.Leaf()
		time.Sleep(264 * day) // 397*2/3 is 264.67 days
		if !tr.Leaf().Equal(first) {
			t.Fatalf("renewed after 264 days")
		}
		time.Sleep(day)
		synctest.Wait()
		second := tr.Leaf()
		if second.Equal(first) {
			t.Fatalf("not renewed after 265 days")
		}
		if second.SerialNumber.Cmp(first.SerialNumber) == 0 || bytes.Equal(second.SubjectKeyId, first.SubjectKeyId) {
			t.Errorf("the serial number or the key is the same")
		}
		for range 12 {
			time.Sleep(30 * day)
			_, state, err := handshake(door, client)
			if err != nil {
				t.Fatalf("%v: handshake: %v", time.Now(), err)
			}
			if left := time.Until(state.PeerCertificates[0].NotAfter); left < 397*day/3-2*checkEvery {
				t.Errorf("%v: the leaf shown has %v left", time.Now(), left)
			}
		}
		if got := tr.Authority().Origin; got != OriginMade {
			t.Errorf("CA: got %q, want the first one", got)
		}
		again := mustOpen(t, Options{Dir: dir})
		if !again.Leaf().Equal(tr.Leaf()) {
			t.Errorf("what is shown is not what is stored")
		}
	})
}

// TestRenewalAtOpen is a hub that was off while its leaf expired.
func TestRenewalAtOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		first := mustOpen(t, Options{Dir: dir})
		time.Sleep(500 * day)
		then := mustOpen(t, Options{Dir: dir})
		if then.Leaf().Equal(first.Leaf()) || then.CAFingerprint() != first.CAFingerprint() {
			t.Fatalf("want a new leaf of the same CA")
		}
		if _, _, err := handshake(then.ServerConfig(), clientConfig(first)); err != nil {
			t.Errorf("handshake: %v", err)
		}
	})
}

// TestRenewalFails checks that a hub whose folder is lost serves on, and recovers once it is back.
func TestRenewalFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "tls")
		logger, log := logBuffer()
		tr := mustOpen(t, Options{Dir: dir, Logger: logger})
		first := tr.Leaf()
		if err := os.Rename(dir, dir+".away"); err != nil {
			t.Fatal(err)
		}
		run(t, tr)
		time.Sleep(266 * day)
		synctest.Wait()
		if !tr.Leaf().Equal(first) || !strings.Contains(log.String(), "server certificate not renewed") || !strings.Contains(log.String(), "ticket keys not rotated") {
			t.Errorf("without its folder: leaf kept %v, log:\n%.2000s", tr.Leaf().Equal(first), log)
		}
		if _, _, err := handshake(tr.ServerConfig(), clientConfig(tr)); err != nil {
			t.Errorf("handshake: %v", err)
		}
		if err := os.Rename(dir+".away", dir); err != nil {
			t.Fatal(err)
		}
		time.Sleep(checkEvery)
		synctest.Wait()
		if tr.Leaf().Equal(first) {
			t.Errorf("not renewed within the hour")
		}
	})
}

// fixedClock is a clock that stands.
type fixedClock struct{ now time.Time }

func TestClockBehind(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	dir := t.TempDir()
	first := mustOpen(t, Options{Dir: dir, Clock: fixedClock{now}})
	logger, log := logBuffer()
	past := mustOpen(t, Options{Dir: dir, Clock: fixedClock{now.AddDate(-30, 0, 0)}, Logger: logger})
	if past.CAFingerprint() != first.CAFingerprint() || !past.Leaf().Equal(first.Leaf()) {
		t.Errorf("CA or leaf were made anew by a machine whose clock was not set yet")
	}
	if !strings.Contains(log.String(), "not valid yet") {
		t.Errorf("log does not warn:\n%s", log)
	}
	other := mustOpen(t, Options{Dir: dir, Hostnames: []string{"a.localhost"}, Clock: fixedClock{now.AddDate(-30, 0, 0)}})
	if got, want := other.Leaf().NotBefore, first.issued.Load().cert.NotBefore; !got.Equal(want) {
		t.Errorf("a leaf made then begins %v, want %v with the CA", got, want)
	}
}

func TestLeafOfTheFuture(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	dir := t.TempDir()
	mustOpen(t, Options{Dir: dir, Clock: fixedClock{now}})
	future := mustOpen(t, Options{Dir: dir, Clock: fixedClock{now.AddDate(2, 0, 0)}})
	then := mustOpen(t, Options{Dir: dir, Clock: fixedClock{now}})
	if then.Leaf().Equal(future.Leaf()) || then.Leaf().NotBefore.After(now) {
		t.Errorf("a leaf that begins %v is shown at %v", then.Leaf().NotBefore, now)
	}
}

// TestDamagedLeaf checks that a leaf nobody has to know about is simply made anew.
func TestDamagedLeaf(t *testing.T) {
	other := t.TempDir()
	mustOpen(t, Options{Dir: other})
	stranger, err := os.ReadFile(filepath.Join(other, "leaf.key"))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name    string
		file    string
		content []byte // nil removes it
		log     string
	}{
		{"no certificate", "leaf.pem", nil, "made the server certificate"},
		{"no key", "leaf.key", nil, "made the server certificate"},
		{"cut certificate", "leaf.pem", []byte("-----BEGIN CERTIFICATE-----\nMIIB"), "leaf.pem does not hold a certificate"},
		{"empty key", "leaf.key", []byte{}, "leaf.key does not hold a private key"},
		{"key of another", "leaf.key", stranger, "leaf.key is not the key of"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			first := mustOpen(t, Options{Dir: dir})
			path := filepath.Join(dir, test.file)
			if test.content == nil {
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
			} else if err := os.WriteFile(path, test.content, 0o600); err != nil {
				t.Fatal(err)
			}
			logger, log := logBuffer()
			then := mustOpen(t, Options{Dir: dir, Logger: logger})
			if !strings.Contains(log.String(), test.log) {
				t.Errorf("log lacks %q:\n%s", test.log, log)
			}
			if then.CAFingerprint() != first.CAFingerprint() {
				t.Error("the CA changed")
			}
			if _, _, err := handshake(then.ServerConfig(), clientConfig(first)); err != nil {
				t.Errorf("handshake: %v", err)
			}
		})
	}
}

// TestForeignLeaf copies a leaf of another hub for the same names into the folder.
func TestForeignLeaf(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	tr, foreign := mustOpen(t, Options{Dir: dir}), mustOpen(t, Options{Dir: other})
	for _, name := range []string{"leaf.pem", "leaf.key"} {
		content, err := os.ReadFile(filepath.Join(other, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	then := mustOpen(t, Options{Dir: dir})
	if then.Leaf().Equal(foreign.Leaf()) {
		t.Fatal("the foreign leaf is shown")
	}
	if _, _, err := handshake(then.ServerConfig(), clientConfig(tr)); err != nil {
		t.Errorf("handshake: %v", err)
	}
}
