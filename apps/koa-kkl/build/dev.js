'use strict';

/**
 * `npm run dev`: rebuilds the client on each change, serves its files, and restarts the server whenever the views or
 * the server's own files change. Logs and the pid file stay in .dev/.
 */

const { spawn } = require('child_process');
const fs = require('fs');
const path = require('path');

const chokidar = require('chokidar');
const Koa = require('koa');
const serveFiles = require('koa-static');
const webpack = require('webpack');

const webpackConfig = require('./webpack.config');

const ROOT = path.dirname(__dirname);
const STATIC_PORT = Number(process.env.STATIC_PORT || 3001);
const SETTLE_MS = 200;

function serveStatic() {
  const app = new Koa();
  app.use(serveFiles(path.join(ROOT, 'dist')));
  app.listen(STATIC_PORT, '127.0.0.1');
}

/** Keeps one server running; asking twice within a moment restarts it once. */
class Server {
  constructor() {
    this.child = null;
    this.timer = null;
  }

  restartSoon() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.restart(), SETTLE_MS);
  }

  restart() {
    if (this.child !== null) {
      // Its pid file and port are free only when it is gone.
      this.child.kill('SIGINT');
      return;
    }
    const work = path.join(ROOT, '.dev');
    const env = { HOST: '127.0.0.1', LOG_DIR: work, DEBUG: 'true', SERVER_ENV: 'stable', ...process.env };
    const child = spawn(process.execPath, [path.join(ROOT, 'service', 'bin', 'serve.js')], { env, stdio: 'inherit' });
    this.child = child;
    child.on('exit', (code) => {
      this.child = null;
      if (code === 0) {
        this.restart();
      } else {
        console.log('the server ended: waiting for the next change');
      }
    });
  }
}

function main() {
  fs.rmSync(path.join(ROOT, 'dist'), { recursive: true, force: true });
  const server = new Server();
  const config = webpackConfig({
    root: ROOT,
    output: ROOT,
    publicPath: `http://127.0.0.1:${STATIC_PORT}/dist/`,
    sourceMaps: true,
    mode: 'development',
  });
  webpack(config).watch({}, (error, stats) => {
    console.log(error ? error.stack : stats.toString({ preset: 'errors-warnings', colors: true }));
    if (!error && !stats.hasErrors()) {
      server.restartSoon();
    }
  });
  chokidar
    .watch(path.join(ROOT, 'service'), { ignored: path.join(ROOT, 'service', 'views'), ignoreInitial: true })
    .on('all', () => server.restartSoon());
  serveStatic();
}

main();
