package httpfront

import (
	"net/http"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/core/method"
)

// Direct methods
//
// Form:
//
//	POST /twins/{id}/methods
//	     {"methodName":"...","payload":any,"responseTimeoutInSeconds":30,"connectTimeoutInSeconds":0}
//	  -> 200 {"status":n,"payload":any}
//
// Behaviour: the payload reaches the device byte for byte as it stands in the request; without one the device gets
// null. The device's payload stands in the answer as it sent it, null when it sent none, and as a JSON string when it is
// not JSON. The HTTP status is 200 whatever the device's status is.
// Departures: methods of modules are answered with 404010.
// Reference: IoT Hub, "Understand and invoke direct methods".

// methodCall is the body of a request. A time-out that is null or absent has its default.
type methodCall struct {
	MethodName      string         `json:"methodName"`
	Payload         jsontext.Value `json:"payload"`
	ResponseTimeout *int64         `json:"responseTimeoutInSeconds"`
	ConnectTimeout  *int64         `json:"connectTimeoutInSeconds"`
}

func (f *Front) invokeMethod(w http.ResponseWriter, r *request) error {
	id, err := r.device()
	if err != nil {
		return err
	}
	text, err := f.body(w, r, maxMethodBody)
	if err != nil {
		return err
	}
	var c methodCall
	if err := decode(text, &c); err != nil {
		return err
	}
	call := method.Request{Name: c.MethodName, Payload: callPayload(c.Payload), ResponseTimeout: method.DefaultResponseTimeout}
	if c.ResponseTimeout != nil {
		call.ResponseTimeout = inSeconds(*c.ResponseTimeout)
	}
	if c.ConnectTimeout != nil {
		call.ConnectTimeout = inSeconds(*c.ConnectTimeout)
	}
	reply, err := f.methods.Invoke(r.Context(), twinhub.ID{Device: id}, call)
	if err != nil {
		return err
	}
	body := strconv.AppendInt([]byte(`{"status":`), int64(reply.Status), 10)
	body = append(body, `,"payload":`...)
	body = append(body, devicePayload(reply.Payload)...)
	return f.answer(w, r, "", append(body, '}'))
}
