'use strict';

/** Production. Session keys come from SESSION_KEYS: they have no place in a repository. */
module.exports = {
  banner: null,
  behindProxy: true,
  sessionKeys: null,
};
