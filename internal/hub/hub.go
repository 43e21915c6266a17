// Package hub wires one running hub together and owns its lifetimes: what is opened, in which order it starts, and
// that all of it has ended when Run returns. It holds no rules of its own.
package hub

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sync/errgroup"

	"github.com/twinhub/twinhub/internal/core/auth"
	"github.com/twinhub/twinhub/internal/core/digitaltwin"
	"github.com/twinhub/twinhub/internal/core/index"
	"github.com/twinhub/twinhub/internal/core/method"
	"github.com/twinhub/twinhub/internal/core/registry"
	"github.com/twinhub/twinhub/internal/core/routing"
	"github.com/twinhub/twinhub/internal/core/session"
	"github.com/twinhub/twinhub/internal/core/telemetry"
	"github.com/twinhub/twinhub/internal/core/twin"
	"github.com/twinhub/twinhub/internal/engine"
	"github.com/twinhub/twinhub/internal/engine/local"
	"github.com/twinhub/twinhub/internal/eventlog"
	"github.com/twinhub/twinhub/internal/front/amqpfront"
	"github.com/twinhub/twinhub/internal/front/httpfront"
	"github.com/twinhub/twinhub/internal/front/mqttfront"
	"github.com/twinhub/twinhub/internal/ops"
	"github.com/twinhub/twinhub/internal/trust"
)

// A Hub is open: its doors are bound and its data loaded. Run serves; either Run or Close must be called.
type Hub struct {
	config   Config
	folder   *folder
	trust    *trust.Trust
	engine   engine.Engine
	queued   func() (commits, bytes int) // in the engine
	policies []auth.Policy
	sessions *session.Directory
	refusals *auth.Refusals
	doors    []*Door // https, mqtts, amqps, amqp, ops
	meters   *meters

	telemetry *telemetry.Service
	methods   *method.Service
	twins     *twin.Service

	https     *httpfront.Front
	httpsOpen atomic.Int64 // connections
	mqtt      *mqttfront.Front
	amqp      *amqpfront.Front
	ops       *ops.Server

	close func() error // frees what Open took, once
}

// Open locks the data folder, opens storage and certificates, binds the doors and writes connection.env. Clients that
// connect from now on wait for Run.
func Open(ctx context.Context, c Config) (_ *Hub, err error) {
	c, err = c.complete()
	if err != nil {
		return nil, err
	}
	h := &Hub{config: c, meters: newMeters()}
	h.close = sync.OnceValue(h.free)
	defer func() {
		if err != nil {
			err = errors.Join(err, h.Close())
		}
	}()
	if h.folder, err = openFolder(c.DataDir, c.Ephemeral); err != nil {
		return nil, err
	}
	// The doors come before the data: a port in use is the most likely trouble, and the cheapest to find.
	if err := h.openDoors(ctx); err != nil {
		return nil, err
	}
	if h.trust, err = trust.Open(trust.Options{
		Dir: h.folder.join("tls"), Ephemeral: c.Ephemeral, Hostnames: h.certificateNames(),
		CertFile: c.CertFile, KeyFile: c.KeyFile, Logger: c.Logger,
	}); err != nil {
		return nil, fmt.Errorf("certificates: %w", err)
	}
	if err := h.openEngine(); err != nil {
		return nil, err
	}
	if err := h.wire(ctx); err != nil {
		return nil, err
	}
	if err := h.writeEnv(); err != nil {
		return nil, err
	}
	return h, nil
}

func (h *Hub) openDoors(ctx context.Context) error {
	c := h.config
	for _, d := range []struct {
		name string
		bind []netip.Addr
		port Port
	}{
		{"https", c.Bind, c.HTTPS}, {"mqtts", c.Bind, c.MQTTS}, {"amqps", c.Bind, c.AMQPS},
		{"amqp", c.AMQPBind, c.AMQP}, {"ops", c.OpsBind, c.Ops},
	} {
		door, err := openDoor(ctx, d.name, d.bind, d.port)
		if err != nil {
			return err
		}
		h.doors = append(h.doors, door)
	}
	return nil
}

func (h *Hub) openEngine() error {
	o := local.Options{
		Dir: h.folder.join(storeFolder), FS: h.config.fs, Partitions: h.config.Partitions,
		Clock: h.config.Clock, Logger: h.config.Logger, Observe: h.meters.observe,
	}
	if h.config.Ephemeral && o.FS == nil {
		o.Dir, o.FS = storeFolder, vfs.NewMem()
	}
	e, err := local.Open(o)
	if err != nil {
		return fmt.Errorf("storage: %w", err)
	}
	h.engine, h.queued = e, e.Queued
	e.SetRetention(eventlog.Name, h.config.Retention)
	return nil
}

