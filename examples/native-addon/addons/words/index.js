'use strict';

module.exports = require('./build/Release/words');
