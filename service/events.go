package service

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"iter"
	"net"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azeventhubs/v2"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/sas"
)

// EventsOptions say where reading begins and how to connect. The zero value, and nil, begin with the events that arrive
// after [OpenEvents] has returned.
type EventsOptions struct {
	// ConsumerGroup to read with; default $Default.
	ConsumerGroup string
	// Earliest begins with the oldest event that is kept.
	Earliest bool
	// From begins with the first event enqueued at or after this time, unless it is zero. Earliest wins.
	From time.Time
	// Partitions to read; default all.
	Partitions []string
	// Address is the host:port to connect to instead of the Endpoint's, whose usual port is 5671. Certificate and
	// token are still those of the Endpoint's host.
	Address string
	// TLS configures connections, for example with RootCAs. It is cloned. Nil means the system's roots. It is ignored
	// when the connection string says UseDevelopmentEmulator=true, which means plain TCP.
	TLS *tls.Config
}

// Event is a message read from the built-in endpoint: telemetry of a device, or a notification of the hub about one.
// What a message does not carry is empty or zero.
type Event struct {
	// Partition, SequenceNumber, Offset and EnqueuedTime are where and when Event Hubs stored the event. The sequence
	// numbers of a partition rise by one; offsets are opaque.
	Partition      string
	SequenceNumber int64
	Offset         string
	EnqueuedTime   time.Time

	// DeviceID and ModuleID say who sent the event, or whom it is about.
	DeviceID string
	ModuleID string
	// Source says what kind of event it is: twinhub.Telemetry, twinhub.TwinChange, twinhub.DigitalTwinChange ...
	Source twinhub.Source
	// Component is the DTDL component that sent telemetry (dt-subject); empty for the default component.
	Component string
	// ModelID is the DTDL model that the sender had announced (dt-dataschema); telemetry only.
	ModelID string
	// AcceptedTime is when the hub took the message in (iothub-enqueuedtime), before EnqueuedTime.
	AcceptedTime time.Time
	// AuthMethod is JSON that tells how the sender was authenticated, GenerationID which life of its id it is.
	AuthMethod   string
	GenerationID string

	MessageID       string
	CorrelationID   string
	UserID          []byte
	ContentType     string
	ContentEncoding string
	CreationTime    time.Time

	// Properties are the application properties: those the device set, or opType, iothub-message-schema, hubName,
	// deviceId and operationTimestamp of a notification. Values of other types than string come from AMQP devices only.
	Properties map[string]any
	// SystemProperties are all annotations, also those that have a field above, as azeventhubs decodes them.
	SystemProperties map[string]any
	// Body is the message; JSON if ContentType says so.
	Body []byte
}

// Events reads the events of a hub's built-in endpoint, of all partitions at once. It is opened by [OpenEvents] and must
// be closed.
type Events struct {
	client  *azeventhubs.ConsumerClient
	readers []*partitionReader

	reading sync.Mutex // held while All runs
}

// partitionReader reads one partition. It is used by one goroutine at a time.
type partitionReader struct {
	partition string
	client    *azeventhubs.PartitionClient
	held      *Event // taken from the client, not yet handed on
}

// OpenEvents connects to the Event Hubs endpoint of a hub with a connection string such as
// "Endpoint=sb://...;SharedAccessKeyName=service;SharedAccessKey=...;EntityPath=my-hub". Azure's portal calls it the Event
// Hub-compatible endpoint, 'az iot hub connection-string show --default-eventhub -n HUB' prints it, twinhub writes it to
// connection.env, and [FindEvents] asks the hub. OpenEvents returns when it knows the partitions and where each begins: an event that is stored
// afterwards is not missed. It tries once; reading tries again for about half a minute when the connection is lost. Close
// what it returns.
func OpenEvents(ctx context.Context, connectionString string, o *EventsOptions) (*Events, error) {
	if o == nil {
		o = &EventsOptions{}
	}
	cs, err := sas.ParseEventHubsConnectionString(connectionString)
	if err != nil {
		return nil, fmt.Errorf("service: open events: %w", err)
	}
	if cs.EntityPath == "" {
		return nil, errors.New("service: open events: the connection string has no EntityPath")
	}
	starts, err := findStarts(ctx, cs, o)
	if err != nil {
		return nil, fmt.Errorf("service: open events: %w", err)
	}
	e := &Events{}
	if e.client, err = newConsumer(cs, o, azeventhubs.RetryOptions{}); err != nil {
		return nil, fmt.Errorf("service: open events: %w", err)
	}
	for _, start := range starts {
		client, err := e.client.NewPartitionClient(start.partition, &azeventhubs.PartitionClientOptions{StartPosition: start.position})
		if err != nil {
			err = fmt.Errorf("service: open events: partition %s: %w", start.partition, err)
			return nil, errors.Join(err, e.Close(context.WithoutCancel(ctx)))
		}
		e.readers = append(e.readers, &partitionReader{partition: start.partition, client: client})
	}
	return e, nil
}

