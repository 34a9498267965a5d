'use strict';

const bcrypt = require('bcrypt');
const sqlite3 = require('sqlite3');

/** Accounts in a SQLite database; passwords are kept as bcrypt hashes alone. */
class Accounts {
  constructor(file) {
    this.database = new sqlite3.Database(file);
  }

  open() {
    return this.run('CREATE TABLE IF NOT EXISTS account (name TEXT PRIMARY KEY, hash TEXT NOT NULL)');
  }

  async add(name, password) {
    await this.run('INSERT INTO account VALUES (?, ?)', name, await bcrypt.hash(password, 10));
  }

  async check(name, password) {
    const row = await this.get('SELECT hash FROM account WHERE name = ?', name);
    return row !== undefined && bcrypt.compare(password, row.hash);
  }

  close() {
    return new Promise((resolve, reject) => this.database.close((error) => (error ? reject(error) : resolve())));
  }

  run(sql, ...values) {
    return new Promise((resolve, reject) => this.database.run(sql, values, (error) => (error ? reject(error) : resolve())));
  }

  get(sql, ...values) {
    return new Promise((resolve, reject) =>
      this.database.get(sql, values, (error, row) => (error ? reject(error) : resolve(row))));
  }
}

module.exports = { Accounts };
