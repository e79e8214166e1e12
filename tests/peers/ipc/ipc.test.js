// Clients and a hub in JavaScript with `plimsoll hub`, `plimsoll serve ipc:` and `plimsoll call ipc:`.
//
// node --test ipc.test.js, once `npm ci` has brought msgpackr. PLIMSOLL names the program (target/release/plimsoll), and
// IPC_BRO a copy of the public implementation, which then takes the place of bro.js.

const assert = require('node:assert/strict');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { after, before, describe, test } = require('node:test');
const { Process, run } = require('./process.js');

const plimsoll = path.resolve(process.env.PLIMSOLL ?? path.join(__dirname, '../../../target/release/plimsoll'));
const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'plimsoll-ipc-'));
after(() => fs.rmSync(directory, { recursive: true }));

const kinds = [
  { name: 'json', serializer: 'json', pool: 1 },
  { name: 'msgpack', serializer: 'msgpack', pool: 1 },
  { name: 'json-pool', serializer: 'json', pool: 4 },
  { name: 'msgpack-pool', serializer: 'msgpack', pool: 4 },
];
const params = { text: 'é\n"\\', numbers: [0, -1, 2.5, 4294967297, Number.MAX_SAFE_INTEGER], none: null, nested: { a: [[]] } };

async function peer(hub, { name, serializer, pool }) {
  const process = new Process('node', [path.join(__dirname, 'peer.js'), hub, name, serializer, String(pool)]);
  assert.deepEqual(JSON.parse(await process.line()), { connected: name });
  return process;
}

async function hub(name, ...options) {
  const socket = path.join(directory, `${name}.sock`);
  const process = new Process(plimsoll, ['hub', '--socket', socket, ...options]);
  assert.match(await process.line(), new RegExp(socket));
  return { socket, process };
}

async function theirHub(serializer) {
  const socket = path.join(directory, `their-${serializer}.sock`);
  const process = new Process('node', [path.join(__dirname, 'hub.js'), socket, serializer]);
  assert.deepEqual(JSON.parse(await process.line()), { listening: socket });
  return { socket, process };
}

async function serve(socket, serializer) {
  const process = new Process(plimsoll, ['serve', `ipc:${socket}`, '--name', 'rust', '--serializer', serializer]);
  assert.match(await process.line(), /^serving rust/);
  return process;
}

const call = (socket, serializer, ...args) => run(plimsoll, ['call', `ipc:${socket}`, ...args, '--serializer', serializer]);

