'use strict';

/**
 * Ends a server without cutting a request off. Node 16's own server.close() waits for idle keep-alive connections, which
 * browsers and load balancers hold open for minutes.
 */
function trackConnections(server) {
  const requests = new Map();
  let closing = false;

  function endWhenIdle(socket) {
    if (closing && requests.get(socket) === 0) {
      // Half-closing alone would leave the end to the other side.
      socket.end(() => socket.destroy());
    }
  }

  server.on('connection', (socket) => {
    requests.set(socket, 0);
    socket.once('close', () => requests.delete(socket));
  });

  server.on('request', (request, response) => {
    const { socket } = request;
    requests.set(socket, requests.get(socket) + 1);
    if (closing) {
      response.setHeader('Connection', 'close');
    }
    response.once('close', () => {
      if (requests.has(socket)) {
        requests.set(socket, requests.get(socket) - 1);
        endWhenIdle(socket);
      }
    });
  });

  /** Resolves, once nothing is connected any more, to the number of connections that were cut after `graceMs`. */
  function close(graceMs) {
    closing = true;
    return new Promise((resolve) => {
      let cut = 0;
      const timer = setTimeout(() => {
        cut = requests.size;
        for (const socket of requests.keys()) {
          socket.destroy();
        }
      }, graceMs);
      server.close(() => {
        clearTimeout(timer);
        resolve(cut);
      });
      for (const socket of requests.keys()) {
        endWhenIdle(socket);
      }
    });
  }

  return { close };
}

module.exports = { trackConnections };
