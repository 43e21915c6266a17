'use strict';
// What the Node checks share: one line of JSON for each check, the hub, and its devices.
const { isDeepStrictEqual, inspect } = require('node:util');
const { Registry } = require('azure-iothub');
const { Client } = require('azure-iot-device');
const { Mqtt } = require('azure-iot-device-mqtt');

const service = process.env.IOTHUB_CONNECTION_STRING;
const events = process.env.EVENTHUB_CONNECTION_STRING;
const host = /HostName=([^;]*)/.exec(service)[1];
const registry = Registry.fromConnectionString(service);

// check runs body and reports whether it threw, and how long it took.
async function check(name, body) {
  const began = Date.now();
  let error = null;
  try {
    await body();
  } catch (e) {
    error = e.stack || inspect(e);
  }
  console.log(JSON.stringify({ check: name, error, seconds: (Date.now() - began) / 1000 }));
}

function equal(got, want, what) {
  if (!isDeepStrictEqual(got, want)) throw new Error(`${what}: got ${inspect(got, { depth: 9 })}, want ${inspect(want, { depth: 9 })}`);
}

// fails expects a promise to fail with an error of that name.
async function fails(name, promise) {
  let result;
  try {
    result = await promise;
  } catch (e) {
    if (e.name !== name && e.constructor.name !== name && e.statusCode !== name) throw new Error(`got ${e.name} ${e.statusCode}: ${e.message}, want ${name}`);
    return e;
  }
  throw new Error(`succeeded with ${inspect(result)}, want ${name}`);
}

// connect makes the device anew and connects it, announcing model unless it is empty.
async function connect(deviceId, model) {
  await registry.delete(deviceId).catch((e) => equal(e.name, 'DeviceNotFoundError', 'error of deleting a device that is not there'));
  const { responseBody: device } = await registry.create({ deviceId });
  const key = device.authentication.symmetricKey.primaryKey;
  const client = Client.fromConnectionString(`HostName=${host};DeviceId=${deviceId};SharedAccessKey=${key}`, Mqtt);
  if (model) await client.setOptions({ modelId: model });
  await client.open();
  return client;
}

module.exports = { check, equal, fails, connect, service, events, host, registry };