// Members of a pool may still be registering when the first of them can be called.
async function settled(caller, connections) {
  for (;;) {
    const { data } = await caller.call('$hub', 'services', {});
    if (data.reduce((sum, service) => sum + service.connections, 0) === connections) return data;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

describe('their clients at our hub', () => {
  const peers = {};
  let ours;
  let rust;

  before(async () => {
    ours = await hub('hub');
    for (const kind of kinds) peers[kind.name] = await peer(ours.socket, kind);
    rust = await serve(ours.socket, 'json');
    await settled(peers.json, 1 + 1 + 4 + 4 + 1);
  });

  after(async () => {
    for (const peer of Object.values(peers)) assert.equal(await peer.stop(), 0);
    assert.equal(await rust.kill('SIGTERM'), 0);
    assert.equal(await ours.process.kill('SIGTERM'), 0);
    assert.ok(!fs.existsSync(ours.socket), 'the hub removes its socket');
  });

  for (const from of kinds) {
    for (const to of kinds) {
      test(`${from.name} calls ${to.name}`, async () => {
        const call = (...call) => peers[from.name].call(to.name, ...call);
        assert.deepEqual(await call('echo', params), { data: params });
        assert.deepEqual(await call('nothing', {}), { data: null });
        assert.deepEqual(await call('throws', {}), { error: { code: 'EXECUTION_FAILED', message: 'boom' } });
        const error = { code: 'TEAPOT', message: 'short and stout' };
        assert.deepEqual(await call('fails', error), { error });
        assert.equal((await call('missing', {})).error.code, 'METHOD_NOT_FOUND');
      });
    }

    test(`${from.name} calls a service of ours`, async () => {
      const call = (...call) => peers[from.name].call('rust', ...call);
      assert.deepEqual(await call('echo', params), { data: params });
      const error = { code: 'TEAPOT', message: 'short and stout' };
      assert.deepEqual(await call('fail', error), { error });
      assert.equal((await call('missing', {})).error.code, 'METHOD_NOT_FOUND');
      assert.deepEqual(await call('size', { bytes: 100_000 }), { data: { data: 'x'.repeat(100_000) } });
    });

    test(`${from.name} is called by a client of ours`, async () => {
      const json = JSON.stringify(params);
      for (const serializer of ['json', 'msgpack']) {
        const answer = await call(ours.socket, serializer, from.name, 'echo', json);
        assert.deepEqual([answer.code, JSON.parse(answer.stdout)], [0, params], answer.stderr);
        const error = await call(ours.socket, serializer, from.name, 'throws', '{}');
        assert.deepEqual([error.code, JSON.parse(error.stdout).error.message], [1, 'boom'], error.stderr);
      }
    });

    test(`${from.name} is told at once of what is not there`, async () => {
      assert.equal((await peers[from.name].call('nobody', 'echo', {})).error.code, 'SERVICE_NOT_FOUND');
    });

    test(`${from.name} makes 2,000 calls at once, and each gets its own answer`, async () => {
      for (const to of [...kinds.map(({ name }) => name), 'rust']) {
        assert.deepEqual(await peers[from.name].ask({ flood: [to, 2000] }), { right: 2000 });
      }
    });

    test(`${from.name} waits no longer than its deadline`, async () => {
      for (const to of [...kinds.map(({ name }) => name), 'rust']) {
        const { error } = await peers[from.name].call(to, 'sleep', { ms: 20_000 }, 100);
        assert.match(error.code, /^(TIMEOUT|DEADLINE_EXCEEDED)$/);
      }
    });
  }

  test('a context goes through five services, and keeps its root and its deadline', async () => {
    const names = kinds.map(({ name }) => name);
    const on = { calls: [{ service: 'json', method: 'chain', params: { via: names.slice(1) } }] };
    const before = Date.now();
    const { data } = await peers.json.call('rust', 'chain', on);
    const [context] = data;
    assert.equal(context.root, 'root-of-peer');
    // Each of six callers has added itself or whom it called.
    assert.deepEqual([context.depth, context.chain.length], [6, 6]);
    assert.ok(context.deadline >= before + 30_000 && context.deadline <= Date.now() + 30_000, `${context.deadline}`);
  });

  test('the hub answers questions about itself', async () => {
    const services = await settled(peers.msgpack, 11);
    assert.deepEqual(services.map(({ name }) => name).sort(), [...kinds.map(({ name }) => name), 'rust'].sort());
    const { data: status } = await peers.msgpack.call('$hub', 'status', {});
    assert.deepEqual([status.running, status.socketPath, status.connectedServices], [true, ours.socket, 5]);
    const { data: pool } = await peers.json.call('$hub', 'service', { name: 'msgpack-pool' });
    assert.deepEqual([pool.version, pool.metadata.poolSize, pool.connections], ['1.0.0', 4, 4]);
  });
});

test('calls to a service that is killed fail at once', async () => {
  const ours = await hub('killed');
  const [caller, callee] = [await peer(ours.socket, kinds[0]), await peer(ours.socket, kinds[1])];
  const answer = caller.call('msgpack', 'sleep', { ms: 20_000 });
  const pending = async () => (await call(ours.socket, 'json', '$hub', 'status', '{}')).stdout;
  while (JSON.parse(await pending()).pendingCalls < 1) await new Promise((resolve) => setTimeout(resolve, 10));
  await callee.kill('SIGKILL');
  assert.equal((await answer).error.code, 'CONNECTION_LOST');
  await caller.stop();
  await ours.process.kill('SIGTERM');
});

test('the hub ends calls that take longer than it allows', async () => {
  const ours = await hub('impatient', '--timeout', '100');
  const [caller, callee] = [await peer(ours.socket, kinds[0]), await peer(ours.socket, kinds[1])];
  assert.equal((await caller.call('msgpack', 'sleep', { ms: 20_000 })).error.code, 'TIMEOUT');
  await callee.kill('SIGKILL');
  await caller.stop();
  await ours.process.kill('SIGTERM');
});

for (const serializer of ['json', 'msgpack']) {
  test(`our clients at their hub, which speaks ${serializer}`, async () => {
    const theirs = await theirHub(serializer);
    const node = await peer(theirs.socket, { name: 'node', serializer, pool: 1 });
    const rust = await serve(theirs.socket, serializer);

    assert.deepEqual(await node.call('rust', 'echo', params), { data: params });
    assert.equal((await node.call('rust', 'missing', {})).error.code, 'METHOD_NOT_FOUND');
    const error = { code: 'TEAPOT', message: 'short and stout' };
    assert.deepEqual(await node.call('rust', 'fail', error), { error });
    assert.deepEqual(await node.ask({ flood: ['rust', 2000] }), { right: 2000 });

    const answer = await call(theirs.socket, serializer, 'node', 'echo', JSON.stringify(params));
    assert.deepEqual([answer.code, JSON.parse(answer.stdout)], [0, params], answer.stderr);
    const failed = await call(theirs.socket, serializer, 'node', 'throws', '{}');
    assert.deepEqual([failed.code, JSON.parse(failed.stdout).error.message], [1, 'boom'], failed.stderr);

    // Their hub says ERROR with the id of the call, which their own client waits out.
    const nobody = await call(theirs.socket, serializer, 'nobody', 'echo', '{}');
    assert.deepEqual([nobody.code, JSON.parse(nobody.stdout).error.code], [1, 'SERVICE_NOT_FOUND'], nobody.stderr);

    const { data } = await node.call('rust', 'chain', { calls: [{ service: 'node', method: 'context', params: {} }] });
    assert.deepEqual([data[0].root, data[0].depth], ['root-of-peer', 3]);

    assert.equal(await rust.kill('SIGTERM'), 0);
    assert.equal(await node.stop(), 0);
    await theirs.process.stop();
  });
}
