'use strict';

const assert = require('assert');
const fs = require('fs');

const { scratchFolder } = require('./support/scratch');
const { staged } = require('./support/stage');

const June6 = new Date(2018, 5, 6, 23, 59, 59, 7);
const June7 = new Date(2018, 5, 7, 0, 0, 1);

describe('the log', () => {
  const scratch = scratchFolder();
  const newLog = (folder, options) => new (staged('lib/daily-log').DailyLog)(folder, options);
  const check = (folder) => staged('lib/daily-log').checkLogFolder(folder);

  it('has one file a day', async () => {
    let date = June6;
    const log = newLog(scratch(), { now: () => date });
    log.info('last of the sixth');
    date = June7;
    log.warn('first of the seventh');
    await log.close();
    assert.deepStrictEqual(fs.readdirSync(scratch()).sort(), ['node_info_20180606.log', 'node_info_20180607.log']);
    assert.match(
      fs.readFileSync(scratch('node_info_20180606.log'), 'utf8'),
      /^2018-06-06T23:59:59\.007[+-]\d{4} INFO last of the sixth\n$/
    );
    assert.match(fs.readFileSync(scratch('node_info_20180607.log'), 'utf8'), / WARN first of the seventh\n$/);
  });

  it('keeps an entry on one line, whatever is in it', async () => {
    const log = newLog(scratch(), { now: () => June6 });
    log.info('GET /\n2018-06-06 INFO forged\u001b[2J');
    await log.close();
    const text = fs.readFileSync(scratch('node_info_20180606.log'), 'utf8');
    assert.strictEqual(text.split('\n').length, 2);
    assert.ok(!text.includes('\u001b'));
  });

  it('adds to what is there', async () => {
    for (const message of ['one', 'two']) {
      const log = newLog(scratch(), { now: () => June6 });
      log.info(message);
      await log.close();
    }
    assert.strictEqual(fs.readFileSync(scratch('node_info_20180606.log'), 'utf8').split('\n').length, 3);
  });

  it('survives a folder that goes away, and says afterwards that lines are missing', async () => {
    const complaints = [];
    const folder = scratch('logs');
    let ms = June6.getTime() - 60000;
    const log = newLog(folder, { now: () => new Date(ms), complain: (text) => complaints.push(text) });
    log.info('into nothing');
    await new Promise((resolve) => setTimeout(resolve, 50));
    log.info('still nothing');
    assert.strictEqual(complaints.length, 1);
    assert.match(complaints[0], /^cannot write the log ".*node_info_20180606\.log": ENOENT/);

    check(folder);
    ms += 2000;
    log.info('back again');
    await log.close();
    const lines = fs.readFileSync(scratch('logs', 'node_info_20180606.log'), 'utf8').split('\n');
    assert.match(lines[0], /WARN at least 2 lines were lost here$/);
    assert.match(lines[1], /INFO back again$/);
  });

  it('makes its folder, or says in one line why it cannot', () => {
    check(scratch('a', 'b'));
    assert.ok(fs.existsSync(scratch('a', 'b')));

    fs.writeFileSync(scratch('file'), '');
    assert.throws(() => check(scratch('file', 'logs')), (error) => {
      assert.ok(error instanceof staged('lib/startup-error').StartupError);
      assert.match(error.message, /^cannot write the log folder ".*file\/logs" \(ENOTDIR\): .*set LOG_DIR to another$/);
      return true;
    });
  });
});
