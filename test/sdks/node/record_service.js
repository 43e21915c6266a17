'use strict';
// The back end's half of the page, one snippet for each name it reads from its input; it answers each with "done".
const readline = require('node:readline');
const { Registry, Client, DigitalTwinClient, IoTHubTokenCredentials } = require('azure-iothub');

const connection = process.env.IOTHUB_CONNECTION_STRING;
const id = process.argv[2];
const registry = Registry.fromConnectionString(connection);
const client = Client.fromConnectionString(connection);
const digital = new DigitalTwinClient(new IoTHubTokenCredentials(connection));
const key = 'MDEyMzQ1Njc4OUFCQ0RFRg==';
const since = '2020-10-21T14:00:00.000Z';

async function update(desired) {
  const { responseBody: twin } = await registry.getTwin(id);
  await registry.updateTwin(id, { properties: { desired } }, twin.etag);
}

async function updateDevice() {
  const { responseBody: device } = await registry.get('other-device+1');
  await registry.update({
    deviceId: device.deviceId, etag: device.etag, status: 'disabled', statusReason: 'being repaired',
    authentication: { type: 'sas', symmetricKey: { primaryKey: key, secondaryKey: key } },
  });
}

const snippets = {
  'get-twin': () => registry.getTwin(id),
  'update-twin': () => update({ targetTemperature: 42 }),
  'update-twin-component': () => update({ thermostat1: { __t: 'c', targetTemperature: 42 } }),
  'invoke-method': () => client.invokeDeviceMethod(id, { methodName: 'getMaxMinReport', payload: since }),
  'invoke-method-component': () => client.invokeDeviceMethod(id, { methodName: 'thermostat1*getMaxMinReport', payload: since }),
  'invoke-method-timeouts': () =>
    client.invokeDeviceMethod(id, {
      methodName: 'getMaxMinReport', payload: { since: 1.5 }, responseTimeoutInSeconds: 7, connectTimeoutInSeconds: 3,
    }),
  'get-digital-twin': () => digital.getDigitalTwin(id),
  'update-digital-twin': () => digital.updateDigitalTwin(id, [{ op: 'add', path: '/targetTemperature', value: 42 }]),
  'update-digital-twin-component': () =>
    digital.updateDigitalTwin(id, [{ op: 'add', path: '/thermostat1/targetTemperature', value: 42 }]),
  'invoke-command': () =>
    digital.invokeCommand(id, 'getMaxMinReport', since, { connectTimeoutInSeconds: 3, responseTimeoutInSeconds: 7 }),
  'invoke-command-component': () =>
    digital.invokeComponentCommand(id, 'thermostat1', 'getMaxMinReport', since, { connectTimeoutInSeconds: 3, responseTimeoutInSeconds: 7 }),
  query: () => registry.createQuery('SELECT * FROM devices', 10).next(),
  'create-device': () => registry.create({ deviceId: 'other-device+1' }),
  'get-device': () => registry.get('other-device+1'),
  'update-device': updateDevice,
  'list-devices': () => registry.list(),
  'delete-device': () => registry.delete('other-device+1'),
};

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    await snippets[line.trim()]();
    console.log('done');
  }
}

main().then(() => process.exit(0), (e) => {
  console.error(e);
  process.exit(1);
});
