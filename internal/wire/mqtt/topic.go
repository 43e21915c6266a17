package mqtt

import (
	"strings"
	"unicode/utf8"
)

// ValidTopic reports whether s may be the topic of a PUBLISH: 1 to 65,535 bytes of UTF-8 without U+0000 and
// without the wildcards + and # [MQTT-3.3.2-1] [MQTT-3.3.2-2] [MQTT-4.7.1-1] [MQTT-4.7.3-1].
func ValidTopic(s string) bool {
	_, reason := checkTopic(s)
	return reason == ""
}

// ValidFilter reports whether s may be a topic filter: 1 to 65,535 bytes of UTF-8 without U+0000, # only as
// the whole last level, + only as a whole level [MQTT-4.7.1-2] [MQTT-4.7.1-3] [MQTT-4.7.3-1].
func ValidFilter(s string) bool {
	_, reason := checkFilter(s)
	return reason == ""
}

// Match reports whether a valid filter selects a valid topic. Levels compare byte by byte; "a/#" selects "a"
// as well; a filter that begins with a wildcard selects no topic that begins with $ [MQTT-4.7.2-1]. What it
// reports for an invalid filter or topic is not defined.
func Match(filter, topic string) bool {
	if filter == "" || topic == "" { // [MQTT-4.7.3-1]
		return false
	}
	if topic[0] == '$' && (filter[0] == '#' || filter[0] == '+') { // [MQTT-4.7.2-1]
		return false
	}
	for {
		want, filterRest, filterMore := strings.Cut(filter, "/")
		if want == "#" { // section 4.7.1.2: any number of levels, none included
			return true
		}
		have, topicRest, topicMore := strings.Cut(topic, "/")
		if want != "+" && want != have { // section 4.7.1.3: exactly one level
			return false
		}
		if !topicMore { // "a/#" also selects the parent "a"
			return !filterMore || filterRest == "#"
		}
		if !filterMore {
			return false
		}
		filter, topic = filterRest, topicRest
	}
}

// checkTopic returns the clause that s breaks as a topic name and why, or two empty strings.
func checkTopic(s string) (clause, reason string) {
	if s == "" {
		return "MQTT-4.7.3-1", "empty topic"
	}
	if strings.IndexByte(s, '+') >= 0 || strings.IndexByte(s, '#') >= 0 {
		return "MQTT-3.3.2-2", "wildcard in a topic"
	}
	return checkString(s)
}

// checkFilter returns the clause that s breaks as a topic filter and why, or two empty strings.
func checkFilter(s string) (clause, reason string) {
	if s == "" {
		return "MQTT-4.7.3-1", "empty topic filter"
	}
	for i := 0; i < len(s); i++ {
		if s[i] != '+' && s[i] != '#' {
			continue
		}
		begins := i == 0 || s[i-1] == '/'
		switch {
		case s[i] == '#' && (!begins || i != len(s)-1):
			return "MQTT-4.7.1-2", "# is not the whole last level of a filter"
		case s[i] == '+' && (!begins || i != len(s)-1 && s[i+1] != '/'):
			return "MQTT-4.7.1-3", "+ is not a whole level of a filter"
		}
	}
	return checkString(s)
}

// checkString returns the clause that s breaks as an encoded string and why, or two empty strings.
// utf8.ValidString refuses encoded surrogates and overlong forms too. A leading byte order mark is a
// character like any other [MQTT-1.5.3-3].
func checkString(s string) (clause, reason string) {
	switch {
	case len(s) > maxString:
		return "MQTT-4.7.3-3", "string longer than 65,535 bytes"
	case !utf8.ValidString(s):
		return "MQTT-1.5.3-1", "string is not UTF-8"
	case strings.IndexByte(s, 0) >= 0:
		return "MQTT-1.5.3-2", "string contains U+0000"
	}
	return "", ""
}
