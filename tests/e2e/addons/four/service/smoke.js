'use strict';

// Each addon does what it is for.
const assert = require('assert');
const argon2 = require('argon2');
const bcrypt = require('bcrypt');
const nodejieba = require('nodejieba');
const sqlite3 = require('sqlite3');

async function main() {
  assert.deepStrictEqual(nodejieba.cut('南京市长江大桥'), ['南京市', '长江大桥']);
  assert.ok(bcrypt.compareSync('secret', bcrypt.hashSync('secret', 4)));
  assert.ok(await argon2.verify(await argon2.hash('secret', { timeCost: 2, memoryCost: 1024 }), 'secret'));
  const database = new sqlite3.Database(':memory:');
  const row = await new Promise((resolve, reject) =>
    database.get('SELECT 6 * 7 AS answer', (error, found) => (error ? reject(error) : resolve(found))));
  assert.strictEqual(row.answer, 42);
  console.log(`all used under ${process.version}`);
}

main();
