package query

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// A kind classifies a token.
type kind uint8

const (
	end    kind = iota // of the text
	name               // a word: keyword, attribute or function; which one the parser decides
	number             // decimal or 0x
	text               // a quoted string
	mark               // an operator or other punctuation
)

// A token is one word, constant or mark of a query.
type token struct {
	kind   kind
	value  string // a string without its quotes and escapes; else the text as written
	offset int    // of its first byte in the query, from 0
}

// is reports whether the token is the keyword, in any case.
func (t token) is(keyword string) bool { return t.kind == name && strings.EqualFold(t.value, keyword) }

// isMark reports whether the token is the mark.
func (t token) isMark(m string) bool { return t.kind == mark && t.value == m }

// String describes the token for an error.
func (t token) String() string {
	switch t.kind {
	case end:
		return "the end of the query"
	case text:
		return fmt.Sprintf("the string '%.40s'", t.value)
	}
	return fmt.Sprintf("%.40q", t.value)
}

// marks are the operators and punctuation of the language; a longer one stands before its own beginning.
var marks = [...]string{
	"!=", "<>", "<=", ">=", "[[", "]]",
	"=", "<", ">", "(", ")", "[", "]", ",", ".", "*", "+", "-", "/", "%",
}

// A lexer cuts a query into tokens.
type lexer struct {
	src string
	at  int
}

// next returns the next token; at the end of the text, one of kind end for ever.
func (l *lexer) next() (token, error) {
	for l.at < len(l.src) && strings.IndexByte(" \t\r\n", l.src[l.at]) >= 0 {
		l.at++
	}
	start := l.at
	if start == len(l.src) {
		return token{kind: end, offset: start}, nil
	}
	rest := l.src[start:]
	switch c := rest[0]; {
	case c == '\'' || c == '"':
		value, err := l.quoted()
		return token{kind: text, value: value, offset: start}, err
	case isNameByte(c) && !isDigit(c):
		return l.take(name, span(rest, isNameByte)), nil
	case isDigit(c):
		return l.take(number, span(rest, isNumberByte)), nil
	}
	for _, m := range marks {
		if strings.HasPrefix(rest, m) {
			return l.take(mark, len(m)), nil
		}
	}
	r, _ := utf8.DecodeRuneInString(rest)
	return token{}, errorAt(start, "unexpected character %q", r)
}

// take makes a token of the next n bytes.
func (l *lexer) take(k kind, n int) token {
	t := token{kind: k, value: l.src[l.at : l.at+n], offset: l.at}
	l.at += n
	return t
}

// quoted reads a string in single or double quotes and undoes its escapes: \' \" \\ \/ \b \f \n \r \t and \uXXXX.
func (l *lexer) quoted() (string, error) {
	start := l.at
	quote := l.src[start]
	inside := []byte{'"'} // the content as a JSON string, which has the same escapes but for \'
	for l.at++; l.at < len(l.src); l.at++ {
		switch c := l.src[l.at]; {
		case c == quote:
			l.at++
			value, err := jsontext.AppendUnquote(nil, append(inside, '"'))
			if err != nil {
				return "", errorAt(start, "this string has an escape or a character that is not allowed; allowed are \\' \\\" \\\\ and \\uXXXX")
			}
			return string(value), nil
		case c == '\\' && l.at+1 < len(l.src):
			l.at++
			if l.src[l.at] != '\'' {
				inside = append(inside, '\\')
			}
			inside = append(inside, l.src[l.at])
		case c == '"':
			inside = append(inside, '\\', '"')
		default:
			inside = append(inside, c)
		}
	}
	return "", errorAt(start, "this string has no closing quote")
}

// span returns how many leading bytes of s satisfy in.
func span(s string, in func(byte) bool) int {
	n := 0
	for n < len(s) && in(s[n]) {
		n++
	}
	return n
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// isNameByte holds for the bytes of names: property names may have any letters and begin with $.
func isNameByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || isDigit(c) || c == '_' || c == '$' || c >= utf8.RuneSelf
}

// isNumberByte holds for the bytes that a decimal or hexadecimal number may have after its first digit.
func isNumberByte(c byte) bool { return isNameByte(c) || c == '.' }
