'use strict';

/**
 * A mistake of whoever starts the application: it is told in one line, without a stack, so its message must
 * say what is wrong and what to change.
 */
class StartupError extends Error {}

module.exports = { StartupError };
