'use strict';

const { StartupError } = require('./startup-error');
const { name } = require('../../package.json');

function say(message) {
  process.stdout.write(`${name}: ${message}\n`);
}

function complain(message) {
  process.stderr.write(`${name}: ${message}\n`);
}

/** Runs `main` when its module was started as a program; being required only defines it. */
async function runCommand(module, main) {
  if (require.main !== module) {
    return;
  }
  try {
    process.exitCode = (await main()) || 0;
  } catch (error) {
    complain(error instanceof StartupError ? error.message : error.stack);
    process.exitCode = 1;
  }
}

module.exports = { complain, runCommand, say };
