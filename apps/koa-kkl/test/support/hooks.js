'use strict';

/** The tests run against a copy that was built for them: the working copy's own build, for whatever environment, stays. */

const { removeStage, stage } = require('./stage');

exports.mochaHooks = {
  async beforeAll() {
    this.timeout(120000);
    await stage();
  },
  afterAll() {
    removeStage();
  },
};
