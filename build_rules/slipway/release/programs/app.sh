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

# The names are this script's own: the application's environment may hold any other.
app_server_env='@server_env@'
app_env_file='@env_file@'
app_run_script='@run_script@'
app_member='@member@'
app_exec=

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
  app_self=$0
  case $app_self in
  */*) ;;
  *) app_self=./$app_self ;;
  esac
  while [ -L "$app_self" ]; do
    app_target=$(readlink "$app_self") || fail "cannot read the link $app_self"
    case $app_target in
    /*) app_self=$app_target ;;
    *) app_self=${app_self%/*}/$app_target ;;
    esac
  done
  app_release=$(cd -- "${app_self%/*}/.." && pwd -P) || fail "cannot find the release of $0"
}

# NAME=value lines; comments and empty lines are passed over, the value is taken as it stands. What
# a line holds may be secret: messages tell its number.
read_env_file() {
  if [ ! -r "$app_env_file" ] || [ -d "$app_env_file" ]; then
    fail "the environment file $app_env_file cannot be read; create it or check its rights"
  fi
  app_number=0
  app_return=$(printf '\r')
  while IFS= read -r app_line || [ -n "$app_line" ]; do
    app_number=$((app_number + 1))
    # Written on Windows, a line ends in a carriage return too.
    app_line=${app_line%"$app_return"}
    case $app_line in
    '' | '#'*) continue ;;
    esac
    app_name=${app_line%%=*}
    case $app_name in
    "$app_line" | '' | [0-9]* | *[!A-Za-z0-9_]*)
      fail "$app_env_file:$app_number: no NAME=value line; write NAME=value, or # before a comment"
      ;;
    esac
    export "$app_name=${app_line#*=}"
  done <"$app_env_file"
}

@scripts@

# Runs a script of package.json as npm does, but npm does not stay between the caller and the script.
run_script() {
  read_script "$1"
  app_name=$1
  shift
  INIT_CWD=$app_home
  export INIT_CWD
  eval "$app_lines"
  # The commands of the folders above come after those of the application.
  app_folder=$app_home
  app_bins=$app_folder/node_modules/.bin
  while [ "$app_folder" != "$app_release" ]; do
    app_folder=${app_folder%/*}
    app_bins=$app_bins:$app_folder/node_modules/.bin
  done
  PATH=$app_bins:$PATH
  [ -z "$app_before" ] || run_line "pre$app_name" "$app_before" || exit
  if [ -z "$app_after" ]; then
    app_exec='exec'
  else
    app_exec=
  fi
  run_line "$app_name" "$app_line" "$@" || exit
  app_exec=
  run_line "post$app_name" "$app_after"
}

run_line() {
  npm_lifecycle_event=$1
  npm_lifecycle_script=$2
  export npm_lifecycle_event npm_lifecycle_script
  shift 2
  # npm appends the arguments to the line.
  if [ $# -eq 0 ]; then
    $app_exec /bin/sh -c "$npm_lifecycle_script"
  else
    $app_exec /bin/sh -c "$npm_lifecycle_script \"\$@\"" sh "$@"
  fi
}

main() {
  find_release
  # What a login shell or another Node left behind does not belong to this release.
  unset -v NODE_OPTIONS NODE_PATH
  [ -z "$app_env_file" ] || read_env_file
  SERVER_ENV=${SERVER_ENV:-$app_server_env}
  PATH=$app_release/node_runtime/bin:${PATH:-/usr/local/bin:/usr/bin:/bin}
  npm_config_update_notifier=false
  export SERVER_ENV PATH npm_config_update_notifier
  app_home=$app_release${app_member:+/$app_member}
  cd -- "$app_home" || fail "cannot enter $app_home"
  app_command=${1-}
  [ $# -eq 0 ] || shift
  case $app_command in
  start | stop | restart | health) npm_run "$app_command" -- "$@" ;;
  run-foreground)
    [ -n "$app_run_script" ] || fail "this release has no run_script; set it in its release_tarball"
    run_script "$app_run_script" "$@"
    ;;
  run)
    [ $# -gt 0 ] || fail "run needs the name of a script of package.json"
    app_script=$1
    shift
    npm_run "$app_script" -- "$@"
    ;;
  node) exec "$app_release/node_runtime/@bin@" "$@" ;;
  -h | --help | help) usage ;;
  *)
    usage >&2
    exit 2
    ;;
  esac
}

main "$@"
