#!/bin/sh
# The part of a deploy that runs on a host. POSIX sh; dash, busybox and bash run it.
#
# The coordinator sends this text over an ssh session, then one line for each step, and reads the
# answer; both are JSON objects of plain strings. Only a switch changes what the host serves. A switch
# finishes without the session. If the agent is killed during a switch, the file `doing` remains. A
# second process that waits for the lock, the next boot or the next deploy finds this file, and
# completes the switch or goes back.
#
#   releases/<id>/  current -> releases/<id>  shared/  .slipway/{lock,doing,config,journal,...}
#
# Slipway shipped a release if .slipway/facts/<id> exists; this script removes no other release. "@" is
# the id of the target of `current` if that is not a folder in releases/.

# The caller's environment must not change what this script does: CDPATH changes where `cd` goes and
# what it prints, ENV and BASH_ENV name files that a shell runs first, and a locale changes messages and
# sort order. Services get the original locale and umask back.
unset -v CDPATH ENV BASH_ENV
locale=${LC_ALL-}
export LC_ALL=C PATH="$PATH:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
mask=$(umask) && umask 022 && set -u

BY_HAND=00000000T000000Z-by-hand
SILENT=6 # seconds without a line after which the session counts as lost
LINE_BREAK='
'
LONGEST_LOG=10000000 # bytes of service.log, and of service.log.1

# say KIND [KEY TEXT]...: sends a line to the coordinator, without control characters. Errors are
# ignored: the coordinator may have disconnected.
say() {
  said="{\"say\":\"$1\""
  shift
  while [ $# -ge 2 ]; do
    said="$said,\"$1\":\"$(printf '%s' "$2" | tr '\001-\037\177' ' ' | sed 's/[\\"]/\\&/g')\""
    shift 2
  done
  printf '%s}\n' "$said" >&4 2>/dev/null || :
}

# refuse TEXT: reports that the step failed, with the first error line of the command, if any.
refuse() {
  words=$(head -n 1 "$way/errors" 2>/dev/null | tail -c 300)
  say error text "$1${words:+: $words}"
  return 1
}

# field KEY: prints the value of a key in the received line. The coordinator sends no values with
# backslashes or quotes, so the next quote ends the value.
field() {
  rest=${line#*"\"$1\":\""}
  [ "$rest" = "$line" ] || printf '%s' "${rest%%\"*}"
}

# note TEXT...: adds a line to the journal. Errors are ignored: a full disk must not stop a switch.
note() {
  printf '%s %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$*" >>"$own/journal" || :
}

# write FILE: replaces a file with standard input, atomically and synced to the disk (fsync).
write() {
  if dd of="$1.new" bs=65536 conv=fsync 2>/dev/null && mv "$1.new" "$1"; then return; fi
  rm -f "$1.new" && return 1
}

# asked NAME: prints a setting of the deployment. The file is kept on the host for a process that
# completes a switch without the coordinator.
asked() {
  sed -n "s/^$1=//p" "$own/config" 2>/dev/null
}

# setting ID NAME: prints a setting that the release was deployed with. The file `.next` exists while
# the host switches to the release.
setting() {
  for file in "$own/settings/$1.next" "$own/settings/$1" "$own/config"; do
    [ ! -f "$file" ] || { sed -n "s/^$2=//p" "$file" && return; }
  done
}

# --- Releases and their processes.

# Prints the id of the release that `current` points to, or nothing.
linked() {
  [ -L "$top/current" ] || return 0
  folder=$(cd "$top/current" 2>/dev/null && pwd -P) || folder=$(readlink "$top/current")
  case $folder in
  "$top"/releases/*/* | releases/*/*) echo @ ;;
  "$top"/releases/* | releases/*) echo "${folder##*/}" ;;
  *) echo @ ;;
  esac
}

# The same for messages: prints the target of the link instead of "@".
linked_shown() {
  at=$(linked)
  [ "$at" != @ ] || at=$(readlink "$top/current")
  echo "$at"
}

# place ID: prints the folder of a release. "." is a release that was deployed by hand: its files are
# in the deployment's folder itself.
place() {
  case $1 in
  .) echo "$top" ;;
  @)
    folder=$(cd "$top" && readlink -f "$(readlink "$own/link-@" || readlink current)")
    echo "${folder:-$top/releases/@}"
    ;;
  *) echo "$top/releases/$1" ;;
  esac
}

# Prints a release that has processes, for a host that has lost its link.
served() {
  for folder in "$top"/releases/*/; do
    [ -z "$(processes_of "$(basename "$folder")")" ] || basename "$folder"
  done | tail -n 1
}

# processes_of ID: prints the ids of the release's processes: those whose executable is in the release.
# For a release without its own runtime, also a Node of the host whose working folder is the release, unless
# that folder is the home or contains the whole deployment.
processes_of() {
  from=$(place "$1")
  case $top/ in "$from"/*) [ "$1" = . ] || return 0 ;; esac
  [ "$from" != / ] && [ "$from" != "${HOME-}" ] || return 0
  [ "$1" = . ] || having exe "$from"
  [ ! -d "$from/node_runtime/bin" ] || [ "$1" = . ] || return 0
  for process in $(having cwd "$from"); do
    case $(readlink "/proc/$process/exe") in
    "$from"/*) ;;
    */node | */nodejs | */node[0-9]*) echo "$process" ;;
    esac
  done
}

# having exe|cwd FOLDER: prints the ids of processes whose executable is below the folder, or whose
# working folder it is.
having() {
  # shellcheck disable=SC2012  # the names in /proc are numbers
  ls -l /proc/[0-9]*/"$1" 2>/dev/null | FOLDER=$2 awk -v kind="$1" '{
    process = substr($0, index($0, " /proc/") + 7)
    path = substr(process, index(process, " -> ") + 4)
    if (kind == "exe" ? index(path, ENVIRON["FOLDER"] "/") == 1 : path == ENVIRON["FOLDER"])
      print process + 0
  }'
}

# started PID: prints the start time of a process, in ticks since boot. The kernel reuses process ids,
# so only the id and the start time together identify a process.
started() {
  sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d ' ' -f 20
}

