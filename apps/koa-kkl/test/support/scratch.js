'use strict';

const fs = require('fs');
const net = require('net');
const os = require('os');
const path = require('path');

/** Gives each test of the enclosing suite an empty folder: call the result to have its path. */
function scratchFolder() {
  let folder;
  beforeEach(() => {
    folder = fs.mkdtempSync(path.join(os.tmpdir(), 'koa-kkl-scratch-'));
  });
  afterEach(() => fs.rmSync(folder, { recursive: true, force: true }));
  return (...names) => path.join(folder, ...names);
}

/** A port that was free a moment ago. */
function freePort() {
  return new Promise((resolve, reject) => {
    const server = net.createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

module.exports = { freePort, scratchFolder };
