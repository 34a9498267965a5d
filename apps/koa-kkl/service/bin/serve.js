'use strict';

/** `npm run serve`: the server in the foreground. `npm run start` runs this same file in the background. */

const { loadConfig } = require('../config');
const { runCommand } = require('../lib/command');
const { StartupError } = require('../lib/startup-error');
const { serve } = require('../server');

/** Tells a waiting `npm run start` how it went; without one there is no channel. */
function tellStarter(message) {
  if (process.connected) {
    process.send(message, () => {
      if (process.connected) {
        process.disconnect();
      }
    });
  }
}

async function main() {
  try {
    await serve(loadConfig(process.env), () => tellStarter({ ready: true }));
  } catch (error) {
    if (error instanceof StartupError) {
      tellStarter({ failed: error.message });
    }
    throw error;
  }
}

runCommand(module, main);