# since PID: prints the start time of a process as a date.
since() {
  ticks=$(started "$1") boot=$(sed -n 's/^btime //p' /proc/stat)
  [ -z "$ticks" ] || date -u -d "@$((boot + ticks / $(getconf CLK_TCK 2>/dev/null || echo 100)))" \
    +%Y-%m-%dT%H:%M:%SZ 2>/dev/null
}

# Prints the ids of Slipway's healthy releases, in the order in which they last started to serve.
in_order() {
  if [ -f "$own/served" ]; then cat "$own/served"; else
    for file in "$own"/healthy/*; do
      [ ! -f "$file" ] || echo "$(head -n 1 "$file") ${file##*/}"
    done | sort | sed 's/.* //'
  fi
}

# --- Scripts of a release.

# Prints the environment of a login shell, for `eval`. A profile that prints, fails or hangs adds
# nothing.
login() {
  shell=sh profiles=.profile
  # The shell comes from passwd, because cron sets SHELL to /bin/sh.
  case $(getent passwd "$(id -u)" 2>/dev/null || grep "^$(id -un):" /etc/passwd) in
  */bash) shell=bash profiles='.bash_profile .bash_login .profile' ;;
  esac
  command -v "$shell" >/dev/null 2>&1 || shell='sh'
  # shellcheck disable=SC2016  # for the inner shell
  timeout 10 "$shell" -c 'exec 5>&1 >/dev/null 2>&1
    [ ! -r /etc/profile ] || . /etc/profile
    for file in $0; do
      [ ! -r "$HOME/$file" ] || { . "$HOME/$file"; break; }
    done
    trap - EXIT
    # In bash these variables are read-only, and only its POSIX mode prints `export -p` in the form that
    # sh can read.
    [ -z "${BASH_VERSION-}" ] || { set -o posix; export -n SHELLOPTS BASHOPTS UID EUID PPID; }
    { export -p && echo "umask $(umask)"; } >&5' "$profiles" || :
}

# apart SECONDS COMMAND...: runs a command without the descriptors of the lock and the session. A
# service that inherited the lock would hold it as long as it runs.
apart() {
  exec 3<&- 4>&- 9>&- </dev/null >>"$own/service.log" 2>&1
  true >>"$own/running"
  # HUP stays ignored: if the user's ssh allocates a terminal and the session is lost, the kernel sends
  # HUP to the processes of that terminal.
  trap - PIPE && umask "$mask"
  unset -v LC_ALL
  [ -z "$locale" ] || export LC_ALL="$locale"
  : "${LOGNAME:=$(id -un)}" "${HOME:=$(eval "echo ~$LOGNAME")}" && export HOME LOGNAME USER="$LOGNAME"
  # shellcheck disable=SC2016  # for the inner shell
  set -- ${SERVER_ENV+env} ${SERVER_ENV+"SERVER_ENV=$SERVER_ENV"} \
    timeout -k 5 "$1" sh -c 'echo $$ >"$0"; shift; exec "$@"' "$own/running" "$@"
  eval "$(login)" # may set any variable
  PATH=${PATH-}:/usr/local/bin:/usr/bin:/bin
  "$@"
}

# script ID NAME: runs a script of the release's package.json, within its time limit.
script() (
  may_run "$1" || { echo "$2: $why" >>"$own/service.log" && exit 1; }
  cd "$(place "$1")" || exit 1
  SERVER_ENV=$(setting "$1" server_env) && export SERVER_ENV
  if [ -x bin/app ]; then program=bin/app; else program='npm run --silent'; fi
  # shellcheck disable=SC2086  # words
  apart "$(setting "$1" "$2_timeout")" $program "$2"
)

# start ID: starts a release and notes where its lines start in the log. Also starts the process that
# keeps the log short.
start() {
  logged=$(wc -c <"$own/service.log" 2>/dev/null) || logged=0
  script "$1" start || return 1
  (trap '' HUP && exec sh "$own/agent" "$top" keep-log "$1") </dev/null >/dev/null 2>&1 3<&- 4>&- 9>&- &
}

# Copies the log and truncates it; after a rename a service would write on to its open file. If two of
# these processes run, the newer stays.
keep_log() {
  echo $$ >"$own/log-keeper"
  while sleep 30 && [ "$(cat "$own/log-keeper")" = $$ ] && [ -n "$(processes_of "$1")" ]; do
    [ "$(wc -c <"$own/service.log")" -lt "$LONGEST_LOG" ] ||
      # On a full disk truncate it without a copy; otherwise the log would keep growing.
      { tail -c "$LONGEST_LOG" "$own/service.log" >"$own/service.log.1" || rm -f "$own/service.log.1"; : >"$own/service.log"; }
  done
}

# Prints the last lines of the log since the start.
last_lines() {
  [ "$(wc -c <"$own/service.log")" -ge "$logged" ] || logged=0 # the log was truncated meanwhile
  tail -c "+$((logged + 1))" "$own/service.log" 2>/dev/null | tail -c 2000 | tail -n 5
}

# stop ID: runs the script `stop`, which may return before the processes have ended; then sends signals
# to the remaining processes.
# shellcheck disable=SC2086  # process ids
stop() {
  signals='TERM KILL' until=$(($(date +%s) + $(setting "$1" stop_timeout)))
  if ! script "$1" stop; then
    left=$(processes_of "$1") signals=KILL
    note "stop $1: script failed, TERM to" $left
    [ -z "$left" ] || kill $left 2>/dev/null
    # If the script used up the time, the processes still get five seconds to end.
    [ "$until" -gt $(($(date +%s) + 5)) ] || until=$(($(date +%s) + 5))
  fi
  while [ -n "$(processes_of "$1")" ] && [ "$(date +%s)" -lt "$until" ]; do sleep 1; done
  for signal in $signals; do
    left=$(processes_of "$1")
    [ -n "$left" ] || return 0
    note "stop $1: $signal to" $left && kill -s "$signal" $left 2>/dev/null
    for _ in 1 2 3 4 5; do [ -z "$(processes_of "$1")" ] || sleep 1; done
  done
  [ -z "$(processes_of "$1")" ]
}

# The coordinator replaces this with the text of ask.js.
ASK='@ask.js@'

# looks_healthy ID: one health check. A release that Slipway did not ship has no known health check;
# it is healthy if it has a process.
looks_healthy() {
  running=$(processes_of "$1") && rm -f "$own/answered"
  is_well "$1" || { [ ! -f "$own/facts/$1" ] && [ -n "$running" ]; }
}

