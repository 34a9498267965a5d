'use strict';

const assert = require('assert');
const { spawn, spawnSync } = require('child_process');
const fs = require('fs');
const http = require('http');
const net = require('net');
const path = require('path');

const { freePort, scratchFolder } = require('./support/scratch');
const { STAGE, staged } = require('./support/stage');

describe('the scripts of package.json', () => {
  // Before the scratch folder's own hook: with the pid file gone, nothing would find the server any more.
  afterEach(() => run('stop'));

  const scratch = scratchFolder();
  let env;

  beforeEach(async () => {
    env = {
      PATH: process.env.PATH,
      SERVER_ENV: 'sit',
      HOST: '127.0.0.1',
      PORT: String(await freePort()),
      LOG_DIR: scratch('logs'),
    };
  });

  after('leave no process behind', () => {
    const left = fs.readdirSync('/proc').filter((pid) => /^\d+$/.test(pid) && commandOf(pid).includes(STAGE));
    assert.deepStrictEqual(left, []);
  });

  function commandOf(pid) {
    try {
      return fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8');
    } catch (error) {
      return '';
    }
  }

  const script = (name) => path.join(STAGE, 'service', 'bin', `${name}.js`);

  function run(name, extra = {}) {
    const { status, stdout, stderr } = spawnSync(process.execPath, [script(name)], {
      cwd: '/',
      env: { ...env, ...extra },
      encoding: 'utf8',
      timeout: 30000,
    });
    return { status, stdout, stderr };
  }

  const running = () => staged('lib/pid-file').findRunning(path.join(env.LOG_DIR, 'koa-kkl.pid'));

  function ask(url) {
    return new Promise((resolve, reject) => {
      http.get({ host: '127.0.0.1', port: env.PORT, path: url, agent: false }, (response) => {
        response.resume();
        response.on('end', () => resolve(response.statusCode));
      }).on('error', reject);
    });
  }

  it('start, answer, log and stop', async () => {
    const started = run('start');
    assert.strictEqual(started.status, 0, started.stderr);
    assert.match(started.stdout, /^koa-kkl: started as sit on 127\.0\.0\.1:\d+, pid \d+\n$/);
    assert.strictEqual(await ask('/'), 200);
    assert.strictEqual(run('health').status, 0);

    const { pid } = running();
    const stopped = run('stop');
    assert.deepStrictEqual([stopped.status, stopped.stdout], [0, `koa-kkl: stopped pid ${pid}\n`]);
    assert.strictEqual(running(), null);
    assert.strictEqual(run('health').status, 1);

    const [log] = fs.readdirSync(env.LOG_DIR).filter((name) => /^node_info_\d{8}\.log$/.test(name));
    const text = fs.readFileSync(scratch('logs', log), 'utf8');
    assert.match(text, / INFO 127\.0\.0\.1 GET \/ 200 \d+ms\n/);
    assert.match(text, / INFO stopped, pid \d+\n$/);
  });

  it('leave an application folder that nobody may write as it is', () => {
    const listing = () => spawnSync('ls', ['-lR', '--full-time', path.join(STAGE, 'service')], { encoding: 'utf8' }).stdout;
    const before = listing();
    ['start', 'restart', 'smoke', 'stop'].forEach((name) => assert.strictEqual(run(name).status, 0, name));
    assert.strictEqual(listing(), before);
  });

  it('start once: the second says that it is already running', () => {
    run('start');
    const again = run('start');
    assert.deepStrictEqual([again.status, again.stdout], [0, `koa-kkl: already running, pid ${running().pid}\n`]);
  });

  it('do not take an older release in another folder for a success, and restart replaces it', () => {
    run('start');
    const file = path.join(env.LOG_DIR, 'koa-kkl.pid');
    const old = running();
    fs.writeFileSync(file, fs.readFileSync(file, 'utf8').replace(STAGE, '/home/app/older'));
    const started = run('start');
    assert.strictEqual(started.status, 1);
    assert.match(started.stderr, /^koa-kkl: pid \d+ still runs from "\/home\/app\/older": run npm run restart to replace it\n$/);
    assert.strictEqual(run('restart').status, 0);
    assert.notStrictEqual(running().pid, old.pid);
  });

  it('start over the pid file of a process that was killed', () => {
    run('start');
    const { pid } = running();
    process.kill(pid, 'SIGKILL');
    assert.strictEqual(run('start').status, 0);
    assert.notStrictEqual(running().pid, pid);
  });

  it('stop nothing, and nobody else', () => {
    const nothing = run('stop');
    assert.strictEqual(nothing.status, 0);
    assert.match(nothing.stdout, /not running \(no pid file /);

    const stranger = spawn('sleep', ['30']);
    fs.mkdirSync(env.LOG_DIR);
    fs.writeFileSync(path.join(env.LOG_DIR, 'koa-kkl.pid'), `${stranger.pid}\n`);
    const stopped = run('stop');
    assert.match(stopped.stdout, /not running; removed the left-over pid file/);
    assert.ok(fs.existsSync(`/proc/${stranger.pid}`));
    stranger.kill();
  });

  it('leave no descriptor of the starter in the server: a lock held by a deploy would never be free again', () => {
    const held = scratch('lock');
    const { status } = spawnSync('sh', ['-c', 'exec 9>"$1"; "$2" "$3"', 'sh', held, process.execPath, script('start')], { env, stdio: 'ignore' });
    assert.strictEqual(status, 0);
    const folder = `/proc/${running().pid}/fd`;
    const open = fs.readdirSync(folder).map((fd) => fs.readlinkSync(path.join(folder, fd)));
    assert.ok(!open.includes(held), open.join('\n'));
  });

  describe('fail in one line, without a stack, when', () => {
    async function refuses(name, extra, message) {
      const { status, stderr } = run(name, extra);
      assert.strictEqual(status, 1);
      assert.match(stderr, message);
      assert.match(stderr, /^koa-kkl: .*\n$/);
      assert.strictEqual(running(), null);
    }

    for (const name of ['start', 'serve']) {
      it(`${name} finds the port taken`, async () => {
        const other = net.createServer();
        await new Promise((resolve) => other.listen(env.PORT, '127.0.0.1', resolve));
        await refuses(name, {}, /cannot listen on 127\.0\.0\.1:\d+ \(EADDRINUSE\), it is taken: stop what listens there, or set PORT to another/);
        other.close();
      });

      it(`${name} cannot write its log folder`, () => {
        fs.writeFileSync(scratch('file'), '');
        return refuses(name, { LOG_DIR: scratch('file', 'logs') }, /cannot write the log folder ".*" \(ENOTDIR\): .* set LOG_DIR to another/);
      });

      it(`${name} cannot write its pid file`, () => {
        fs.mkdirSync(scratch('folder.pid', 'x'), { recursive: true });
        return refuses(name, { PID_FILE: scratch('folder.pid') }, /cannot (read|write) the pid file ".*folder\.pid" \(EISDIR\): .* set PID_FILE to another/);
      });

      it(`${name} does not know the environment`, () => refuses(name, { SERVER_ENV: 'prd' }, /SERVER_ENV is "prd", but must be one of/));
    }

    it('the views were never built', async () => {
      const views = path.join(STAGE, 'service', 'views');
      fs.renameSync(views, `${views}.away`);
      try {
        await refuses('start', {}, /lacks course\.html, error\.html, home\.html, layout\.html: run npm run build first/);
      } finally {
        fs.renameSync(`${views}.away`, views);
      }
    });
  });

  it('tell when the server died before it listened, and where it said why', () => {
    fs.writeFileSync(scratch('crash.js'), 'if (process.argv[1].endsWith("serve.js")) { throw new Error("no such luck"); }');
    const { status, stderr } = run('start', { NODE_OPTIONS: `--require ${scratch('crash.js')}` });
    assert.strictEqual(status, 1);
    assert.match(stderr, /^koa-kkl: the server ended with code 1 before it listened: see ".*node_console\.log"\n$/);
    assert.match(fs.readFileSync(scratch('logs', 'node_console.log'), 'utf8'), /no such luck/);
  });

  it('give up on a server that never listens, and leave none behind', async () => {
    fs.writeFileSync(
      scratch('hang.js'),
      `if (process.argv[1].endsWith("serve.js")) {
        require('fs').writeFileSync(${JSON.stringify(scratch('pid'))}, String(process.pid));
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
      }`
    );
    const { status, stderr } = run('start', { NODE_OPTIONS: `--require ${scratch('hang.js')}`, START_TIMEOUT: '1' });
    assert.strictEqual(status, 1);
    assert.match(stderr, /no server after START_TIMEOUT \(1 s\): see /);
    // The kernel ends a killed process in its own time.
    const pid = fs.readFileSync(scratch('pid'), 'utf8');
    const isThere = () => staged('lib/pid-file').identityOf(pid) !== null;
    for (let tries = 0; isThere() && tries < 100; tries += 1) {
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    assert.ok(!isThere());
  });

  for (const signal of ['SIGINT', 'SIGTERM']) {
    it(`serve ends on ${signal} at once, although a browser keeps its connection`, async () => {
      const server = spawn(process.execPath, [script('serve')], { cwd: '/', env, stdio: ['ignore', 'pipe', 'inherit'] });
      await new Promise((resolve) => server.stdout.once('data', resolve));
      const agent = new http.Agent({ keepAlive: true });
      await new Promise((resolve, reject) => {
        http.get({ host: '127.0.0.1', port: env.PORT, path: '/', agent }, (response) => response.resume().on('end', resolve)).on('error', reject);
      });
      const asked = Date.now();
      const ended = new Promise((resolve) => server.once('exit', (code) => resolve(code)));
      server.kill(signal);
      assert.strictEqual(await ended, 0);
      assert.ok(Date.now() - asked < 1000);
      assert.ok(!fs.existsSync(path.join(env.LOG_DIR, 'koa-kkl.pid')));
      agent.destroy();
    });
  }

  it('serve lets a request finish, although npm passes the signal of the terminal on a second time', async () => {
    const server = spawn(process.execPath, [script('serve')], { cwd: '/', env, stdio: ['ignore', 'pipe', 'inherit'] });
    await new Promise((resolve) => server.stdout.once('data', resolve));
    const ended = new Promise((resolve) => server.once('exit', (code) => resolve(code)));
    const body = JSON.stringify({ courseId: 'algebra-1' });
    const headers = { 'Content-Type': 'application/json', 'Content-Length': body.length };
    const status = await new Promise((resolve, reject) => {
      const options = { host: '127.0.0.1', port: env.PORT, path: '/api/favourites', method: 'POST', headers, agent: false };
      const request = http.request(options, (response) => resolve(response.resume().statusCode)).on('error', reject);
      request.write(body.slice(0, 5));
      setTimeout(() => server.kill('SIGINT'), 200);
      setTimeout(() => server.kill('SIGINT'), 300);
      setTimeout(() => request.end(body.slice(5)), 500);
    });
    assert.strictEqual(status, 201);
    assert.strictEqual(await ended, 0);
  });

  it('smoke passes with nothing to write but the temporary folder, and in every environment', () => {
    for (const environment of ['stable', 'sit', 'pre', 'prod']) {
      fs.mkdirSync(scratch('tmp'), { recursive: true });
      const { status, stdout, stderr } = run('smoke', { SERVER_ENV: environment, LOG_DIR: '/proc/none', TMPDIR: scratch('tmp') });
      assert.strictEqual(status, 0, stderr);
      assert.match(stdout, new RegExp(`smoke run passed: \\d+ modules, 4 views, as ${environment}`));
      assert.deepStrictEqual(fs.readdirSync(scratch('tmp')), []);
    }
  });

  it('smoke fails on a server file that needs a package which is not there', () => {
    const file = path.join(STAGE, 'service', 'lib', 'stray.js');
    fs.writeFileSync(file, "require('koa-statistics-that-nobody-has');\n");
    try {
      const { status, stderr } = run('smoke');
      assert.strictEqual(status, 1);
      assert.match(stderr, /Cannot find module 'koa-statistics-that-nobody-has'/);
    } finally {
      fs.rmSync(file);
    }
  });
});
