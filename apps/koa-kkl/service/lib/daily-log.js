'use strict';

/**
 * The log of the application: one file a day, node_info_YYYYMMDD.log by the host's own calendar. A full disk
 * or a folder that has gone must not end the server: lines are dropped, the console hears of it, and writing goes on
 * as soon as the file can be opened again.
 */

const fs = require('fs');
const path = require('path');
const { inspect } = require('util');

const { StartupError } = require('./startup-error');

const RETRY_AFTER_MS = 1000;
const MOST_BYTES_WAITING = 8 * 1024 * 1024;

function two(number) {
  return String(number).padStart(2, '0');
}

function dayOf(date) {
  return `${date.getFullYear()}${two(date.getMonth() + 1)}${two(date.getDate())}`;
}

function fileOf(folder, day) {
  return path.join(folder, `node_info_${day}.log`);
}

function stampOf(date) {
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  const time = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
  const zone = -date.getTimezoneOffset();
  const offset = `${zone < 0 ? '-' : '+'}${two(Math.floor(Math.abs(zone) / 60))}${two(Math.abs(zone) % 60)}`;
  return `${day}T${time}.${String(date.getMilliseconds()).padStart(3, '0')}${offset}`;
}

/** Keeps an entry on one line: what a client sent must not be able to forge another entry. */
function onOneLine(message) {
  // eslint-disable-next-line no-control-regex
  return message.replace(/[\u0000-\u001f\u007f]/g, (char) => (char === '\n' ? '\\n' : ' '));
}

function textOf(message) {
  return onOneLine(typeof message === 'string' ? message : inspect(message));
}

class DailyLog {
  constructor(folder, { now = () => new Date(), echo = null, complain = console.error } = {}) {
    this.folder = folder;
    this.now = now;
    this.echo = echo;
    this.complain = complain;
    this.day = null;
    this.stream = null;
    this.lost = 0;
    this.retryAt = 0;
    this.closing = [];
  }

  info(message) {
    this.write('INFO', message);
  }

  warn(message) {
    this.write('WARN', message);
  }

  error(message) {
    this.write('ERROR', message);
  }

  write(level, message) {
    const date = this.now();
    const line = `${stampOf(date)} ${level} ${textOf(message)}\n`;
    if (this.echo) {
      this.echo(line);
    }
    this.turnTo(date);
    if (this.stream === null || this.stream.writableLength > MOST_BYTES_WAITING) {
      this.lost += 1;
      return;
    }
    if (this.lost > 0) {
      this.stream.write(`${stampOf(date)} WARN at least ${this.lost} lines were lost here\n`);
      this.lost = 0;
    }
    this.stream.write(line);
  }

  turnTo(date) {
    const day = dayOf(date);
    if (this.stream !== null && this.day === day) {
      return;
    }
    if (this.stream === null && date.getTime() < this.retryAt) {
      return;
    }
    this.finish(this.stream);
    this.day = day;
    this.stream = this.open(day);
  }

  open(day) {
    const file = fileOf(this.folder, day);
    const stream = fs.createWriteStream(file, { flags: 'a' });
    stream.on('error', (error) => {
      this.complain(`cannot write the log "${file}": ${error.message}`);
      this.lost += 1;
      if (this.stream === stream) {
        this.stream = null;
        this.retryAt = this.now().getTime() + RETRY_AFTER_MS;
      }
    });
    return stream;
  }

  finish(stream) {
    if (stream !== null) {
      this.closing.push(new Promise((resolve) => stream.once('close', resolve)));
      stream.end();
    }
  }

  /** Resolves once every line is written. */
  async close() {
    this.finish(this.stream);
    this.stream = null;
    await Promise.all(this.closing);
  }
}

/** Makes `folder` if need be, and opens today's file as the server will: a StartupError when that can't be done. */
function checkLogFolder(folder) {
  try {
    fs.mkdirSync(folder, { recursive: true });
    fs.closeSync(fs.openSync(fileOf(folder, dayOf(new Date())), 'a'));
  } catch (error) {
    throw new StartupError(
      `cannot write the log folder "${folder}" (${error.code}): give this user the right to it, or set LOG_DIR to another`
    );
  }
}

module.exports = { DailyLog, checkLogFolder };
