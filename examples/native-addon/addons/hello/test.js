'use strict';

const assert = require('assert');
assert.strictEqual(require('.').hello(), 'world');
