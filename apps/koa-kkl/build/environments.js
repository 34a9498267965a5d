'use strict';

/** Where each environment's visitors get static files from, and whether testers get source maps with them. */
module.exports = {
  stable: { publicPath: 'https://static-stable.example.com/dist/', sourceMaps: true },
  sit: { publicPath: 'https://static-sit.example.com/dist/', sourceMaps: true },
  pre: { publicPath: 'https://static-pre.example.com/dist/', sourceMaps: false },
  prod: { publicPath: 'https://static.example.com/dist/', sourceMaps: false },
};
