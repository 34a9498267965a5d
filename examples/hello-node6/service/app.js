'use strict';

const express = require('express');
const fs = require('fs');
const path = require('path');

const PAGE = fs.readFileSync(path.join(__dirname, 'page.html'), 'utf8');

/** The Express application; `log` gets one line a request. */
function createApp(config, log) {
  const values = Object.assign({ node: process.version }, config);
  const page = PAGE.replace(/\{([a-z]+)\}/g, (_, name) => values[name]);
  const app = express();
  app.disable('x-powered-by');

  app.get('/healthz', (request, response) => {
    response.json({ status: 'ok', name: config.name, version: config.version, environment: config.environment });
  });
  app.use((request, response, next) => {
    response.once('finish', () => log(`${request.ip} ${request.method} ${request.originalUrl} ${response.statusCode}`));
    next();
  });
  app.get('/', (request, response) => {
    response.send(page);
  });
  app.get('/api/hello', (request, response) => {
    response.json({ hello: String(request.query.name || 'world') });
  });
  app.use((request, response) => {
    response.status(404).json({ error: { status: 404, message: 'Not Found' } });
  });
  // Express knows an error handler by its four parameters.
  // eslint-disable-next-line no-unused-vars
  app.use((error, request, response, next) => {
    log(`failed: ${String(error.stack).replace(/\n/g, '\\n')}`);
    response.status(500).json({ error: { status: 500, message: 'Internal Server Error' } });
  });
  return app;
}

module.exports = { createApp };
