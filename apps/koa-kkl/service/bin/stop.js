'use strict';

/** `npm run stop`: lets the server finish its requests and returns when it is gone. Nothing to stop is fine. */

const fs = require('fs');

const { loadConfig } = require('../config');
const { runCommand, say } = require('../lib/command');
const { findRunning, isRunning, removePidFile } = require('../lib/pid-file');
const { StartupError } = require('../lib/startup-error');

const POLL_MS = 50;

// The server itself ends by STOP_TIMEOUT; more than that and these seconds means that it hangs.
const EXTRA_MS = 5000;

function signal(running, name) {
  try {
    process.kill(running.pid, name);
  } catch (error) {
    if (error.code === 'ESRCH') {
      return;
    }
    throw new StartupError(`cannot stop pid ${running.pid} (${error.code}): run npm run stop as the user who started it`);
  }
}

async function goneWithin(running, ms) {
  for (const end = Date.now() + ms; isRunning(running); ) {
    if (Date.now() > end) {
      return false;
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  return true;
}

async function stop(env) {
  const { pidFile, stopTimeout } = loadConfig(env);
  const running = findRunning(pidFile);
  if (running === null) {
    const leftOver = fs.existsSync(pidFile);
    removePidFile(pidFile, null);
    say(leftOver ? `not running; removed the left-over pid file "${pidFile}"` : `not running (no pid file "${pidFile}")`);
    return;
  }
  signal(running, 'SIGTERM');
  const inTime = await goneWithin(running, stopTimeout + EXTRA_MS);
  if (!inTime) {
    signal(running, 'SIGKILL');
    await goneWithin(running, EXTRA_MS);
  }
  removePidFile(pidFile, running.pid);
  say(`stopped pid ${running.pid}${inTime ? '' : ', which had to be killed'}`);
}

runCommand(module, () => stop(process.env));

module.exports = { stop };
