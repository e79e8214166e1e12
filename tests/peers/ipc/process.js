// Processes that say one line of JSON for each that they are told.

const { spawn } = require('node:child_process');
const readline = require('node:readline');

class Process {
  constructor(command, args) {
    this.child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'] });
    this.stderr = '';
    this.child.stderr.on('data', (bytes) => (this.stderr += bytes));
    this.ended = new Promise((resolve) => this.child.on('close', (code, signal) => resolve(code ?? signal)));
    this.lines = readline.createInterface({ input: this.child.stdout })[Symbol.asyncIterator]();
  }

  // The next line that it says.
  async line() {
    const { value, done } = await this.lines.next();
    if (done) throw new Error(`${this.child.spawnargs.join(' ')} has ended: ${this.stderr}`);
    return value;
  }

  async ask(told) {
    this.child.stdin.write(`${JSON.stringify(told)}\n`);
    return JSON.parse(await this.line());
  }

  call(...call) {
    return this.ask({ call });
  }

  // Lets it end by itself, and tells how it did.
  stop() {
    this.child.stdin.end();
    return this.ended;
  }

  kill(signal) {
    this.child.kill(signal);
    return this.ended;
  }
}

// Runs a program to its end.
async function run(command, args) {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const output = { stdout: '', stderr: '' };
  for (const name of Object.keys(output)) child[name].on('data', (bytes) => (output[name] += bytes));
  const code = await new Promise((resolve) => child.on('close', resolve));
  return { code, ...output };
}

module.exports = { Process, run };
