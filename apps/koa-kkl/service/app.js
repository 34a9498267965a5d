'use strict';

/** The Koa application, without a port: the server, the smoke run and the tests each give it what it needs. */

const Koa = require('koa');
const session = require('koa-session');

const errors = require('./middleware/errors');
const requestLog = require('./middleware/request-log');
const api = require('./routes/api');
const health = require('./routes/health');
const pages = require('./routes/pages');

const ONE_DAY_MS = 24 * 60 * 60 * 1000;

function createApp({ config, log, views, courses }) {
  const app = new Koa({ proxy: config.behindProxy, maxIpsCount: 1, keys: config.sessionKeys });
  // Koa tells of what no middleware caught: a client that hung up, or an error page that can't be rendered.
  app.on('error', (error) => log.error(`unanswered: ${error.stack}`));

  app.use(health(config));
  app.use(requestLog(log));
  app.use(async (ctx, next) => {
    ctx.set('X-Content-Type-Options', 'nosniff');
    ctx.state.banner = config.banner;
    await next();
  });
  app.use(errors({ log, views }));
  app.use(session({ key: `${config.name}.sid`, maxAge: ONE_DAY_MS, sameSite: 'lax', renew: true }, app));
  for (const router of [pages({ courses, views }), api({ courses })]) {
    app.use(router.routes());
    app.use(router.allowedMethods());
  }
  return app;
}

module.exports = { createApp };