is_well() {
  url=$(setting "$1" health_url)
  if [ -z "$url" ]; then
    script "$1" health || return 1
  else
    may_run "$1" || return 1
    node=$(place "$1")/node_runtime/bin/node
    [ -x "$node" ] || node=node
    # shellcheck disable=SC2086  # process ids
    (apart "$(setting "$1" health_timeout)" env -u NODE_OPTIONS "$node" -e "$ASK" "$url" "$own/answered" $running) || return 1
  fi
  # A release that was deployed by hand has no runtime of its own and may run in any folder.
  [ -n "$running" ] || [ ! -d "$(place "$1")/node_runtime/bin" ] ||
    { echo "health: no process runs from the release" >>"$own/service.log" && return 1; }
}

# is_healthy ID: whether a check succeeds within the tries, and a second check after `health_hold`
# seconds. The process that answered the first check must still run. With a health script, no process
# is known to have answered, and one of the processes of the first check must still run.
is_healthy() {
  tries=$(setting "$1" health_retries)
  while :; do
    if looks_healthy "$1"; then
      well=$running answered=$(cat "$own/answered" 2>/dev/null) && answered=$answered-$(started "$answered")
      { sleep "$(setting "$1" health_hold)" && looks_healthy "$1"; } || return 1
      if [ -n "$answered" ]; then
        ! lives "$answered" || return 0
      elif [ -z "$well" ] || printf '%s\n' "$running" | grep -qFx "$well"; then
        return 0
      fi
      echo "health: the processes that were healthy have ended; other processes run now" >>"$own/service.log"
    fi
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] && sleep "$(setting "$1" health_interval)" || return 1
  done
}

# bring_up ID: starts a release unless it is healthy already.
bring_up() {
  { [ -n "$(processes_of "$1")" ] && looks_healthy "$1"; } || { start "$1" && is_healthy "$1"; }
}

# hook NAME ID: runs a hook of the deployment once per switch, whichever process completes the switch.
# The hook's own shell records its end in `doing`, so a hook that outlives this process does not run
# again. Only a hook that a power failure ended runs again.
hook() {
  command=$(asked "$1") && [ -n "$command" ] || return 0
  mark=$(sed -n "s/^$1=//p" "$own/doing" 2>/dev/null | tail -n 1)
  [ -z "$mark" ] || return "$mark"
  note "$1: begin"
  # shellcheck disable=SC2016  # for the inner shell
  (cd "$(place "$2")" && SERVER_ENV=$(setting "$2" server_env) && export SERVER_ENV &&
    apart "$(asked hook_timeout)" \
    sh -c 'sh -c "$1"; status=$?; [ "$status" = 0 ] || status=1; echo "$2=$status" >>"$3"; exit "$status"' \
    sh "$command" "$1" "$own/doing") && note "$1: end" && return
  grep -q "^$1=" "$own/doing" || echo "$1=1" >>"$own/doing"
  note "$1: failed" && return 1
}

# --- The switch.

# make_links ID...: creates the links to both releases before anything stops. On a full disk, `ln` fails
# but `mv` still succeeds, so the host can go back.
make_links() {
  for id in "$@"; do
    rm -f "$own/link-$id"
    if [ "$id" = "$(linked)" ]; then
      cp -P "$top/current" "$own/link-$id" || return 1 # keep the exact text of the old link
    else
      ln -sfn "releases/$id" "$own/link-$id" || return 1
    fi
  done
}

link() {
  # -T, because mv would otherwise follow the old link and move into its folder.
  [ "$(linked)" = "$1" ] ||
    { { [ -L "$own/link-$1" ] || make_links "$1"; } && mv -T "$own/link-$1" "$top/current"; }
}

go_back() {
  note "back from $2 to ${1:-nothing}: begin"
  echo back=yes >>"$own/doing" || :
  [ "$(linked)" != "$2" ] || stop "$2" || note "stop $2: some processes still run"
  rm -f "$own/settings/$2.next"
  # If the agent was killed while it moved the release deployed by hand, move the rest now.
  [ "$1" != "$BY_HAND" ] || [ -n "$untouched" ] || adopt "$1" || return 1
  ended="NOT healthy"
  if [ "$1" = "$BY_HAND" ] && [ -n "$untouched" ]; then
    ended=healthy # nothing has changed
  elif [ -z "$1" ]; then
    [ "$(linked)" != "$2" ] || rm -f "$top/current"
  elif link "$1" && { { [ -n "$untouched" ] && [ -n "$(processes_of "$1")" ]; } || bring_up "$1"; }; then
    ended=healthy
  fi
  for name in on_failure always; do
    hook "$name" "$2" || failure="$failure; the hook $name failed"
  done
  # If the release was healthy before, with other settings, only the new settings have failed.
  [ -f "$own/healthy/$2" ] || mv "$own/doing" "$own/failed/$2"
  rm -f "$own/doing" "$own"/link-*
  note "back to ${1:-nothing}: end, $ended"
}

settle() {
  told='' full=''
  [ -z "$leaving" ] || echo left >>"$own/healthy/$leaving"
  [ ! -f "$own/settings/$1.next" ] || mv "$own/settings/$1.next" "$own/settings/$1"
  { in_order | grep -Fvx -e "$1" || :; echo "$1"; } | write "$own/served"
  # The time by the coordinator's clock, because the clocks of hosts may differ.
  asked at | write "$own/healthy/$1" || full=yes
  [ ! -f "$own/doing" ] || hook always "$1" || told="the hook always failed"
  [ -z "$full" ] || mv "$own/doing" "$own/healthy/$1"
  rm -f "$own/failed/$1" "$own/doing" "$own"/link-*
  note "switch to $1: end, healthy"
}

# is_adopted PATH: whether this entry belongs to the release deployed by hand, and not to Slipway or to
# another deployment.
is_adopted() {
  case ${1##*/} in
  releases | current | shared | .slipway | '*' | '.[!.]*') return 1 ;;
  *) [ ! -e "$1/.slipway" ] ;;
  esac
}

