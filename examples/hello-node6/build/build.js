'use strict';

/** Makes dist/dist/hello.css, which visitors get as https://static.example.com/dist/hello.css. It is the same in every environment. */

const CleanCSS = require('clean-css');
const fs = require('fs');
const path = require('path');

const ROOT = path.dirname(__dirname);

const style = fs.readFileSync(path.join(ROOT, 'src', 'hello.css'), 'utf8');
const result = new CleanCSS().minify(style);
if (result.errors.length > 0) {
  console.error(`build failed: ${result.errors.join('; ')}`);
  process.exit(1);
}

let folder = ROOT;
for (const name of ['dist', 'dist']) {
  folder = path.join(folder, name);
  if (!fs.existsSync(folder)) {
    fs.mkdirSync(folder);
  }
}
fs.writeFileSync(path.join(folder, 'hello.css'), `${result.styles}\n`);
console.log('built dist/dist/hello.css');
