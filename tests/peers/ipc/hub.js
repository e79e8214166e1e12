// A hub until standard input ends: node hub.js PATH json|msgpack

const { IPCServer } = require('./library.js');

const [socketPath, serializer] = process.argv.slice(2);
const say = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
console.log = console.warn = console.error = () => {};

new IPCServer({ socketPath, serializer }).start().then(() => say({ listening: socketPath }));
process.stdin.on('end', () => process.exit(0)).resume();