# Whether all files of the release deployed by hand can be moved; otherwise `entry` is the first that
# cannot. A home folder is never a deployment.
can_adopt() {
  entry=$top && [ "$top" != "${HOME-}" ] || return 1
  for entry in "$top"/* "$top"/.[!.]*; do
    is_adopted "$entry" || continue
    [ ! -d "$entry" ] || [ -L "$entry" ] || { [ -w "$entry" ] && ! grep -Fq " $entry " /proc/self/mountinfo; } ||
      return 1
  done
}

# adopt ID: moves the files of a release deployed by hand into a folder of releases/.
adopt() {
  can_adopt && mkdir -p "$top/releases/$1" || return 1
  for entry in "$top"/* "$top"/.[!.]*; do
    ! is_adopted "$entry" || mv "$entry" "$top/releases/$1/" || return 1
  done
}

# switch NEW: 0 if the host serves the new release and it is healthy. Otherwise `failure` has the
# reason, and the host serves the old release again, if there was one.
switch() {
  old=$(linked) by_hand='' failure="cannot record the switch in $own/doing"
  [ -n "$old" ] || old=$(served)
  [ -n "$old" ] || [ ! -f "$top/package.json" ] || old=$BY_HAND by_hand=yes
  guard
  if ! make_links "$1" ${old:+"$old"} || ! printf 'old=%s\nnew=%s\n' "$old" "$1" | write "$own/doing"; then
    rm -f "$own"/link-* && return 1
  fi
  note "switch from ${old:-nothing} to $1: begin, $(asked by)"
  logged=$(wc -c <"$own/service.log" 2>/dev/null) || logged=0
  untouched=yes
  if ! hook before_switch "$1"; then
    failure="the hook before_switch failed"
  elif [ -n "$by_hand" ] && ! can_adopt; then
    failure="cannot keep the files deployed by hand as a release: cannot move $entry"
  elif untouched='' && [ -n "$by_hand" ] && ! { stop . && adopt "$old"; }; then
    failure="the release deployed by hand does not stop"
  elif [ -z "$by_hand" ] && [ -n "$old" ] && ! stop "$old"; then
    failure="the old release does not stop"
  elif note "stopped ${old:-nothing}" && ! link "$1"; then
    failure="cannot rename the link $top/current"
  elif note "linked $1" && ! start "$1"; then
    failure="the release does not start"
  elif note "started $1" && ! is_healthy "$1"; then
    failure="the release is not healthy"
  elif ! hook after_switch "$1"; then
    failure="the hook after_switch failed"
  else
    settle "$1"
    return 0
  fi
  note "switch to $1: $failure"
  lines=$(last_lines)
  go_back "$old" "$1"
  return 1
}

# Completes a switch that was left half-way; the caller holds the lock.
recover() {
  [ -f "$own/doing" ] || { rm -f "$own"/settings/*.next "$own"/link-* && return 0; }
  guard
  # Wait for the script of the killed agent, but no longer than its time limit: after that, the kernel
  # may have given its process id to another process.
  left=$(($(asked hook_timeout) + $(asked start_timeout) + $(asked stop_timeout)))
  while [ "$left" -gt 0 ] && kill -0 "$(cat "$own/running" 2>/dev/null)" 2>/dev/null; do
    left=$((left - 1)) && sleep 1
  done
  old=$(sed -n 's/^old=//p' "$own/doing")
  new=$(sed -n 's/^new=//p' "$own/doing")
  note "recover: unfinished switch from ${old:-nothing} to $new"
  if [ "$(linked)" = "$new" ] && ! grep -qx back=yes "$own/doing" && bring_up "$new" &&
    hook after_switch "$new"; then
    settle "$new"
  else
    go_back "$old" "$new"
  fi
}

# Starts a process that waits for the lock and completes the switch if this process is killed. The
# kernel frees a flock when its holder ends.
guard() {
  command -v flock >/dev/null 2>&1 || return 0
  (trap '' HUP INT TERM && exec sh "$own/agent" "$top" recover) \
    </dev/null >/dev/null 2>&1 3<&- 4>&- 9>&- &
}

# --- The lock.

# hold SECONDS: takes the lock; waits up to SECONDS, then returns 1.
hold() {
  left=$1 holding=''
  # The folder may be removed or replaced with a link while this process waits.
  while [ -d "$own" ] && [ ! -L "$own" ]; do
    locked && holding=yes && break
    [ "$left" -gt 0 ] || return 1
    left=$((left - 1)) && sleep 1
  done
  [ -n "$holding" ] || return 1
  printf '%s, since %s\n' "$by" "$(date -u +%Y-%m-%dT%H:%M:%SZ)" >"$own/holder" || :
}

# Without flock, the lock is a link that names a process id and its start time, because the kernel
# reuses process ids. The second link, .next, lets only one process replace a holder that has ended.
locked() {
  if command -v flock >/dev/null 2>&1; then
    command exec 9>>"$own/lock" && flock -n 9
    return
  fi
  link_lock "$own/lock"
}

# link_lock NAME: takes the lock NAME.pid.
link_lock() {
  ! ln -s "$$-$(started $$)" "$1.pid" 2>/dev/null || return 0
  holder=$(readlink "$1.pid") && ! lives "$holder" || return 1
  ln -s "$$-$(started $$)" "$1.next" 2>/dev/null ||
    { lives "$(readlink "$1.next")" || rm -f "$1.next"; return 1; }
  [ "$(readlink "$1.pid")" = "$holder" ] && ln -sfn "$$-$(started $$)" "$1.pid"
  took=$? && rm -f "$1.next" && return "$took"
}

lives() {
  [ "$(started "${1%-*}")" = "${1#*-}" ]
}

unlock() {
  rm -f "$own/holder" "$own/lock.pid" && exec 9>&-
}

# --- The steps. Each answers with a line.

# Reports the host and its releases, for the plan and for `releases`.
do_look() {
  near=$top # or its nearest parent that exists
  while [ ! -d "$near" ]; do near=$(dirname "$near"); done
  say host user "$(id -un)" machine "$(uname -m)" linked "$(linked_shown)" \
    zstd "$(command -v zstd)" in_the_way "$([ -L "$top/current" ] || ls -d "$top/current" 2>/dev/null)" \
    libc "$(getconf GNU_LIBC_VERSION 2>/dev/null || ldd --version 2>&1 | head -n 1)" \
    free_kb "$(free -k "$near")" free_inodes "$(free -i "$near")" \
    writable "$([ -w "$near" ] && echo yes)"
  in_order >"$way/order"
  for folder in "$top"/releases/*/; do
    [ -d "$folder" ] || continue
    id=$(basename "$folder")
    # Sorted by start time: the first process is the oldest.
    running=$(for process in $(processes_of "$id"); do echo "$(started "$process") $process"; done |
      sort -n | cut -d ' ' -f 2 | tr '\n' ' ')
    say release id "$id" healthy "$(cat "$own/healthy/$id" 2>/dev/null)" \
      failed "$([ -e "$own/failed/$id" ] && echo yes)" facts "$(cat "$own/facts/$id" 2>/dev/null)" \
      order "$(grep -Fnx -e "$id" "$way/order" | cut -d : -f 1)" \
      running "$running" since "$([ -z "$running" ] || since "${running%% *}")" \
      lists "$(cd "$folder/.release" 2>/dev/null && sha256sum -- *.sha256 | tr '\n' ' ')"
  done
  say ok
}

