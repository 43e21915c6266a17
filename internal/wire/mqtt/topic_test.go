package mqtt

import (
	"strings"
	"testing"
)

func TestValidTopicAndFilter(t *testing.T) {
	longest := strings.Repeat("x", maxString)
	for _, c := range []struct {
		name          string
		s             string
		topic, filter bool
	}{
		{"plain", "a/b", true, true},
		{"slash alone", "/", true, true},
		{"empty levels", "//a//", true, true},
		{"space and case", "Accounts payable", true, true},
		{"dollar", "$iothub/twin/GET/?$rid=1", true, true},
		{"control character", "a\x01", true, true},
		{"longest", longest, true, true},
		{"highest code point", "\U0010ffff", true, true},
		{"empty", "", false, false},
		{"too long", longest + "x", false, false},
		{"U+0000", "a\x00b", false, false},
		{"stray continuation byte", "a\x80", false, false},
		{"surrogate U+D800", "\xed\xa0\x80", false, false},
		{"surrogate U+DFFF", "\xed\xbf\xbf", false, false},
		{"overlong slash", "\xc0\xaf", false, false},
		{"past U+10FFFF", "\xf4\x90\x80\x80", false, false},
		{"cut short", "\xe2\x82", false, false},
		{"hash alone", "#", false, true},
		{"hash last", "sport/tennis/#", false, true},
		{"hash inside a level", "sport/tennis#", false, false},
		{"hash before its level ends", "sport/#x", false, false},
		{"hash not last", "sport/tennis/#/ranking", false, false},
		{"hash then slash", "#/", false, false},
		{"two hashes", "##", false, false},
		{"plus alone", "+", false, true},
		{"plus first", "+/tennis/#", false, true},
		{"plus in the middle", "sport/+/player1", false, true},
		{"plus last", "sport/+", false, true},
		{"pluses", "+/+", false, true},
		{"plus after text", "sport+", false, false},
		{"plus before text", "+sport", false, false},
		{"plus before text, later", "a/+b/c", false, false},
		{"two pluses in a level", "++", false, false},
		{"plus and hash in a level", "+#", false, false},
		{"filter with U+0000", "+/\x00", false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := ValidTopic(c.s); got != c.topic {
				t.Errorf("ValidTopic(%.40q) = %v, want %v", c.s, got, c.topic)
			}
			if got := ValidFilter(c.s); got != c.filter {
				t.Errorf("ValidFilter(%.40q) = %v, want %v", c.s, got, c.filter)
			}
		})
	}
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		filter, topic string
		want          bool
	}{
		{"a/b", "a/b", true},
		{"a/b", "a/B", false},
		{"a/b", "a", false},
		{"a", "a/b", false},
		{"a", "/a", false},
		{"a", "a/", false},
		{"a/", "a/", true},
		{"/", "/", true},
		{"", "a", false},
		{"a", "", false},
		{"#", "", false},
		{"", "", false},
		{"#", "a", true},
		{"#", "/a/b", true},
		{"sport/tennis/player1/#", "sport/tennis/player1", true},
		{"sport/tennis/player1/#", "sport/tennis/player1/", true},
		{"sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true},
		{"sport/tennis/player1/#", "sport/tennis/player10", false},
		{"sport/tennis/player1/#", "sport/tennis", false},
		{"sport/tennis/+", "sport/tennis/player1", true},
		{"sport/tennis/+", "sport/tennis/player1/ranking", false},
		{"sport/+", "sport", false},
		{"sport/+", "sport/", true},
		{"+", "a", true},
		{"+", "/finance", false},
		{"+/+", "/finance", true},
		{"/+", "/finance", true},
		{"+/b/+/#", "a/b/c", true},
		{"+/b/+/#", "a/b/c/d/e", true},
		{"+/b/+/#", "a/b", false},
		{"+/b/+/#", "a/c/c/d", false},
		{"#", "$SYS/monitor", false},
		{"+/monitor", "$SYS/monitor", false},
		{"$SYS/#", "$SYS/monitor", true},
		{"$SYS/monitor/+", "$SYS/monitor/clients", true},
		{"a/#", "a/$b", true},
		{"a/+", "a/$b", true},
		{"$iothub/methods/POST/#", "$iothub/methods/POST/reboot/?$rid=1", true},
	} {
		if got := Match(c.filter, c.topic); got != c.want {
			t.Errorf("Match(%q, %q) = %v, want %v", c.filter, c.topic, got, c.want)
		}
	}
}

// FuzzMatch compares Match with the standard's definition written as a walk over the split levels.
//
//   - the two agree for every valid filter and topic;
//   - a filter without wildcards selects itself and nothing else.
func FuzzMatch(f *testing.F) {
	f.Add("a/#", "a")
	f.Add("+/+", "/finance")
	f.Add("$SYS/+", "$SYS/x")
	f.Fuzz(func(t *testing.T, filter, topic string) {
		if !ValidFilter(filter) || !ValidTopic(topic) {
			return
		}
		got := Match(filter, topic)
		if want := matchBySplitting(filter, topic); got != want {
			t.Errorf("Match(%q, %q) = %v, want %v", filter, topic, got, want)
		}
		if !strings.ContainsAny(filter, "+#") && got != (filter == topic) {
			t.Errorf("Match(%q, %q) = %v, want equality", filter, topic, got)
		}
	})
}

func matchBySplitting(filter, topic string) bool {
	want, have := strings.Split(filter, "/"), strings.Split(topic, "/")
	if strings.HasPrefix(topic, "$") && (want[0] == "+" || want[0] == "#") {
		return false
	}
	for i, level := range want {
		if level == "#" {
			return len(have) >= i
		}
		if i >= len(have) || level != "+" && level != have[i] {
			return false
		}
	}
	return len(want) == len(have)
}
