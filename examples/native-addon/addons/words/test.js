'use strict';

const assert = require('assert');
const words = require('.');

assert.strictEqual(words.Shout('hello'), 'hello!');
assert.throws(() => words.Shout(''), /no words/);
