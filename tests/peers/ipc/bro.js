// Bro IPC as its public implementation speaks it, written from what is known of the wire: a client, and a hub.
//
// Shares no code with Plimsoll, so that a mistake there is not made here as well. Names and options are those of the
// public implementation: either can be loaded by peer.js and hub.js.

const { EventEmitter } = require('node:events');
const fs = require('node:fs');
const net = require('node:net');
const { pack, unpack } = require('msgpackr');

const formats = {
  json: { write: (message) => Buffer.from(JSON.stringify(message)), read: (body) => JSON.parse(body.toString()) },
  msgpack: { write: pack, read: unpack },
};

function frame(format, message) {
  const body = format.write(message);
  const head = Buffer.alloc(4);
  head.writeUInt32BE(body.length);
  return Buffer.concat([head, body]);
}

// Calls `take` with every whole message that has come over a socket.
function readMessages(socket, format, take) {
  let buffer = Buffer.alloc(0);
  socket.on('data', (bytes) => {
    buffer = Buffer.concat([buffer, bytes]);
    while (buffer.length >= 4 && buffer.length >= 4 + buffer.readUInt32BE(0)) {
      const end = 4 + buffer.readUInt32BE(0);
      const message = format.read(buffer.subarray(4, end));
      buffer = buffer.subarray(end);
      take(message);
    }
  });
}

function failure(code, message) {
  return Object.assign(new Error(message), { code });
}

function newId(prefix) {
  return `${prefix}-${Date.now()}-${Math.random().toString(36).slice(2, 8)}`;
}

class IPCClient extends EventEmitter {
  constructor({ serviceName, gatewayPath, serializer = 'json', poolSize = 1, timeout = 30_000, heartbeatInterval = 30_000 }) {
    super();
    Object.assign(this, { name: serviceName, path: gatewayPath, poolSize, timeout, heartbeatInterval });
    this.format = formats[serializer];
    this.methods = new Map();
    this.pending = new Map();
    this.sockets = [];
    this.next = 0;
  }

  registerMethod(name, handler) {
    this.methods.set(name, handler);
  }

  async connect() {
    const indices = [...Array(this.poolSize).keys()];
    this.sockets = await Promise.all(indices.map((index) => this.#connectOne(index)));
    const beat = () => this.#send({ type: 'HEARTBEAT', from: this.name, timestamp: Date.now() });
    this.heartbeat = setInterval(beat, this.heartbeatInterval);
  }

  // Resolves once the hub has acknowledged the registration.
  #connectOne(poolIndex) {
    return new Promise((resolve, reject) => {
      const socket = net.connect(this.path);
      const pooled = this.poolSize > 1;
      const register = {
        type: 'REGISTER',
        serviceName: this.name,
        methods: [...this.methods.keys()],
        version: '1.0.0',
        metadata: pooled ? { poolIndex, poolSize: this.poolSize } : {},
      };
      socket.on('connect', () => socket.write(frame(this.format, register)));
      socket.on('error', reject);
      socket.on('close', () => this.#lost(socket));
      readMessages(socket, this.format, (message) => {
        if (message.type === 'REGISTER_ACK') resolve(socket);
        else this.#take(message);
      });
    });
  }

  #lost(socket) {
    this.sockets = this.sockets.filter((other) => other !== socket);
    if (this.sockets.length > 0) return;
    clearInterval(this.heartbeat);
    for (const call of this.pending.values()) call.reject(failure('CONNECTION_LOST', 'the connection was closed'));
    this.pending.clear();
    this.emit('disconnected');
  }

  #send(message) {
    if (this.sockets.length === 0) return;
    this.next = (this.next + 1) % this.sockets.length;
    this.sockets[this.next].write(frame(this.format, message));
  }

  // Within `context`, or of its own accord. As in the public implementation, the chain is extended by the caller's name.
  call(to, method, params = {}, context = undefined) {
    const origin = { root: newId('root'), chain: [this.name], depth: 1, deadline: Date.now() + this.timeout };
    const { root, chain, depth, deadline } = context ?? origin;
    const call = {
      type: 'CALL',
      id: newId('req'),
      from: this.name,
      to,
      method,
      params,
      context: { root, chain: [...chain, this.name], depth: depth + 1, deadline },
    };
    return new Promise((resolve, reject) => {
      const expire = () => {
        this.pending.delete(call.id);
        reject(failure('TIMEOUT', `no answer by ${to}`));
      };
      const timer = setTimeout(expire, Math.min(Math.max(deadline - Date.now(), 0), this.timeout));
      this.pending.set(call.id, {
        resolve: (data) => (clearTimeout(timer), resolve(data)),
        reject: (error) => (clearTimeout(timer), reject(error)),
      });
      this.#send(call);
    });
  }

  #take(message) {
    if (message.type === 'CALL') this.#execute(message);
    else if (message.type === 'RESPONSE') this.#answered(message);
    else if (message.type === 'ERROR') this.emit('gateway-error', message.error);
    else this.emit('error', failure('INVALID_MESSAGE', `a hub sends no ${message.type}`));
  }

  async #execute({ id, from, to, method, params, context }) {
    const response = { type: 'RESPONSE', id, from: to, to: from };
    try {
      const handler = this.methods.get(method);
      if (!handler) throw failure('METHOD_NOT_FOUND', `there is no ${method}`);
      const data = await handler(params, context);
      this.#send({ ...response, status: 'success', data, context });
    } catch ({ message, code, stack }) {
      this.#send({ ...response, status: 'error', error: { message, code, stack }, context });
    }
  }

  #answered({ id, status, data, error }) {
    const call = this.pending.get(id);
    this.pending.delete(id);
    if (status === 'success') call?.resolve(data);
    else call?.reject(failure(error.code ?? 'EXECUTION_FAILED', error.message));
  }

  async disconnect() {
    const closed = this.sockets.map((socket) => new Promise((resolve) => socket.once('close', resolve)));
    this.sockets.forEach((socket) => socket.end());
    await Promise.all(closed);
  }
}

// As plain as the public hub: it keeps no calls, and says ERROR where a call cannot be routed.
class IPCServer {
  constructor({ socketPath, serializer = 'json' }) {
    Object.assign(this, { path: socketPath, format: formats[serializer] });
    // Of each service, its connections.
    this.services = new Map();
  }

  async start() {
    fs.rmSync(this.path, { force: true });
    this.server = net.createServer((socket) => this.#accept(socket));
    await new Promise((resolve) => this.server.listen(this.path, resolve));
  }

  #accept(socket) {
    let name;
    const refuse = ({ id }, code, message) =>
      socket.write(frame(this.format, { type: 'ERROR', id, error: { code, message }, timestamp: Date.now() }));
    socket.on('error', () => {});
    socket.on('close', () => {
      const left = (this.services.get(name) ?? []).filter((other) => other !== socket);
      if (left.length > 0) this.services.set(name, left);
      else this.services.delete(name);
    });
    readMessages(socket, this.format, (message) => {
      if (message.type === 'REGISTER') {
        name = message.serviceName;
        this.services.set(name, [...(this.services.get(name) ?? []), socket]);
        socket.write(frame(this.format, { type: 'REGISTER_ACK' }));
      } else if (message.type === 'CALL' || message.type === 'RESPONSE') {
        const members = this.services.get(message.to);
        if (!members) return refuse(message, 'SERVICE_NOT_FOUND', `there is no ${message.to}`);
        members.push(members.shift());
        members[0].write(frame(this.format, message));
      }
    });
  }

  async stop() {
    this.server.close();
  }
}

module.exports = { IPCClient, IPCServer };
