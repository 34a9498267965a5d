'use strict';

/**
 * All settings in one place: a file per SERVER_ENV for what belongs to the environment, environment variables
 * for what belongs to the host. Every fault is found at once and told in one line.
 */

const crypto = require('crypto');
const path = require('path');

const { StartupError } = require('../lib/startup-error');
const { name, version } = require('../../package.json');

const ENVIRONMENTS = {
  stable: require('./stable'),
  sit: require('./sit'),
  pre: require('./pre'),
  prod: require('./prod'),
};

const SHORTEST_KEY = 16;

function readEnvironment(env, faults) {
  const wanted = env.SERVER_ENV || 'prod';
  if (!Object.prototype.hasOwnProperty.call(ENVIRONMENTS, wanted)) {
    const known = Object.keys(ENVIRONMENTS).join(', ');
    faults.push(`SERVER_ENV is "${wanted}", but must be one of ${known}`);
    return null;
  }
  return wanted;
}

function readNumber(env, key, fallback, lowest, highest, faults) {
  const text = env[key] || String(fallback);
  const number = Number(text);
  if (!/^[0-9]+$/.test(text) || number < lowest || number > highest) {
    faults.push(`${key} is "${text}", but must be a number from ${lowest} to ${highest}`);
  }
  return number;
}

function readPath(env, key, fallback, faults) {
  const text = env[key] || fallback;
  if (!path.isAbsolute(text)) {
    // A relative one would mean another place for each folder that a command is typed in.
    faults.push(`${key} is "${text}", but must be an absolute path`);
  }
  return path.normalize(text);
}

function readSessionKeys(env, fallback, faults) {
  if (!env.SESSION_KEYS) {
    return fallback;
  }
  const keys = env.SESSION_KEYS.split(',').map((key) => key.trim());
  if (keys.some((key) => key.length < SHORTEST_KEY)) {
    faults.push(`SESSION_KEYS must hold keys of ${SHORTEST_KEY} or more characters, the newest first, with commas between`);
  }
  return keys;
}

/** The settings for a process with the environment variables `env`, or a StartupError that names every fault. */
function loadConfig(env) {
  const faults = [];
  const environment = readEnvironment(env, faults);
  const settings = environment ? ENVIRONMENTS[environment] : {};
  const logDir = readPath(env, 'LOG_DIR', path.join('/home/logs', name), faults);
  const config = {
    name,
    version,
    environment,
    banner: settings.banner,
    behindProxy: settings.behindProxy,
    sessionKeys: readSessionKeys(env, settings.sessionKeys, faults),
    host: env.HOST || '0.0.0.0',
    port: readNumber(env, 'PORT', 3000, 1, 65535, faults),
    logDir,
    // Beside the logs, not in the application's folder: a release is never written to, and the next release has
    // to find the process of the one before.
    pidFile: readPath(env, 'PID_FILE', path.join(logDir, `${name}.pid`), faults),
    startTimeout: readNumber(env, 'START_TIMEOUT', 30, 1, 3600, faults) * 1000,
    stopTimeout: readNumber(env, 'STOP_TIMEOUT', 10, 1, 3600, faults) * 1000,
    debug: /^(1|true)$/.test(env.DEBUG || ''),
  };
  if (faults.length > 0) {
    throw new StartupError(faults.join('; '));
  }
  config.temporaryKeys = config.sessionKeys === null;
  if (config.temporaryKeys) {
    config.sessionKeys = [crypto.randomBytes(32).toString('hex')];
  }
  return Object.freeze(config);
}

module.exports = { ENVIRONMENTS, loadConfig };
