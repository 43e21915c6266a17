'use strict';
// Events as Node's client shows them: the names of its keys and the types of its values.
const { EventHubConsumerClient, latestEventPosition } = require('@azure/event-hubs');
const { Message } = require('azure-iot-device');
const { check, connect, equal, events } = require('./checks');

const id = 'node-events';
const model = 'dtmi:com:example:TemperatureController;1';

// awaitReceivers returns once the hub says that so many receivers are attached.
async function awaitReceivers(count) {
  for (const deadline = Date.now() + 30000; ; await new Promise((r) => setTimeout(r, 20))) {
    const attached = await (await fetch(`${process.env.TWINHUB_OPS}/receivers`)).json();
    if (attached.length === count) return;
    if (Date.now() > deadline) throw new Error(`${attached.length} receivers are attached, want ${count}`);
  }
}

async function main() {
  const client = await connect(id, model);
  const twin = await client.getTwin();
  const consumer = new EventHubConsumerClient('$Default', events);
  const got = [];
  let wake = () => {};
  const subscription = consumer.subscribe(
    {
      processEvents: async (batch, context) => {
        got.push(...batch.filter((e) => e.systemProperties['iothub-connection-device-id'] === id).map((event) => ({ event, partition: context.partitionId })));
        wake();
      },
      processError: async (e) => got.push(e),
    },
    { startPosition: latestEventPosition, maxWaitTimeInSeconds: 1 },
  );
  await awaitReceivers(4);
  const next = async (source) => {
    for (;;) {
      const at = got.findIndex((g) => g instanceof Error || g.event.systemProperties['iothub-message-source'] === source);
      if (at >= 0) {
        const [found] = got.splice(at, 1);
        if (found instanceof Error) throw found;
        return found;
      }
      await new Promise((resolve, reject) => {
        const late = setTimeout(() => reject(new Error(`no event of ${source} within 20 s`)), 20000);
        wake = () => (clearTimeout(late), resolve());
      });
    }
  };

  const message = new Message(JSON.stringify({ temperature: 45 }));
  message.contentType = 'application/json';
  message.contentEncoding = 'utf-8';
  message.messageId = 'm-1';
  message.correlationId = 'c-1';
  message.properties.add('$.sub', 'thermostat1');
  message.properties.add('colour', 'blue & green');
  await client.sendEvent(message);
  let telemetry;

  await check('telemetry: keys and types', async () => {
    telemetry = await next('Telemetry');
    const { event } = telemetry;
    equal(event.body, { temperature: 45 }, 'body');
    equal(event.properties, { colour: 'blue & green' }, 'properties');
    equal([event.contentType, event.messageId, event.correlationId], ['application/json', 'm-1', 'c-1'], 'contentType, messageId, correlationId');
    const { 'iothub-enqueuedtime': accepted, 'iothub-connection-auth-generation-id': generation, ...system } = event.systemProperties;
    equal(
      system,
      {
        messageId: 'm-1',
        correlationId: 'c-1',
        contentType: 'application/json',
        contentEncoding: 'utf-8',
        'iothub-connection-device-id': id,
        'iothub-connection-auth-method': '{"scope":"device","type":"sas","issuer":"iothub","acceptingIpFilterRule":null}',
        'iothub-message-source': 'Telemetry',
        'dt-subject': 'thermostat1',
        'dt-dataschema': model,
      },
      'systemProperties',
    );
    equal([typeof accepted, /^\d{18}$/.test(generation)], ['number', true], 'iothub-enqueuedtime, generation id');
    equal([typeof event.offset, /^\d+$/.test(event.offset), typeof event.sequenceNumber], ['string', true, 'number'], 'offset, sequenceNumber');
    if (!(event.enqueuedTimeUtc instanceof Date) || event.enqueuedTimeUtc.getTime() < accepted) throw new Error(`times: ${event.enqueuedTimeUtc} ${accepted}`);
  });

  await check('the pair of events of a change', async () => {
    await new Promise((resolve, reject) => twin.properties.reported.update({ thermostat1: { __t: 'c', maxTemp: 98.34 } }, (e) => (e ? reject(e) : resolve())));
    const change = await next('twinChangeEvents');
    let view = await next('digitalTwinChangeEvents');
    if (view.event.body[0].path === '/$metadata/$model') view = await next('digitalTwinChangeEvents');
    equal([view.partition, view.event.sequenceNumber], [change.partition, change.event.sequenceNumber + 1], 'place');
    equal(change.event.body.properties.reported.thermostat1, { __t: 'c', maxTemp: 98.34 }, 'twin event');
    equal([view.event.body.length, view.event.body[0].op, view.event.body[0].path], [1, 'add', '/thermostat1'], 'digital twin event');
    equal(view.event.contentType, 'application/json-patch+json', 'contentType');
    for (const { event } of [change, view]) {
      equal(Buffer.from(Object.values(event.systemProperties.userId)).toString(), 'my-pnp-hub', 'userId'); // the client's copy of a Buffer
      equal(/^[0-9a-f]{12}$/.test(event.correlationId), true, `correlationId ${event.correlationId}`);
      equal(Object.keys(event.properties), ['hubName', 'deviceId', 'operationTimestamp', 'iothub-message-schema', 'opType'], 'names of properties');
    }
    equal(view.event.correlationId, change.event.correlationId, 'correlationId of the pair');
  });

  await check('starting at a sequence number and at an offset', async () => {
    await subscription.close();
    for (const startPosition of [
      { sequenceNumber: telemetry.event.sequenceNumber, isInclusive: true },
      { offset: telemetry.event.offset, isInclusive: true },
    ]) {
      const first = await new Promise((resolve, reject) => {
        const reading = consumer.subscribe(
          telemetry.partition,
          {
            processEvents: async (batch) => batch.length > 0 && (resolve(batch[0]), reading.close()),
            processError: async (e) => reject(e),
          },
          { startPosition, maxBatchSize: 1 },
        );
      });
      equal([first.sequenceNumber, first.offset], [telemetry.event.sequenceNumber, telemetry.event.offset], 'first event');
    }
  });

  await check('what the endpoint says of itself', async () => {
    const hub = await consumer.getEventHubProperties();
    equal([hub.name, hub.partitionIds, hub.createdOn instanceof Date], ['my-pnp-hub', ['0', '1', '2', '3'], true], 'event hub');
    const partition = await consumer.getPartitionProperties(telemetry.partition);
    equal([partition.partitionId, partition.isEmpty, typeof partition.lastEnqueuedSequenceNumber, typeof partition.lastEnqueuedOffset], [telemetry.partition, false, 'number', 'string'], 'partition');
  });

  await consumer.close();
  await client.close();
}

main();
