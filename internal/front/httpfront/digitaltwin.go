package httpfront

import (
	"bytes"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/core/digitaltwin"
	"github.com/twinhub/twinhub/internal/core/method"
)

// Digital twins and their commands
//
// Form:
//
//	GET    /digitaltwins/{id}                                             200 document, ETag
//	PATCH  /digitaltwins/{id}                                             JSON Patch -> 202 without body, ETag, Location
//	POST   /digitaltwins/{id}/commands/{command}                          payload -> 200 payload, x-ms-command-statuscode
//	POST   /digitaltwins/{id}/components/{component}/commands/{command}   the same
//
// Behaviour: the body of a command is its payload, any JSON, passed on byte for byte; without a body the device gets
// null. Query parameters connectTimeoutInSeconds (default 0) and responseTimeoutInSeconds (default 30). The answer's
// body is the device's payload as it sent it, null when it sent none, and a JSON string when it is not JSON; the
// device's status is in the header alone, the HTTP status stays 200. A component's command is the method
// "component*command".
// Departures: both are served under every api-version. The spelling of Location is a guess: the path of the twin.
// Reference: IoT Hub REST, "Digital Twin".

func (f *Front) getDigitalTwin(w http.ResponseWriter, r *request) error {
	id, err := r.device()
	if err != nil {
		return err
	}
	doc, etag, err := f.digitalTwins.Get(r.Context(), id)
	if err != nil {
		return err
	}
	return f.answer(w, r, etag, doc)
}

func (f *Front) patchDigitalTwin(w http.ResponseWriter, r *request) error {
	id, err := r.device()
	if err != nil {
		return err
	}
	text, err := f.body(w, r, maxDigitalTwinBody)
	if err != nil {
		return err
	}
	etag, err := f.digitalTwins.Update(r.Context(), id, text, r.Header.Get("If-Match"))
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("ETag", `"`+etag+`"`)
	h.Set("Location", "https://"+r.Host+"/digitaltwins/"+url.PathEscape(id)+"?api-version="+url.QueryEscape(parameter(r.URL.Query(), "api-version")))
	w.WriteHeader(http.StatusAccepted)
	return nil
}

func (f *Front) invokeCommand(w http.ResponseWriter, r *request) error {
	id, err := r.device()
	if err != nil {
		return err
	}
	payload, err := f.body(w, r, maxMethodBody)
	if err != nil {
		return err
	}
	if payload = bytes.TrimSpace(payload); len(payload) > 0 && !isJSON(payload) {
		return twinhub.Errorf(twinhub.CodeArgumentInvalid, "BadRequest: the body, which is the command's payload, is not JSON.")
	}
	values := r.URL.Query()
	call := method.Request{Name: digitaltwin.CommandMethod(r.ids["component"], r.ids["command"]), Payload: callPayload(payload)}
	if call.ConnectTimeout, err = seconds(values, "connectTimeoutInSeconds", 0); err != nil {
		return err
	}
	if call.ResponseTimeout, err = seconds(values, "responseTimeoutInSeconds", method.DefaultResponseTimeout); err != nil {
		return err
	}
	reply, err := f.methods.Invoke(r.Context(), twinhub.ID{Device: id}, call)
	if err != nil {
		return err
	}
	w.Header().Set("x-ms-command-statuscode", strconv.Itoa(reply.Status))
	return f.answer(w, r, "", devicePayload(reply.Payload))
}

// seconds reads a time-out from the query.
func seconds(values url.Values, name string, usual time.Duration) (time.Duration, error) {
	text := parameter(values, name)
	if text == "" {
		return usual, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, twinhub.Errorf(twinhub.CodeArgumentInvalid, "%s must be a whole number of seconds, not %.40q.", name, text)
	}
	return inSeconds(n), nil
}

// inSeconds returns n seconds; what a Duration cannot hold is as out of range as its nearest bound.
func inSeconds(n int64) time.Duration {
	const most = int64(24 * time.Hour / time.Second)
	return time.Duration(min(max(n, -most), most)) * time.Second
}

// isJSON reports whether text is one JSON value. Of two members of one name, which some writers send, it leaves the
// choice to the reader.
func isJSON(text []byte) bool {
	return jsontext.Value(text).IsValid(jsontext.AllowDuplicateNames(true))
}

// callPayload returns what a device gets for the payload of a call: null when the caller gave none, because the device
// SDKs for Node and Python fail on a call without JSON.
func callPayload(payload []byte) []byte {
	if len(payload) == 0 {
		return []byte("null")
	}
	return payload
}

// devicePayload returns the JSON that stands for what a device answered: the same bytes if they are JSON, null for
// none, else a string of them.
func devicePayload(payload []byte) []byte {
	switch {
	case len(bytes.TrimSpace(payload)) == 0:
		return []byte("null")
	case isJSON(payload):
		return payload
	}
	quoted, err := jsontext.AppendQuote(nil, bytes.ToValidUTF8(payload, []byte("\uFFFD")))
	if err != nil {
		return []byte("null") // cannot be: the text is valid UTF-8
	}
	return quoted
}
