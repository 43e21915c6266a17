package service

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// Azure writes the times of identities without a zone, those of twins with one, or without in older answers.
func TestTimes(t *testing.T) {
	at := func(text string) time.Time {
		v, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for text, want := range map[string]time.Time{
		`"0001-01-01T00:00:00"`:               {},
		`"0001-01-01T00:00:00Z"`:              {},
		`"2015-10-22T11:44:55.0815837"`:       at("2015-10-22T11:44:55.0815837Z"),
		`"2020-07-17T06:12:26.8402249Z"`:      at("2020-07-17T06:12:26.8402249Z"),
		`"2020-07-17T08:12:26.8402249+02:00"`: at("2020-07-17T06:12:26.8402249Z"),
		`null`:                                {},
	} {
		d, err := decodeDevice(json.RawMessage(strings.ReplaceAll(`{"deviceId":"d","statusUpdatedTime":T,"connectionStateUpdatedTime":T,"lastActivityTime":T,"etag":"e"}`, ":T", ":"+text)))
		if err != nil {
			t.Errorf("identity with %s: %v", text, err)
		} else if !d.StatusUpdatedTime.Equal(want) || !d.ConnectionStateUpdatedTime.Equal(want) || !d.LastActivityTime.Equal(want) || d.DeviceID != "d" || d.ETag != "e" {
			t.Errorf("identity with %s: got %+v, want %v", text, d, want)
		}
		twin, err := DecodeTwin(json.RawMessage(strings.ReplaceAll(`{"deviceId":"d","statusUpdateTime":T,"lastActivityTime":T,"version":2}`, ":T", ":"+text)))
		if err != nil {
			t.Errorf("twin with %s: %v", text, err)
		} else if !twin.StatusUpdateTime.Equal(want) || !twin.LastActivityTime.Equal(want) || twin.DeviceID != "d" || twin.Version != 2 {
			t.Errorf("twin with %s: got %+v, want %v", text, twin, want)
		}
	}
	for _, text := range []string{`"yesterday"`, `5`} {
		if _, err := decodeDevice(json.RawMessage(`{"lastActivityTime":` + text + `}`)); err == nil {
			t.Errorf("%s counts as a time", text)
		}
	}
}
