package twin

import (
	"testing"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/jsondoc"
)

// Whatever a client sends, a request is refused with a code or gives a twin within its limits that reads back the
// same and whose events are JSON.
func FuzzRequests(f *testing.F) {
	for _, body := range []string{
		`{"tags":{"a":1},"properties":{"desired":{"b":{"c":null}}}}`, `{"properties":{"desired":null}}`, `{"a":{"x":[1,{"y":2}]},"b":null}`,
		`{"":{"":{}}}`, `{"properties":{"desired":{"a":"\u0000\ud83d\ude00"}}}`, `{"a":1e999}`, `{"a":-0,"b":1.50}`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		desired, err := jsondoc.Parse([]byte(`{"a":{"x":{"y":1}},"b":[1],"c":1.0}`), jsondoc.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		d, err := NewDocument(created, "", desired, desired)
		if err != nil {
			t.Fatal(err)
		}
		var changes []*change
		add := func(c *change, err error) {
			switch {
			case err == nil && c != nil:
				changes = append(changes, c)
			case err != nil && !twinhub.HasCode(err, twinhub.CodeArgumentInvalid):
				t.Errorf("error without a code: %v", err)
			}
		}
		for _, replace := range []bool{false, true} {
			r, err := parseRequest(body, replace)
			if err != nil {
				add(nil, err)
				continue
			}
			add(d.service(r, later))
		}
		if patch, err := parseReported(body); err != nil {
			add(nil, err)
		} else {
			add(d.report(patch, later))
		}
		for _, c := range changes {
			if err := c.after.checkSizes(); err != nil {
				t.Errorf("accepted: %v", err)
			}
			stored := c.after.encode()
			back, err := Decode(stored)
			if err != nil || string(back.encode()) != string(stored) {
				t.Errorf("reads back as %+v, %v", back, err)
			}
			for _, text := range [][]byte{c.appendUpdate(nil), c.after.Notification(twinhub.ID{Device: "d"}), c.after.appendForDevice(nil)} {
				if _, err := jsondoc.Parse(text, jsondoc.Limits{}); err != nil {
					t.Errorf("%s: %v", text, err)
				}
			}
		}
	})
}
