'use strict';
// The built-in endpoint as programs on rhea find it: from the hub's own address on. They begin to look for the error of
// the redirect only after they have been told that the receiver is attached.
const crypto = require('node:crypto');
const { Connection, ReceiverEvents } = require('rhea-promise');
const { check, equal, host, service } = require('./checks');

const field = (name) => new RegExp(`(?:^|;)${name}=([^;]*)`).exec(service)[1];

function token() {
  const resource = encodeURIComponent(`${host}/messages/events`);
  const expiry = Math.floor(Date.now() / 1000) + 300;
  const key = Buffer.from(field('SharedAccessKey'), 'base64');
  const signature = crypto.createHmac('sha256', key).update(`${resource}\n${expiry}`).digest('base64');
  return `SharedAccessSignature sr=${resource}&sig=${encodeURIComponent(signature)}&skn=${field('SharedAccessKeyName')}&se=${expiry}`;
}

async function redirect(node) {
  const username = `${field('SharedAccessKeyName')}@sas.root.${host.split('.')[0]}`;
  const connection = new Connection({ transport: 'tls', host, hostname: host, port: 5671, reconnect: false, username, password: token() });
  await connection.open();
  try {
    const receiver = await connection.createReceiver({ source: { address: `amqps://${host}/messages/events/${node}` } });
    return await new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error('no error has come for 10 s')), 10000);
      receiver.once(ReceiverEvents.receiverError, (context) => {
        clearTimeout(late);
        resolve(context.receiver.error);
      });
    });
  } finally {
    await connection.close();
  }
}

async function main() {
  for (const node of ['$management', 'ConsumerGroups/$Default/Partitions/0']) {
    await check(`messages/events/${node} redirects`, async () => {
      const error = await redirect(node);
      equal(error.condition, 'amqp:link:redirect', 'condition');
      equal(error.info.hostname, host, 'hostname');
      const [, hub, rest] = /^amqps:\/\/[^/]*:5671\/([^/]+)\/(.*)$/.exec(error.info.address);
      equal([hub, rest], [/EntityPath=([^;]*)/.exec(process.env.EVENTHUB_CONNECTION_STRING)[1], node], 'address');
    });
  }
}

main().then(
  () => process.exit(0),
  (e) => {
    console.error(e);
    process.exit(1);
  },
);
