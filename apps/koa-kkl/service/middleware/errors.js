'use strict';

/**
 * Turns whatever goes wrong into an answer that fits who asked: JSON under /api, a page elsewhere. What is
 * our own fault is logged in full and told to nobody.
 */

const http = require('http');

function wantsJson(ctx) {
  return ctx.path === '/api' || ctx.path.startsWith('/api/');
}

module.exports = function errors({ log, views }) {
  function answer(ctx, status, message) {
    ctx.status = status;
    if (wantsJson(ctx)) {
      ctx.body = { error: { status, message } };
      return;
    }
    ctx.type = 'html';
    ctx.body = views.render('error.html', { ...ctx.state, status, message });
  }

  return async function handleErrors(ctx, next) {
    try {
      await next();
      if (ctx.status >= 400 && !ctx.body) {
        answer(ctx, ctx.status, http.STATUS_CODES[ctx.status]);
      }
    } catch (error) {
      const status = error.expose && error.status >= 400 && error.status < 500 ? error.status : 500;
      if (status === 500) {
        log.error(`${ctx.method} ${ctx.originalUrl} failed: ${error.stack}`);
      }
      // What the failed route said about caching was meant for another answer.
      ctx.set('Cache-Control', 'no-store');
      answer(ctx, status, status === 500 ? http.STATUS_CODES[500] : error.message);
    }
  };
};
