package amqp

import "fmt"

// Error conditions of AMQP 2.8.15 to 2.8.18.
const (
	CondInternalError         Symbol = "amqp:internal-error"
	CondNotFound              Symbol = "amqp:not-found"
	CondUnauthorizedAccess    Symbol = "amqp:unauthorized-access"
	CondDecodeError           Symbol = "amqp:decode-error"
	CondResourceLimitExceeded Symbol = "amqp:resource-limit-exceeded"
	CondNotAllowed            Symbol = "amqp:not-allowed"
	CondInvalidField          Symbol = "amqp:invalid-field"
	CondNotImplemented        Symbol = "amqp:not-implemented"
	CondResourceLocked        Symbol = "amqp:resource-locked"
	CondPreconditionFailed    Symbol = "amqp:precondition-failed"
	CondResourceDeleted       Symbol = "amqp:resource-deleted"
	CondIllegalState          Symbol = "amqp:illegal-state"
	CondFrameSizeTooSmall     Symbol = "amqp:frame-size-too-small"

	CondConnectionForced Symbol = "amqp:connection:forced"
	CondFramingError     Symbol = "amqp:connection:framing-error"

	CondWindowViolation  Symbol = "amqp:session:window-violation"
	CondErrantLink       Symbol = "amqp:session:errant-link"
	CondHandleInUse      Symbol = "amqp:session:handle-in-use"
	CondUnattachedHandle Symbol = "amqp:session:unattached-handle"

	CondDetachForced          Symbol = "amqp:link:detach-forced"
	CondTransferLimitExceeded Symbol = "amqp:link:transfer-limit-exceeded"
	CondMessageSizeExceeded   Symbol = "amqp:link:message-size-exceeded"
	CondLinkRedirect          Symbol = "amqp:link:redirect"
	CondStolen                Symbol = "amqp:link:stolen"
)

// Error is the error of a close, end, detach or rejected: what one peer tells the other. AMQP 2.8.14.
// Sent, it always has all three fields, since some clients read them without looking.
type Error struct {
	Condition   Symbol
	Description string
	Info        Map // symbol keys; nil is sent as an empty map
}

// Errorf makes an Error without info.
func Errorf(condition Symbol, format string, args ...any) *Error {
	return &Error{Condition: condition, Description: fmt.Sprintf(format, args...)}
}

func (e *Error) Error() string {
	if e.Description == "" {
		return string(e.Condition)
	}
	return string(e.Condition) + ": " + e.Description
}

// error writes e, or null for nil.
func (w *fieldWriter) error(e *Error) {
	if e == nil {
		w.null()
		return
	}
	w.b = appendError(w.b, e)
	w.wrote()
}

func appendError(dst []byte, e *Error) []byte {
	w := openComposite(dst, descError)
	w.b = AppendSymbol(w.b, e.Condition) // mandatory
	w.wrote()
	w.text(e.Description)
	info := e.Info
	if info == nil {
		info = Map{}
	}
	if err := w.value(info); err != nil {
		w.b = w.b[:w.keptEnd] // an info that cannot be encoded is left out rather than the whole error
		w.b, _ = AppendMap(w.b, Map{})
		w.fields--
		w.wrote()
	}
	return w.close()
}

func (r *fieldReader) error(field string) *Error {
	descriptor, ok := r.described()
	if !ok {
		return nil
	}
	if descriptor != descError {
		r.fail(field, codeDescribed)
		return nil
	}
	f := r.d.openFields()
	e := &Error{
		Condition:   f.symbol("condition"),
		Description: f.string("description"),
		Info:        f.mapping("info"),
	}
	r.keep(f.close())
	return e
}
