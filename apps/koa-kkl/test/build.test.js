'use strict';

const assert = require('assert');
const { spawnSync } = require('child_process');
const crypto = require('crypto');
const fs = require('fs');
const path = require('path');

const { build, chooseEnvironment } = require('../build/build');
const environments = require('../build/environments');
const { scratchFolder } = require('./support/scratch');
const { ROOT } = require('./support/stage');

function filesIn(folder) {
  return fs
    .readdirSync(folder, { withFileTypes: true })
    .flatMap((entry) => (entry.isDirectory() ? filesIn(path.join(folder, entry.name)) : [path.join(folder, entry.name)]));
}

/** What the build made, as {path relative to the output folder: sha256}. */
function fingerprint(folder) {
  const files = filesIn(folder).sort();
  const digest = (file) => crypto.createHash('sha256').update(fs.readFileSync(file)).digest('hex');
  return Object.fromEntries(files.map((file) => [path.relative(folder, file), digest(file)]));
}

describe('the build', () => {
  const scratch = scratchFolder();

  for (const [environment, { publicPath, sourceMaps }] of Object.entries(environments)) {
    it(`for ${environment} puts every file that is spoken of where its address says`, async () => {
      await build(environment, scratch());
      const files = filesIn(scratch()).map((file) => path.relative(scratch(), file));
      assert.strictEqual(files.some((file) => file.endsWith('.map')), sourceMaps);

      const texts = files.filter((file) => /\.(html|css|js)$/.test(file)).map((file) => fs.readFileSync(scratch(file), 'utf8'));
      const spoken = texts.flatMap((text) => text.match(/https:\/\/static[^\s"'()]*/g) || []);
      assert.ok(spoken.length > 10);
      for (const address of spoken.filter((each) => each !== publicPath)) {
        assert.ok(address.startsWith(publicPath), address);
        assert.ok(files.includes(path.join('dist', new URL(address).pathname)), address);
      }
    });
  }

  it('gives the same bytes in another folder with another environment around it', async () => {
    await build('sit', scratch('one'));
    const env = { ...process.env, TZ: 'Asia/Shanghai', LC_ALL: 'tr_TR.UTF-8', HOME: scratch(), NODE_ENV: 'test', BROWSERSLIST: 'ie 11' };
    const script = `require(${JSON.stringify(path.join(ROOT, 'build', 'build.js'))}).build('sit', ${JSON.stringify(scratch('two', 'deeper'))})`;
    const { status, stderr } = spawnSync(process.execPath, ['-e', script], { cwd: '/', env, encoding: 'utf8' });
    assert.strictEqual(status, 0, stderr);
    assert.deepStrictEqual(fingerprint(scratch('one')), fingerprint(scratch('two', 'deeper')));
  });

  it('clears away what an earlier build left', async () => {
    fs.mkdirSync(scratch('dist', 'dist', 'js'), { recursive: true });
    fs.writeFileSync(scratch('dist', 'dist', 'js', 'home.00000000.js'), '');
    await build('prod', scratch());
    assert.ok(!fs.existsSync(scratch('dist', 'dist', 'js', 'home.00000000.js')));
  });

  it('takes the environment from its argument, then SERVER_ENV, then prod', () => {
    assert.strictEqual(chooseEnvironment(['pre'], { SERVER_ENV: 'sit' }), 'pre');
    assert.strictEqual(chooseEnvironment([], { SERVER_ENV: 'sit' }), 'sit');
    assert.strictEqual(chooseEnvironment([], {}), 'prod');
    assert.throws(() => chooseEnvironment(['production'], {}), /unknown environment "production": it must be one of stable, sit, pre, prod/);
    assert.throws(() => chooseEnvironment(['pre', 'prod'], {}), /one environment at a time/);
  });
});
