'use strict';

/** Integration tests. The session keys may be known: nothing here is anybody's real session. */
module.exports = {
  banner: 'Integration test',
  behindProxy: false,
  sessionKeys: ['sit-is-for-integration-tests'],
};
