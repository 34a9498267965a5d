'use strict';

/** `npm run health`: 0 when the server at the configured address is ours and well, else 1. */

const { loadConfig } = require('../config');
const { complain, runCommand, say } = require('../lib/command');
const { checkHealth } = require('../lib/health-check');

runCommand(module, async () => {
  const config = loadConfig(process.env);
  const problem = await checkHealth(config);
  if (problem !== null) {
    complain(`not healthy: ${problem}`);
    return 1;
  }
  say(`healthy on port ${config.port}`);
  return 0;
});
