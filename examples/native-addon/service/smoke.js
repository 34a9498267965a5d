'use strict';

const assert = require('assert');
const { hello } = require('hello');
const { sum } = require('sum');
const { Shout } = require('words');
const { Accounts } = require('./accounts');

async function main() {
  const accounts = new Accounts(':memory:');
  await accounts.open();
  await accounts.add('ada', 'difference engine');
  assert.strictEqual(await accounts.check('ada', 'difference engine'), true);
  assert.strictEqual(await accounts.check('ada', 'analytical engine'), false);
  assert.strictEqual(await accounts.check('bob', 'difference engine'), false);
  await accounts.close();
  assert.strictEqual(hello(), 'world');
  assert.strictEqual(sum(2, 40), 42);
  assert.strictEqual(Shout('done'), 'done!');
  console.log(`five addons: used under ${process.version}`);
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
