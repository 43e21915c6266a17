package hub

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/twinhub/twinhub/internal/core/auth"
	"github.com/twinhub/twinhub/internal/engine"
	"github.com/twinhub/twinhub/internal/engine/local"
	"github.com/twinhub/twinhub/internal/eventlog"
)

// meters measure what happens; what can be read at any time is asked for by the registry when it is scraped.
type meters struct {
	commit, write, commits, bytes prometheus.Histogram
}

func newMeters() *meters {
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets})
	}
	seconds := prometheus.ExponentialBuckets(50e-6, 2, 18) // 50 us to 6.5 s
	return &meters{
		commit:  histogram("twinhub_engine_commit_seconds", "Time from the first commit of a group being submitted to the last being acknowledged.", seconds),
		write:   histogram("twinhub_engine_write_seconds", "Time to write and sync a group of commits.", seconds),
		commits: histogram("twinhub_engine_group_commits", "Commits that became durable with one sync.", prometheus.ExponentialBuckets(1, 2, 14)),
		bytes:   histogram("twinhub_engine_group_bytes", "Bytes written with one sync.", prometheus.ExponentialBuckets(256, 4, 10)),
	}
}

// observe takes a group of commits. It is local.Options.Observe.
func (m *meters) observe(g local.Group) {
	m.commit.Observe(g.Longest.Seconds())
	m.commits.Observe(float64(g.Commits))
	if g.Bytes > 0 { // otherwise nothing was written
		m.write.Observe(g.Write.Seconds())
		m.bytes.Observe(float64(g.Bytes))
	}
}

// metrics registers what the ops door shows.
func (h *Hub) metrics() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	h.registerFronts(r)
	h.registerCore(r)
	h.registerStorage(r)
	return r
}

// gauge registers a number that goes up and down.
func gauge[N int | int64](r *prometheus.Registry, name, help string, read func() N) {
	r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return float64(read()) }))
}

// counter registers a number that grows.
func counter(r *prometheus.Registry, name, help string, labels prometheus.Labels, read func() uint64) {
	r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: labels}, func() float64 { return float64(read()) }))
}

func (h *Hub) registerFronts(r *prometheus.Registry) {
	gauge(r, "twinhub_httpfront_connections", "Open HTTPS connections.", h.httpsOpen.Load)
	gauge(r, "twinhub_mqttfront_connections", "Open MQTT connections, signed in or not.", h.mqtt.Connections)
	gauge(r, "twinhub_amqpfront_connections", "Open AMQP connections, authorised or not.", h.amqp.Connections)
	gauge(r, "twinhub_amqpfront_receivers", "Attached receivers of events.", func() int { return len(h.amqp.Readers()) })
	counter(r, "twinhub_amqpfront_events_total", "Events sent to receivers, each receiver counted, since the start.", nil, h.amqp.Sent)
	for _, protocol := range []string{"https", "mqtt", "amqp"} {
		for _, class := range []auth.Class{auth.Denied, auth.Rejected} {
			counter(r, "twinhub_auth_refusals_total",
				"Refusals, as the log explains them: denied for an access token or an identity, rejected for anything else.",
				prometheus.Labels{"protocol": protocol, "class": string(class)}, func() uint64 { return h.refusals.Total(protocol, class) })
		}
	}
}

func (h *Hub) registerCore(r *prometheus.Registry) {
	gauge(r, "twinhub_session_devices", "Connected devices and modules.", h.sessions.Connected)
	gauge(r, "twinhub_session_queue_transitions", "Changes of connection state that are not stored yet.", h.sessions.Queued)

	counter(r, "twinhub_telemetry_messages_total", "Device-to-cloud messages acknowledged.", nil, func() uint64 { return h.telemetry.Counts().Messages })
	counter(r, "twinhub_telemetry_body_bytes_total", "Bytes in the bodies of acknowledged messages.", nil, func() uint64 { return h.telemetry.Counts().Bytes })
	counter(r, "twinhub_telemetry_unrouted_messages_total", "Acknowledged messages that no route took.", nil, func() uint64 { return h.telemetry.Counts().Unrouted })
	const refused, why = "twinhub_telemetry_refused_messages_total", "Messages that were not taken: over the size limit, or not stored."
	counter(r, refused, why, prometheus.Labels{"reason": "too_large"}, func() uint64 { return h.telemetry.Counts().TooLarge })
	counter(r, refused, why, prometheus.Labels{"reason": "storage"}, func() uint64 { return h.telemetry.Counts().Failed })

	for outcome := range h.methods.Calls() {
		counter(r, "twinhub_method_calls_total", "Direct method and command calls that have ended.",
			prometheus.Labels{"outcome": string(outcome)}, func() uint64 { return h.methods.Calls()[outcome] })
	}

	const updates, stored = "twinhub_twin_updates_total", "Stored writes of a section of a twin."
	counter(r, updates, stored, prometheus.Labels{"section": "tags"}, func() uint64 { return h.twins.Updates().Tags })
	counter(r, updates, stored, prometheus.Labels{"section": "desired"}, func() uint64 { return h.twins.Updates().Desired })
	counter(r, updates, stored, prometheus.Labels{"section": "reported"}, func() uint64 { return h.twins.Updates().Reported })
}

func (h *Hub) registerStorage(r *prometheus.Registry) {
	r.MustRegister(h.meters.commit, h.meters.write, h.meters.commits, h.meters.bytes)
	gauge(r, "twinhub_engine_queue_commits", "Commits that wait for the committer. Once they fill the queue, callers wait too.", func() int {
		commits, _ := h.queued()
		return commits
	})
	gauge(r, "twinhub_engine_queue_bytes", "Bytes of the commits that wait for the committer. Once they fill the queue, callers wait too.", func() int {
		_, bytes := h.queued()
		return bytes
	})
	for p := range engine.Partition(h.engine.Partitions()) {
		partition := prometheus.Labels{"partition": strconv.Itoa(int(p))}
		read := func(of func(engine.Head) uint64) func() uint64 {
			return func() uint64 {
				head, err := h.engine.Head(p, eventlog.Name)
				if err != nil {
					return 0 // it is closed
				}
				return of(head)
			}
		}
		counter(r, "twinhub_eventlog_events_total", "Events ever written to the built-in endpoint.", partition, read(func(head engine.Head) uint64 { return head.Next }))
		counter(r, "twinhub_eventlog_bytes_total", "Bytes ever written to the built-in endpoint.", partition, read(func(head engine.Head) uint64 { return head.NextOffset }))
	}
}
