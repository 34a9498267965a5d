'use strict';

/** Runs the scripts as processes, each with its own log folder; needs no package. */

const assert = require('assert');
const spawnSync = require('child_process').spawnSync;
const fs = require('fs');
const http = require('http');
const net = require('net');
const os = require('os');
const path = require('path');

const CONTROL = path.join(__dirname, '..', 'service', 'control.js');
const scratch = fs.mkdtempSync(path.join(os.tmpdir(), 'hello-node6-test-'));
let env;

function run(command, extra) {
  const result = spawnSync(process.execPath, [CONTROL, command], { cwd: '/', env: Object.assign({}, env, extra), encoding: 'utf8' });
  return { status: result.status, text: result.stdout + result.stderr };
}

function expect(command, extra, status, pattern) {
  const result = run(command, extra);
  assert.strictEqual(result.status, status, result.text);
  assert(pattern.test(result.text), `${command} said: ${result.text}`);
  assert.strictEqual(result.text.split('\n').length, 2, `one line, not: ${result.text}`);
}

function freePort() {
  return new Promise((resolve) => {
    const server = net.createServer().listen(0, '127.0.0.1', () => {
      const port = server.address().port;
      server.close(() => resolve(port));
    });
  });
}

/** Asks over a connection that stays open, as a browser's does. */
function ask(url, agent) {
  return new Promise((resolve, reject) => {
    http
      .get({ host: '127.0.0.1', port: env.PORT, path: url, agent }, (response) => {
        response.resume();
        response.on('end', () => resolve(response.statusCode));
      })
      .on('error', reject);
  });
}

function startAnswerStop() {
  const agent = new http.Agent({ keepAlive: true });
  expect('start', {}, 0, /started as sit on 127\.0\.0\.1:\d+, pid \d+/);
  expect('start', {}, 0, /already running, pid \d+/);
  expect('health', {}, 0, /healthy on port/);
  return Promise.all([ask('/', agent), ask('/nowhere', agent)]).then((statuses) => {
    assert.deepStrictEqual(statuses, [200, 404]);
    const started = Date.now();
    expect('stop', {}, 0, /stopped pid \d+\n/);
    assert(Date.now() - started < 1400, 'an idle connection must not delay the end');
    expect('stop', {}, 0, /not running/);
    expect('health', {}, 1, /not healthy: .*ECONNREFUSED/);
    agent.destroy();
    const logs = fs.readdirSync(env.LOG_DIR).filter((name) => /^node_info_\d{8}\.log$/.test(name));
    assert(/ GET \/nowhere 404\n/.test(fs.readFileSync(path.join(env.LOG_DIR, logs[0]), 'utf8')));
  });
}

function refusals() {
  fs.writeFileSync(path.join(scratch, 'file'), '');
  expect('start', { SERVER_ENV: 'prd' }, 1, /SERVER_ENV is "prd", but must be one of stable, sit, pre, prod/);
  expect('start', { PORT: 'x' }, 1, /PORT is "x", but must be a number/);
  expect('start', { LOG_DIR: 'logs' }, 1, /LOG_DIR is "logs", but must be an absolute path/);
  expect('start', { LOG_DIR: path.join(scratch, 'file', 'x') }, 1, /cannot write the log folder .*ENOTDIR/);
  expect('launch', {}, 1, /unknown command "launch"/);
  return new Promise((resolve) => {
    const other = net.createServer().listen(env.PORT, '127.0.0.1', () => {
      expect('start', {}, 1, /cannot listen on 127\.0\.0\.1:\d+ \(EADDRINUSE\)/);
      other.close(resolve);
    });
  });
}

function smokes() {
  expect('smoke', { LOG_DIR: '/proc/none', TMPDIR: scratch }, 0, /smoke run passed/);
}

function strangerStays() {
  // A number without what tells the process is nobody's: it could be any process by now.
  fs.writeFileSync(path.join(env.LOG_DIR, 'hello-node6.pid'), `${process.pid}\n`);
  expect('stop', {}, 0, /not running/);
}

function removeAll(folder) {
  for (const name of fs.readdirSync(folder)) {
    const file = path.join(folder, name);
    if (fs.statSync(file).isDirectory()) {
      removeAll(file);
    } else {
      fs.unlinkSync(file);
    }
  }
  fs.rmdirSync(folder);
}

freePort()
  .then((port) => {
    env = { PATH: process.env.PATH, SERVER_ENV: 'sit', HOST: '127.0.0.1', PORT: String(port), LOG_DIR: path.join(scratch, 'logs') };
  })
  .then(startAnswerStop)
  .then(refusals)
  .then(smokes)
  .then(strangerStays)
  .then(() => console.log('all tests passed'))
  .catch((error) => {
    console.error(error.stack);
    process.exitCode = 1;
  })
  .then(() => {
    run('stop');
    removeAll(scratch);
  });
