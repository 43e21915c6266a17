'use strict';
// Methods and commands as Node's clients see them: null payloads, and the device's status in a header.
const { Client: ServiceClient, DigitalTwinClient, IoTHubTokenCredentials } = require('azure-iothub');
const { check, connect, equal, fails, service } = require('./checks');

const id = 'node-commands';
const values = [null, 0, false, '', {}, [], 1.5, 'text', '{"a": 1}', { a: [1, null, { b: 'é' }] }];

async function main() {
  const client = await connect(id, 'dtmi:com:example:TemperatureController;1');
  const heard = [];
  const connectTimeoutInSeconds = 10; // the client says nothing when its subscription is there
  for (const name of ['echo', 'thermostat1*echo']) {
    client.onDeviceMethod(name, (request, response) => {
      heard.push([request.methodName, request.payload]);
      response.send(210, request.payload).catch((e) => heard.push(e));
    });
  }
  const methods = ServiceClient.fromConnectionString(service);
  const digital = new DigitalTwinClient(new IoTHubTokenCredentials(service));

  await check('methods: every value both ways', async () => {
    for (const payload of values) {
      const { result } = await methods.invokeDeviceMethod(id, { methodName: 'echo', payload, connectTimeoutInSeconds, responseTimeoutInSeconds: 30 });
      equal(heard.pop(), ['echo', payload], 'what the device heard');
      equal(result, { status: 210, payload }, 'result');
    }
  });

  for (const [what, name, invoke] of [
    ['commands', 'echo', (payload) => digital.invokeCommand(id, 'echo', payload, { connectTimeoutInSeconds })],
    ['component commands', 'thermostat1*echo', (payload) => digital.invokeComponentCommand(id, 'thermostat1', 'echo', payload, { connectTimeoutInSeconds })],
  ]) {
    await check(`${what}: every value, and the headers`, async () => {
      for (const payload of values.filter((v) => v !== null)) { // the SDK requires a payload
        const answer = await invoke(payload);
        equal(heard.pop(), [name, payload], 'what the device heard');
        equal([answer.xMsCommandStatuscode, answer._response.status], [210, 200], 'x-ms-command-statuscode and status');
        if (!/^[0-9a-f-]{36}$/.test(answer.xMsRequestId)) throw new Error(`x-ms-request-id: ${answer.xMsRequestId}`);
        equal(JSON.parse(answer._response.bodyAsText), payload, 'body');
      }
    });
  }

  // Node's client knows a name only for errors in another shape than methods have: what counts is the body.
  const refused = async (promise, code) => {
    const body = (await fails('Error', promise)).responseBody;
    equal(JSON.parse(JSON.parse(body).Message).errorCode, code, 'errorCode');
  };

  await check('a device that is not there', async () => {
    await refused(methods.invokeDeviceMethod('node-nobody', { methodName: 'echo', payload: null }), 404001);
    await fails(404, digital.invokeCommand('node-nobody', 'echo', {}));
  });

  await check('a device that is not online', async () => {
    await client.close();
    await refused(methods.invokeDeviceMethod(id, { methodName: 'echo', payload: null }), 404103);
    await fails(404, digital.invokeCommand(id, 'echo', {}));
  });
}

main();
