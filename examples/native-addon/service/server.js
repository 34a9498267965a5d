'use strict';

const http = require('http');
const { hello } = require('hello');
const { Accounts } = require('./accounts');

const PORT = Number(process.env.PORT || 3000);
const HOST = process.env.HOST || '127.0.0.1';

/** `POST /accounts` adds one, `POST /login` checks one: `{"name": …, "password": …}`; `GET /hello` greets. */
async function answer(accounts, request) {
  if (request.url === '/hello') return [200, { hello: hello() }];
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const { name, password } = JSON.parse(Buffer.concat(chunks).toString() || '{}');
  if (request.method === 'POST' && request.url === '/accounts') {
    await accounts.add(name, password);
    return [201, { name }];
  }
  if (request.method === 'POST' && request.url === '/login') {
    return (await accounts.check(name, password)) ? [200, { name }] : [401, { error: 'wrong name or password' }];
  }
  return [404, { error: 'not found' }];
}

async function main() {
  const accounts = new Accounts(process.env.DATABASE || ':memory:');
  await accounts.open();
  http
    .createServer((request, response) => {
      answer(accounts, request)
        .catch((error) => [400, { error: error.message }])
        .then(([status, body]) => {
          response.writeHead(status, { 'Content-Type': 'application/json' });
          response.end(`${JSON.stringify(body)}\n`);
        });
    })
    .listen(PORT, HOST, () => console.log(`listening on http://${HOST}:${PORT}`));
}

main();
