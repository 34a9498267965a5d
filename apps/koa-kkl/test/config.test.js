'use strict';

const assert = require('assert');

const environments = require('../build/environments');
const { staged } = require('./support/stage');

const load = (env) => staged('config').loadConfig(env);

describe('the configuration', () => {
  it('is that of production when nothing is said', () => {
    const config = load({});
    assert.strictEqual(config.environment, 'prod');
    assert.strictEqual(config.host, '0.0.0.0');
    assert.strictEqual(config.port, 3000);
    assert.strictEqual(config.logDir, '/home/logs/koa-kkl');
    assert.strictEqual(config.pidFile, '/home/logs/koa-kkl/koa-kkl.pid');
  });

  it('knows the environments that the build knows', () => {
    assert.deepStrictEqual(Object.keys(staged('config').ENVIRONMENTS), Object.keys(environments));
    for (const environment of Object.keys(environments)) {
      assert.strictEqual(load({ SERVER_ENV: environment }).environment, environment);
    }
  });

  it('keeps the pid file beside the logs unless told otherwise', () => {
    assert.strictEqual(load({ LOG_DIR: '/var/log/kkl' }).pidFile, '/var/log/kkl/koa-kkl.pid');
    assert.strictEqual(load({ LOG_DIR: '/var/log/kkl', PID_FILE: '/run/kkl.pid' }).pidFile, '/run/kkl.pid');
  });

  it('makes other session keys for each process where none are given', () => {
    const [first, second] = [load({}), load({})];
    assert.ok(first.temporaryKeys);
    assert.notDeepStrictEqual(first.sessionKeys, second.sessionKeys);
  });

  it('takes session keys from the environment, the newest first', () => {
    const config = load({ SESSION_KEYS: 'the-newest-of-the-keys, the-one-before-that' });
    assert.deepStrictEqual(config.sessionKeys, ['the-newest-of-the-keys', 'the-one-before-that']);
    assert.ok(!config.temporaryKeys);
  });

  const mistakes = [
    [{ SERVER_ENV: 'prd' }, /^SERVER_ENV is "prd", but must be one of stable, sit, pre, prod$/],
    [{ SERVER_ENV: 'constructor' }, /^SERVER_ENV is "constructor"/],
    [{ PORT: '80a' }, /^PORT is "80a", but must be a number from 1 to 65535$/],
    [{ PORT: '0' }, /^PORT is "0"/],
    [{ PORT: '65536' }, /^PORT is "65536"/],
    [{ LOG_DIR: 'logs' }, /LOG_DIR is "logs", but must be an absolute path/],
    [{ PID_FILE: './kkl.pid' }, /^PID_FILE is "\.\/kkl\.pid", but must be an absolute path$/],
    [{ STOP_TIMEOUT: '-1' }, /^STOP_TIMEOUT is "-1"/],
    [{ SERVER_ENV: 'prd', PORT: 'x' }, /^SERVER_ENV .*; PORT is "x"/],
  ];
  for (const [env, message] of mistakes) {
    it(`refuses ${JSON.stringify(env)}`, () => {
      const { StartupError } = staged('lib/startup-error');
      assert.throws(() => load(env), (error) => error instanceof StartupError && message.test(error.message));
    });
  }

  it('refuses a short session key without repeating it', () => {
    assert.throws(() => load({ SESSION_KEYS: 'secret' }), (error) => {
      assert.match(error.message, /^SESSION_KEYS must hold keys of 16 or more characters/);
      assert.doesNotMatch(error.message, /secret/);
      return true;
    });
  });
});