# free OPTION FOLDER: prints what is available according to df, or nothing if the file system does not
# count it. The pattern finds the columns, because names of devices and folders can contain spaces.
free() {
  df -P "$1" "$2" | awk 'NR == 2 && match($0, / [0-9]+ +[0-9]+ +-?[0-9]+ +([0-9]+%|-) /) {
    split(substr($0, RSTART), columns, " ")
    if (columns[1] > 0) print columns[3]
  }'
}

# Whether the folders belong to this user and are not symlinks, which could point anywhere. For root,
# also whether only root can change the folders above: their owner could replace what root runs.
is_safe() {
  for path in "$own" "$top/releases" "$top/shared"; do
    [ ! -L "$path" ] || { why="$path is a symlink: remove it" && return 1; }
    [ ! -d "$path" ] || [ "$(owner "$path")" = "$(id -u)" ] ||
      { why="$path belongs to another user (id $(owner "$path")): log in as that user" && return 1; }
  done
  [ "$(id -u)" = 0 ] || return 0
  is_roots "$own" && is_roots "$top/releases" && is_roots "$top" && are_above_roots "$top" || return 1
  [ ! -d "$top/current" ] || may_run "$(linked)"
}

# may_run ID: for root, whether only root can change the release.
may_run() {
  [ "$(id -u)" = 0 ] || return 0
  from=$(place "$1")
  are_above_roots "$from" || return 1
  # Check every file, because Node can load any of them.
  foreign=$(find "$from" \( -path "$top/releases" -o -path "$top/shared" \) -prune -o \
    ! -type l \( ! -user 0 -o -perm -020 -o -perm -002 \) -print 2>/dev/null | head -n 1)
  [ -z "$foreign" ] || { foreign_to_root "$foreign" && return 1; }
}

foreign_to_root() {
  why="users other than root can change $1 and so run programs as root: log in as its owner, or make root its only owner and writer"
}

are_above_roots() {
  path=$1
  while path=$(dirname "$path") && [ "$path" != / ]; do is_roots "$path" sticky || return 1; done
}

# is_roots FOLDER [sticky]: whether only root can write to the folder. With "sticky", a folder with
# the sticky bit also passes: in it, only root can rename or remove files of root.
is_roots() {
  # shellcheck disable=SC2012  # one name
  case ${2-}$([ ! -d "$1" ] || ls -ldn "$1" | awk '{ print $1, $3 }') in
  '' | sticky | *d????-??-?' 0' | *d????-??-?[.+]' 0' | stickyd????????[tT]*' 0') return 0 ;;
  esac
  foreign_to_root "$1" && return 1
}

owner() {
  # shellcheck disable=SC2012  # one name
  ls -ldn "$1" | awk '{ print $3 }'
}

# Takes the lock, or reports its holder.
do_begin() {
  by=$(field by)
  is_safe || { say error text "$why" && return; }
  mkdir -p "$own/healthy" "$own/failed" "$own/facts" "$own/settings" "$own/links" "$own/incoming" "$top/releases" \
    2>"$way/errors" || { refuse "cannot create folders in $top" || return; }
  chmod 700 "$own"
  { true >>"$own/service.log"; } 2>"$way/errors" || { refuse "cannot write the log $own/service.log" || return; }
  hold 2 || { say locked holder "$(cat "$own/holder" 2>/dev/null)" && return; }
  recover
  say ok
}

# Keeps the settings of the deployment and this text, for a process that completes a switch.
do_configure() {
  take "$own/incoming/config" || return
  # A release without kept settings was shipped by an older Slipway: it gets those of the last deploy.
  for file in "$own"/healthy/*; do
    { [ -f "$own/settings/${file##*/}" ] || [ ! -f "$own/config" ]; } || cp "$own/config" "$own/settings/${file##*/}"
  done
  head -n "$(field lines)" "$own/incoming/config" | write "$own/config"
  tail -n "+$(($(field lines) + 1))" "$own/incoming/config" | write "$own/agent"
  say ok
}

# arrive N FILE: appends the next N bytes of the session to a file. Without `busy`, `watch` ends the
# session if no more bytes come.
arrive() {
  rm -f "$way/busy"
  head -c "$1" >>"$2" || exec </dev/null # do not read the rest as a line
  true >"$way/busy"
}

# take FILE: reads the bytes that follow the line into a file, and checks their hash.
take() {
  rm -f "$1"
  arrive "$(field size)" "$1"
  is_whole "$1" || refuse "the received data does not match its hash, or the disk is full"
}

is_whole() {
  [ "$(sha256sum <"$1" | cut -d ' ' -f 1)" = "$(field sha256)" ]
}

# listed FOLDER: prints the files in a release's lists.
listed() {
  cat "$1"/.release/*.sha256 2>/dev/null | sed 's/^[0-9a-f]*  //' | sort
}

# present FOLDER: prints the files that exist, except the manifest and the lists themselves.
present() {
  (cd "$1" && find . -type f ! -path './.release/*' ! -path ./release.json) | sed 's|^\./||' | sort
}

# changed FOLDER: prints the first files of a release that differ from its lists or no longer exist, and
# programs that are not executable.
changed() {
  listed "$1" >"$way/listed" && present "$1" | comm -13 - "$way/listed" | head -n 3
  wrong "$1" | head -n 3
  sed -n '/^node_runtime\/bin\/[^/]*$/p; /^bin\/app$/p' "$way/listed" | while IFS= read -r program; do
    [ -x "$1/$program" ] || echo "$program"
  done
}

# wrong FOLDER: prints the files whose content differs from the lists in FOLDER/.release. Checks only
# regular files, because sha256sum would wait for the writer of a named pipe.
wrong() {
  present "$1" >"$way/present"
  (cd "$1" && cat .release/*.sha256 2>/dev/null |
    awk 'NR == FNR { is_file[$0]; next } substr($0, 67) in is_file' "$way/present" - |
    sha256sum -c 2>/dev/null | sed -n 's/: FAILED.*//p')
}

