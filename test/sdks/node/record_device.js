'use strict';
// The device's half of the page, one step for each name it reads from its input; it answers each with "done".
const readline = require('node:readline');
const { Client, Message } = require('azure-iot-device');
const { Mqtt } = require('azure-iot-device-mqtt');

const client = Client.fromConnectionString(process.argv[2], Mqtt);
let twin;

function send(component, properties) {
  const message = new Message(JSON.stringify({ temperature: 12 }));
  message.contentType = 'application/json';
  message.contentEncoding = 'utf-8';
  if (component) message.properties.add('$.sub', component);
  for (const [name, value] of Object.entries(properties)) message.properties.add(name, value);
  return client.sendEvent(message);
}

function sendIds() {
  const message = new Message('12');
  message.messageId = 'm 1/2';
  message.correlationId = 'c+1';
  return client.sendEvent(message);
}

const steps = {
  connect: async () => {
    await client.setOptions({ modelId: process.argv[3] });
    await client.open();
  },
  telemetry: () => send('', {}),
  'telemetry-component': () => send('thermostat1', {}),
  'telemetry-properties': () => send('', { colour: 'blue & green/50%', größe: 'ä+b' }),
  'telemetry-ids': sendIds,
  'get-twin': async () => {
    twin = await client.getTwin();
  },
  report: () =>
    new Promise((resolve, reject) => {
      twin.properties.reported.update({ maxTempSinceLastReboot: 10.96 }, (e) => (e ? reject(e) : resolve()));
    }),
  method: () =>
    client.onDeviceMethod('getMaxMinReport', (request, response) => {
      response.send(200, { maxTemp: 98.34 });
    }),
  desired: () => twin.on('properties.desired', () => {}),
  disconnect: () => client.close(),
};

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    await steps[line.trim()]();
    console.log('done');
  }
}

main().then(() => process.exit(0), (e) => {
  console.error(e);
  process.exit(1);
});
