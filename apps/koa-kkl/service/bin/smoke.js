'use strict';

/**
 * `npm run smoke`: does this copy of the application hold all that it needs? Loads every module of the server and every
 * environment's settings, renders every view and asks the real application once per kind of answer. It needs no port and no
 * network (a socket file does), and writes nothing but a folder of its own in the temporary one.
 */

const assert = require('assert');
const fs = require('fs');
const http = require('http');
const os = require('os');
const path = require('path');

const { createApp } = require('../app');
const { ENVIRONMENTS, loadConfig } = require('../config');
const { runCommand, say } = require('../lib/command');
const courses = require('../lib/courses');
const { DailyLog, checkLogFolder } = require('../lib/daily-log');
const { loadViews } = require('../lib/views');

const SERVICE = path.dirname(__dirname);

function modulesIn(folder) {
  return fs.readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const file = path.join(folder, entry.name);
    if (entry.isDirectory()) {
      return modulesIn(file);
    }
    return entry.name.endsWith('.js') ? [file] : [];
  });
}

function ask(socketPath, url, headers = {}) {
  return new Promise((resolve, reject) => {
    const request = http.get({ socketPath, path: url, headers, agent: false }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk) => {
        text += chunk;
      });
      response.on('error', reject);
      response.on('end', () => resolve({ status: response.statusCode, headers: response.headers, text }));
    });
    request.on('error', reject);
  });
}

async function askEverything(socketPath) {
  const home = await ask(socketPath, '/');
  assert.strictEqual(home.status, 200, 'the home page');
  assert.match(home.text, /visit number 1\b/, 'the first visit');
  const cookie = home.headers['set-cookie'].map((line) => line.split(';')[0]).join('; ');
  const again = await ask(socketPath, '/', { Cookie: cookie });
  assert.match(again.text, /visit number 2\b/, 'the session cookie brings the visitor back');

  const [{ id }] = JSON.parse((await ask(socketPath, '/api/courses')).text).courses;
  assert.strictEqual((await ask(socketPath, `/courses/${id}`)).status, 200, 'the page of a course');
  assert.strictEqual((await ask(socketPath, '/nowhere')).status, 404, 'the 404 page');
  assert.strictEqual(JSON.parse((await ask(socketPath, '/api/nowhere')).text).error.status, 404, 'the 404 of the API');
  assert.strictEqual(JSON.parse((await ask(socketPath, '/healthz')).text).status, 'ok', 'the health path');
}

async function smoke(env) {
  const modules = modulesIn(SERVICE);
  modules.forEach((file) => require(file));
  for (const environment of Object.keys(ENVIRONMENTS)) {
    loadConfig({ ...env, SERVER_ENV: environment });
  }
  const config = loadConfig(env);
  const views = loadViews(path.join(SERVICE, 'views'));
  views.names.forEach((view) => views.render(view, {}));

  const scratch = fs.mkdtempSync(path.join(os.tmpdir(), `${config.name}-`));
  try {
    checkLogFolder(scratch);
    const log = new DailyLog(scratch);
    const server = http.createServer(createApp({ config, log, views, courses }).callback());
    const socketPath = path.join(scratch, 's');
    await new Promise((resolve, reject) => server.once('error', reject).listen(socketPath, resolve));
    try {
      await askEverything(socketPath);
    } finally {
      await new Promise((resolve) => server.close(resolve));
      await log.close();
    }
    const [logFile] = fs.readdirSync(scratch).filter((name) => /^node_info_[0-9]{8}\.log$/.test(name));
    assert.match(fs.readFileSync(path.join(scratch, logFile), 'utf8'), / GET \/nowhere 404 /, 'the request log');
  } finally {
    fs.rmSync(scratch, { recursive: true, force: true });
  }
  say(`smoke run passed: ${modules.length} modules, ${views.names.length} views, as ${config.environment}`);
}

runCommand(module, () => smoke(process.env));
