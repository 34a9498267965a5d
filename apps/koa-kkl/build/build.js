'use strict';

/**
 * `npm run build -- prod`: builds the client for one environment into dist/ and service/views/. Without an argument
 * SERVER_ENV says which environment, and without that it is prod.
 */

const fs = require('fs');
const path = require('path');

const environments = require('./environments');

const ROOT = path.dirname(__dirname);

// Each of them would change what the tools below make of the same sources.
const SETTINGS_FROM_OUTSIDE = ['BABEL_ENV', 'BROWSERSLIST', 'BROWSERSLIST_CONFIG', 'BROWSERSLIST_ENV', 'BROWSERSLIST_STATS'];

class BuildError extends Error {}

function chooseEnvironment(args, env) {
  if (args.length > 1) {
    throw new BuildError(`one environment at a time, not "${args.join(' ')}"`);
  }
  const wanted = args[0] || env.SERVER_ENV || 'prod';
  if (!Object.prototype.hasOwnProperty.call(environments, wanted)) {
    throw new BuildError(`unknown environment "${wanted}": it must be one of ${Object.keys(environments).join(', ')}`);
  }
  return wanted;
}

function closeEnvironment(env) {
  env.NODE_ENV = 'production';
  SETTINGS_FROM_OUTSIDE.forEach((name) => delete env[name]);
}

function run(webpack, config) {
  return new Promise((resolve, reject) => {
    const compiler = webpack(config);
    compiler.run((error, stats) => {
      compiler.close((closeError) => {
        if (error || closeError) {
          reject(error || closeError);
        } else if (stats.hasErrors()) {
          reject(new BuildError(stats.toString({ preset: 'errors-only' })));
        } else {
          resolve(stats);
        }
      });
    });
  });
}

/** Builds the client for `environment` into the folder `output`, the application's own unless said otherwise. */
async function build(environment, output = ROOT) {
  closeEnvironment(process.env);
  for (const made of ['dist', path.join('service', 'views')]) {
    fs.rmSync(path.join(output, made), { recursive: true, force: true });
  }
  // Required here, after the environment is closed: some of them read it when they load.
  const webpack = require('webpack');
  const webpackConfig = require('./webpack.config');
  const stats = await run(webpack, webpackConfig({ root: ROOT, output, ...environments[environment] }));
  return stats.toJson({ all: false, assets: true }).assets.map(({ name, size }) => ({ name, size }));
}

async function main() {
  try {
    const environment = chooseEnvironment(process.argv.slice(2), process.env);
    const assets = await build(environment);
    for (const { name, size } of assets.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      console.log(`${String(size).padStart(8)}  ${path.join('dist', 'dist', name)}`);
    }
    console.log(`built ${assets.length} files for ${environment}`);
  } catch (error) {
    console.error(`build failed: ${error instanceof BuildError ? error.message : error.stack}`);
    process.exitCode = 1;
  }
}

if (require.main === module) {
  main();
}

module.exports = { BuildError, build, chooseEnvironment };