# links FOLDER: prints `name -> target` for each symlink, except those to shared paths, which depend on
# the settings.
links() {
  (cd "$1" && find . -type l | sed 's|^\./||' | while IFS= read -r link; do
    leads=$(readlink "$link")
    case $leads in
    *../shared/"$link") ;;
    *) echo "$link -> $leads" ;;
    esac
  done) | sort
}

# added FOLDER: prints the first files that are in a release but not in its lists, and how many more.
added() {
  listed "$1" >"$way/listed" && present "$1" | comm -23 - "$way/listed" |
    awk 'NR <= 3 { print } END { if (NR > 3) print "and " NR - 3 " more" }' | tr '\n' ' '
}

# Sends the requested lists of a release and the names of its executable files, compressed.
do_lists() {
  (cd "$top/releases/$(field base)" && {
    for name in $(field lists | tr ',' ' '); do cat ".release/$name.sha256"; done
    find . -type f -perm -100 -print | sed 's|^\./|x |'
  }) | gzip -c >"$way/lists"
  send_lists
}

# Stages the files of a base release without the removed ones and without links; or an empty folder.
do_stage() {
  staged=$own/staged base=$(field base) more=''
  : >"$way/changed"
  take "$own/incoming/removed" || return
  remove_staged
  { mkdir "$staged" && printf '#!/bin/sh\n' >"$own/probe" && chmod 700 "$own/probe"; } 2>"$way/errors" ||
    { refuse "cannot create the folder for the new release" || return; }
  "$own/probe" 2>/dev/null || { refuse "cannot run programs in $top: is it mounted with noexec?" || return; }
  rm -f "$own/probe"
  if [ -n "$base" ]; then
    gzip -dc "$own/incoming/removed" | sort >"$way/removed"
    listed "$top/releases/$base" | comm -23 - "$way/removed" >"$way/wanted"
    more=$(added "$top/releases/$base")
    copy "$top/releases/$base" 2>"$way/errors" || { refuse "cannot copy the release $base" || return; }
    leave_out_changed "$top/releases/$base"
  fi
  say ok added "$more" changed "$(head -n 3 "$way/changed" | tr '\n' ' ')"
}

# Leaves out files of the base that were changed or removed on the host; the coordinator sends them.
leave_out_changed() {
  {
    wrong "$1"
    present "$1" | comm -13 - "$way/wanted"
  } | sort -u | comm -12 - "$way/wanted" >"$way/changed"
  (cd "$staged" && sed 's|^|./|' "$way/changed" | tr '\n' '\0' | xargs -0 rm -f --)
}

# Sends the names of those files, compressed.
do_changed() {
  gzip -c "$way/changed" >"$way/lists"
  send_lists
}

send_lists() {
  say bytes size "$(wc -c <"$way/lists" | tr -d ' ')"
  cat "$way/lists" >&4
}

# copy FOLDER: copies the wanted files of a base release. Files that nobody can write become hard links
# to the base; root can write every file, so for root all files are copied. Files that the application
# may write are copied, and files that it added are left out.
copy() {
  if [ "$(id -u)" != 0 ] && rmdir "$staged" && cp -al "$1" "$staged"; then
    find "$staged" -type d -exec chmod u+rwx {} \;
    rm -rf "$staged/.release" && find "$staged" ! -type d ! -type f -exec rm -f {} +
    # Remove names with line breaks first: below, each line is a name.
    find "$staged" -depth -name "*$LINE_BREAK*" -exec rm -rf {} +
    present "$staged" | comm -23 - "$way/wanted" | sed 's|^|./|' | tr '\n' '\0' |
      (cd "$staged" && xargs -0 rm -f --)
    unshare
    find "$staged" -depth -mindepth 1 -type d -exec rmdir {} + 2>/dev/null || :
  else
    remove_staged && mkdir "$staged" && sed 's|^|./|' "$way/wanted" >"$way/names" &&
      tar -cf - -C "$1" -T "$way/names" | tar -xpf - -C "$staged"
  fi
}

# Replaces hard links to writable files with copies, which the old release cannot change.
unshare() {
  # shellcheck disable=SC2016  # for the inner shell
  writable "$staged" -links +1 \
    -exec sh -c 'for file; do cp -p "$file" "$0" && mv -f "$0" "$file"; done' "$own/copying" {} +
}

# Removes the staged release, also folders that the application made read-only.
remove_staged() {
  [ ! -d "$own/staged" ] || find "$own/staged" -type d -exec chmod u+rwx {} \;
  rm -rf "$own/staged"
}

# writable FOLDER ACTION...: runs the action of `find` on files that anyone can write.
writable() {
  folder=$1 && shift
  find "$folder" -type f \( -perm -200 -o -perm -020 -o -perm -002 \) "$@"
}

# Reports how much of an archive a lost session has left.
do_offer() {
  part=$own/incoming/$(field sha256)
  find "$own/incoming" -type f ! -path "$part" -exec rm -f {} +
  say ok offset "$(wc -c <"$part" 2>/dev/null | tr -d ' ')"
}

