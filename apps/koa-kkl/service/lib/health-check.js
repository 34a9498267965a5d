'use strict';

const http = require('http');

const ANY_ADDRESS = { '0.0.0.0': '127.0.0.1', '::': '::1' };

/** Asks the server at the configured address; resolves to null when it is well, else to what is wrong. */
function checkHealth(config, timeoutMs = 3000) {
  const host = ANY_ADDRESS[config.host] || config.host;
  const where = `http://${host.includes(':') ? `[${host}]` : host}:${config.port}/healthz`;
  return new Promise((resolve) => {
    const timer = setTimeout(() => request.destroy(new Error(`no answer in ${timeoutMs} ms`)), timeoutMs);
    const finish = (problem) => {
      clearTimeout(timer);
      resolve(problem && `${where}: ${problem}`);
    };
    const request = http.get({ host, port: config.port, path: '/healthz', agent: false }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk) => {
        text += chunk;
      });
      response.on('error', (error) => finish(error.message));
      response.on('end', () => finish(judge(response.statusCode, text, config.name)));
    });
    request.on('error', (error) => finish(error.message));
  });
}

function judge(status, text, name) {
  if (status !== 200) {
    return `answered ${status}`;
  }
  try {
    const { name: answering } = JSON.parse(text);
    return answering === name ? null : `"${answering}" answers there, not ${name}`;
  } catch (error) {
    return 'something else answers there';
  }
}

module.exports = { checkHealth };