// wire builds the core from the bottom up, then the front ends that call it.
func (h *Hub) wire(ctx context.Context) error {
	c := h.config
	made, err := loadSecrets(ctx, h.engine, c.Policies, c.OwnerKey, c.Clock.Now())
	if err != nil {
		return err
	}
	h.policies = made.policies
	router, err := routing.New(c.Routing)
	if err != nil {
		return err
	}
	hosts := h.trust.Hostnames()
	h.refusals = auth.NewRefusals(c.Logger)
	authenticator := auth.New(h.engine, c.Clock, hosts, h.policies)
	h.sessions = session.New(session.Options{Engine: h.engine, Router: router, Clock: c.Clock, Logger: c.Logger, HubName: c.Name})
	if err := h.sessions.Recover(ctx); err != nil {
		return fmt.Errorf("recover sessions: %w", err)
	}
	h.twins = twin.New(twin.Options{
		Engine: h.engine, Router: router, Sessions: h.sessions, Clock: c.Clock, Logger: c.Logger, HubName: c.Name, View: digitaltwin.View{},
	})
	h.telemetry = telemetry.New(h.engine, router, c.Clock)
	h.methods = method.New(h.engine, h.sessions)
	queries, err := index.New(index.Options{Engine: h.engine, Twins: h.twins, Key: made.PageKey})
	if err != nil {
		return err
	}
	h.https = httpfront.New(httpfront.Options{
		Auth: authenticator, Refusals: h.refusals,
		Registry:     registry.New(registry.Options{Engine: h.engine, Router: router, Sessions: h.sessions, Clock: c.Clock, HubName: c.Name}),
		Twins:        h.twins,
		DigitalTwins: digitaltwin.New(h.twins),
		Methods:      h.methods,
		Index:        queries,
		Clock:        c.Clock, Logger: c.Logger,
	})
	h.mqtt = mqttfront.New(mqttfront.Options{
		TLS: h.trust.ServerConfig(), Hosts: hosts, Auth: authenticator, Refusals: h.refusals, Sessions: h.sessions,
		Telemetry: h.telemetry, Twins: h.twins, Clock: c.Clock, Logger: c.Logger,
	})
	h.amqp = amqpfront.New(amqpfront.Options{
		TLS: h.trust.ServerConfig(), Hosts: hosts, EventHub: c.Name,
		ConsumerGroups: append([]string{DefaultConsumerGroup}, c.ConsumerGroups...),
		Created:        made.Created, AMQPSPort: h.door("amqps").port(),
		Engine: h.engine, Auth: authenticator, Refusals: h.refusals, Clock: c.Clock, Logger: c.Logger,
	})
	h.ops = ops.New(ops.Options{Failed: h.failure, Receivers: h.receivers, Metrics: h.metrics(), Logger: c.Logger})
	return nil
}

// Run serves until ctx ends or a part of the hub fails, then closes every connection and the data. It returns nil
// after ctx has ended and all went well. It is called once.
func (h *Hub) Run(ctx context.Context) error {
	g, serving := errgroup.WithContext(ctx)
	g.Go(func() error {
		select {
		case <-h.engine.Failed():
			h.sessions.DisconnectAll(session.StoreFailed)
			return fmt.Errorf("storage: %w", h.engine.Err())
		case <-serving.Done():
			return nil
		}
	})
	g.Go(func() error { return h.trust.Run(serving) })
	// The directory outlives the doors, because their connections end in it.
	directory, stopDirectory := context.WithCancel(context.WithoutCancel(ctx))
	stored := make(chan error, 1)
	go func() { stored <- h.sessions.Run(directory) }()
	g.Go(func() error {
		select {
		case err := <-stored: // too early: nobody has stopped it
			stored <- err
			return err
		case <-serving.Done():
			return nil
		}
	})
	for _, d := range h.doors {
		for _, l := range d.listeners {
			g.Go(func() error { return h.serve(serving, d, l) })
		}
	}
	h.ops.SetReady(true)
	stop := context.AfterFunc(serving, func() { h.ops.SetReady(false) })
	defer stop()
	err := g.Wait()
	stopDirectory()
	if e := <-stored; err == nil {
		err = e
	}
	return errors.Join(err, h.Close())
}

// serve serves one listener of a door until ctx ends.
func (h *Hub) serve(ctx context.Context, d *Door, l net.Listener) error {
	switch d.Name {
	case "https":
		return h.serveHTTPS(ctx, l)
	case "mqtts":
		return h.mqtt.Serve(ctx, l)
	case "amqps":
		return h.amqp.Serve(ctx, l, false)
	case "amqp":
		return h.amqp.Serve(ctx, l, true)
	}
	return h.ops.Serve(ctx, l)
}

// Close frees what Open took. Run calls it; call it where Run is not. Later calls return what the first did. Names,
// addresses and paths of the hub can be asked for after it too.
func (h *Hub) Close() error { return h.close() }

func (h *Hub) free() error {
	var errs []error
	for _, d := range h.doors {
		d.close()
	}
	if h.engine != nil {
		errs = append(errs, h.engine.Close())
	}
	if h.trust != nil {
		errs = append(errs, h.trust.Close())
	}
	if h.folder != nil {
		errs = append(errs, h.folder.close())
	}
	return errors.Join(errs...)
}

// failure returns why the hub cannot serve, nil while it can.
func (h *Hub) failure() error {
	select {
	case <-h.engine.Failed():
		return h.engine.Err()
	default:
		return nil
	}
}

func (h *Hub) receivers() []ops.Receiver {
	var list []ops.Receiver
	for _, r := range h.amqp.Readers() {
		list = append(list, ops.Receiver(r))
	}
	return list
}
