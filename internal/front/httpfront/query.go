package httpfront

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/core/index"
)

// Queries
//
// Form:
//
//	POST /devices/query  {"query":"SELECT ..."}; x-ms-max-item-count, x-ms-continuation -> 200 array;
//	                     x-ms-item-type, x-ms-continuation
//
// Behaviour: x-ms-max-item-count is a number from 1, by default 100; more than 100 counts as 100. x-ms-continuation is
// opaque, belongs to the text of the query, outlives restarts, and is absent on the last page. Rows are in the order
// of their device ids. x-ms-item-type is Twin.
// Departures: of the language, SELECT * FROM devices [WHERE deviceId = '...'] is known; the text of the error says
// what is not. A query sees every write that was acknowledged before it was sent.
// Reference: IoT Hub REST, "Query"; IoT Hub, "Query language for device and module twins".

func (f *Front) query(w http.ResponseWriter, r *request) error {
	text, err := f.body(w, r, maxQueryBody)
	if err != nil {
		return err
	}
	var body struct {
		Query string `json:"query"`
	}
	if err := decode(text, &body); err != nil {
		return err
	}
	items := index.MaxItems
	if header := strings.TrimSpace(r.Header.Get("x-ms-max-item-count")); header != "" {
		n, err := strconv.Atoi(header)
		if err != nil {
			return twinhub.Errorf(twinhub.CodeArgumentInvalid, "BadRequest: x-ms-max-item-count must be a number, not %.40q.", header)
		}
		items = min(n, index.MaxItems)
	}
	page, err := f.index.Query(r.Context(), index.Request{
		Query: body.Query, MaxItems: items, Continuation: strings.TrimSpace(r.Header.Get("x-ms-continuation")),
	})
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("x-ms-item-type", page.Kind)
	if page.Continuation != "" {
		h.Set("x-ms-continuation", page.Continuation)
	}
	rows := append([]byte{'['}, bytes.Join(page.Rows, []byte{','})...)
	return f.answer(w, r, "", append(rows, ']'))
}