# Receives the rest of the archive, unpacks it into the staged release, and checks that against its lists.
do_receive() {
  part=$own/incoming/$(field sha256)
  arrive "$(field rest)" "$part"
  is_whole "$part" || {
    [ "$(wc -c <"$part")" -lt "$(field size)" ] || rm -f "$part"
    refuse "the received archive does not match its hash, or the disk is full" || return
  }
  "$(field packed)" -dc <"$part" 2>"$way/packed" | tar -xf - -C "$own/staged" 2>"$way/errors" || {
    # If tar fails first, the decompressor reports a broken pipe, which is not the cause.
    grep -hv 'Broken pipe' "$way/packed" "$way/errors" >"$way/both"
    mv "$way/both" "$way/errors"
    refuse "cannot unpack the archive" || return
  }
  rm -f "$part"
  on_disk "$own/staged"
  staged=$own/staged && unshare
  writable "$staged" -links 1 -exec chmod a-w {} +
  # The release must have exactly the files of its lists.
  damaged=$(changed "$staged")$(added "$staged")
  [ -z "$damaged" ] || { say damaged files "$damaged" && return; }
  share "$own/staged" || { refuse "cannot link the shared path $path: it already exists, or leads elsewhere" || return; }
  { cp "$own/config" "$own/settings/$(field id)" &&
    printf '%s' "$(field facts)" | write "$own/facts/$(field id)" &&
    links "$own/staged" | write "$own/links/$(field id)" &&
    mv -T "$own/staged" "$top/releases/$(field id)"; } 2>"$way/errors" || { refuse "cannot write to $own" || return; }
  note "staged $(field id)" && say ok
}

# Syncs the new files to the disk, before the release counts as staged. Syncs only these files: on a
# busy host a global sync takes long.
on_disk() {
  find "$1" -type f -links 1 -exec sync -d {} + 2>/dev/null ||
    find "$1" -type f -links 1 -exec dd if=/dev/null of={} conv=notrunc,fsync \; 2>/dev/null || :
}

# share FOLDER: links the shared paths into a release; returns 1 if `path` cannot be linked.
share() {
  for path in $(asked shared); do
    target=$(printf '%s/' "$path" | sed 's|[^/]*/|../|g')../shared/$path
    [ "$(readlink "$1/$path")" != "$target" ] || continue
    rmdir "$1/$path" 2>/dev/null || [ ! -e "$1/$path" ] || return 1
    leads_nowhere_else "shared/$path" || return 1
    [ -e "$top/shared/$path" ] || mkdir -p "$top/shared/$path" || return 1
    mkdir -p "$(dirname "$1/$path")" && ln -s "$target" "$1/$path" || return 1
  done
}

# Whether no folder above a shared path is a symlink or, for root, can be changed by another user.
leads_nowhere_else() {
  above=$1
  while above=$(dirname "$above") && [ "$above" != . ]; do
    [ ! -L "$top/$above" ] && { [ "$(id -u)" != 0 ] || is_roots "$top/$above"; } || return 1
  done
}

# Reports the files of a kept release that have changed, and added files.
do_verify() {
  folder=$top/releases/$(field id) known=$own/links/$(field id)
  links "$folder" >"$way/links"
  [ -f "$known" ] || known=$way/links # a release that an older Slipway shipped has no list of links
  say ok files "$(changed "$folder"; comm -23 "$known" "$way/links" | sed 's/ -> .*//' | head -n 3)" \
    added "$(added "$folder"; comm -13 "$known" "$way/links" | head -n 3 | tr '\n' ' ')"
}

# With `settings` "kept" it is a rollback: the release keeps the settings that it was deployed with.
do_switch() {
  new=$(field id) leaving=$(field leaving) lines='' told=''
  [ -d "$top/releases/$new" ] || { refuse "the release $new does not exist" || return; }
  may_run "$new" || { refuse "$why" || return; }
  if [ "$(field settings)" != kept ] || [ ! -f "$own/settings/$new" ]; then
    # A release of another tool has its own shared paths.
    [ ! -f "$own/facts/$new" ] || share "$top/releases/$new" ||
      { refuse "cannot link the shared path $path in releases/$new: it already exists, or leads elsewhere" || return; }
    cp "$own/config" "$own/settings/$new.next" 2>"$way/errors" || { refuse "cannot write to $own" || return; }
  fi
  if { [ "$(linked)" = "$new" ] && bring_up "$new" && settle "$new"; } || switch "$new"; then
    unlinked=$(for path in $(asked shared); do [ -L "$top/releases/$new/$path" ] || echo "$path"; done)
    [ -z "$unlinked" ] || told="$told${told:+, }the release was deployed without these shared paths: $unlinked"
    say ok text "$told"
  else
    rm -f "$own/settings/$new.next"
    at=$(linked)
    say failed text "$failure" linked "$(linked_shown)" log "$lines" \
      healthy "$([ -n "$at" ] && { [ -n "$untouched" ] || looks_healthy "$at"; } && echo yes)"
  fi
}

# Removes old releases of Slipway. Keeps the current release, releases with processes, the `keep`
# releases that served last, and the last release that a rollback left, which is not a target of another
# rollback. Reports what cannot be removed.
do_prune() {
  kept=1 kept_left='' stuck=''
  in_order | sed '1!G;h;$!d' >"$way/order" || { refuse "cannot write to $own" || return; }
  for id in $(cat "$way/order"; cd "$own/facts" && printf '%s\n' * | grep -Fvx -f "$way/order"); do
    [ -f "$own/facts/$id" ] || continue
    if [ "$id" = "$(linked)" ] || [ -n "$(processes_of "$id")" ]; then continue; fi
    if [ -f "$own/healthy/$id" ] && [ ! -f "$own/failed/$id" ]; then
      if grep -qx left "$own/healthy/$id"; then
        [ -n "$kept_left" ] || { kept_left=yes && continue; }
      elif [ "$kept" -lt "$(field keep)" ]; then
        kept=$((kept + 1)) && continue
      fi
    fi
    if grep -Fq -e " $top/releases/$id/" -e " $top/releases/$id " /proc/self/mountinfo; then
      stuck="$stuck$id (a file system is mounted in it) " && continue
    fi
    rm -f "$own/healthy/$id"
    rm -rf "$top/releases/$id" 2>"$way/errors" ||
      { stuck="$stuck$id ($(tail -n 1 "$way/errors")) " && continue; }
    rm -f "$own/failed/$id" "$own/settings/$id" "$own/links/$id" "$own/facts/$id"
    in_order | grep -Fvx -e "$id" | write "$own/served"
  done
  say ok stuck "$stuck"
}

# Prints the path of the script that runs after a reboot. Root's copy is outside the deployment: the
# folder may belong to another user by then, who could replace the script.
boot_agent() {
  if [ "$(id -u)" = 0 ]; then echo "$HOME/.slipway-boot/$unit"; else echo "$own/agent"; fi
}

