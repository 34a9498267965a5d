'use strict';

/**
 * The note that tells start, stop and restart which process is ours. A number alone can be somebody else's a
 * reboot later, so it goes with what the kernel never gives twice: the boot and the process's start time in it.
 *
 *   12345
 *   <boot id> <start time in ticks>
 *   <the application's folder>
 */

const fs = require('fs');
const path = require('path');

const { StartupError } = require('./startup-error');

function refusal(what, file, error) {
  return new StartupError(`cannot ${what} the pid file "${file}" (${error.code}): give this user the right to it, or set PID_FILE to another`);
}

/** What tells the live process `pid` from any other, or null when there is none; one that only waits to be reaped is none. */
function identityOf(pid) {
  let stat;
  try {
    stat = fs.readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch (error) {
    if (error.code === 'ENOENT' || error.code === 'ESRCH') {
      return null;
    }
    throw error;
  }
  // The second field is the program's name in brackets, and may itself hold brackets and spaces.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [state, started] = [fields[0], fields[19]];
  if (state === 'Z' || state === 'X') {
    return null;
  }
  const boot = fs.readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  return `${boot} ${started}`;
}

/** The running process that `file` speaks of, as {pid, identity, folder}, or null. */
function findRunning(file) {
  let text;
  try {
    text = fs.readFileSync(file, 'utf8');
  } catch (error) {
    if (error.code === 'ENOENT') {
      return null;
    }
    throw refusal('read', file, error);
  }
  const [number, identity, folder] = text.split('\n');
  if (!/^[1-9][0-9]*$/.test(number) || !identity || identityOf(number) !== identity) {
    return null;
  }
  return { pid: Number(number), identity, folder };
}

function isRunning(record) {
  return identityOf(record.pid) === record.identity;
}

function writePidFile(file, pid, folder) {
  const draft = `${file}.${pid}`;
  try {
    fs.mkdirSync(path.dirname(file), { recursive: true });
    fs.writeFileSync(draft, `${pid}\n${identityOf(pid)}\n${folder}\n`);
    fs.renameSync(draft, file);
  } catch (error) {
    fs.rmSync(draft, { force: true });
    throw refusal('write', file, error);
  }
}

/** Removes `file` unless a live process other than `pid` has taken it over meanwhile. */
function removePidFile(file, pid) {
  const running = findRunning(file);
  if (running !== null && running.pid !== pid) {
    return;
  }
  try {
    fs.rmSync(file, { force: true });
  } catch (error) {
    throw refusal('remove', file, error);
  }
}

module.exports = { findRunning, identityOf, isRunning, removePidFile, writePidFile };
