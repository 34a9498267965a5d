'use strict';

/** Functional tests. The session keys may be known: nothing here is anybody's real session. */
module.exports = {
  banner: 'Functional test',
  behindProxy: false,
  sessionKeys: ['stable-is-for-functional-tests'],
};