func newConsumer(cs sas.EventHubsConnectionString, o *EventsOptions, retry azeventhubs.RetryOptions) (*azeventhubs.ConsumerClient, error) {
	options := &azeventhubs.ConsumerClientOptions{ApplicationID: "twinhub-go-service", CustomEndpoint: o.Address, RetryOptions: retry}
	if o.TLS != nil && !cs.UseDevelopmentEmulator {
		options.TLSConfig = o.TLS.Clone()
	}
	// The emulator's form takes a port in its endpoint; the other would ask for a certificate of "host:port".
	if host, _, err := net.SplitHostPort(cs.Host()); err == nil && !cs.UseDevelopmentEmulator {
		if options.CustomEndpoint == "" {
			options.CustomEndpoint = cs.Host()
		}
		cs.Endpoint = "sb://" + host + "/"
	}
	group := o.ConsumerGroup
	if group == "" {
		group = azeventhubs.DefaultConsumerGroup
	}
	entity := cs.EntityPath
	cs.EntityPath = ""
	return azeventhubs.NewConsumerClientFromConnectionString(cs.Format(), entity, group, options)
}

// startAt is where reading a partition begins.
type startAt struct {
	partition string
	position  azeventhubs.StartPosition
}

// findStarts asks for the partitions and their ends. It does so on a connection of its own with a token of its own:
// Close of a ConsumerClient that has been asked such things leaves the goroutine running that renews the token for them,
// and there is none for a token that cannot be renewed.
func findStarts(ctx context.Context, cs sas.EventHubsConnectionString, o *EventsOptions) (starts []startAt, err error) {
	if cs.SharedAccessKey != "" {
		key, err := sas.EventHubsKey(cs.SharedAccessKey)
		if err != nil {
			return nil, fmt.Errorf("SharedAccessKey: %w", err)
		}
		host := cs.Host()
		if name, _, err := net.SplitHostPort(host); err == nil && !cs.UseDevelopmentEmulator {
			host = name
		}
		cs.SharedAccessSignature = sas.Sign("sb://"+host+"/"+cs.EntityPath, key, cs.SharedAccessKeyName, time.Now().Add(findLifetime))
		cs.SharedAccessKey, cs.SharedAccessKeyName = "", ""
	}
	// A certificate that is not trusted, or a door where nobody listens, is to be told at once, not after a minute.
	client, err := newConsumer(cs, o, azeventhubs.RetryOptions{MaxRetries: -1})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, client.Close(context.WithoutCancel(ctx))) }()
	partitions := o.Partitions
	if len(partitions) == 0 {
		hub, err := client.GetEventHubProperties(ctx, nil)
		if err != nil {
			return nil, fmt.Errorf("partitions: %w", err)
		}
		partitions = hub.PartitionIDs
	}
	for _, partition := range partitions {
		position, err := findStart(ctx, client, partition, o)
		if err != nil {
			return nil, fmt.Errorf("partition %s: %w", partition, err)
		}
		starts = append(starts, startAt{partition, position})
	}
	return starts, nil
}

// findLifetime is how long the token for findStarts is good.
const findLifetime = 10 * time.Minute

