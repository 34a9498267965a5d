'use strict';

/** What the host says by environment variables; every fault is named at once. */

const path = require('path');

const about = require('../package.json');

const ENVIRONMENTS = ['stable', 'sit', 'pre', 'prod'];

/** A mistake of whoever starts the application: told in one line, without a stack. */
class StartupError extends Error {}

function loadConfig(env) {
  const logDir = env.LOG_DIR || `/home/logs/${about.name}`;
  const config = {
    name: about.name,
    version: about.version,
    environment: env.SERVER_ENV || 'prod',
    host: env.HOST || '0.0.0.0',
    port: Number(env.PORT || 3000),
    logDir,
    // Beside the logs: the release's own folder is never written to.
    pidFile: env.PID_FILE || path.join(logDir, `${about.name}.pid`),
  };
  const faults = [];
  if (ENVIRONMENTS.indexOf(config.environment) < 0) {
    faults.push(`SERVER_ENV is "${config.environment}", but must be one of ${ENVIRONMENTS.join(', ')}`);
  }
  if (!Number.isInteger(config.port) || config.port < 1 || config.port > 65535) {
    faults.push(`PORT is "${env.PORT}", but must be a number from 1 to 65535`);
  }
  for (const key of ['logDir', 'pidFile']) {
    if (!path.isAbsolute(config[key])) {
      faults.push(`${key === 'logDir' ? 'LOG_DIR' : 'PID_FILE'} is "${config[key]}", but must be an absolute path`);
    }
  }
  if (faults.length > 0) {
    throw new StartupError(faults.join('; '));
  }
  return config;
}

module.exports = { StartupError, loadConfig };
