// What speaks Bro IPC: our own bro.js or, where IPC_BRO names its directory or main file, the public implementation.

const path = require('node:path');

module.exports = require(process.env.IPC_BRO ? path.resolve(process.env.IPC_BRO) : './bro.js');
