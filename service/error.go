package service

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/twinhub/twinhub"
)

// Error is an answer with which the hub refuses a request. Get at it with errors.As, or ask [HasCode].
//
// Code and Name are read from whichever of the three forms the hub uses: {"Message":"ErrorCode:Name;text",...},
// {"errorCode":404103,"message":"..."}, or the second form as a string inside Message of the first. Reference: IoT Hub,
// "Troubleshoot error codes".
type Error struct {
	// Code is the six-digit number, such as 404001; 0 if the answer names none that is known.
	Code twinhub.Code
	// Name is the symbolic name, such as DeviceNotFound; empty if the answer does not say and the number is not known.
	Name string
	// Message is the hub's text for people, without the name.
	Message string
	// Status is the HTTP status.
	Status int
	// TrackingID identifies the request to the hub's operators; often empty.
	TrackingID string
	// Body is the answer's body as it came.
	Body []byte
}

// Error returns name, number, text and tracking id, as far as there are any.
func (e *Error) Error() string {
	name := e.Name
	if name == "" {
		name = strings.ReplaceAll(http.StatusText(e.Status), " ", "")
	}
	number := int(e.Code)
	if number == 0 {
		number = e.Status
	}
	text := fmt.Sprintf("%s (%d)", name, number)
	if e.Message != "" {
		text += ": " + e.Message
	}
	if e.TrackingID != "" {
		text += " (tracking id " + e.TrackingID + ")"
	}
	return text
}

// Temporary reports whether the same request may succeed later: the hub was busy, throttled the caller, or failed.
// A method or command that timed out counts too; its device may have acted on it.
func (e *Error) Temporary() bool {
	return e.Status == http.StatusTooManyRequests || e.Status == http.StatusRequestTimeout || e.Status >= 500
}

// HasCode reports whether err is or wraps an [*Error] with the code, for example
// HasCode(err, twinhub.CodeDeviceNotFound).
func HasCode(err error, code twinhub.Code) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == code
}

// newForm is the body of newer endpoints, and what is inside Message of methods' errors.
type newForm struct {
	Code       int    `json:"errorCode"`
	Message    string `json:"message"`
	TrackingID string `json:"trackingId"`
}

var trackingID = regexp.MustCompile(`(?i)tracking ?id:\s*([0-9a-f-]{8,})`)

// parseError reads an answer whose status says that the request failed.
func parseError(res *http.Response, body []byte) *Error {
	e := &Error{Status: res.StatusCode, Body: body}
	var form struct {
		newForm
		OldMessage string `json:"Message"`
		Exception  string `json:"ExceptionMessage"`
	}
	// encoding/json folds case, so that "message" and "Message" need two tries.
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err == nil {
		text := func(name string) (s string) {
			if json.Unmarshal(members[name], &s) != nil {
				return ""
			}
			return s
		}
		form.OldMessage, form.Exception = text("Message"), text("ExceptionMessage")
		form.Message, form.TrackingID = text("message"), text("trackingId")
		if json.Unmarshal(members["errorCode"], &form.Code) != nil {
			form.Code = 0
		}
	} else {
		e.Message = strings.TrimSpace(string(body))
	}
	if inner := (newForm{}); json.Unmarshal([]byte(form.OldMessage), &inner) == nil {
		form.newForm = inner
	} else if form.OldMessage != "" {
		e.fromOldMessage(form.OldMessage)
	}
	if form.Code != 0 {
		e.Code = twinhub.Code(form.Code)
	}
	if form.Message != "" {
		e.Message = form.Message
	}
	e.TrackingID = form.TrackingID
	for _, text := range []string{form.Exception, form.OldMessage} {
		if m := trackingID.FindStringSubmatch(text); e.TrackingID == "" && m != nil {
			e.TrackingID = m[1]
		}
	}
	e.TrackingID, _, _ = strings.Cut(e.TrackingID, "-")
	if e.Name == "" {
		e.Name = nameOf(e.Code)
	}
	if header := res.Header.Get("iothub-errorcode"); e.Name == "" {
		e.Name = header
	}
	if e.Code == 0 {
		e.Code = codes[e.Name]
	}
	return e
}

// fromOldMessage reads "ErrorCode:DeviceNotFound;text", where the name may be followed by a second one, more general.
func (e *Error) fromOldMessage(text string) {
	head, rest, found := strings.Cut(text, ";")
	name, isName := strings.CutPrefix(strings.TrimSpace(head), "ErrorCode:")
	if !isName {
		e.Message = text
		return
	}
	e.Name = strings.TrimSpace(name)
	if found {
		e.Message = strings.TrimSpace(rest)
	}
}
