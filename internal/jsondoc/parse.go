package jsondoc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

const (
	// DefaultMaxDepth is the nesting of arrays and objects that Parse takes when Limits does not
	// say otherwise. Twins nest a dozen levels, and 64 is what the .NET JSON readers accept by
	// default, so a deeper document could not be read by its clients. The bound also limits the
	// recursion of every function of this package.
	DefaultMaxDepth = 64

	// DefaultMaxBytes is the length of text that Parse takes when Limits does not say otherwise.
	// It is above the largest body that any door accepts, one hundred items of a bulk request with
	// full sections (8 + 32 + 32 KiB each). It also bounds memory, since small values cost more
	// than their text: up to some 40 times the text is held, and as much again for a moment while
	// parsing. A caller that knows a smaller bound should set it.
	DefaultMaxBytes = 8 << 20
)

// Limits bounds what Parse accepts. The zero Limits means the defaults.
type Limits struct {
	MaxDepth int // containers inside each other; a scalar has 0, {} and [] have 1; 0 = DefaultMaxDepth
	MaxBytes int // bytes of text; 0 = DefaultMaxBytes
}

// SyntaxError says why a text is not an acceptable JSON document.
type SyntaxError struct {
	Offset int64  // where in the text, in bytes from 0
	Reason string // what is wrong, without quoting values of the document
}

// Error returns the reason and the place.
func (e *SyntaxError) Error() string {
	return fmt.Sprintf("invalid JSON at byte %d: %s", e.Offset, e.Reason)
}

// Parse reads text, which must be exactly one JSON value with optional white space around it, in
// UTF-8 without byte order mark. Duplicate member names and invalid UTF-8 or surrogates are errors
// (RFC 7493). The result shares no memory with text, but its strings share one copy of it.
// Every error is a *SyntaxError.
func Parse(text []byte, limits Limits) (Value, error) {
	if limits.MaxDepth <= 0 {
		limits.MaxDepth = DefaultMaxDepth
	}
	if limits.MaxBytes <= 0 {
		limits.MaxBytes = DefaultMaxBytes
	}
	if len(text) > limits.MaxBytes {
		return Value{}, &SyntaxError{Offset: int64(limits.MaxBytes), Reason: fmt.Sprintf("text is longer than %d bytes", limits.MaxBytes)}
	}
	p := parser{
		dec:      jsontext.NewDecoder(bytes.NewBuffer(text)),
		src:      string(text),
		maxDepth: limits.MaxDepth,
	}
	v, err := p.value(0)
	if err != nil {
		return Value{}, err
	}
	if rest := strings.TrimLeft(p.src[p.dec.InputOffset():], " \t\r\n"); rest != "" {
		return Value{}, &SyntaxError{Offset: int64(len(p.src) - len(rest)), Reason: "more text after the value"}
	}
	return v, nil
}

// parser turns the tokens of one text into values. Children of open containers wait on two stacks,
// so that each finished container gets slices of exactly its size.
type parser struct {
	dec      *jsontext.Decoder
	src      string // the same text; strings and numbers are cut from it
	maxDepth int
	elems    []Value
	members  []Member
}

// value reads the next value, which depth containers enclose.
func (p *parser) value(depth int) (Value, error) {
	switch p.dec.PeekKind() {
	case '{', '[':
		if depth >= p.maxDepth {
			return Value{}, &SyntaxError{Offset: p.dec.InputOffset(), Reason: fmt.Sprintf("nested deeper than %d levels", p.maxDepth)}
		}
		if p.dec.PeekKind() == '{' {
			return p.object(depth + 1)
		}
		return p.array(depth + 1)
	case '"':
		s, err := p.string()
		if err != nil {
			return Value{}, err
		}
		return Value{node: stringNode, text: s}, nil
	}
	literal, err := p.scalar()
	if err != nil {
		return Value{}, err
	}
	switch literal[0] {
	case 'n':
		return Value{}, nil
	case 't', 'f':
		return Bool(literal[0] == 't'), nil
	}
	return Value{node: numberNode, text: literal}, nil
}

func (p *parser) object(depth int) (Value, error) {
	if _, err := p.dec.ReadToken(); err != nil {
		return Value{}, p.syntaxError(err)
	}
	base := len(p.members)
	for p.dec.PeekKind() != '}' {
		key, err := p.string()
		if err != nil {
			return Value{}, err
		}
		v, err := p.value(depth)
		if err != nil {
			return Value{}, err
		}
		p.members = append(p.members, Member{Key: key, Value: v})
	}
	if _, err := p.dec.ReadToken(); err != nil {
		return Value{}, p.syntaxError(err)
	}
	v := objectOf(append([]Member(nil), p.members[base:]...))
	p.members = p.members[:base]
	return v, nil
}

func (p *parser) array(depth int) (Value, error) {
	if _, err := p.dec.ReadToken(); err != nil {
		return Value{}, p.syntaxError(err)
	}
	base := len(p.elems)
	for p.dec.PeekKind() != ']' {
		v, err := p.value(depth)
		if err != nil {
			return Value{}, err
		}
		p.elems = append(p.elems, v)
	}
	if _, err := p.dec.ReadToken(); err != nil {
		return Value{}, p.syntaxError(err)
	}
	v := arrayOf(append([]Value(nil), p.elems[base:]...))
	p.elems = p.elems[:base]
	return v, nil
}

// string reads a string or a member name and returns its content.
func (p *parser) string() (string, error) {
	quoted, err := p.scalar()
	if err != nil {
		return "", err
	}
	if !strings.Contains(quoted, `\`) {
		return quoted[1 : len(quoted)-1], nil
	}
	content, err := jsontext.AppendUnquote(nil, quoted)
	if err != nil {
		return "", p.syntaxError(err)
	}
	return string(content), nil
}

// scalar reads the next token, which must not open or close a container, and returns its text as a
// part of p.src.
func (p *parser) scalar() (string, error) {
	raw, err := p.dec.ReadValue()
	if err != nil {
		return "", p.syntaxError(err)
	}
	end := p.dec.InputOffset()
	return p.src[end-int64(len(raw)) : end], nil
}

// syntaxError turns an error of the tokeniser into ours.
func (p *parser) syntaxError(err error) error {
	var syntactic *jsontext.SyntacticError
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return &SyntaxError{Offset: int64(len(p.src)), Reason: "text ends too early"}
	case errors.Is(err, jsontext.ErrDuplicateName):
		e := &SyntaxError{Offset: p.dec.InputOffset(), Reason: "duplicate member name"}
		if errors.As(err, &syntactic) {
			e.Offset = syntactic.ByteOffset
		}
		return e
	case errors.As(err, &syntactic) && syntactic.Err != nil:
		return &SyntaxError{Offset: syntactic.ByteOffset, Reason: strings.TrimPrefix(syntactic.Err.Error(), "jsontext: ")}
	}
	return &SyntaxError{Offset: p.dec.InputOffset(), Reason: err.Error()}
}
