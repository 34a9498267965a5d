'use strict';

const assert = require('assert');
const http = require('http');
const net = require('net');

const { staged } = require('./support/stage');

describe('ending the connections', () => {
  let server;
  let connections;
  let held;

  beforeEach((done) => {
    held = [];
    server = http.createServer((request, response) => {
      if (request.url === '/slow') {
        held.push(response);
      } else {
        response.end('done');
      }
    });
    connections = staged('lib/connections').trackConnections(server);
    server.listen(0, '127.0.0.1', done);
  });

  afterEach(() => server.close());

  function ask(url, agent) {
    return new Promise((resolve, reject) => {
      const { port } = server.address();
      const request = http.get({ host: '127.0.0.1', port, path: url, agent }, (response) => {
        let text = '';
        response.on('data', (chunk) => {
          text += chunk;
        });
        response.on('end', () => resolve(text));
      });
      request.on('error', reject);
    });
  }

  async function until(condition) {
    while (!condition()) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  async function timed(promise) {
    const started = Date.now();
    return { value: await promise, ms: Date.now() - started };
  }

  it('does not wait for a keep-alive connection', async () => {
    const agent = new http.Agent({ keepAlive: true });
    await ask('/', agent);
    const { value, ms } = await timed(connections.close(5000));
    assert.strictEqual(value, 0);
    assert.ok(ms < 1000, `${ms} ms`);
    agent.destroy();
  });

  it('does not wait for a connection that never asks, nor for its other side to hang up', async () => {
    const socket = net.connect({ port: server.address().port, host: '127.0.0.1', allowHalfOpen: true });
    await new Promise((resolve) => socket.once('connect', resolve));
    await ask('/');
    const { value, ms } = await timed(connections.close(5000));
    assert.strictEqual(value, 0);
    assert.ok(ms < 1000, `${ms} ms`);
    socket.destroy();
  });

  it('lets a request finish', async () => {
    const agent = new http.Agent({ keepAlive: true });
    const answer = ask('/slow', agent);
    await until(() => held.length === 1);
    const closed = connections.close(5000);
    setTimeout(() => held[0].end('slow but whole'), 100);
    assert.strictEqual(await answer, 'slow but whole');
    assert.strictEqual(await closed, 0);
    agent.destroy();
  });

  it('cuts off what takes longer than the grace, and counts it', async () => {
    const answer = assert.rejects(ask('/slow'), /hang up|ECONNRESET/);
    await until(() => held.length === 1);
    const { value, ms } = await timed(connections.close(100));
    assert.strictEqual(value, 1);
    assert.ok(ms < 2000, `${ms} ms`);
    await answer;
  });
});
