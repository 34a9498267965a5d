'use strict';

const Router = require('@koa/router');
const bodyParser = require('koa-bodyparser');

function refuseBody(error, ctx) {
  ctx.throw(error.status || 400, error.status === 413 ? 'The body is too long' : 'The body is not JSON');
}

const MOST_FAVOURITES = 50;

module.exports = function api({ courses }) {
  const router = new Router({ prefix: '/api' });

  async function findOr404(ctx, id) {
    const course = await courses.find(id);
    if (course === null) {
      ctx.throw(404, 'There is no such course');
    }
    return course;
  }

  // JSON only: a form on another site cannot send it, so no other site can act for a visitor.
  const readJson = bodyParser({ enableTypes: ['json'], jsonLimit: '16kb', onerror: refuseBody });

  router.get('/courses', async (ctx) => {
    const all = await courses.list();
    ctx.body = { courses: all.map(({ id, title, teacher, startsOn }) => ({ id, title, teacher, startsOn })) };
  });

  router.get('/courses/:id', async (ctx) => {
    ctx.body = { course: await findOr404(ctx, ctx.params.id) };
  });

  router.get('/favourites', async (ctx) => {
    ctx.set('Cache-Control', 'private, no-cache');
    ctx.body = { favourites: ctx.session.favourites || [] };
  });

  router.post('/favourites', readJson, async (ctx) => {
    const { courseId } = ctx.request.body || {};
    if (typeof courseId !== 'string') {
      ctx.throw(400, 'The body must be JSON with a courseId');
    }
    const { id } = await findOr404(ctx, courseId);
    const others = (ctx.session.favourites || []).filter((favourite) => favourite !== id);
    ctx.session.favourites = [...others, id].slice(-MOST_FAVOURITES);
    ctx.status = 201;
    ctx.body = { favourites: ctx.session.favourites };
  });

  router.delete('/favourites/:id', async (ctx) => {
    ctx.session.favourites = (ctx.session.favourites || []).filter((favourite) => favourite !== ctx.params.id);
    ctx.body = { favourites: ctx.session.favourites };
  });

  return router;
};
