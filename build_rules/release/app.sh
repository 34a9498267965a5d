#!/bin/sh
# Runs this release with the Node that it carries. Needs nothing on the host but a POSIX sh.
#
#   bin/app start|stop|restart|health    the script of package.json of that name
#   bin/app run-foreground               the application in this terminal
#   bin/app run SCRIPT [ARGUMENT...]     any script of package.json
#   bin/app node [ARGUMENT...]           the release's own Node

# What a shell takes from its environment must not change what this script does.
unset -v CDPATH ENV BASH_ENV
IFS=' 	
'

server_env='@server_env@'
env_file='@env_file@'
run_script='@run_script@'

fail() {
  printf '%s\n' "bin/app: $*" >&2
  exit 1
}

usage() {
  cat <<'TEXT'
usage: bin/app start | stop | restart | health
       bin/app run-foreground
       bin/app run SCRIPT [ARGUMENT...]
       bin/app node [ARGUMENT...]
TEXT
}

# The folder of the release, also through links to this script.
find_release() {
  script=$0
  while [ -L "$script" ]; do
    target=$(readlink "$script") || fail "cannot read the link $script"
    case $target in
    /*) script=$target ;;
    *) script=${script%/*}/$target ;;
    esac
  done
  case $script in
  */*) ;;
  *) script=./$script ;;
  esac
  release=$(cd -- "${script%/*}/.." && pwd -P) || fail "cannot find the release of $0"
}

# NAME=value lines; comments and empty lines are passed over, the value is taken as it stands.
read_env_file() {
  [ -r "$env_file" ] || fail "the environment file $env_file cannot be read; create it or check its rights"
  while IFS= read -r line || [ -n "$line" ]; do
    case $line in
    '' | '#'*) continue ;;
    esac
    name=${line%%=*}
    case $name in
    "$line" | '' | [0-9]* | *[!A-Za-z0-9_]*)
      fail "$env_file: not a NAME=value line: $name"
      ;;
    esac
    export "$name=${line#*=}"
  done <"$env_file"
}

npm_run() {
  exec "$release/node_runtime/bin/node" \
    "$release/node_runtime/lib/node_modules/npm/bin/npm-cli.js" run --silent "$@"
}

main() {
  find_release
  # What a login shell or another Node left behind does not belong to this release.
  unset -v NODE_OPTIONS NODE_PATH
  [ -z "$env_file" ] || read_env_file
  SERVER_ENV=${SERVER_ENV:-$server_env}
  PATH=$release/node_runtime/bin:${PATH:-/usr/local/bin:/usr/bin:/bin}
  npm_config_update_notifier=false
  export SERVER_ENV PATH npm_config_update_notifier
  cd -- "$release" || fail "cannot enter $release"
  command=${1-}
  [ $# -eq 0 ] || shift
  case $command in
  start | stop | restart | health) npm_run "$command" -- "$@" ;;
  run-foreground) npm_run "$run_script" -- "$@" ;;
  run)
    [ $# -gt 0 ] || fail "run needs the name of a script of package.json"
    script=$1
    shift
    npm_run "$script" -- "$@"
    ;;
  node) exec "$release/node_runtime/bin/node" "$@" ;;
  -h | --help | help) usage ;;
  *)
    usage >&2
    exit 2
    ;;
  esac
}

main "$@"
