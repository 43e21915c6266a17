package twin

import (
	"testing"
	"time"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/jsondoc"
)

// The body of the events that tell of a new identity; the published one shows the zero time.
func TestNotification(t *testing.T) {
	const section = `{"$metadata":{"$lastUpdated":"0001-01-01T00:00:00Z"},"$version":1}`
	tests := []struct {
		name, tags string
		id         twinhub.ID
		want       string
	}{
		{"device", `null`, twinhub.ID{Device: "d1"},
			`{"deviceId":"d1","etag":"AAAAAAAAAAE=","version":2,"properties":{"desired":` + section + `,"reported":` + section + `}}`},
		{"module", `null`, twinhub.ID{Device: "d1", Module: "m1"},
			`{"deviceId":"d1","moduleId":"m1","etag":"AAAAAAAAAAE=","version":2,"properties":{"desired":` + section + `,"reported":` + section + `}}`},
		{"with tags", `{"a":1}`, twinhub.ID{Device: "d1"},
			`{"deviceId":"d1","etag":"AAAAAAAAAAE=","version":2,"tags":{"a":1},"properties":{"desired":` + section + `,"reported":` + section + `}}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, err := NewDocument(time.Time{}, "", parse(t, tt.tags), jsondoc.Null())
			if err != nil {
				t.Fatal(err)
			}
			if got := string(d.Notification(tt.id)); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}
