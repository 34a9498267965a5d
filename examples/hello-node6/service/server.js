'use strict';

/** The server process: checks, listens, logs, and ends without cutting a request off. */

const fs = require('fs');
const http = require('http');
const path = require('path');

const { createApp } = require('./app');
const { StartupError } = require('./config');
const { findRunning, removePidFile, writePidFile } = require('./pid-file');

const APP_FOLDER = path.dirname(__dirname);
const GRACE_MS = 1500;

function two(number) {
  return `0${number}`.slice(-2);
}

function logFile(folder) {
  const now = new Date();
  return path.join(folder, `node_info_${now.getFullYear()}${two(now.getMonth() + 1)}${two(now.getDate())}.log`);
}

function makeFolder(folder) {
  if (!fs.existsSync(folder)) {
    makeFolder(path.dirname(folder));
    fs.mkdirSync(folder);
  }
}

/** Makes the log folder if need be and writes to today's file as the server will. */
function checkLogFolder(folder) {
  try {
    makeFolder(folder);
    fs.appendFileSync(logFile(folder), '');
  } catch (error) {
    throw new StartupError(
      `cannot write the log folder "${folder}" (${error.code}): give this user the right to it, or set LOG_DIR to another`
    );
  }
}

function openLog(folder) {
  return (line) => {
    fs.appendFile(logFile(folder), `${new Date().toISOString()} ${line}\n`, (error) => {
      if (error) {
        console.error(`cannot write the log: ${error.message}`);
      }
    });
  };
}

/** Ends `server` once its requests are answered; idle keep-alive connections do not count. */
function trackConnections(server) {
  const requests = new Map();
  let closing = false;
  const endWhenIdle = (socket) => {
    if (closing && requests.get(socket) === 0) {
      socket.end(() => socket.destroy());
    }
  };
  server.on('connection', (socket) => {
    requests.set(socket, 0);
    socket.once('close', () => requests.delete(socket));
  });
  server.on('request', (request, response) => {
    const socket = request.socket;
    requests.set(socket, requests.get(socket) + 1);
    response.once('finish', () => {
      requests.set(socket, requests.get(socket) - 1);
      endWhenIdle(socket);
    });
  });
  return (done) => {
    closing = true;
    const timer = setTimeout(() => requests.forEach((count, socket) => socket.destroy()), GRACE_MS);
    server.close(() => {
      clearTimeout(timer);
      done();
    });
    requests.forEach((count, socket) => endWhenIdle(socket));
  };
}

/** Resolves once the server listens and its pid file is written. */
function serve(config) {
  checkLogFolder(config.logDir);
  const running = findRunning(config.pidFile);
  if (running !== null) {
    throw new StartupError(`already running with pid ${running.pid} from "${running.folder}": run npm run stop first`);
  }
  const log = openLog(config.logDir);
  const server = http.createServer(createApp(config, log));
  const close = trackConnections(server);
  let ending = false;
  const onSignal = () => {
    if (!ending) {
      ending = true;
      close(() => {
        removePidFile(config.pidFile);
        process.exit(0);
      });
    }
  };
  return new Promise((resolve, reject) => {
    server.once('error', (error) => {
      reject(new StartupError(`cannot listen on ${config.host}:${config.port} (${error.code}): set HOST and PORT to others`));
    });
    server.listen(config.port, config.host, () => {
      try {
        writePidFile(config.pidFile, APP_FOLDER);
      } catch (error) {
        server.close();
        reject(new StartupError(`cannot write the pid file "${config.pidFile}" (${error.code}): set PID_FILE to another`));
        return;
      }
      process.on('SIGINT', onSignal);
      process.on('SIGTERM', onSignal);
      log(`listening on ${config.host}:${config.port}, ${config.version} ${config.environment}, pid ${process.pid}`);
      resolve();
    });
  });
}

module.exports = { APP_FOLDER, checkLogFolder, serve };
