'use strict';

const assert = require('assert');
const { sum } = require('.');

assert.strictEqual(sum(2, 40.5), 42.5);
assert.throws(() => sum('2'), /two numbers/);
