package digitaltwin

import (
	"testing"
	"time"

	"github.com/twinhub/twinhub/internal/core/twin"
	"github.com/twinhub/twinhub/internal/jsondoc"
)

func parse(t testing.TB, text string) jsondoc.Value {
	t.Helper()
	v, err := jsondoc.Parse([]byte(text), jsondoc.Limits{})
	if err != nil {
		t.Fatalf("parse %s: %v", text, err)
	}
	return v
}

// stored makes a twin of sections with their metadata.
func stored(t *testing.T, model, desired, desiredMeta, reported, reportedMeta string) *twin.Document {
	t.Helper()
	return &twin.Document{
		Counter: 1, Version: 2, ModelID: model, Tags: parse(t, `{"site":"a"}`),
		Desired:  twin.Section{Version: 9, Values: parse(t, desired), Metadata: parse(t, desiredMeta)},
		Reported: twin.Section{Version: 9, Values: parse(t, reported), Metadata: parse(t, reportedMeta)},
	}
}

func TestShow(t *testing.T) {
	const t1, t2 = `"2020-07-17T06:10:31.9609233Z"`, `"2020-07-17T06:11:04.9309159Z"`
	tests := []struct {
		name, model                                  string
		desired, desiredMeta, reported, reportedMeta string
		want                                         string
	}{
		{
			name: "published example", model: "dtmi:com:example:TemperatureController;1",
			desired:      `{"t1":{"__t":"c","targetTemperature":21.8}}`,
			desiredMeta:  `{"$lastUpdated":` + t1 + `,"$lastUpdatedVersion":4,"t1":{"$lastUpdated":` + t1 + `,"$lastUpdatedVersion":4,"__t":{"$lastUpdated":` + t1 + `,"$lastUpdatedVersion":3},"targetTemperature":{"$lastUpdated":` + t1 + `,"$lastUpdatedVersion":4}}}`,
			reported:     `{"t1":{"maxTemp":25.3,"__t":"c","targetTemperature":{"value":21.8,"ac":200,"av":4,"ad":"ok"}}}`,
			reportedMeta: `{"$lastUpdated":` + t2 + `,"t1":{"$lastUpdated":` + t2 + `,"maxTemp":{"$lastUpdated":` + t1 + `},"__t":{"$lastUpdated":` + t1 + `},"targetTemperature":{"$lastUpdated":` + t2 + `,"value":{"$lastUpdated":` + t2 + `}}}}`,
			want: `{"$dtId":"d1","t1":{"maxTemp":25.3,"targetTemperature":21.8,"$metadata":{` +
				`"maxTemp":{"lastUpdateTime":` + t1 + `},` +
				`"targetTemperature":{"desiredValue":21.8,"desiredVersion":4,"ackVersion":4,"ackCode":200,"ackDescription":"ok","lastUpdateTime":` + t2 + `}}},` +
				`"$metadata":{"$model":"dtmi:com:example:TemperatureController;1"}}`,
		},
		{
			name: "no model, nothing", desired: `{}`, desiredMeta: `{}`, reported: `{}`, reportedMeta: `{}`,
			want: `{"$dtId":"d1","$metadata":{"$model":""}}`,
		},
		{
			name:    "properties before components",
			desired: `{}`, desiredMeta: `{}`,
			reported: `{"c":{"__t":"c"},"p":1.0}`, reportedMeta: `{"c":{"$lastUpdated":` + t1 + `},"p":{"$lastUpdated":` + t2 + `}}`,
			want: `{"$dtId":"d1","p":1.0,"c":{"$metadata":{}},"$metadata":{"$model":"","p":{"lastUpdateTime":` + t2 + `}}}`,
		},
		{
			name:    "desired only",
			desired: `{"p":5}`, desiredMeta: `{"p":{"$lastUpdated":` + t1 + `,"$lastUpdatedVersion":3}}`, reported: `{}`, reportedMeta: `{}`,
			want: `{"$dtId":"d1","$metadata":{"$model":"","p":{"desiredValue":5,"desiredVersion":3}}}`,
		},
		{
			name:    "component in desired only",
			desired: `{"c":{"__t":"c","p":5}}`, desiredMeta: `{"c":{"$lastUpdatedVersion":3,"p":{"$lastUpdatedVersion":3}}}`, reported: `{}`, reportedMeta: `{}`,
			want: `{"$dtId":"d1","c":{"$metadata":{"p":{"desiredValue":5,"desiredVersion":3}}},"$metadata":{"$model":""}}`,
		},
		{
			name:    "marked on the desired side only",
			desired: `{"c":{"__t":"c"}}`, desiredMeta: `{"c":{}}`, reported: `{"c":{"p":1}}`, reportedMeta: `{"c":{"p":{"$lastUpdated":` + t1 + `}}}`,
			want: `{"$dtId":"d1","c":{"p":1,"$metadata":{"p":{"lastUpdateTime":` + t1 + `}}},"$metadata":{"$model":""}}`,
		},
		{
			name:    "acknowledgement without av",
			desired: `{}`, desiredMeta: `{}`, reported: `{"p":{"value":{"x":1},"ac":202}}`, reportedMeta: `{"p":{"$lastUpdated":` + t1 + `}}`,
			want: `{"$dtId":"d1","p":{"x":1},"$metadata":{"$model":"","p":{"ackCode":202,"lastUpdateTime":` + t1 + `}}}`,
		},
		{
			name:    "acknowledgement without ac",
			desired: `{}`, desiredMeta: `{}`, reported: `{"p":{"value":1,"av":3}}`, reportedMeta: `{"p":{"$lastUpdated":` + t1 + `}}`,
			want: `{"$dtId":"d1","p":1,"$metadata":{"$model":"","p":{"ackVersion":3,"lastUpdateTime":` + t1 + `}}}`,
		},
		{
			name:    "object with value alone is a value",
			desired: `{}`, desiredMeta: `{}`, reported: `{"p":{"value":1,"ad":"x"}}`, reportedMeta: `{"p":{"$lastUpdated":` + t1 + `,"value":{"$lastUpdated":` + t2 + `}}}`,
			want: `{"$dtId":"d1","p":{"value":1,"ad":"x"},"$metadata":{"$model":"","p":{"lastUpdateTime":` + t1 + `}}}`,
		},
		{
			name:    "array and names that are not DTDL names",
			desired: `{}`, desiredMeta: `{}`, reported: `{"1-a":[1,{"b":2}]}`, reportedMeta: `{"1-a":{"$lastUpdated":` + t1 + `}}`,
			want: `{"$dtId":"d1","1-a":[1,{"b":2}],"$metadata":{"$model":"","1-a":{"lastUpdateTime":` + t1 + `}}}`,
		},
		{
			name:    "scalar reported for a desired component says nothing of it",
			desired: `{"c":{"__t":"c","p":5}}`, desiredMeta: `{"c":{"p":{"$lastUpdatedVersion":3}}}`, reported: `{"c":7}`, reportedMeta: `{"c":{"$lastUpdated":` + t1 + `}}`,
			want: `{"$dtId":"d1","c":{"$metadata":{"p":{"desiredValue":5,"desiredVersion":3}}},"$metadata":{"$model":""}}`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := stored(t, tt.model, tt.desired, tt.desiredMeta, tt.reported, tt.reportedMeta)
			if got := Show("d1", d).String(); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// BenchmarkDiff is what the digital twin event of one reported value costs, for a twin of fifty.
func BenchmarkDiff(b *testing.B) {
	var values, metadata jsondoc.Builder
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		var c, m jsondoc.Builder
		c.Set(markerName, jsondoc.String(marker))
		for i := range 10 {
			property := string(rune('a' + i))
			c.Set(property, jsondoc.Int(int64(i)))
			m.Set(property, parse(b, `{"$lastUpdated":"`+time.Unix(0, 0).UTC().Format(time.RFC3339)+`"}`))
		}
		values.Set(name, c.Object())
		metadata.Set(name, m.Object())
	}
	before := &twin.Document{Reported: twin.Section{Values: values.Object(), Metadata: metadata.Object()}}
	after := *before
	after.Reported.Values = jsondoc.Merge(before.Reported.Values, parse(b, `{"c":{"d":77}}`))
	b.ReportAllocs()
	for b.Loop() {
		if patch := (View{}).Diff(before, &after); len(patch) != 1 {
			b.Fatalf("patch %s", patch)
		}
	}
}
