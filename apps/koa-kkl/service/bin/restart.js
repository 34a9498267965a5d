'use strict';

/** `npm run restart`: also takes over from an older release in another folder, as both share the pid file. */

const { runCommand } = require('../lib/command');
const { start } = require('./start');
const { stop } = require('./stop');

runCommand(module, async () => {
  await stop(process.env);
  await start(process.env);
});
