'use strict';

const assert = require('assert');
const path = require('path');

const supertest = require('supertest');

const { STAGE, staged } = require('./support/stage');

class MemoryLog {
  constructor() {
    this.lines = [];
    for (const level of ['info', 'warn', 'error']) {
      this[level] = (message) => this.lines.push(`${level} ${message}`);
    }
  }
}

describe('over HTTP', () => {
  let log;

  function application({ env = {}, courses = staged('lib/courses') } = {}) {
    log = new MemoryLog();
    const config = staged('config').loadConfig({ SERVER_ENV: 'stable', ...env });
    const views = staged('lib/views').loadViews(path.join(STAGE, 'service', 'views'));
    return supertest.agent(staged('app').createApp({ config, log, views, courses }).callback());
  }

  const broken = {
    async list() {
      throw new Error('the catalogue is on fire');
    },
    async find() {
      throw new Error('the catalogue is on fire');
    },
  };

  describe('the pages', () => {
    it('list the courses, escaped, with files from the static server', async () => {
      const { text } = await application().get('/').expect(200).expect('Content-Type', 'text/html; charset=utf-8');
      assert.match(text, /代数入门/);
      assert.match(text, /Forces &amp; motion/);
      assert.match(text, /src="https:\/\/static-stable\.example\.com\/dist\/js\/home\.[0-9a-f]{8}\.js"/);
    });

    it('show one course', async () => {
      const { text } = await application().get('/courses/mechanics-1').expect(200);
      assert.match(text, /<title>力学基础 - koa-kkl<\/title>/);
      assert.match(text, /Show the 3 lessons/);
    });

    it('say so when there is nothing', async () => {
      const { text } = await application().get('/nowhere').expect(404).expect('Content-Type', /html/);
      assert.match(text, /<h1>Not Found<\/h1>/);
      await application().get('/courses/none').expect(404, /There is no such course/);
    });

    it('say so when something broke, and tell only the log what', async () => {
      const { text } = await application({ courses: broken }).get('/').expect(500).expect('Content-Type', /html/);
      assert.match(text, /<h1>Internal Server Error<\/h1>/);
      assert.doesNotMatch(text, /on fire/);
      assert.ok(log.lines.some((line) => /^error GET \/ failed: Error: the catalogue is on fire\n\s+at /.test(line)));
    });

    it('carry the banner of a test environment, and none in production', async () => {
      assert.match((await application().get('/')).text, /class="banner">Functional test</);
      assert.doesNotMatch((await application({ env: { SERVER_ENV: 'prod' } }).get('/')).text, /class="banner"/);
    });

    it('refuse a method that they do not have', async () => {
      await application().post('/').expect(405).expect('Allow', /GET/).expect(/Method Not Allowed/);
    });
  });

  describe('the session', () => {
    it('counts a visitor in a signed cookie that scripts cannot read', async () => {
      const agent = application();
      const first = await agent.get('/').expect(200, /visit number 1\./);
      const cookies = first.headers['set-cookie'];
      assert.ok(cookies.some((cookie) => cookie.startsWith('koa-kkl.sid.sig=')));
      cookies.forEach((cookie) => assert.match(cookie, /; samesite=lax; httponly/));
      await agent.get('/').expect(200, /visit number 2\./);
    });

    it('is not taken from a cookie that somebody wrote himself', async () => {
      const forged = Buffer.from(JSON.stringify({ visits: 41, _expire: Date.now() + 1e6, _maxAge: 1e6 })).toString('base64');
      await application().get('/').set('Cookie', `koa-kkl.sid=${forged}; koa-kkl.sid.sig=AAAA`).expect(/visit number 1\./);
    });

    it('is still good after a new key was put first', async () => {
      const [older, newer] = ['the-key-of-last-month', 'the-key-of-this-month'];
      const before = await application({ env: { SESSION_KEYS: older } }).get('/');
      const cookie = before.headers['set-cookie'].map((line) => line.split(';')[0]).join('; ');
      await application({ env: { SESSION_KEYS: `${newer},${older}` } }).get('/').set('Cookie', cookie).expect(/visit number 2\./);
      await application({ env: { SESSION_KEYS: newer } }).get('/').set('Cookie', cookie).expect(/visit number 1\./);
    });

    it('has a Secure cookie behind a proxy that speaks https', async () => {
      const { headers } = await application({ env: { SERVER_ENV: 'prod' } }).get('/').set('X-Forwarded-Proto', 'https');
      headers['set-cookie'].forEach((cookie) => assert.match(cookie, /; secure/));
    });
  });

  describe('the API', () => {
    it('lists courses and gives one', async () => {
      const { body } = await application().get('/api/courses').expect(200);
      assert.deepStrictEqual(body.courses.map(({ id }) => id), ['algebra-1', 'mechanics-1', 'composition-2']);
      const one = await application().get('/api/courses/composition-2').expect(200);
      assert.strictEqual(one.body.course.lessons[0], 'A claim <and> its reasons');
    });

    it('keeps favourites in the session', async () => {
      const agent = application();
      await agent.post('/api/favourites').send({ courseId: 'algebra-1' }).expect(201);
      await agent.post('/api/favourites').send({ courseId: 'algebra-1' }).expect(201, { favourites: ['algebra-1'] });
      await agent.get('/').expect(/data-course-id="algebra-1" aria-pressed="true"/);
      await agent.delete('/api/favourites/algebra-1').expect(200, { favourites: [] });
      await agent.get('/api/favourites').expect(200, { favourites: [] });
    });

    const refusals = [
      ['an unknown path', (agent) => agent.get('/api/nowhere'), 404, 'Not Found'],
      ['an unknown course', (agent) => agent.get('/api/courses/none'), 404, 'There is no such course'],
      ['a method that is not there', (agent) => agent.put('/api/courses'), 405, 'Method Not Allowed'],
      ['no body', (agent) => agent.post('/api/favourites'), 400, 'The body must be JSON with a courseId'],
      ['a form', (agent) => agent.post('/api/favourites').type('form').send('courseId=algebra-1'), 400, 'The body must be JSON with a courseId'],
      ['broken JSON', (agent) => agent.post('/api/favourites').type('json').send('{'), 400, 'The body is not JSON'],
      ['too much', (agent) => agent.post('/api/favourites').send({ courseId: 'x'.repeat(20000) }), 413, 'The body is too long'],
    ];
    for (const [what, request, status, message] of refusals) {
      it(`answers ${what} in JSON with ${status}`, async () => {
        await request(application()).expect(status, { error: { status, message } });
      });
    }

    it('answers what broke in JSON, without saying what', async () => {
      await application({ courses: broken })
        .get('/api/courses')
        .expect(500, { error: { status: 500, message: 'Internal Server Error' } });
    });
  });

  it('logs each request once, and the health path never', async () => {
    const agent = application();
    await agent.get('/healthz').expect(200, { status: 'ok', name: 'koa-kkl', version: require('../package.json').version, environment: 'stable' });
    await agent.get('/api/courses?page=1').expect(200);
    await new Promise((resolve) => setTimeout(resolve, 20));
    assert.strictEqual(log.lines.length, 1);
    assert.match(log.lines[0], /^info \S+ GET \/api\/courses\?page=1 200 \d+ms$/);
  });
});
