'use strict';
// Twins and digital twins as Node's clients see them, and their etags.
const { DigitalTwinClient, IoTHubTokenCredentials, Twin } = require('azure-iothub');
const { check, connect, equal, fails, registry, service } = require('./checks');

const id = 'node-twins';
const model = 'dtmi:com:example:Thermostat;1';
const digital = new DigitalTwinClient(new IoTHubTokenCredentials(service));
const getTwin = async () => (await registry.getTwin(id)).responseBody;

async function main() {
  const client = await connect(id, model);
  const deviceTwin = await client.getTwin();
  const report = (patch) => new Promise((resolve, reject) => deviceTwin.properties.reported.update(patch, (e) => (e ? reject(e) : resolve())));

  await check('a twin is the whole JSON', async () => {
    const twin = await getTwin();
    equal([twin.deviceId, twin.modelId, twin.status, twin.connectionState, twin.version], [id, model, 'enabled', 'Connected', 2], 'twin');
    equal(twin.properties.desired.$version, 1, 'desired.$version');
  });

  await check('a reported write keeps the etag, a desired write moves it', async () => {
    const before = await getTwin();
    await report({ temperature: 12, nested: { a: [1, null === null] } });
    const reported = await getTwin();
    equal([reported.etag, reported.version], [before.etag, before.version + 1], 'etag and version after a reported write');
    equal(reported.properties.reported.nested, { a: [1, true] }, 'reported');
    const { responseBody: updated } = await registry.updateTwin(id, { properties: { desired: { target: 1 } } }, before.etag);
    if (updated.etag === before.etag) throw new Error(`the etag stays ${before.etag}`);
    const error = await fails('InvalidEtagError', registry.updateTwin(id, { tags: { a: 1 } }, before.etag));
    equal(error.response.statusCode, 412, 'status');
    equal((await registry.updateTwin(id, { tags: { a: 1 } }, '*')).responseBody.tags, { a: 1 }, 'tags after a write with *');
  });

  await check('a digital twin and its ETag header, quoted', async () => {
    const answer = await digital.getDigitalTwin(id);
    equal(answer._response.headers.get('etag'), `"${(await getTwin()).etag}"`, 'ETag header');
    equal([answer.$dtId, answer.$metadata.$model, answer.temperature], [id, model, 12], 'digital twin');
  });

  await check('a digital twin patch: 202, its headers, and If-Match', async () => {
    // Promises of this client do not show an answer without a body.
    const update = (value, etag) =>
      new Promise((resolve, reject) => {
        digital.updateDigitalTwin(id, [{ op: 'add', path: '/target', value }], etag, (e, _, response) => (e ? reject(e) : resolve(response)));
      });
    const etag = (await digital.getDigitalTwin(id))._response.headers.get('etag');
    const { status, headers } = await update(42, etag);
    equal(status, 202, 'status');
    const now = (await digital.getDigitalTwin(id))._response.headers.get('etag');
    equal([headers.get('etag'), now === etag], [now, false], 'ETag header of the answer, and that it moved');
    if (!(headers.get('location') || '').includes(`/digitaltwins/${id}`)) throw new Error(`Location header: ${headers.get('location')}`);
    await fails(412, update(43, etag));
    equal((await getTwin()).properties.desired.target, 42, 'desired');
  });

  await check('the device hears exactly what changed', async () => {
    const known = (await getTwin()).properties.desired.$version;
    const change = { target: null, other: { b: [2, '1'] } };
    const delta = new Promise((resolve) => {
      deviceTwin.on('properties.desired', (d) => d.$version > known && resolve(JSON.stringify(d))); // it begins with what it knows
    });
    await new Promise(setImmediate); // then its subscription is on its way, and
    await report({ listening: true }); // when something later is answered, it has arrived
    const version = (await registry.updateTwin(id, { properties: { desired: change } }, '*')).responseBody.properties.desired.$version;
    equal(await delta, JSON.stringify({ ...change, $version: version }), 'delta');
  });

  await check('a plain query', async () => {
    const page = await registry.createQuery(`SELECT * FROM devices WHERE deviceId = '${id}'`, 10).nextAsTwin();
    equal(page.result.map((twin) => [twin instanceof Twin, twin.deviceId, twin.modelId]), [[true, id, model]], 'rows');
  });

  await check('an identity: update, list, delete and errors', async () => {
    const { responseBody: device } = await registry.get(id);
    const { responseBody: updated } = await registry.update({ ...device, status: 'enabled', statusReason: 'a test' });
    equal(updated.statusReason, 'a test', 'statusReason');
    const { responseBody: all } = await registry.list();
    equal(all.filter((d) => d.deviceId === id).length, 1, 'devices of that id in the list');
    await fails('DeviceAlreadyExistsError', registry.create({ deviceId: id }));
    await fails('DeviceNotFoundError', registry.get('node-nobody'));
  });

  await client.close();
}

main();
