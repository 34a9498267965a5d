'use strict';

const fs = require('fs');
const os = require('os');
const path = require('path');

const { build } = require('../../build/build');

const ROOT = path.join(__dirname, '..', '..');
const STAGE = fs.mkdtempSync(path.join(os.tmpdir(), 'koa-kkl-test-'));

function copy(from, to) {
  if (fs.statSync(from).isDirectory()) {
    fs.mkdirSync(to, { recursive: true });
    fs.readdirSync(from).forEach((name) => copy(path.join(from, name), path.join(to, name)));
  } else {
    fs.copyFileSync(from, to);
  }
}

/** Lays out what a release holds: package.json, service/ with its views built for stable, and the packages. */
async function stage() {
  copy(path.join(ROOT, 'package.json'), path.join(STAGE, 'package.json'));
  copy(path.join(ROOT, 'service'), path.join(STAGE, 'service'));
  fs.symlinkSync(path.join(ROOT, 'node_modules'), path.join(STAGE, 'node_modules'));
  await build('stable', STAGE);
}

function removeStage() {
  fs.rmSync(STAGE, { recursive: true, force: true });
}

/** Requires a module of the staged server, such as staged('lib/pid-file'). */
function staged(name) {
  return require(path.join(STAGE, 'service', name));
}

module.exports = { ROOT, STAGE, removeStage, stage, staged };