# Installs the systemd unit that starts the release.
enable_unit() {
  printf '%s\n' "[Unit]" "Description=The release of $top" "After=network-online.target" \
    "Wants=network-online.target" "[Service]" "Type=oneshot" "RemainAfterExit=yes" "KillMode=process" \
    "ExecStart=/bin/sh $(boot_agent) $top boot" "[Install]" "WantedBy=multi-user.target" |
    write "/etc/systemd/system/$unit.service" && systemctl enable "$unit.service"
}

# in_crontab LINE: makes LINE the only line of this deployment in the user's crontab. An empty LINE
# removes the deployment from the crontab.
in_crontab() {
  one_at_a_time || return 1
  change_crontab "$1"
  status=$? && rm -f "$HOME/.slipway-crontab.pid" && exec 8>&- && return "$status"
}

# Takes a lock per user: crontab has no lock, and another deployment may be changing the crontab.
one_at_a_time() {
  if command -v flock >/dev/null 2>&1; then
    command exec 8>>"$HOME/.slipway-crontab.lock" && flock -w 30 8
    return
  fi
  for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    ! link_lock "$HOME/.slipway-crontab" || return 0
    sleep 1
  done
  return 1
}

change_crontab() {
  crontab -l >"$way/crontab" 2>"$way/errors" || grep -qi 'no crontab' "$way/errors" || return 1
  # Older versions wrote another line for root, which ran the script in the deployment's folder.
  set -- "$1" -e "@reboot sh $own/agent $top boot" -e "@reboot sh $(boot_agent) $top boot"
  wanted=$1 && shift
  [ -n "$wanted" ] || grep -Fqx "$@" "$way/crontab" || return 0
  grep -Fvx "$@" "$way/crontab" >"$way/table"
  [ -z "$wanted" ] || echo "$wanted" >>"$way/table" # grep ends the last line of its output
  cmp -s "$way/crontab" "$way/table" || crontab - <"$way/table" || return 1
  [ -z "$wanted" ] || crontab -l | grep -Fqx "$wanted"
}

keep_for_boot() {
  [ "$(id -u)" = 0 ] || return 0
  kept=$(boot_agent) && mkdir -p "${kept%/*}" 2>/dev/null && are_above_roots "$kept" &&
    write "$kept" <"$own/agent"
}

# Arranges the start after a reboot: systemd for root, else cron. Reports which, or nothing.
do_boot() {
  how='' # The hash gives /a-b and /a/b different units.
  unit=slipway$(printf '%s' "$top" | tr -c 'A-Za-z0-9' -)-$(printf '%s' "$top" | sha256sum | cut -c 1-8)
  if [ "$(field boot)" = off ]; then
    how=off
    [ ! -f "/etc/systemd/system/$unit.service" ] ||
      { systemctl disable "$unit.service" && rm -f "/etc/systemd/system/$unit.service"; }
    ! command -v crontab >/dev/null 2>&1 || in_crontab ''
  elif ! keep_for_boot; then
    how=''
  elif [ -d /run/systemd/system ] && [ "$(id -u)" = 0 ]; then
    enable_unit && how=systemd
  elif command -v crontab >/dev/null 2>&1; then
    in_crontab "@reboot sh $(boot_agent) $top boot" && how=cron
  fi
  say ok boot "$how"
}

# --- The session.

# Reads the session through a separate process, which `watch` kills if no line comes any more: after a
# network partition, a read would wait forever.
serve() {
  trap '' HUP PIPE
  # Descriptor 4 is the session. Other output must not reach it, and no child inherits it: sshd ends a
  # session only when every process has closed its output.
  exec 3<&0 4>&1 >/dev/null
  for folder in "${TMPDIR:-/tmp}" /var/tmp /dev/shm "${HOME:-/}" "$top"; do
    way=$(mktemp -d "$folder/slipway.XXXXXX" 2>/dev/null) || continue
    # A full disk can still create a folder, so also write a file.
    dd if=/dev/zero of="$way/room" bs=65536 count=16 2>/dev/null && rm -f "$way/room" && break
    rm -rf "$way"
  done
  { mkfifo "$way/in" && true >"$way/count"; } ||
    { say error text "cannot create temporary files: /tmp, /var/tmp, /dev/shm, the home and $top are read-only or full" && exit 1; }
  cat <&3 >"$way/in" 4>&- &
  relay=$!
  exec 0<"$way/in" 3<&- 2>"$way/said"
  watch & watcher=$!
  while IFS= read -r line; do
    echo . >>"$way/count"
    step=$(field "do")
    case $step in
    beat) continue ;;
    end) break ;;
    esac
    true >"$way/busy"
    rm -f "$way/errors"
    "do_$step"
    rm -f "$way/busy"
  done
  # Removes an unfinished release; parts of an archive remain for the next session.
  [ -z "$holding" ] || { remove_staged && unlock; }
  kill "$relay" "$watcher" 2>/dev/null
  rm -rf "$way"
}

watch() {
  exec 4>&- 9>&- </dev/null 2>/dev/null
  last='' silent=0
  while kill -0 "$relay"; do
    kill -0 "$$" || kill "$relay"
    sleep 1
    now="$(wc -c <"$way/count" 2>/dev/null) $(ls -l "$own/incoming" 2>/dev/null)"
    if [ "$now" != "$last" ] || [ -e "$way/busy" ]; then silent=0; else silent=$((silent + 1)); fi
    last=$now
    [ "$silent" -lt "$SILENT" ] || kill "$relay"
  done
  rm -rf "$way"
}

# agent TOP serve|recover|boot|keep-log
main() {
  top=$1
  near=$top rest=''
  while [ ! -d "$near" ]; do rest=/${near##*/}$rest near=${near%/*} && near=${near:-/}; done
  top=$(cd -- "$near" && pwd -P) && top=${top%/}$rest
  own=$top/.slipway
  by=recovery failure='' untouched='' holding='' leaving='' lines='' logged=0 running=''
  case $2 in
  serve) serve ;;
  recover) hold 86400 && recover && unlock ;;
  keep-log) keep_log "$3" ;;
  boot)
    is_safe && hold 60 || exit 1
    rm -f "$own/running" && recover
    [ -z "$(linked)" ] || bring_up "$(linked)" || note "boot: $(linked) is NOT healthy"
    unlock
    ;;
  esac
}

main "$@"
