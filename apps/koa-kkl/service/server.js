'use strict';

/** One server process from its first check to its last log line. */

const http = require('http');
const path = require('path');

const { createApp } = require('./app');
const { complain, say } = require('./lib/command');
const { trackConnections } = require('./lib/connections');
const courses = require('./lib/courses');
const { DailyLog, checkLogFolder } = require('./lib/daily-log');
const { findRunning, removePidFile, writePidFile } = require('./lib/pid-file');
const { StartupError } = require('./lib/startup-error');
const { loadViews } = require('./lib/views');

const APP_FOLDER = path.dirname(__dirname);

// Who holds Ctrl-C waits for the prompt; `npm run stop` gives requests the time that STOP_TIMEOUT says.
const CTRL_C_GRACE_MS = 1500;

const LISTEN_ADVICE = {
  EADDRINUSE: 'it is taken: stop what listens there, or set PORT to another',
  EACCES: 'this user may not: set PORT to 1024 or more',
  EADDRNOTAVAIL: 'this host has no such address: set HOST to one of its own',
  ENOTFOUND: 'there is no host of that name: set HOST to an address',
};

function listen(server, { host, port }) {
  return new Promise((resolve, reject) => {
    server.once('error', (error) => {
      const advice = LISTEN_ADVICE[error.code] || 'set HOST and PORT to another';
      reject(new StartupError(`cannot listen on ${host}:${port} (${error.code}), ${advice}`));
    });
    server.listen(port, host, resolve);
  });
}

/** Starts the server; `onReady` is called once it listens and its pid file is written. */
async function serve(config, onReady) {
  checkLogFolder(config.logDir);
  const running = findRunning(config.pidFile);
  if (running !== null) {
    throw new StartupError(`already running with pid ${running.pid} from "${running.folder}": run npm run stop first`);
  }
  const echo = config.debug ? (line) => process.stdout.write(line) : null;
  const log = new DailyLog(config.logDir, { echo, complain });
  const views = loadViews(path.join(__dirname, 'views'));
  const app = createApp({ config, log, views, courses });
  const server = http.createServer(app.callback());
  const connections = trackConnections(server);
  await listen(server, config);
  try {
    writePidFile(config.pidFile, process.pid, APP_FOLDER);
  } catch (error) {
    server.close();
    throw error;
  }

  let ending = false;
  async function end(code, graceMs) {
    if (ending) {
      return;
    }
    ending = true;
    const cut = await connections.close(graceMs);
    if (cut > 0) {
      log.warn(`${cut} connections were cut after ${graceMs} ms`);
    }
    log.info(`stopped, pid ${process.pid}`);
    await log.close();
    removePidFile(config.pidFile, process.pid);
    process.exit(code);
  }

  function onSignal(signal, graceMs) {
    process.on(signal, () => {
      // Ctrl-C under npm comes twice, from the terminal and from npm: the second must not cut the first one's grace.
      if (!ending) {
        log.info(`${signal}: stopping`);
        end(0, graceMs);
      }
    });
  }
  onSignal('SIGINT', CTRL_C_GRACE_MS);
  onSignal('SIGTERM', config.stopTimeout);
  process.on('uncaughtException', (error) => {
    complain(error.stack);
    log.error(`uncaught: ${error.stack}`);
    end(1, CTRL_C_GRACE_MS);
  });

  log.info(`listening on ${config.host}:${config.port}, ${config.version} ${config.environment}, pid ${process.pid}`);
  if (config.temporaryKeys) {
    const warning = 'SESSION_KEYS is not set: sessions end with this process and are not shared with other hosts';
    log.warn(warning);
    complain(warning);
  }
  say(`listening on http://${config.host}:${config.port}/ as ${config.environment}, pid ${process.pid}`);
  onReady();
}

module.exports = { APP_FOLDER, serve };
