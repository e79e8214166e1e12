// A service that does on standard input what it is told: node peer.js PATH NAME json|msgpack POOL_SIZE
//
// Each line is `{"call": [to, method, params, timeout?]}` or `{"flood": [to, n]}`, each answer one line; at the end of
// the input it disconnects.

const readline = require('node:readline');
const { IPCClient } = require('./library.js');

const [gatewayPath, serviceName, serializer, poolSize] = process.argv.slice(2);
const say = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
// The public implementation talks on the console.
console.log = console.warn = console.error = () => {};

const client = new IPCClient({ serviceName, gatewayPath, serializer, poolSize: Number(poolSize) });
// The public implementation reports so what a hub complains of.
client.on('gateway-error', (error) => say({ gatewayError: error.code }));
client.on('error', () => {});

client.registerMethod('echo', async (params) => params);
client.registerMethod('nothing', async () => undefined);
client.registerMethod('context', async (_, context) => context);
client.registerMethod('throws', async () => {
  throw new Error('boom');
});
client.registerMethod('fails', async ({ code, message }) => {
  throw Object.assign(new Error(message), { code });
});
client.registerMethod('sleep', ({ ms }) => new Promise((resolve) => setTimeout(() => resolve({ slept_ms: ms }), ms)));
// Calls each service of `via` from within the one before, and the method `context` of the last.
client.registerMethod('chain', async ({ via: [next, ...rest] }, context) =>
  rest.length > 0 ? client.call(next, 'chain', { via: rest }, context) : client.call(next, 'context', {}, context),
);

// Always a context of our own: the public implementation would otherwise take that of whatever call it is just serving.
const context = (timeout = 30_000) => ({
  root: 'root-of-peer',
  chain: [serviceName],
  depth: 1,
  deadline: Date.now() + timeout,
});

async function call([to, method, params, timeout]) {
  try {
    return { data: (await client.call(to, method, params, context(timeout))) ?? null };
  } catch ({ code, message }) {
    return { error: { code, message } };
  }
}

async function flood([to, n]) {
  const echo = async (_, i) => (await client.call(to, 'echo', { i }, context())).i === i;
  const right = await Promise.all(Array.from({ length: n }, echo));
  return { right: right.filter(Boolean).length };
}

client.connect().then(async () => {
  say({ connected: serviceName });
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const told = JSON.parse(line);
    say(told.call ? await call(told.call) : await flood(told.flood));
  }
  await client.disconnect();
  process.exit(0);
});
