'use strict';

/**
 * The pages. All templates are compiled when the server starts: one that is broken or was not built is found
 * then, not by the first visitor.
 */

const fs = require('fs');
const path = require('path');

const nunjucks = require('nunjucks');

const { StartupError } = require('./startup-error');

const VIEWS = ['course.html', 'error.html', 'home.html', 'layout.html'];

function loadViews(folder) {
  const missing = VIEWS.filter((view) => !fs.existsSync(path.join(folder, view)));
  if (missing.length > 0) {
    throw new StartupError(`"${folder}" lacks ${missing.join(', ')}: run npm run build first`);
  }
  const environment = new nunjucks.Environment(new nunjucks.FileSystemLoader(folder), { autoescape: true });
  for (const view of VIEWS) {
    environment.getTemplate(view, true);
  }
  return {
    names: VIEWS,
    render: (view, values) => environment.render(view, values),
  };
}

module.exports = { loadViews };
