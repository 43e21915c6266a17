package auth

import (
	"context"
	"log/slog"
	"maps"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
)

// refusalInterval is how often the same refusal is logged, at most.
const refusalInterval = 10 * time.Second

// refusalMemory bounds how many different refusals are told apart; past it new ones share one line an interval.
const refusalMemory = 1000

// maxReason cuts the reason, which may quote what a stranger sent.
const maxReason = 500

// A Class is the kind of a refusal, for metrics.
type Class string

// The classes of refusals.
const (
	Denied   Class = "denied"   // a Denial: an access token or an identity was not accepted
	Rejected Class = "rejected" // the TLS handshake, what the client sent, or a limit
)

// Refusals writes the reason of each refusal to the hub's log: clients see only opaque errors, so the hub explains.
// A line that repeats within ten seconds is counted, not written. It is safe for concurrent use.
type Refusals struct {
	log *slog.Logger

	mu    sync.Mutex
	total map[counted]uint64
	seen  map[uint64]*refusal // by hash, so that long texts take no memory; 0 is that of all past refusalMemory
	swept time.Time           // when old entries of seen were removed last
}

// counted is what refusals are counted by. Protocols are those of the front ends, never a client's words.
type counted struct {
	protocol string
	class    Class
}

type refusal struct {
	at      time.Time
	skipped int
}

// NewRefusals makes a Refusals that writes to log.
func NewRefusals(log *slog.Logger) *Refusals {
	return &Refusals{log: log, total: map[counted]uint64{}, seen: map[uint64]*refusal{}}
}

// Total returns how many refusals of a class there were at the front end of a protocol, logged or not.
func (r *Refusals) Total(protocol string, class Class) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.total[counted{protocol, class}]
}

// secret finds what a client put where a name belongs: the signature of a token or a key, percent-encoded or not.
var secret = regexp.MustCompile(`(?i)((?:sig|SharedAccessKey)(?:=|%3d))[^&;\s"']*`)

// Mask returns text with the signatures of tokens and the keys in it replaced by "...".
func Mask(text string) string { return secret.ReplaceAllString(text, "${1}...") }

// Log notes that the front end of a protocol refused something: why, what the operator can do, and slog attributes
// that name the peer. Signatures and keys in the reason and the attributes are masked. Refusals with the same reason repeat each other.
func (r *Refusals) Log(protocol, reason, remedy string, attrs ...any) {
	r.write(counted{protocol, Rejected}, reason, reason, remedy, attrs)
}

// Deny is Log for a denial. Denials that differ only in the times they tell repeat each other.
func (r *Refusals) Deny(protocol string, d *Denial, attrs ...any) {
	kind := d.repeats
	if kind == "" {
		kind = d.Reason
	}
	r.write(counted{protocol, Denied}, kind, d.Reason, d.Remedy, attrs)
}

func (r *Refusals) write(c counted, kind, reason, remedy string, attrs []any) {
	skipped, ok := r.admit(c, xxhash.Sum64String(c.protocol+"\x00"+kind), time.Now())
	if !ok {
		return
	}
	if len(reason) > maxReason { // before it is searched: a client chooses its length
		reason = strings.ToValidUTF8(reason[:maxReason], "") + "..."
	}
	attrs = append([]any{"protocol", c.protocol, "reason", reason, "remedy", remedy}, attrs...)
	for n, attr := range attrs {
		if text, ok := attr.(string); ok {
			attrs[n] = Mask(text)
		}
	}
	if skipped > 0 {
		attrs = append(attrs, "repeated", skipped)
	}
	r.log.Log(context.Background(), slog.LevelWarn, "refused", attrs...)
}

// admit counts a refusal and reports whether a line with the key may be written now, and how many were not since the
// last.
func (r *Refusals) admit(c counted, key uint64, now time.Time) (skipped int, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.total[c]++
	if len(r.seen) >= refusalMemory && r.seen[key] == nil {
		if now.Sub(r.swept) >= time.Second {
			r.swept = now
			maps.DeleteFunc(r.seen, func(_ uint64, old *refusal) bool { return now.Sub(old.at) >= refusalInterval })
		}
		if len(r.seen) >= refusalMemory {
			key = 0
		}
	}
	last := r.seen[key]
	if last == nil {
		r.seen[key] = &refusal{at: now}
		return 0, true
	}
	if now.Sub(last.at) < refusalInterval {
		last.skipped++
		return 0, false
	}
	skipped = last.skipped
	*last = refusal{at: now}
	return skipped, true
}
