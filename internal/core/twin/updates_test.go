package twin_test

import (
	"testing"

	"github.com/twinhub/twinhub/internal/core/twin"
)

func TestUpdates(t *testing.T) {
	r := newRig(t)
	r.create(device, `{}`, `{}`)
	expect := func(when string, want twin.Updates) {
		t.Helper()
		if got := r.twins.Updates(); got != want {
			t.Errorf("%s: got %+v, want %+v", when, got, want)
		}
	}
	expect("created", twin.Updates{})
	r.reported(device, `{"a":1}`)
	r.reported(device, `{"a":2}`)
	expect("two reports", twin.Updates{Reported: 2})
	r.update(device, `{"properties":{"desired":{"b":1}}}`, "")
	expect("desired", twin.Updates{Desired: 1, Reported: 2})
	r.update(device, `{"tags":{"c":1}}`, "")
	r.update(device, `{"tags":{"c":2},"properties":{"desired":{"b":2}}}`, "")
	expect("tags", twin.Updates{Tags: 2, Desired: 2, Reported: 2})

	r.update(device, `{}`, "")
	if err := r.twins.SetModel(t.Context(), device, "dtmi:com:example:Thermostat;1"); err != nil {
		t.Error(err)
	}
	for _, body := range []string{`{"tags":1}`, `{"tags":{"d":1}}`} {
		if _, _, err := r.twins.Update(t.Context(), device, []byte(body), `"wrong"`, false); err == nil {
			t.Errorf("Update(%s) with the etag wrong went through", body)
		}
	}
	if _, err := r.twins.Reported(t.Context(), device, []byte(`[]`), nil); err == nil {
		t.Error("an array was reported")
	}
	expect("nothing that is a write of a section", twin.Updates{Tags: 2, Desired: 2, Reported: 2})
}
