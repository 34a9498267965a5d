'use strict';

/** One line a request, written when the answer has gone out or the client has left. */
module.exports = function requestLog(log) {
  return async function logRequest(ctx, next) {
    const started = process.hrtime.bigint();
    ctx.res.once('close', () => {
      const ms = Number((process.hrtime.bigint() - started) / 1000000n);
      const status = ctx.res.writableFinished ? ctx.res.statusCode : 'aborted';
      log.info(`${ctx.ip} ${ctx.method} ${ctx.originalUrl} ${status} ${ms}ms`);
    });
    await next();
  };
};
