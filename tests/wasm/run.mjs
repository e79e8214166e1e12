// Runs a WASI program as `node run.mjs PROGRAM [DIRECTORY FILE…]`: it sees no files but those of the directory, and is given
// their names; no environment. Its exit code is ours.
import { readFile } from 'node:fs/promises';
import { argv } from 'node:process';
import { WASI } from 'node:wasi';

const [program, directory, ...files] = argv.slice(2);
const wasi = new WASI({
  version: 'preview1',
  returnOnExit: true,
  args: [program, ...files.map((file) => `/logs/${file}`)],
  preopens: directory ? { '/logs': directory } : {},
});
const module = await WebAssembly.compile(await readFile(program));
process.exitCode = wasi.start(await WebAssembly.instantiate(module, wasi.getImportObject()));
