package httpfront

import (
	"net/http"

	"github.com/twinhub/twinhub"
)

// Twins
//
// Form:
//
//	GET    /twins/{id}  200 twin, ETag
//	PATCH  /twins/{id}  partial twin -> 200 whole twin, ETag; If-Match optional
//	PUT    /twins/{id}  twin -> 200 whole twin, ETag; If-Match optional
//
// Behaviour: PATCH merges tags and desired properties, PUT replaces them. Both take whole twins, with all that is
// read-only in them. ETag is quoted; If-Match may be quoted or bare.
// Departures: module twins are answered with 404010. modelId is shown under every api-version.
// Reference: IoT Hub REST, "Twin".

func (f *Front) getTwin(w http.ResponseWriter, r *request) error {
	id, err := r.device()
	if err != nil {
		return err
	}
	doc, etag, err := f.twins.Get(r.Context(), twinhub.ID{Device: id})
	if err != nil {
		return err
	}
	return f.answer(w, r, etag, doc)
}

func (f *Front) patchTwin(w http.ResponseWriter, r *request) error { return f.updateTwin(w, r, false) }

func (f *Front) putTwin(w http.ResponseWriter, r *request) error { return f.updateTwin(w, r, true) }

func (f *Front) updateTwin(w http.ResponseWriter, r *request, replace bool) error {
	id, err := r.device()
	if err != nil {
		return err
	}
	text, err := f.body(w, r, maxTwinBody)
	if err != nil {
		return err
	}
	doc, etag, err := f.twins.Update(r.Context(), twinhub.ID{Device: id}, text, r.Header.Get("If-Match"), replace)
	if err != nil {
		return err
	}
	return f.answer(w, r, etag, doc)
}
