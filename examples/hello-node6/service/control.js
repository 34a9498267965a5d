'use strict';

/** `node service/control.js start|stop|restart|health|serve|smoke`: what package.json's scripts run. */

const assert = require('assert');
const spawn = require('child_process').spawn;
const fs = require('fs');
const http = require('http');
const os = require('os');
const path = require('path');

const { createApp } = require('./app');
const { StartupError, loadConfig } = require('./config');
const { findRunning, isRunning, removePidFile } = require('./pid-file');
const { APP_FOLDER, checkLogFolder, serve } = require('./server');

const START_MS = 30000;
const STOP_MS = 5000;

const say = (config, message) => console.log(`${config.name}: ${message}`);
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function ask(options) {
  return new Promise((resolve, reject) => {
    const request = http.get(Object.assign({ agent: false }, options), (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk) => {
        text += chunk;
      });
      response.on('end', () => resolve({ status: response.statusCode, text }));
    });
    request.setTimeout(3000, () => request.abort());
    request.on('error', reject);
  });
}

/** Rejects unless our own application answers at the configured address. */
function checkHealth(config) {
  const host = config.host === '0.0.0.0' ? '127.0.0.1' : config.host;
  const where = `http://${host}:${config.port}/healthz`;
  return ask({ host, port: config.port, path: '/healthz' })
    .then((answer) => assert.strictEqual(JSON.parse(answer.text).name, config.name))
    .catch((error) => {
      throw new StartupError(`not healthy: ${where}: ${error.message}`);
    });
}

function waitUntilReady(child, consoleFile) {
  return new Promise((resolve, reject) => {
    const seeFile = `see "${consoleFile}"`;
    const timer = setTimeout(() => reject(new StartupError(`no server after ${START_MS / 1000} s: ${seeFile}`)), START_MS);
    child.on('message', (message) => (message.ready ? resolve() : reject(new StartupError(message.failed))));
    child.on('exit', () => reject(new StartupError(`the server ended before it listened: ${seeFile}`)));
    child.on('error', reject);
    child.on('message', () => clearTimeout(timer));
    child.on('exit', () => clearTimeout(timer));
  });
}

function start(config) {
  checkLogFolder(config.logDir);
  const running = findRunning(config.pidFile);
  if (running !== null && running.folder === APP_FOLDER) {
    say(config, `already running, pid ${running.pid}`);
    return Promise.resolve();
  }
  if (running !== null) {
    throw new StartupError(`pid ${running.pid} still runs from "${running.folder}": run npm run restart to replace it`);
  }
  const consoleFile = path.join(config.logDir, 'node_console.log');
  const output = fs.openSync(consoleFile, 'a');
  const child = spawn(process.execPath, [__filename, 'serve'], {
    cwd: '/',
    detached: true,
    stdio: ['ignore', output, output, 'ipc'],
  });
  return waitUntilReady(child, consoleFile)
    .then(() => checkHealth(config))
    .then(
      () => {
        child.unref();
        if (child.connected) {
          child.disconnect();
        }
        say(config, `started as ${config.environment} on ${config.host}:${config.port}, pid ${child.pid}`);
      },
      (error) => {
        child.kill('SIGKILL');
        throw error;
      }
    );
}

function waitUntilGone(running, deadline) {
  if (!isRunning(running) || Date.now() > deadline) {
    return Promise.resolve(!isRunning(running));
  }
  return sleep(50).then(() => waitUntilGone(running, deadline));
}

function stop(config) {
  const running = findRunning(config.pidFile);
  if (running === null) {
    removePidFile(config.pidFile);
    say(config, 'not running');
    return Promise.resolve();
  }
  try {
    process.kill(running.pid, 'SIGTERM');
  } catch (error) {
    throw new StartupError(`cannot stop pid ${running.pid} (${error.code}): run npm run stop as the user who started it`);
  }
  return waitUntilGone(running, Date.now() + STOP_MS).then((gone) => {
    if (!gone) {
      process.kill(running.pid, 'SIGKILL');
    }
    removePidFile(config.pidFile);
    say(config, `stopped pid ${running.pid}${gone ? '' : ', which had to be killed'}`);
  });
}

/** Tells a waiting `start` how it went; in the foreground there is no channel. */
function tellStarter(message) {
  if (process.connected) {
    process.send(message, () => process.connected && process.disconnect());
  }
}

function serveAndTell(config) {
  return serve(config).then(() => {
    say(config, `listening on http://${config.host}:${config.port}/ as ${config.environment}, pid ${process.pid}`);
    tellStarter({ ready: true });
  });
}

/** Asks the real application for a page, through a socket file: no port and no network needed. */
function smoke(config) {
  const scratch = fs.mkdtempSync(path.join(os.tmpdir(), `${config.name}-`));
  const socketPath = path.join(scratch, 's');
  const server = http.createServer(createApp(config, () => {})).listen(socketPath);
  const expected = { '/': [200, /Hello from Node/], '/api/hello?name=smoke': [200, /"smoke"/], '/nowhere': [404, /Not Found/] };
  const checks = Object.keys(expected).map((url) =>
    ask({ socketPath, path: url }).then((answer) => {
      assert.strictEqual(answer.status, expected[url][0], url);
      assert(expected[url][1].test(answer.text), url);
    })
  );
  const cleanUp = () => {
    server.close();
    fs.rmdirSync(scratch);
  };
  return Promise.all(checks).then(
    () => {
      cleanUp();
      say(config, 'smoke run passed');
    },
    (error) => {
      cleanUp();
      throw error;
    }
  );
}

const COMMANDS = {
  start,
  stop,
  restart: (config) => stop(config).then(() => start(config)),
  health: (config) => checkHealth(config).then(() => say(config, `healthy on port ${config.port}`)),
  serve: serveAndTell,
  smoke,
};

function main(name) {
  Promise.resolve()
    .then(() => {
      if (!COMMANDS.hasOwnProperty(name)) {
        throw new StartupError(`unknown command "${name}": it must be one of ${Object.keys(COMMANDS).join(', ')}`);
      }
      return COMMANDS[name](loadConfig(process.env));
    })
    .catch((error) => {
      const known = error instanceof StartupError;
      console.error(`hello-node6: ${known ? error.message : error.stack}`);
      if (known && name === 'serve') {
        tellStarter({ failed: error.message });
      }
      process.exitCode = 1;
    });
}

main(process.argv[2]);
