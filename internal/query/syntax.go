// Package query reads the query language of twins: the text that POST /devices/query takes. It finds out what is
// asked; package core/index answers it. Of the language this package knows the first form,
//
//	SELECT * FROM devices [WHERE [devices.]deviceId = 'id']
//
// and refuses the rest with an error that names what it does not know yet. The package is pure.
// Reference: IoT Hub, "Query language for device and module twins".
package query

import (
	"fmt"
	"strings"
)

// MaxLength is the longest query, in bytes. Reference: IoT Hub, "Quotas and throttling", query text.
const MaxLength = 8192

// A Query is a parsed query. It selects whole twins of devices.
type Query struct {
	// Where is the condition; nil selects every device.
	Where *Comparison
}

// A Comparison compares an attribute with a constant, for equality.
type Comparison struct {
	// Attribute is the path of an attribute without the name of the source, in canonical spelling: ["deviceId"].
	Attribute []string
	// Value is the string on the other side, without quotes and escapes.
	Value string
}

// DeviceID returns the only device that q can select; ok is false when it is not limited to one.
func (q *Query) DeviceID() (id string, ok bool) {
	if q.Where == nil {
		return "", false
	}
	return q.Where.Value, true
}

// An Error says where and why a text is not a query that this package knows.
type Error struct {
	Offset int // in bytes from 0
	Reason string
}

// Error implements error. Positions are counted from 1.
func (e *Error) Error() string { return fmt.Sprintf("query, character %d: %s", e.Offset+1, e.Reason) }

func errorAt(offset int, format string, args ...any) error {
	return &Error{Offset: offset, Reason: fmt.Sprintf(format, args...)}
}

// Parse reads a query. Keywords and the names of system attributes may be in any case, and white space is free.
// Every error is an *Error.
func Parse(src string) (*Query, error) {
	if len(src) > MaxLength {
		return nil, errorAt(MaxLength, "the query is longer than %d bytes", MaxLength)
	}
	p := parser{lex: lexer{src: src}}
	if err := p.advance(); err != nil {
		return nil, err
	}
	return p.query()
}

// A parser reads a query by recursive descent with one token in hand.
type parser struct {
	lex   lexer
	token token
}

func (p *parser) advance() (err error) {
	p.token, err = p.lex.next()
	return err
}

// expect passes over a keyword.
func (p *parser) expect(keyword string) error {
	if !p.token.is(keyword) {
		return errorAt(p.token.offset, "expected %s, found %s", keyword, p.token)
	}
	return p.advance()
}

// unsupported is the error for a part of the language that is still to come.
func (p *parser) unsupported(what string) error {
	return errorAt(p.token.offset, "%s not supported yet; this hub knows SELECT * FROM devices [WHERE deviceId = '...']", what)
}

// query = SELECT "*" FROM devices [WHERE comparison]
func (p *parser) query() (*Query, error) {
	if err := p.expect("SELECT"); err != nil {
		return nil, err
	}
	if err := p.list(); err != nil {
		return nil, err
	}
	if err := p.expect("FROM"); err != nil {
		return nil, err
	}
	if err := p.source(); err != nil {
		return nil, err
	}
	q := new(Query)
	if p.token.is("WHERE") {
		if err := p.advance(); err != nil {
			return nil, err
		}
		c, err := p.comparison()
		if err != nil {
			return nil, err
		}
		q.Where = c
	}
	switch {
	case p.token.kind == end:
		return q, nil
	case p.token.is("GROUP"):
		return nil, p.unsupported("GROUP BY is")
	case p.token.is("AND"), p.token.is("OR"):
		return nil, p.unsupported(strings.ToUpper(p.token.value) + " is")
	case p.token.is("ORDER"), p.token.is("JOIN"), p.token.is("HAVING"):
		return nil, errorAt(p.token.offset, "%s is not part of the language", strings.ToUpper(p.token.value))
	}
	return nil, errorAt(p.token.offset, "expected the end of the query, found %s", p.token)
}

// list = "*"
func (p *parser) list() error {
	switch {
	case p.token.isMark("*"):
		return p.advance()
	case p.token.is("TOP"):
		return p.unsupported("TOP is")
	case p.token.is("FROM"):
		return errorAt(p.token.offset, "expected *, found %s", p.token)
	case p.token.kind == name:
		return p.unsupported("projections and aggregates are")
	}
	return errorAt(p.token.offset, "expected *, found %s", p.token)
}

// source = devices
func (p *parser) source() error {
	if err := p.expect("devices"); err != nil {
		return err
	}
	if !p.token.isMark(".") {
		return nil
	}
	if err := p.advance(); err != nil {
		return err
	}
	if p.token.is("modules") || p.token.is("jobs") {
		return p.unsupported("FROM devices." + strings.ToLower(p.token.value) + " is")
	}
	return errorAt(p.token.offset, "expected modules or jobs, found %s", p.token)
}

// comparison = attribute "=" string
func (p *parser) comparison() (*Comparison, error) {
	attribute, err := p.attribute()
	if err != nil {
		return nil, err
	}
	switch {
	case p.token.isMark("="):
	case p.token.isMark("("):
		return nil, p.unsupported("functions are")
	case p.token.is("IN"), p.token.is("NIN"), p.token.is("NOT"):
		return nil, p.unsupported(strings.ToUpper(p.token.value) + " is")
	case p.token.kind == mark && p.token.value != ")":
		return nil, p.unsupported("the operator " + p.token.value + " is")
	default:
		return nil, errorAt(p.token.offset, "expected =, found %s", p.token)
	}
	if len(attribute) != 1 || !isDeviceID(attribute[0]) {
		return nil, p.unsupported("a condition on " + strings.Join(attribute, ".") + " is")
	}
	if err := p.advance(); err != nil {
		return nil, err
	}
	if p.token.kind != text {
		return nil, errorAt(p.token.offset, "expected a string in quotes, found %s", p.token)
	}
	c := &Comparison{Attribute: []string{"deviceId"}, Value: p.token.value}
	return c, p.advance()
}

// attribute = name {"." name}, of which a leading "devices" is dropped
func (p *parser) attribute() ([]string, error) {
	switch {
	case p.token.is("NOT"), p.token.isMark("("), p.token.isMark("-"):
		return nil, p.unsupported(fmt.Sprintf("%q in a condition is", p.token.value))
	case p.token.kind == text || p.token.kind == number:
		return nil, p.unsupported("a condition that begins with a constant is")
	}
	var path []string
	for {
		if p.token.kind != name {
			return nil, errorAt(p.token.offset, "expected the name of an attribute, found %s", p.token)
		}
		path = append(path, p.token.value)
		if err := p.advance(); err != nil {
			return nil, err
		}
		if !p.token.isMark(".") {
			break
		}
		if err := p.advance(); err != nil {
			return nil, err
		}
	}
	if len(path) > 1 && strings.EqualFold(path[0], "devices") {
		path = path[1:]
	}
	return path, nil
}

// isDeviceID reports whether s is a name of the device id.
func isDeviceID(s string) bool { return strings.EqualFold(s, "deviceId") || strings.EqualFold(s, "id") }
