package httpfront

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/core/auth"
	"github.com/twinhub/twinhub/internal/core/registry"
)

// Errors on the wire
//
// Form: the status is code / 1000; headers iothub-errorcode and IotHubErrorCode carry the symbolic name, which clients
// compare with the one in the body; the body has one of two shapes:
//
//	A  {"Message":"ErrorCode:DeviceNotFound;text","ExceptionMessage":"Tracking ID:32 hex-G:0-TimeStamp:time"}
//	C  {"Message":"{\"errorCode\":404103,\"trackingId\":\"32 hex-TimeStamp:time\",\"message\":\"text\",
//	   \"info\":{\"timeout\":\"00:00:00\"},\"timestampUtc\":\"time\"}","ExceptionMessage":""}
//
// Behaviour: C for direct methods, commands and every 401; A for all else. The tracking id is x-ms-request-id without
// its dashes, so that a client's report can be found in the log. Errors that are not fit for clients become 500001, or
// 503001 when the storage has stopped, and are logged with that id.
// Departures: the third shape, which the original uses for modules (C's inner object as the body), is not made yet.
// Reference: IoT Hub, "Troubleshoot error codes".

// A shape is a form of error bodies.
type shape uint8

const (
	shapeA shape = iota
	shapeC
)

// envelope is the outer object of both shapes.
type envelope struct {
	Message          string
	ExceptionMessage string
}

// detail is the inner object of shape C.
type detail struct {
	ErrorCode    twinhub.Code `json:"errorCode"`
	TrackingID   string       `json:"trackingId"`
	Message      string       `json:"message"`
	Info         *info        `json:"info"`
	TimestampUTC string       `json:"timestampUtc"`
}

type info struct {
	Timeout string `json:"timeout"`
}

// errorBody renders an error. It cannot fail: both shapes hold strings and numbers, and bytes that are not UTF-8 were
// replaced.
func errorBody(e *twinhub.Error, s shape, requestID string, now time.Time) []byte {
	tracking := strings.ReplaceAll(requestID, "-", "")
	stamp := twinhub.FormatTime(now)
	message := strings.ToValidUTF8(e.Message, "\uFFFD")
	body := envelope{
		Message:          "ErrorCode:" + e.Code.String() + ";" + message,
		ExceptionMessage: "Tracking ID:" + tracking + "-G:0-TimeStamp:" + stamp,
	}
	if s == shapeC {
		d := detail{ErrorCode: e.Code, TrackingID: tracking + "-TimeStamp:" + stamp, Message: message, TimestampUTC: stamp}
		if e.Timeout != "" {
			d.Info = &info{Timeout: e.Timeout}
		}
		inner, err := json.Marshal(d)
		if err != nil {
			panic("httpfront: encode error: " + err.Error())
		}
		body = envelope{Message: string(inner)}
	}
	text, err := json.Marshal(body)
	if err != nil {
		panic("httpfront: encode error: " + err.Error())
	}
	return text
}

// fail answers with an error.
func (f *Front) fail(w http.ResponseWriter, r *request, err error, s shape) {
	e := f.clientError(r, err)
	h := w.Header()
	h.Set("Content-Type", jsonType)
	h.Set("iothub-errorcode", e.Code.String())
	h.Set("IotHubErrorCode", e.Code.String())
	f.write(w, r, e.Code.Status(), errorBody(e, s, r.id, f.clock.Now()))
}

// clientError returns what the client is told of err, and logs what it is not told.
func (f *Front) clientError(r *request, err error) *twinhub.Error {
	var known *twinhub.Error
	switch {
	case errors.As(err, &known):
		return known
	case registry.Stopped(err):
		f.log.Error("request failed", "request", r.id, "path", auth.Mask(r.path), "error", err)
		return twinhub.Errorf(twinhub.CodeServiceUnavailable, "The hub's storage has stopped; its log has the cause.")
	case errors.Is(err, context.Canceled) && r.Context().Err() != nil:
		f.log.Debug("request abandoned by the client, or cut off by shutdown", "request", r.id, "path", auth.Mask(r.path))
		return twinhub.Errorf(twinhub.CodeServiceUnavailable, "The request ended before its outcome was known.")
	default:
		f.log.Error("request failed", "request", r.id, "path", auth.Mask(r.path), "error", err)
	}
	return twinhub.AsError(err)
}

// newRequestID returns a random GUID.
func newRequestID() string {
	var b [16]byte
	rand.Read(b[:]) // documented never to fail
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	text := hex.EncodeToString(b[:])
	return text[:8] + "-" + text[8:12] + "-" + text[12:16] + "-" + text[16:20] + "-" + text[20:]
}
