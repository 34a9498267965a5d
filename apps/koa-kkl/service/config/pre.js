'use strict';

/** The stage before production: its settings, and a banner so that nobody takes it for production. */
module.exports = {
  ...require('./prod'),
  banner: 'Pre-release',
};
