'use strict';

const assert = require('assert');
const { spawn } = require('child_process');
const fs = require('fs');

const { scratchFolder } = require('./support/scratch');
const { staged } = require('./support/stage');

describe('the pid file', () => {
  const scratch = scratchFolder();
  const pidFile = () => staged('lib/pid-file');

  it('finds the process that wrote it', () => {
    const file = scratch('run', 'kkl.pid');
    pidFile().writePidFile(file, process.pid, '/home/app/koa-kkl');
    const running = pidFile().findRunning(file);
    assert.strictEqual(running.pid, process.pid);
    assert.strictEqual(running.folder, '/home/app/koa-kkl');
    assert.ok(pidFile().isRunning(running));
    assert.deepStrictEqual(fs.readdirSync(scratch('run')), ['kkl.pid']);
  });

  const boot = () => fs.readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  const strangers = {
    'a process that has the number but started at another time': () => `${process.pid}\n${boot()} 1\n/home/app\n`,
    'a process of before the reboot': () => {
      const [, started] = pidFile().identityOf(process.pid).split(' ');
      return `${process.pid}\n00000000-0000-0000-0000-000000000000 ${started}\n/home/app\n`;
    },
    'a bare number': () => `${process.pid}\n`,
    'an empty file': () => '',
    'no number at all': () => 'self\nx y\n/home/app\n',
  };
  for (const [what, text] of Object.entries(strangers)) {
    it(`does not take ${what} for ours`, () => {
      fs.writeFileSync(scratch('kkl.pid'), text());
      assert.strictEqual(pidFile().findRunning(scratch('kkl.pid')), null);
    });
  }

  it('does not count a process that is dead and only not yet reaped', async () => {
    // The shell starts a child, and becomes a program that never asks for it before the child ends.
    const parent = spawn('sh', ['-c', 'sleep 0.5 & echo $!; exec sleep 30'], { stdio: ['ignore', 'pipe', 'ignore'] });
    try {
      const pid = await new Promise((resolve) => parent.stdout.once('data', (data) => resolve(Number(data))));
      await new Promise((resolve) => setTimeout(resolve, 1000));
      assert.match(fs.readFileSync(`/proc/${pid}/stat`, 'utf8'), /\) Z /);
      assert.strictEqual(pidFile().identityOf(pid), null);
    } finally {
      parent.kill('SIGKILL');
    }
  });

  it('is not removed from under another process that has it now', () => {
    pidFile().writePidFile(scratch('kkl.pid'), process.pid, '/home/app');
    pidFile().removePidFile(scratch('kkl.pid'), process.pid + 1);
    assert.ok(fs.existsSync(scratch('kkl.pid')));
    pidFile().removePidFile(scratch('kkl.pid'), process.pid);
    assert.ok(!fs.existsSync(scratch('kkl.pid')));
  });
});
