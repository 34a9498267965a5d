'use strict';

/**
 * `npm run start`: returns 0 once a server in the background listens and answers. Its console goes to
 * node_console.log beside the log, so that nothing holds the terminal or npm's pipes.
 */

const { spawn } = require('child_process');
const fs = require('fs');
const path = require('path');

const { loadConfig } = require('../config');
const { runCommand, say } = require('../lib/command');
const { checkLogFolder } = require('../lib/daily-log');
const { checkHealth } = require('../lib/health-check');
const { findRunning } = require('../lib/pid-file');
const { StartupError } = require('../lib/startup-error');
const { APP_FOLDER } = require('../server');

/** Resolves when `child` says that it listens; rejects when it says that it can't, ends, or takes too long. */
function waitUntilReady(child, config, consoleFile) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      reject(new StartupError(`no server after START_TIMEOUT (${config.startTimeout / 1000} s): see "${consoleFile}"`));
    }, config.startTimeout);
    const settle = (done, value) => {
      clearTimeout(timer);
      done(value);
    };
    child.on('message', (message) => {
      if (message.ready) {
        settle(resolve);
      } else {
        settle(reject, new StartupError(message.failed));
      }
    });
    child.on('error', (error) => settle(reject, error));
    child.on('exit', (code, signal) => {
      const how = signal ? `by ${signal}` : `with code ${code}`;
      settle(reject, new StartupError(`the server ended ${how} before it listened: see "${consoleFile}"`));
    });
  });
}

function openConsole(file) {
  try {
    return fs.openSync(file, 'a');
  } catch (error) {
    throw new StartupError(`cannot write "${file}" (${error.code}): give this user the right to it, or set LOG_DIR to another folder`);
  }
}

async function start(env) {
  const config = loadConfig(env);
  checkLogFolder(config.logDir);
  const running = findRunning(config.pidFile);
  if (running !== null && running.folder === APP_FOLDER) {
    say(`already running, pid ${running.pid}`);
    return;
  }
  if (running !== null) {
    // To call that a success would leave the old release serving after a deploy.
    throw new StartupError(`pid ${running.pid} still runs from "${running.folder}": run npm run restart to replace it`);
  }

  const consoleFile = path.join(config.logDir, 'node_console.log');
  const output = openConsole(consoleFile);
  const child = spawn(process.execPath, [path.join(__dirname, 'serve.js')], {
    cwd: '/',
    detached: true,
    env,
    stdio: ['ignore', output, output, 'ipc'],
  });
  fs.closeSync(output);
  const giveUp = (signal) => {
    child.kill('SIGTERM');
    process.kill(process.pid, signal);
  };
  process.once('SIGINT', giveUp);
  process.once('SIGTERM', giveUp);

  try {
    await waitUntilReady(child, config, consoleFile);
    const problem = await checkHealth(config);
    if (problem !== null) {
      throw new StartupError(`the server listens but is not well: ${problem}`);
    }
  } catch (error) {
    child.kill('SIGKILL');
    throw error;
  } finally {
    process.removeListener('SIGINT', giveUp);
    process.removeListener('SIGTERM', giveUp);
    child.unref();
    if (child.connected) {
      child.disconnect();
    }
  }
  say(`started as ${config.environment} on ${config.host}:${config.port}, pid ${child.pid}`);
}

runCommand(module, () => start(process.env));

module.exports = { start };
