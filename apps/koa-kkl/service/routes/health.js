'use strict';

/** For load balancers and for `npm run health`: says who answers. Not logged as a visit, opens no session. */
module.exports = function health(config) {
  const body = { status: 'ok', name: config.name, version: config.version, environment: config.environment };
  return async function answerHealth(ctx, next) {
    if (ctx.path !== '/healthz') {
      await next();
      return;
    }
    ctx.set('Cache-Control', 'no-store');
    ctx.body = body;
  };
};
