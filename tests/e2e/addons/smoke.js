'use strict';

// Loads and uses every addon that the application depends on.
const assert = require('assert');
const dependencies = Object.keys(require('../package.json').dependencies);

const uses = {
  hello: (hello) => assert.strictEqual(hello.hello(), 'world'),
  napi: (napi) => {
    assert.strictEqual(napi.sum(2, 40.5), 42.5);
    assert.throws(() => napi.sum('2'), /two numbers/);
  },
  'nan-words': (words) => {
    assert.strictEqual(words.Shout('hello'), 'hello!');
    assert.throws(() => words.Shout(''), /no words/);
  },
  bcrypt: (bcrypt) => {
    const hash = bcrypt.hashSync('secret', 4);
    assert.strictEqual(bcrypt.compareSync('secret', hash), true);
    assert.strictEqual(bcrypt.compareSync('other', hash), false);
  },
};

dependencies.forEach((name) => {
  uses[name](require(name));
  console.log(`${name}: used under ${process.version}`);
});
