'use strict';

const Router = require('@koa/router');

module.exports = function pages({ courses, views }) {
  const router = new Router();

  function show(ctx, view, values) {
    // A page shows what is in the session: no cache between us and the visitor may keep it.
    ctx.set('Cache-Control', 'private, no-cache');
    ctx.type = 'html';
    ctx.body = views.render(view, { ...ctx.state, ...values });
  }

  router.get('/', async (ctx) => {
    ctx.session.visits = (ctx.session.visits || 0) + 1;
    show(ctx, 'home.html', {
      courses: await courses.list(),
      favourites: ctx.session.favourites || [],
      visits: ctx.session.visits,
    });
  });

  router.get('/courses/:id', async (ctx) => {
    const course = await courses.find(ctx.params.id);
    if (course === null) {
      ctx.throw(404, 'There is no such course');
    }
    show(ctx, 'course.html', { course });
  });

  return router;
};
