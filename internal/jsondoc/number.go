package jsondoc

import (
	"fmt"
	"strconv"
	"strings"
)

// Number returns the number written as literal, and keeps that text. It fails when literal is not
// exactly one JSON number (RFC 8259 section 6).
func Number(literal string) (Value, error) {
	if !isNumber(literal) {
		return Value{}, fmt.Errorf("not a JSON number: %.40q", literal)
	}
	return Value{node: numberNode, text: literal}, nil
}

// NumberText returns the literal of the number v as it was written; ok is false when v is not a
// number.
func (v Value) NumberText() (literal string, ok bool) {
	if v.node != numberNode {
		return "", false
	}
	return v.text, true
}

// IsInteger reports whether v is a number written without fraction and exponent. 1.0 and 1e2 are
// not integers in this sense.
func (v Value) IsInteger() bool {
	return v.node == numberNode && !strings.ContainsAny(v.text, ".eE")
}

// AsInt64 returns the number v when its value, however it is written (1, 1.0, 1e2), is whole and
// in the range of int64; else ok is false.
func (v Value) AsInt64() (n int64, ok bool) {
	if v.node != numberNode {
		return 0, false
	}
	if n, err := strconv.ParseInt(v.text, 10, 64); err == nil {
		return n, true
	}
	d, ok := parseDecimal(v.text)
	if !ok || d.exp < 0 || int64(len(d.digits))+d.exp > 19 {
		return 0, false
	}
	text := d.digits + strings.Repeat("0", int(d.exp))
	switch {
	case text == "":
		return 0, true
	case d.negative:
		text = "-" + text
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n, true
	}
	return 0, false
}

// AsFloat64 returns the float64 nearest to the number v; ok is false when v is not a number or too
// large for a float64.
func (v Value) AsFloat64() (f float64, ok bool) {
	if v.node != numberNode {
		return 0, false
	}
	f, err := strconv.ParseFloat(v.text, 64)
	if err != nil {
		return 0, false
	}
	return f, true
}

// isNumber reports whether s is a number of RFC 8259 section 6:
// [ "-" ] ( "0" / 1-9 *DIGIT ) [ "." 1*DIGIT ] [ ( "e" / "E" ) [ "+" / "-" ] 1*DIGIT ].
func isNumber(s string) bool {
	s = strings.TrimPrefix(s, "-")
	whole := digits(s)
	if whole == 0 || (whole > 1 && s[0] == '0') {
		return false
	}
	s = s[whole:]
	if rest, ok := strings.CutPrefix(s, "."); ok {
		n := digits(rest)
		if n == 0 {
			return false
		}
		s = rest[n:]
	}
	if s == "" {
		return true
	}
	if s[0] != 'e' && s[0] != 'E' {
		return false
	}
	s = s[1:]
	if s != "" && (s[0] == '+' || s[0] == '-') {
		s = s[1:]
	}
	return s != "" && digits(s) == len(s)
}

// digits returns how many digits s begins with.
func digits(s string) int {
	n := 0
	for n < len(s) && '0' <= s[n] && s[n] <= '9' {
		n++
	}
	return n
}

// decimal is the exact value of a number: digits x 10^exp, with no zero at either end of digits.
// Zero has no digits, no sign and exp 0, so equal values have equal decimals.
type decimal struct {
	negative bool
	digits   string
	exp      int64
}

// maxExponentDigits bounds the exponents that are computed with: 17 digits and any length of a
// document still fit an int64. Numbers with longer exponents are compared by their text only.
const maxExponentDigits = 17

// parseDecimal returns the value of a number's literal; ok is false when its exponent is too long.
func parseDecimal(literal string) (d decimal, ok bool) {
	mantissa, exponent := literal, ""
	if i := strings.IndexAny(literal, "eE"); i >= 0 {
		mantissa, exponent = literal[:i], literal[i+1:]
	}
	mantissa, d.negative = strings.CutPrefix(mantissa, "-")
	whole, fraction, _ := strings.Cut(mantissa, ".")
	d.digits = strings.TrimLeft(whole+fraction, "0")
	if d.digits == "" {
		return decimal{}, true
	}
	if exponent != "" {
		exponent = strings.TrimPrefix(exponent, "+")
		unsigned, negative := strings.CutPrefix(exponent, "-")
		unsigned = strings.TrimLeft(unsigned, "0")
		if len(unsigned) > maxExponentDigits {
			return decimal{}, false
		}
		if unsigned != "" {
			n, err := strconv.ParseInt(unsigned, 10, 64)
			if err != nil {
				return decimal{}, false
			}
			if negative {
				n = -n
			}
			d.exp = n
		}
	}
	d.exp -= int64(len(fraction))
	trimmed := strings.TrimRight(d.digits, "0")
	d.exp += int64(len(d.digits) - len(trimmed))
	d.digits = trimmed
	return d, true
}

// sameNumber reports whether two literals have the same value, exactly: no rounding to float64.
func sameNumber(a, b string) bool {
	if a == b {
		return true
	}
	da, okA := parseDecimal(a)
	db, okB := parseDecimal(b)
	return okA && okB && da == db
}
