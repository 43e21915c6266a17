package hub_test

import (
	"encoding/json"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A dashboard is what is looked at in docs/grafana/twinhub.json.
type dashboard struct {
	SchemaVersion int
	Templating    struct {
		List []struct {
			Name, Type string
			Query      any // the text, or an object with it as query
		}
	}
	Panels []struct {
		Title   string
		Type    string
		Targets []struct{ Expr, LegendFormat string }
	}
}

// Words of PromQL that stand where a metric could.
var keywords = []string{"and", "or", "unless", "bool", "offset", "inf", "nan"}

var (
	quoted    = regexp.MustCompile(`"(?:\\.|[^"\\])*"`)
	ranges    = regexp.MustCompile(`\[[^\]]*\]`)
	selector  = regexp.MustCompile(`\{[^}]*\}`)
	grouping  = regexp.MustCompile(`\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)`)
	name      = regexp.MustCompile(`\b[a-zA-Z_:][a-zA-Z0-9_:]*\b(\s*\()?`)
	legend    = regexp.MustCompile(`\{\{\s*(\w+)\s*\}\}`)
	variables = regexp.MustCompile(`label_values\((\w+), (\w+)\)`)
	label     = regexp.MustCompile(`(\w+)="`)
)

// metricsOf returns the metrics that an expression reads: names that are neither functions nor labels.
func metricsOf(expr string) []string {
	for _, r := range []*regexp.Regexp{quoted, ranges, selector, grouping} {
		expr = r.ReplaceAllString(expr, " ")
	}
	var found []string
	for _, m := range name.FindAllStringSubmatch(expr, -1) {
		if m[1] == "" && !slices.Contains(keywords, strings.ToLower(m[0])) {
			found = append(found, m[0])
		}
	}
	return found
}

func TestMetricsOf(t *testing.T) {
	for expr, want := range map[string]string{
		`up`: "up",
		`sum by (le, protocol) (rate(a_b:c_total{instance=~"$instance", x="d(e"}[$__rate_interval]))`: "a_b:c_total",
		`histogram_quantile(0.99, sum(rate(x_bucket[5m])) by (le)) / 1e6`:                             "x_bucket",
		`a{x="}"} + on (job) group_left (b) c offset 5m`:                                              "a c",
		`avg_over_time (a[5m:1m]) or Inf unless b`:                                                    "a b",
	} {
		if got := strings.Join(metricsOf(expr), " "); got != want {
			t.Errorf("%s: got %q, want %q", expr, got, want)
		}
	}
}

func readDashboard(t *testing.T) (d dashboard, text string) {
	t.Helper()
	b, err := os.ReadFile("../../docs/grafana/twinhub.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &d); err != nil {
		t.Fatal(err)
	}
	return d, string(b)
}

// TestDashboardShowsWhatIsExported compares the dashboard with a running hub: each metric of an expression is exported,
// each metric of the hub is shown, and no label is one that no metric has.
func TestDashboardShowsWhatIsExported(t *testing.T) {
	d, _ := readDashboard(t)
	h, _ := start(t)
	exported := map[string]bool{}
	labels := map[string]bool{"instance": true} // which Prometheus adds
	for sample := range scrape(t, h) {
		metric, rest, _ := strings.Cut(sample, "{")
		exported[metric] = true
		for _, m := range label.FindAllStringSubmatch(rest, -1) {
			labels[m[1]] = true
		}
	}
	shown := map[string]bool{}
	checkMetric := func(where, metric string) {
		t.Helper()
		if shown[metric] = true; !exported[metric] {
			t.Errorf("%s: the hub exports no %s", where, metric)
		}
	}
	checkLabel := func(where, name string) {
		t.Helper()
		if !labels[name] {
			t.Errorf("%s: no metric of the hub has the label %s", where, name)
		}
	}
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			metrics := metricsOf(target.Expr)
			if len(metrics) == 0 {
				t.Errorf("panel %q: no metric was found in %q", p.Title, target.Expr)
			}
			for _, m := range metrics {
				checkMetric("panel "+p.Title, m)
			}
			for _, m := range grouping.FindAllStringSubmatch(target.Expr, -1) {
				for l := range strings.SplitSeq(m[1], ",") {
					checkLabel("panel "+p.Title, strings.TrimSpace(l))
				}
			}
			for _, m := range legend.FindAllStringSubmatch(target.LegendFormat, -1) {
				checkLabel("legend of panel "+p.Title, m[1])
			}
		}
	}
	for _, v := range d.Templating.List {
		query, _ := v.Query.(map[string]any)
		if text, _ := query["query"].(string); text != "" {
			m := variables.FindStringSubmatch(text)
			if m == nil {
				t.Errorf("variable %s: the query %q is not understood", v.Name, text)
				continue
			}
			checkMetric("variable "+v.Name, m[1])
			checkLabel("variable "+v.Name, m[2])
		}
	}
	for _, m := range slices.Sorted(maps.Keys(exported)) {
		family := m
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			family = strings.TrimSuffix(family, suffix)
		}
		if strings.HasPrefix(m, "twinhub_") && !shown[m] && !shown[family+"_bucket"] {
			t.Errorf("no panel shows %s", m)
		}
	}
}

// TestDashboardFitsAnyGrafana checks that nothing in the dashboard is of one installation: the data source is a
// variable, and every query is for the chosen instances.
func TestDashboardFitsAnyGrafana(t *testing.T) {
	d, text := readDashboard(t)
	if d.SchemaVersion < 39 {
		t.Errorf("schemaVersion is %d, want 39 at least", d.SchemaVersion)
	}
	kinds := map[string]string{}
	for _, v := range d.Templating.List {
		kinds[v.Name] = v.Type
		if v.Name == "datasource" && v.Query != "prometheus" {
			t.Errorf("the variable datasource offers %v, want prometheus", v.Query)
		}
	}
	if kinds["datasource"] != "datasource" || kinds["instance"] != "query" {
		t.Errorf("the variables are %v, want datasource and instance", kinds)
	}
	sources := 0
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				walk(e)
			}
		case map[string]any:
			for k, e := range v {
				if k == "datasource" {
					sources++
					if m, _ := e.(map[string]any); m["type"] != "prometheus" || m["uid"] != "${datasource}" {
						t.Errorf("data source %v, want ${datasource}", e)
					}
				}
				walk(e)
			}
		}
	}
	var all any
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		t.Fatal(err)
	}
	walk(all)
	targets := 0
	for _, p := range d.Panels {
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("panel %q shows nothing", p.Title)
		}
		for _, target := range p.Targets {
			targets++
			if n := strings.Count(target.Expr, `{instance=~"$instance"}`); n != len(metricsOf(target.Expr)) {
				t.Errorf("panel %q: %d of the metrics in %q are of the chosen instances", p.Title, n, target.Expr)
			}
		}
	}
	if targets == 0 || sources < targets {
		t.Errorf("%d targets and %d data sources were found", targets, sources)
	}
}
