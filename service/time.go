package service

import (
	"encoding/json"
	"fmt"
	"time"
)

// hubTime is a time as hubs write it: RFC 3339, or the same without a zone, which means UTC. Azure's registry does the
// latter ("0001-01-01T00:00:00"), its twins the former.
type hubTime struct{ time.Time }

// UnmarshalJSON reads either form. Null and the empty string leave the time as it is.
func (t *hubTime) UnmarshalJSON(raw []byte) error {
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return fmt.Errorf("decode time: %w", err)
	}
	if text == "" {
		return nil
	}
	const noZone = "2006-01-02T15:04:05"
	parsed, err := time.Parse(noZone, text)
	if err != nil {
		if parsed, err = time.Parse(time.RFC3339, text); err != nil {
			return fmt.Errorf("decode time: %w", err)
		}
	}
	t.Time = parsed
	return nil
}

// UnmarshalJSON reads an identity as a hub writes it.
func (d *Device) UnmarshalJSON(raw []byte) error {
	type fields Device // without this method
	v := struct {
		*fields
		StatusUpdatedTime          hubTime `json:"statusUpdatedTime"`
		ConnectionStateUpdatedTime hubTime `json:"connectionStateUpdatedTime"`
		LastActivityTime           hubTime `json:"lastActivityTime"`
	}{(*fields)(d), hubTime{d.StatusUpdatedTime}, hubTime{d.ConnectionStateUpdatedTime}, hubTime{d.LastActivityTime}}
	if err := json.Unmarshal(raw, &v); err != nil {
		return err
	}
	d.StatusUpdatedTime, d.ConnectionStateUpdatedTime, d.LastActivityTime = v.StatusUpdatedTime.Time, v.ConnectionStateUpdatedTime.Time, v.LastActivityTime.Time
	return nil
}

// UnmarshalJSON reads a twin as a hub writes it.
func (t *Twin) UnmarshalJSON(raw []byte) error {
	type fields Twin // without this method
	v := struct {
		*fields
		StatusUpdateTime hubTime `json:"statusUpdateTime"`
		LastActivityTime hubTime `json:"lastActivityTime"`
	}{(*fields)(t), hubTime{t.StatusUpdateTime}, hubTime{t.LastActivityTime}}
	if err := json.Unmarshal(raw, &v); err != nil {
		return err
	}
	t.StatusUpdateTime, t.LastActivityTime = v.StatusUpdateTime.Time, v.LastActivityTime.Time
	return nil
}
