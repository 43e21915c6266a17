package httpfront

import (
	"net/http"
	"strconv"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/core/registry"
)

// Device identities
//
// Form:
//
//	GET    /devices/{id}        200 Device, ETag
//	PUT    /devices/{id}        Device -> 200 Device, ETag; If-Match absent creates, present updates
//	DELETE /devices/{id}        204; If-Match required
//	GET    /devices?top=n       200 array of Device, no paging
//	GET    /statistics/devices  200 {"totalDeviceCount":n,"enabledDeviceCount":n,"disabledDeviceCount":n}
//	GET    /statistics/service  200 {"connectedDeviceCount":n}
//
// Behaviour: a new device is answered with 200 like a replaced one. The deviceId in the body must be that of the path;
// members that are read-only or unknown are ignored, the etag among them.
// Departures: the list is ordered by id; counts and connection states are exact. Module identities and the bulk
// operation are not served: modules are answered with 404010, their list is empty, POST /devices gets 405.
// Reference: IoT Hub REST, "Devices", "Statistics".

func (f *Front) getDevice(w http.ResponseWriter, r *request) error {
	id, err := r.device()
	if err != nil {
		return err
	}
	d, err := f.registry.Get(r.Context(), id)
	if err != nil {
		return err
	}
	return f.answerValue(w, r, d.ETag, d)
}

func (f *Front) putDevice(w http.ResponseWriter, r *request) error {
	id, err := r.device()
	if err != nil {
		return err
	}
	text, err := f.body(w, r, maxDeviceBody)
	if err != nil {
		return err
	}
	spec := new(registry.Spec)
	if err := decode(text, spec); err != nil {
		return err
	}
	if spec.DeviceID != id {
		return twinhub.Errorf(twinhub.CodeArgumentInvalid, "deviceId in the body, %.200q, is not the id in the path, %q.", spec.DeviceID, id)
	}
	d, err := f.registry.Put(r.Context(), spec, r.Header.Get("If-Match"))
	if err != nil {
		return err
	}
	return f.answerValue(w, r, d.ETag, d)
}

func (f *Front) deleteDevice(w http.ResponseWriter, r *request) error {
	id, err := r.device()
	if err != nil {
		return err
	}
	if err := f.registry.Delete(r.Context(), id, r.Header.Get("If-Match")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (f *Front) listDevices(w http.ResponseWriter, r *request) error {
	top, err := strconv.Atoi(parameter(r.URL.Query(), "top"))
	if err != nil {
		top = registry.MaxList
	}
	list, err := f.registry.List(r.Context(), top)
	if err != nil {
		return err
	}
	return f.answerValue(w, r, "", list)
}

func (f *Front) deviceStatistics(w http.ResponseWriter, r *request) error {
	count, err := f.registry.Statistics(r.Context())
	if err != nil {
		return err
	}
	return f.answerValue(w, r, "", count)
}

func (f *Front) serviceStatistics(w http.ResponseWriter, r *request) error {
	return f.answerValue(w, r, "", struct {
		Connected int `json:"connectedDeviceCount"`
	}{f.registry.Connected()})
}
