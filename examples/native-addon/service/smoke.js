'use strict';

const assert = require('assert');
const { Accounts } = require('./accounts');

async function main() {
  const accounts = new Accounts(':memory:');
  await accounts.open();
  await accounts.add('ada', 'difference engine');
  assert.strictEqual(await accounts.check('ada', 'difference engine'), true);
  assert.strictEqual(await accounts.check('ada', 'analytical engine'), false);
  assert.strictEqual(await accounts.check('bob', 'difference engine'), false);
  await accounts.close();
  console.log('accounts: ok');
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
