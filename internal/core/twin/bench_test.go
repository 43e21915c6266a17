package twin

import (
	"fmt"
	"testing"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/core/routing"
	"github.com/twinhub/twinhub/internal/jsondoc"
)

// BenchmarkReportedLogic is what a device's patch costs without the engine: read the stored twin, check, merge, make
// the event, and encode all. The twin has the named number of reported properties, the patch two.
func BenchmarkReportedLogic(b *testing.B) {
	for _, properties := range []int{5, 50, 500} {
		for _, routed := range []bool{false, true} {
			b.Run(fmt.Sprintf("properties=%d/events=%v", properties, routed), func(b *testing.B) {
				var values jsondoc.Builder
				for i := range properties {
					values.Set(fmt.Sprintf("property%d", i), jsondoc.Float(float64(i)+0.25))
				}
				d, err := NewDocument(created, "dtmi:com:example:Thermostat;1", jsondoc.Null(), jsondoc.Null())
				if err != nil {
					b.Fatal(err)
				}
				c, err := d.report(values.Object(), created)
				if err != nil {
					b.Fatal(err)
				}
				stored := c.after.encode()
				var routes routing.Config
				if routed {
					routes.Routes = []routing.Route{{Name: "r", Source: twinhub.TwinChange, Endpoint: routing.BuiltIn}}
				}
				router, err := routing.New(routes)
				if err != nil {
					b.Fatal(err)
				}
				s := &Service{router: router, hub: "hub"}
				id := twinhub.ID{Device: "device"}
				body := []byte(`{"property3":21.5,"component":{"__t":"c","temperature":19.75}}`)
				b.ReportAllocs()
				for b.Loop() {
					patch, err := parseReported(body)
					if err != nil {
						b.Fatal(err)
					}
					d, err := Decode(stored)
					if err != nil {
						b.Fatal(err)
					}
					c, err := d.report(patch, later)
					if err != nil {
						b.Fatal(err)
					}
					if _, err := c.after.Write(id, 1); err != nil {
						b.Fatal(err)
					}
					router.Appends(s.events(id, c)...)
				}
			})
		}
	}
}
