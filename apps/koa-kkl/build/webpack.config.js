'use strict';

/**
 * How the client is built. The same sources must give the same bytes on every machine, so nothing here may depend on the
 * folder, the clock or a setting outside this folder: tools that look for configuration in parent folders are told not to.
 */

const path = require('path');

const autoprefixer = require('autoprefixer');
const CssMinimizerPlugin = require('css-minimizer-webpack-plugin');
const HtmlWebpackPlugin = require('html-webpack-plugin');
const MiniCssExtractPlugin = require('mini-css-extract-plugin');

const PAGES = ['course', 'error', 'home'];

function scriptRule(root) {
  return {
    test: /\.js$/,
    include: /[\\/]src[\\/]/,
    loader: 'babel-loader',
    options: {
      // Babel looks for browsers and packages from here; from the current directory, if nobody says.
      cwd: root,
      babelrc: false,
      configFile: false,
      presets: [['@babel/preset-env', { modules: false, bugfixes: true }]],
    },
  };
}

function styleRule() {
  return {
    test: /\.less$/,
    use: [
      MiniCssExtractPlugin.loader,
      { loader: 'css-loader', options: { importLoaders: 2 } },
      { loader: 'postcss-loader', options: { postcssOptions: { config: false, plugins: [autoprefixer] } } },
      'less-loader',
    ],
  };
}

function views(source, target) {
  const view = (name, chunks) =>
    new HtmlWebpackPlugin({
      template: path.join(source, 'views', `${name}.html`),
      filename: path.join(target, `${name}.html`),
      chunks,
      inject: false,
      minify: false,
    });
  return [view('layout', []), ...PAGES.map((page) => view(page, [page]))];
}

/**
 * The webpack configuration for `root`'s sources: browsers' files go to dist/dist (the first is the folder that goes to the
 * static server, the second is in their address), views with the final names of those files to service/views.
 */
module.exports = function webpackConfig({ root, output, publicPath, sourceMaps, mode = 'production' }) {
  const source = path.join(root, 'src');
  return {
    mode,
    context: root,
    target: 'browserslist',
    entry: Object.fromEntries(PAGES.map((page) => [page, path.join(source, 'pages', page, 'index.js')])),
    devtool: sourceMaps ? 'source-map' : false,
    output: {
      path: path.join(output, 'dist', 'dist'),
      publicPath,
      filename: 'js/[name].[contenthash:8].js',
      assetModuleFilename: 'img/[name].[contenthash:8][ext]',
      hashFunction: 'xxhash64',
      uniqueName: 'koa-kkl',
    },
    module: {
      rules: [scriptRule(root), styleRule(), { test: /\.svg$/, type: 'asset/resource' }],
    },
    optimization: {
      minimizer: ['...', new CssMinimizerPlugin()],
      splitChunks: { cacheGroups: { common: { name: 'common', chunks: 'initial', minChunks: 2, enforce: true } } },
    },
    plugins: [new MiniCssExtractPlugin({ filename: 'css/[name].[contenthash:8].css' }), ...views(source, path.join(output, 'service', 'views'))],
    performance: { hints: false },
  };
};