// findStart fixes where a partition begins. "Now" is asked for as the end of the log, because a receiver is attached only
// when it is first read.
func findStart(ctx context.Context, client *azeventhubs.ConsumerClient, partition string, o *EventsOptions) (azeventhubs.StartPosition, error) {
	yes := true
	switch {
	case o.Earliest:
		return azeventhubs.StartPosition{Earliest: &yes}, nil
	case !o.From.IsZero():
		return azeventhubs.StartPosition{EnqueuedTime: &o.From, Inclusive: true}, nil
	}
	p, err := client.GetPartitionProperties(ctx, partition, nil)
	if err != nil {
		return azeventhubs.StartPosition{}, err
	}
	if p.IsEmpty {
		return azeventhubs.StartPosition{Earliest: &yes}, nil
	}
	return azeventhubs.StartPosition{SequenceNumber: &p.LastEnqueuedSequenceNumber}, nil
}

// All returns the events as they arrive, those of one partition in order. It goes on until the caller breaks out of the
// loop, ctx ends, or reading fails, which an error says as the last element; the end of ctx is such an error too. The
// caller owns each event. A later All goes on where this one stopped; two at the same time wait for each other.
func (e *Events) All(ctx context.Context) iter.Seq2[*Event, error] {
	return func(yield func(*Event, error) bool) {
		e.reading.Lock()
		defer e.reading.Unlock()
		ctx, cancel := context.WithCancelCause(ctx)
		events := make(chan *Event)
		var wg sync.WaitGroup
		for _, r := range e.readers {
			wg.Go(func() {
				if err := r.read(ctx, events); err != nil {
					cancel(err)
				}
			})
		}
		defer wg.Wait()
		defer cancel(nil)
		for {
			select {
			case event := <-events:
				if !yield(event, nil) {
					return
				}
			case <-ctx.Done():
				yield(nil, fmt.Errorf("service: read events: %w", context.Cause(ctx)))
				return
			}
		}
	}
}

// read hands on events until ctx ends, which is no error, or reading fails.
func (r *partitionReader) read(ctx context.Context, to chan<- *Event) error {
	for {
		if r.held == nil {
			received, err := r.client.ReceiveEvents(ctx, 1, nil) // the client prefetches
			if ctx.Err() != nil && err != nil {
				return nil
			}
			if err != nil {
				return fmt.Errorf("partition %s: %w", r.partition, err)
			}
			r.held = newEvent(r.partition, received[0])
		}
		select {
		case to <- r.held:
			r.held = nil
		case <-ctx.Done():
			return nil
		}
	}
}

// Close ends the connection. It must not be called while All runs.
func (e *Events) Close(ctx context.Context) error {
	var errs []error
	for _, r := range e.readers {
		errs = append(errs, r.client.Close(ctx))
	}
	return errors.Join(append(errs, e.client.Close(ctx))...)
}

func newEvent(partition string, d *azeventhubs.ReceivedEventData) *Event {
	text := func(name string) string {
		s, _ := d.SystemProperties[name].(string)
		return s
	}
	e := &Event{
		Partition: partition, SequenceNumber: d.SequenceNumber, Offset: d.Offset,
		DeviceID: text("iothub-connection-device-id"), ModuleID: text("iothub-connection-module-id"),
		Source: twinhub.Source(text("iothub-message-source")), Component: text("dt-subject"), ModelID: text("dt-dataschema"),
		AuthMethod: text("iothub-connection-auth-method"), GenerationID: text("iothub-connection-auth-generation-id"),
		Properties: d.Properties, SystemProperties: d.SystemProperties, Body: d.Body,
	}
	if d.EnqueuedTime != nil {
		e.EnqueuedTime = *d.EnqueuedTime
	}
	if accepted, ok := d.SystemProperties["iothub-enqueuedtime"].(time.Time); ok {
		e.AcceptedTime = accepted
	}
	if d.MessageID != nil {
		e.MessageID = *d.MessageID
	}
	if d.CorrelationID != nil {
		e.CorrelationID = fmt.Sprint(d.CorrelationID)
	}
	if d.ContentType != nil {
		e.ContentType = *d.ContentType
	}
	if m := d.RawAMQPMessage; m != nil && m.Properties != nil {
		e.UserID = m.Properties.UserID
		if m.Properties.ContentEncoding != nil {
			e.ContentEncoding = *m.Properties.ContentEncoding
		}
		if m.Properties.CreationTime != nil {
			e.CreationTime = *m.Properties.CreationTime
		}
	}
	return e
}
