'use strict';

/**
 * Which process is ours: its number, and the boot and start time that tell it from a later process of that number.
 * Three lines: number, identity, the application's folder.
 */

const fs = require('fs');

function identityOf(pid) {
  let stat;
  try {
    stat = fs.readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch (error) {
    return null;
  }
  // The program's name stands in brackets and may itself hold brackets and spaces.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  if (fields[0] === 'Z' || fields[0] === 'X') {
    return null;
  }
  const boot = fs.readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  return `${boot} ${fields[19]}`;
}

/** The live process that `file` speaks of, as {pid, identity, folder}, or null. */
function findRunning(file) {
  if (!fs.existsSync(file)) {
    return null;
  }
  const lines = fs.readFileSync(file, 'utf8').split('\n');
  const running = { pid: Number(lines[0]), identity: lines[1], folder: lines[2] };
  return running.identity && isRunning(running) ? running : null;
}

function isRunning(running) {
  return identityOf(running.pid) === running.identity;
}

function writePidFile(file, folder) {
  const draft = `${file}.${process.pid}`;
  fs.writeFileSync(draft, `${process.pid}\n${identityOf(process.pid)}\n${folder}\n`);
  fs.renameSync(draft, file);
}

function removePidFile(file) {
  if (fs.existsSync(file)) {
    fs.unlinkSync(file);
  }
}

module.exports = { findRunning, isRunning, removePidFile, writePidFile };
