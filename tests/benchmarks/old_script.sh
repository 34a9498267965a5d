#!/bin/sh
# How a release is made without Slipway: the usual script, in the application's folder.
#
#   PATH=<a node's bin folder>:$PATH sh old_script.sh
#
# It leaves koa-kkl.tar.gz beside package.json. The packages of pack/ are resolved anew: the script
# takes no lock along.
set -eu

main() {
  npm i
  npm run build -- prod
  rm -rf pack && mkdir -p pack
  cp -r package.json service dist pack
  cd pack
  npm i --production
  tar -czf ../koa-kkl.tar.gz -- *
}

main "$@"
