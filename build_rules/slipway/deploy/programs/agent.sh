#!/bin/sh
# The part of a deploy that runs on a host. POSIX sh; dash, busybox and bash run it.
#
# A coordinator sends this text over an ssh session and then one line for each step, and reads one
# line back; both are JSON of plain strings. What must not stop half-way runs to its end without the
# session: `switch` alone changes what is served, and whoever finds `doing` left behind, a second
# process that waits for the lock, the next boot or the next deploy, completes it or goes back.
#
#   releases/<id>/  current -> releases/<id>  shared/  .slipway/{lock,doing,config,journal,...}
#
# A release is this script's own if .slipway/facts/<id> is there; no other is ever removed. "@" is
# the id of whatever `current` leads to where that is no folder of releases/.

# What a shell takes from its environment must not change what this script does; services get it back.
unset -v CDPATH ENV BASH_ENV
locale=${LC_ALL-}
export LC_ALL=C PATH="$PATH:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
mask=$(umask) && umask 022 && set -u

BY_HAND=00000000T000000Z-by-hand
SILENT=6 # seconds without a line after which the session is taken for lost
LINE_BREAK='
'
LONGEST_LOG=10000000 # bytes of service.log, and as many of the one before

# say KIND [KEY TEXT]...: a line for the coordinator, which may be gone; no control characters.
say() {
  said="{\"say\":\"$1\""
  shift
  while [ $# -ge 2 ]; do
    said="$said,\"$1\":\"$(printf '%s' "$2" | tr '\001-\037\177' ' ' | sed 's/[\\"]/\\&/g')\""
    shift 2
  done
  printf '%s}\n' "$said" >&4 2>/dev/null || :
}

# refuse TEXT: the step is not done; with the first words of a command that failed, if there are any.
refuse() {
  words=$(head -n 1 "$way/errors" 2>/dev/null | tail -c 300)
  say error text "$1${words:+: $words}"
  return 1
}

# The text of a key in the line that came; lines hold neither backslashes nor quotes in texts.
field() {
  rest=${line#*"\"$1\":\""}
  [ "$rest" = "$line" ] || printf '%s' "${rest%%\"*}"
}

# A full disk must not change what is done.
note() {
  printf '%s %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$*" >>"$own/journal" || :
}

# write FILE: puts its input into a file at once, or not at all, and on the disk.
write() {
  if dd of="$1.new" bs=65536 conv=fsync 2>/dev/null && mv "$1.new" "$1"; then return; fi
  rm -f "$1.new" && return 1
}

# asked NAME: a setting of the deployment, kept for whoever completes a switch without the coordinator.
asked() {
  sed -n "s/^$1=//p" "$own/config" 2>/dev/null
}

# setting ID NAME: one that a release was deployed with; `.next` is there while it is switched to.
setting() {
  for file in "$own/settings/$1.next" "$own/settings/$1" "$own/config"; do
    [ ! -f "$file" ] || { sed -n "s/^$2=//p" "$file" && return; }
  done
}

# --- Releases, and what runs from them.

# The id that is linked, or nothing.
linked() {
  [ -L "$top/current" ] || return 0
  folder=$(cd "$top/current" 2>/dev/null && pwd -P) || folder=$(readlink "$top/current")
  case $folder in
  "$top"/releases/*/* | releases/*/*) echo @ ;;
  "$top"/releases/* | releases/*) echo "${folder##*/}" ;;
  *) echo @ ;;
  esac
}

# linked_shown: the same for people, who know where a foreign link leads and not "@".
linked_shown() {
  at=$(linked)
  [ "$at" != @ ] || at=$(readlink "$top/current")
  echo "$at"
}

# The folder of a release; "." is that of a deploy by hand, which lies where the releases should.
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

# Where the link is gone: what something runs from.
served() {
  for folder in "$top"/releases/*/; do
    [ -z "$(processes_of "$(basename "$folder")")" ] || basename "$folder"
  done | tail -n 1
}

# Process ids of all that runs from a release: by a program of its own; where it has no Node, also by a
# host's Node in its folder, unless that holds more than a release.
processes_of() {
  from=$(place "$1")
  case $top/ in "$from"/*) [ "$1" = . ] || return 0 ;; esac
  [ "$from" != / ] && [ "$from" != "${HOME-}" ] || return 0
  [ "$1" = . ] || having exe "$from"
  [ ! -x "$from/node_runtime/bin/node" ] || [ "$1" = . ] || return 0
  for process in $(having cwd "$from"); do
    case $(readlink "/proc/$process/exe") in
    "$from"/*) ;;
    */node | */nodejs | */node[0-9]*) echo "$process" ;;
    esac
  done
}

# having exe|cwd FOLDER: ids of processes whose program is below a folder, or that work in it.
having() {
  # shellcheck disable=SC2012  # the names in /proc are numbers
  ls -l /proc/[0-9]*/"$1" 2>/dev/null | FOLDER=$2 awk -v kind="$1" '{
    process = substr($0, index($0, " /proc/") + 7)
    path = substr(process, index(process, " -> ") + 4)
    if (kind == "exe" ? index(path, ENVIRON["FOLDER"] "/") == 1 : path == ENVIRON["FOLDER"])
      print process + 0
  }'
}

# The time of boot at which a process began, in ticks: with its number, the same process.
started() {
  sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d ' ' -f 20
}

# since PID: when it began.
since() {
  ticks=$(started "$1") boot=$(sed -n 's/^btime //p' /proc/stat)
  [ -z "$ticks" ] || date -u -d "@$((boot + ticks / $(getconf CLK_TCK 2>/dev/null || echo 100)))" \
    +%Y-%m-%dT%H:%M:%SZ 2>/dev/null
}

# Ids of this script's own releases that were healthy, by when they began to serve last.
in_order() {
  if [ -f "$own/served" ]; then cat "$own/served"; else
    for file in "$own"/healthy/*; do
      [ ! -f "$file" ] || echo "$(head -n 1 "$file") ${file##*/}"
    done | sort | sed 's/.* //'
  fi
}

# --- What is run for a release.

# The environment of a login, for `eval`. Profiles may print, fail or hang, and then add nothing.
login() {
  shell=sh profiles=.profile
  # cron sets SHELL as it likes.
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
    # In bash these are read-only, and `export -p` has a form of its own.
    [ -z "${BASH_VERSION-}" ] || { set -o posix; export -n SHELLOPTS BASHOPTS UID EUID PPID; }
    { export -p && echo "umask $(umask)"; } >&5' "$profiles" || :
}

# apart SECONDS COMMAND...: a command without the lock and the session, which may outlive this one.
apart() {
  exec 3<&- 4>&- 9>&- </dev/null >>"$own/service.log" 2>&1
  true >>"$own/running"
  # HUP stays ignored: a user's ssh may ask for a terminal, and the session be lost half-way.
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

# script ID NAME: runs a script of the release's package.json.
script() (
  may_run "$1" || { echo "$2: $why" >>"$own/service.log" && exit 1; }
  cd "$(place "$1")" || exit 1
  SERVER_ENV=$(setting "$1" server_env) && export SERVER_ENV
  if [ -x bin/app ]; then program=bin/app; else program='npm run --silent'; fi
  # shellcheck disable=SC2086  # words
  apart "$(setting "$1" "$2_timeout")" $program "$2"
)

# start ID: its lines begin here in the log, which is kept short while something of it runs.
start() {
  logged=$(wc -c <"$own/service.log" 2>/dev/null) || logged=0
  script "$1" start || return 1
  (trap '' HUP && exec sh "$own/agent" "$top" keep-log "$1") </dev/null >/dev/null 2>&1 3<&- 4>&- 9>&- &
}

# A copy and not a rename, for a service keeps its file open. Of two for one release, the later stays.
keep_log() {
  echo $$ >"$own/log-keeper"
  while sleep 30 && [ "$(cat "$own/log-keeper")" = $$ ] && [ -n "$(processes_of "$1")" ]; do
    [ "$(wc -c <"$own/service.log")" -lt "$LONGEST_LOG" ] ||
      # On a full disk without the copy: else the log would grow on.
      { tail -c "$LONGEST_LOG" "$own/service.log" >"$own/service.log.1" || rm -f "$own/service.log.1"; : >"$own/service.log"; }
  done
}

# The last lines since the start.
last_lines() {
  [ "$(wc -c <"$own/service.log")" -ge "$logged" ] || logged=0 # it was shortened meanwhile
  tail -c "+$((logged + 1))" "$own/service.log" 2>/dev/null | tail -c 2000 | tail -n 5
}

# Its own script first, which may only ask it to end; then signals to what is left of it.
# shellcheck disable=SC2086  # process ids
stop() {
  signals='TERM KILL' until=$(($(date +%s) + $(setting "$1" stop_timeout)))
  if ! script "$1" stop; then
    left=$(processes_of "$1") signals=KILL
    note "stop $1: its script failed, TERM to" $left
    [ -z "$left" ] || kill $left 2>/dev/null
    # A script that took all of the time leaves some for this.
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

# The program of ask.js, which the coordinator puts here.
ASK='@ask.js@'

# One look at its health, by address or by script: a process of its own is well. Of what is not
# Slipway's nothing says how to ask for its health: that it runs is enough.
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
  # What is deployed by hand may run in any folder.
  [ -n "$running" ] || [ ! -x "$(place "$1")/node_runtime/bin/node" ] ||
    { echo "health: nothing runs from the release" >>"$own/service.log" && return 1; }
}

# Healthy within the tries, and still so after it was left alone for a while: the process that answered
# has not ended since, or where none did by itself, one that was there the first time.
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
      echo "health: the processes that were healthy have ended, others run" >>"$own/service.log"
    fi
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] && sleep "$(setting "$1" health_interval)" || return 1
  done
}

# Starts a release unless it is healthy already.
bring_up() {
  { [ -n "$(processes_of "$1")" ] && looks_healthy "$1"; } || { start "$1" && is_healthy "$1"; }
}

# hook NAME ID: runs a hook of the deployment once for a switch, whoever completes it. A hook that
# outlives this process notes its own end; one that a power cut ended is run again.
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

# The way to a release and the one back lie ready before anything stops: a full disk takes no links.
make_links() {
  for id in "$@"; do
    rm -f "$own/link-$id"
    if [ "$id" = "$(linked)" ]; then
      cp -P "$top/current" "$own/link-$id" || return 1 # as it was made, by whoever made it
    else
      ln -sfn "releases/$id" "$own/link-$id" || return 1
    fi
  done
}

link() {
  # -T: never into the folder that the old link leads to.
  [ "$(linked)" = "$1" ] ||
    { { [ -L "$own/link-$1" ] || make_links "$1"; } && mv -T "$own/link-$1" "$top/current"; }
}

go_back() {
  note "back from $2 to ${1:-nothing}: begin"
  echo back=yes >>"$own/doing" || :
  [ "$(linked)" != "$2" ] || stop "$2" || note "stop $2: something of it is left"
  rm -f "$own/settings/$2.next"
  # Half of what was deployed by hand may be moved yet.
  [ "$1" != "$BY_HAND" ] || [ -n "$untouched" ] || adopt "$1" || return 1
  ended="NOT healthy"
  if [ "$1" = "$BY_HAND" ] && [ -n "$untouched" ]; then
    ended=healthy # as far as it was
  elif [ -z "$1" ]; then
    [ "$(linked)" != "$2" ] || rm -f "$top/current"
  elif link "$1" && { { [ -n "$untouched" ] && [ -n "$(processes_of "$1")" ]; } || bring_up "$1"; }; then
    ended=healthy
  fi
  for name in on_failure always; do
    hook "$name" "$2" || failure="$failure; the hook $name failed"
  done
  # Of one that was healthy before, by other settings, nothing but these has failed.
  [ -f "$own/healthy/$2" ] || mv "$own/doing" "$own/failed/$2"
  rm -f "$own/doing" "$own"/link-*
  note "back to ${1:-nothing}: end, $ended"
}

settle() {
  told='' full=''
  [ -z "$leaving" ] || echo left >>"$own/healthy/$leaving"
  [ ! -f "$own/settings/$1.next" ] || mv "$own/settings/$1.next" "$own/settings/$1"
  { in_order | grep -Fvx -e "$1" || :; echo "$1"; } | write "$own/served"
  # The coordinator's time, for people: the clocks of hosts may differ.
  asked at | write "$own/healthy/$1" || full=yes
  [ ! -f "$own/doing" ] || hook always "$1" || told="the hook always failed"
  [ -z "$full" ] || mv "$own/doing" "$own/healthy/$1"
  rm -f "$own/failed/$1" "$own/doing" "$own"/link-*
  note "switch to $1: end, healthy"
}

# The entries of a plain folder, one after the other, for `for`: not what belongs to other deployments.
is_adopted() {
  case ${1##*/} in
  releases | current | shared | .slipway | '*' | '.[!.]*') return 1 ;;
  *) [ ! -e "$1/.slipway" ] ;;
  esac
}

# Whether all of it can be moved; else `entry` is what cannot. A home is never taken for a deployment.
can_adopt() {
  entry=$top && [ "$top" != "${HOME-}" ] || return 1
  for entry in "$top"/* "$top"/.[!.]*; do
    is_adopted "$entry" || continue
    [ ! -d "$entry" ] || [ -L "$entry" ] || { [ -w "$entry" ] && ! grep -Fq " $entry " /proc/self/mountinfo; } ||
      return 1
  done
}

# The plain folder of a deploy by hand becomes a release of its own.
adopt() {
  can_adopt && mkdir -p "$top/releases/$1" || return 1
  for entry in "$top"/* "$top"/.[!.]*; do
    ! is_adopted "$entry" || mv "$entry" "$top/releases/$1/" || return 1
  done
}

# switch NEW: 0 if it is served and healthy; otherwise `failure` says why, and what was before is
# served again where there was something.
switch() {
  old=$(linked) by_hand='' failure="what is under way cannot be noted"
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
    failure="what was deployed by hand cannot be kept as a release: $entry cannot be moved"
  elif untouched='' && [ -n "$by_hand" ] && ! { stop . && adopt "$old"; }; then
    failure="what was deployed by hand does not stop"
  elif [ -z "$by_hand" ] && [ -n "$old" ] && ! stop "$old"; then
    failure="the old release does not stop"
  elif note "stopped ${old:-nothing}" && ! link "$1"; then
    failure="the link cannot be renamed"
  elif note "linked $1" && ! start "$1"; then
    failure="it does not start"
  elif note "started $1" && ! is_healthy "$1"; then
    failure="it is not healthy"
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

# Completes what a switch left half-way; the lock is held.
recover() {
  [ -f "$own/doing" ] || { rm -f "$own"/settings/*.next "$own"/link-* && return 0; }
  guard
  # What the other one had started ends by its own time limit; later, its number is another's.
  left=$(($(asked hook_timeout) + $(asked start_timeout) + $(asked stop_timeout)))
  while [ "$left" -gt 0 ] && kill -0 "$(cat "$own/running" 2>/dev/null)" 2>/dev/null; do
    left=$((left - 1)) && sleep 1
  done
  old=$(sed -n 's/^old=//p' "$own/doing")
  new=$(sed -n 's/^new=//p' "$own/doing")
  note "recover: a switch from ${old:-nothing} to $new was left"
  if [ "$(linked)" = "$new" ] && ! grep -qx back=yes "$own/doing" && bring_up "$new" &&
    hook after_switch "$new"; then
    settle "$new"
  else
    go_back "$old" "$new"
  fi
}

# A process that completes what this one leaves `doing` when it is killed: the lock is free then.
guard() {
  command -v flock >/dev/null 2>&1 || return 0
  (trap '' HUP INT TERM && exec sh "$own/agent" "$top" recover) \
    </dev/null >/dev/null 2>&1 3<&- 4>&- 9>&- &
}

# --- The lock.

# hold SECONDS: waits that long for the lock; 1 if another one has it.
hold() {
  left=$1 holding=''
  # Somebody may remove it all, or put a link there, while this one waits.
  while [ -d "$own" ] && [ ! -L "$own" ]; do
    locked && holding=yes && break
    [ "$left" -gt 0 ] || return 1
    left=$((left - 1)) && sleep 1
  done
  [ -n "$holding" ] || return 1
  printf '%s, since %s\n' "$by" "$(date -u +%Y-%m-%dT%H:%M:%SZ)" >"$own/holder" || :
}

# Without flock, a link that names a process and its start: its number alone may be another's by now.
# One at a time puts itself in the place of a process that has ended.
locked() {
  if command -v flock >/dev/null 2>&1; then
    command exec 9>>"$own/lock" && flock -n 9
    return
  fi
  link_lock "$own/lock"
}

# link_lock NAME: takes NAME.pid.
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

release() {
  rm -f "$own/holder" "$own/lock.pid" && exec 9>&-
}

# --- The steps. Each answers with a line.

# What the host has: for the plan, and for `releases`.
do_look() {
  near=$top # or the nearest folder above it that is there
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
    # The first of them began first.
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

# free OPTION FOLDER: what df says is available; nothing of a file system that does not count it.
# Names of devices and folders may have spaces.
free() {
  df -P "$1" "$2" | awk 'NR == 2 && match($0, / [0-9]+ +[0-9]+ +-?[0-9]+ +([0-9]+%|-) /) {
    split(substr($0, RSTART), columns, " ")
    if (columns[1] > 0) print columns[3]
  }'
}

# Whether what is there is this user's: links lead anywhere, and who owns a folder above can replace
# what root runs.
is_safe() {
  for path in "$own" "$top/releases" "$top/shared"; do
    [ ! -L "$path" ] || { why="$path is a link: remove it" && return 1; }
    [ ! -d "$path" ] || [ "$(owner "$path")" = "$(id -u)" ] ||
      { why="$path belongs to another user, $(owner "$path"): log in as that one" && return 1; }
  done
  [ "$(id -u)" = 0 ] || return 0
  is_roots "$own" && is_roots "$top/releases" && is_roots "$top" && are_above_roots "$top" || return 1
  [ ! -d "$top/current" ] || may_run "$(linked)"
}

# may_run ID: whether all of a release is root's alone, for root.
may_run() {
  [ "$(id -u)" = 0 ] || return 0
  from=$(place "$1")
  are_above_roots "$from" || return 1
  # All of it: a Node reads what it likes.
  foreign=$(find "$from" \( -path "$top/releases" -o -path "$top/shared" \) -prune -o \
    ! -type l \( ! -user 0 -o -perm -020 -o -perm -002 \) -print 2>/dev/null | head -n 1)
  [ -z "$foreign" ] || { foreign_to_root "$foreign" && return 1; }
}

foreign_to_root() {
  why="$1 can be changed by others than root, who could so run anything as root: log in as the user who owns it, or make it root's alone"
}

are_above_roots() {
  path=$1
  while path=$(dirname "$path") && [ "$path" != / ]; do is_roots "$path" sticky || return 1; done
}

# is_roots FOLDER [sticky]: root alone can write there; or where it is sticky, replace what is root's.
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

# Takes the lock; who has it is told.
do_begin() {
  by=$(field by)
  is_safe || { say error text "$why" && return; }
  mkdir -p "$own/healthy" "$own/failed" "$own/facts" "$own/settings" "$own/links" "$own/incoming" "$top/releases" \
    2>"$way/errors" || { refuse "folders cannot be made in $top" || return; }
  chmod 700 "$own"
  { true >>"$own/service.log"; } 2>"$way/errors" || { refuse "the log cannot be written" || return; }
  hold 2 || { say locked holder "$(cat "$own/holder" 2>/dev/null)" && return; }
  recover
  say ok
}

# The settings of the deployment and this text: for whoever completes a switch.
do_configure() {
  take "$own/incoming/config" || return
  # Releases of before settings were kept have those of the deploy before this one.
  for file in "$own"/healthy/*; do
    { [ -f "$own/settings/${file##*/}" ] || [ ! -f "$own/config" ]; } || cp "$own/config" "$own/settings/${file##*/}"
  done
  head -n "$(field lines)" "$own/incoming/config" | write "$own/config"
  tail -n "+$(($(field lines) + 1))" "$own/incoming/config" | write "$own/agent"
  say ok
}

# arrive N FILE: adds the next bytes of the session to a file; that they stop coming is noticed.
arrive() {
  rm -f "$way/busy"
  head -c "$1" >>"$2" || exec </dev/null # what is left of it could be taken for a line
  true >"$way/busy"
}

# take FILE: as many bytes of the session as the line says, with their hash.
take() {
  rm -f "$1"
  arrive "$(field size)" "$1"
  is_whole "$1" || refuse "other bytes came than were sent, or there is no room"
}

is_whole() {
  [ "$(sha256sum <"$1" | cut -d ' ' -f 1)" = "$(field sha256)" ]
}

# Names of the files that a release's lists name.
listed() {
  cat "$1"/.release/*.sha256 2>/dev/null | sed 's/^[0-9a-f]*  //' | sort
}

# Names of the files that are there, but for those that no list names.
present() {
  (cd "$1" && find . -type f ! -path './.release/*' ! -path ./release.json) | sed 's|^\./||' | sort
}

# Files of a release that are not as its lists say, or are no files any more, the first of them; and
# programs that cannot be started.
changed() {
  listed "$1" >"$way/listed" && present "$1" | comm -13 - "$way/listed" | head -n 3
  wrong "$1" | head -n 3
  for program in node_runtime/bin/node bin/app; do
    [ -x "$1/$program" ] || grep -Fx "$program" "$way/listed"
  done
}

# wrong FOLDER: names in the lists of a release, in FOLDER/.release, whose files have another content. Only
# files are read: at a pipe it would wait.
wrong() {
  present "$1" >"$way/present"
  (cd "$1" && cat .release/*.sha256 2>/dev/null |
    awk 'NR == FNR { is_file[$0]; next } substr($0, 67) in is_file' "$way/present" - |
    sha256sum -c 2>/dev/null | sed -n 's/: FAILED.*//p')
}

# links FOLDER: `name -> where it leads`, but for those to shared paths, which come and go with the settings.
links() {
  (cd "$1" && find . -type l | sed 's|^\./||' | while IFS= read -r link; do
    leads=$(readlink "$link")
    case $leads in
    *../shared/"$link") ;;
    *) echo "$link -> $leads" ;;
    esac
  done) | sort
}

# Files that somebody added to a release, the first of them and how many more.
added() {
  listed "$1" >"$way/listed" && present "$1" | comm -23 - "$way/listed" |
    awk 'NR <= 3 { print } END { if (NR > 3) print "and " NR - 3 " more" }' | tr '\n' ' '
}

# The lists of a release that are asked for, and its executable files, as one compressed text.
do_lists() {
  (cd "$top/releases/$(field base)" && {
    for name in $(field lists | tr ',' ' '); do cat ".release/$name.sha256"; done
    find . -type f -perm -100 -print | sed 's|^\./|x |'
  }) | gzip -c >"$way/lists"
  send_lists
}

# What the lists of a release name, less the files that are named and all links; or an empty folder.
do_stage() {
  staged=$own/staged base=$(field base) more=''
  : >"$way/changed"
  take "$own/incoming/removed" || return
  remove_staged
  { mkdir "$staged" && printf '#!/bin/sh\n' >"$own/probe" && chmod 700 "$own/probe"; } 2>"$way/errors" ||
    { refuse "nothing can be staged" || return; }
  "$own/probe" 2>/dev/null || { refuse "programs below $top do not start: is it mounted with noexec?" || return; }
  rm -f "$own/probe"
  if [ -n "$base" ]; then
    gzip -dc "$own/incoming/removed" | sort >"$way/removed"
    listed "$top/releases/$base" | comm -23 - "$way/removed" >"$way/wanted"
    more=$(added "$top/releases/$base")
    copy "$top/releases/$base" 2>"$way/errors" || { refuse "the release $base cannot be copied" || return; }
    leave_out_changed "$top/releases/$base"
  fi
  say ok added "$more" changed "$(head -n 3 "$way/changed" | tr '\n' ' ')"
}

# Files of that release which something has changed or removed are to be sent.
leave_out_changed() {
  {
    wrong "$1"
    present "$1" | comm -13 - "$way/wanted"
  } | sort -u | comm -12 - "$way/wanted" >"$way/changed"
  (cd "$staged" && sed 's|^|./|' "$way/changed" | tr '\n' '\0' | xargs -0 rm -f --)
}

# Their names, as one compressed text.
do_changed() {
  gzip -c "$way/changed" >"$way/lists"
  send_lists
}

send_lists() {
  say bytes size "$(wc -c <"$way/lists" | tr -d ' ')"
  cat "$way/lists" >&4
}

# Files that nobody can write are shared with that release; root can write all. What the application
# wrote there is none of the new one's, and what it may write is never shared.
copy() {
  if [ "$(id -u)" != 0 ] && rmdir "$staged" && cp -al "$1" "$staged"; then
    find "$staged" -type d -exec chmod u+rwx {} \;
    rm -rf "$staged/.release" && find "$staged" ! -type d ! -type f -exec rm -f {} +
    # With no line break in any name, each line below is a name.
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

# Gives the staged release files of its own in place of those that something may write meanwhile.
unshare() {
  # shellcheck disable=SC2016  # for the inner shell
  writable "$staged" -links +1 \
    -exec sh -c 'for file; do cp -p "$file" "$0" && mv -f "$0" "$file"; done' "$own/copying" {} +
}

# Also of folders that an application made read-only: they are copies.
remove_staged() {
  [ ! -d "$own/staged" ] || find "$own/staged" -type d -exec chmod u+rwx {} \;
  rm -rf "$own/staged"
}

# writable FOLDER WHAT...: does that to the files that anybody can write.
writable() {
  folder=$1 && shift
  find "$folder" -type f \( -perm -200 -o -perm -020 -o -perm -002 \) "$@"
}

# How much of an archive is here already, from a session that was lost.
do_offer() {
  part=$own/incoming/$(field sha256)
  find "$own/incoming" -type f ! -path "$part" -exec rm -f {} +
  say ok offset "$(wc -c <"$part" 2>/dev/null | tr -d ' ')"
}

# The rest of the archive, unpacked into the staged release, which is then held against its lists.
do_receive() {
  part=$own/incoming/$(field sha256)
  arrive "$(field rest)" "$part"
  is_whole "$part" || {
    [ "$(wc -c <"$part")" -lt "$(field size)" ] || rm -f "$part"
    refuse "the archive that came is another than was sent, or there is no room" || return
  }
  "$(field packed)" -dc <"$part" 2>"$way/packed" | tar -xf - -C "$own/staged" 2>"$way/errors" || {
    # Where tar ends first, a broken pipe is no cause.
    grep -hv 'Broken pipe' "$way/packed" "$way/errors" >"$way/both"
    mv "$way/both" "$way/errors"
    refuse "the archive cannot be unpacked" || return
  }
  rm -f "$part"
  on_disk "$own/staged"
  staged=$own/staged && unshare
  writable "$staged" -links 1 -exec chmod a-w {} +
  # What the lists name, whole, and nothing else.
  damaged=$(changed "$staged")$(added "$staged")
  [ -z "$damaged" ] || { say damaged files "$damaged" && return; }
  share "$own/staged" || { refuse "the shared path $path cannot be linked: it is taken, or leads elsewhere" || return; }
  { cp "$own/config" "$own/settings/$(field id)" &&
    printf '%s' "$(field facts)" | write "$own/facts/$(field id)" &&
    links "$own/staged" | write "$own/links/$(field id)" &&
    mv -T "$own/staged" "$top/releases/$(field id)"; } 2>"$way/errors" || { refuse "there is no room" || return; }
  note "staged $(field id)" && say ok
}

# What was written, on the disk before it counts: of a busy host, nothing else.
on_disk() {
  find "$1" -type f -links 1 -exec sync -d {} + 2>/dev/null ||
    find "$1" -type f -links 1 -exec dd if=/dev/null of={} conv=notrunc,fsync \; 2>/dev/null || :
}

# share FOLDER: links to the paths that outlive releases; 1 where `path` is something else there.
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

# Whether no folder above a shared path is a link, or for root another's.
leads_nowhere_else() {
  above=$1
  while above=$(dirname "$above") && [ "$above" != . ]; do
    [ ! -L "$top/$above" ] && { [ "$(id -u)" != 0 ] || is_roots "$top/$above"; } || return 1
  done
}

# Whether a release that is kept is still what it was: files of it that are not, and new ones.
do_verify() {
  folder=$top/releases/$(field id) known=$own/links/$(field id)
  links "$folder" >"$way/links"
  [ -f "$known" ] || known=$way/links # of a release from before they were kept
  say ok files "$(changed "$folder"; comm -23 "$known" "$way/links" | sed 's/ -> .*//' | head -n 3)" \
    added "$(added "$folder"; comm -13 "$known" "$way/links" | head -n 3 | tr '\n' ' ')"
}

# With `settings` kept, it is a rollback: a release is served as it was deployed.
do_switch() {
  new=$(field id) leaving=$(field leaving) lines='' told=''
  [ -d "$top/releases/$new" ] || { refuse "the release $new is not there" || return; }
  may_run "$new" || { refuse "$why" || return; }
  if [ "$(field settings)" != kept ] || [ ! -f "$own/settings/$new" ]; then
    # What is another tool's has shared paths of its own.
    [ ! -f "$own/facts/$new" ] || share "$top/releases/$new" ||
      { refuse "the shared path $path cannot be linked in releases/$new: it is taken, or leads elsewhere" || return; }
    cp "$own/config" "$own/settings/$new.next" 2>"$way/errors" || { refuse "there is no room" || return; }
  fi
  if { [ "$(linked)" = "$new" ] && bring_up "$new" && settle "$new"; } || switch "$new"; then
    unlinked=$(for path in $(asked shared); do [ -L "$top/releases/$new/$path" ] || echo "$path"; done)
    [ -z "$unlinked" ] || told="$told${told:+, }it was deployed without these shared paths: $unlinked"
    say ok text "$told"
  else
    rm -f "$own/settings/$new.next"
    at=$(linked)
    say failed text "$failure" linked "$(linked_shown)" log "$lines" \
      healthy "$([ -n "$at" ] && { [ -n "$untouched" ] || looks_healthy "$at"; } && echo yes)"
  fi
}

# Of its own releases keeps what is served, what something still runs from, those that served last,
# and of those that a rollback left, which are no targets, the last; what cannot be removed is told.
do_prune() {
  kept=1 kept_left='' stuck=''
  in_order | sed '1!G;h;$!d' >"$way/order" || { refuse "there is no room" || return; }
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
      stuck="$stuck$id (something is mounted in it) " && continue
    fi
    rm -f "$own/healthy/$id"
    rm -rf "$top/releases/$id" 2>"$way/errors" ||
      { stuck="$stuck$id ($(tail -n 1 "$way/errors")) " && continue; }
    rm -f "$own/failed/$id" "$own/settings/$id" "$own/links/$id" "$own/facts/$id"
    in_order | grep -Fvx -e "$id" | write "$own/served"
  done
  say ok stuck "$stuck"
}

# The text that a reboot runs. Root's is apart from the deployment: whoever has that folder by then may
# have put another one there.
boot_agent() {
  if [ "$(id -u)" = 0 ]; then echo "$HOME/.slipway-boot/$unit"; else echo "$own/agent"; fi
}

# Has systemd bring the release up.
enable_unit() {
  printf '%s\n' "[Unit]" "Description=The release of $top" "After=network-online.target" \
    "Wants=network-online.target" "[Service]" "Type=oneshot" "RemainAfterExit=yes" "KillMode=process" \
    "ExecStart=/bin/sh $(boot_agent) $top boot" "[Install]" "WantedBy=multi-user.target" |
    write "/etc/systemd/system/$unit.service" && systemctl enable "$unit.service"
}

# in_crontab LINE: has no other line of this deployment in the user's crontab than this, or none.
in_crontab() {
  one_at_a_time || return 1
  change_crontab "$1"
  status=$? && rm -f "$HOME/.slipway-crontab.pid" && exec 8>&- && return "$status"
}

# Another deployment of the user may be changing the crontab now.
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
  # Root's line was another once, which ran the text in the deployment's folder.
  set -- "$1" -e "@reboot sh $own/agent $top boot" -e "@reboot sh $(boot_agent) $top boot"
  wanted=$1 && shift
  [ -n "$wanted" ] || grep -Fqx "$@" "$way/crontab" || return 0
  grep -Fvx "$@" "$way/crontab" >"$way/table"
  [ -z "$wanted" ] || echo "$wanted" >>"$way/table" # grep ends its last line
  cmp -s "$way/crontab" "$way/table" || crontab - <"$way/table" || return 1
  [ -z "$wanted" ] || crontab -l | grep -Fqx "$wanted"
}

keep_for_boot() {
  [ "$(id -u)" = 0 ] || return 0
  kept=$(boot_agent) && mkdir -p "${kept%/*}" 2>/dev/null && are_above_roots "$kept" &&
    write "$kept" <"$own/agent"
}

# What brings the release up after a reboot: systemd for root, else cron; said is which, or nothing.
do_boot() {
  how='' # Of /a-b and of /a/b the name is not the same.
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

# Reads through a process that can be ended when nothing comes any more: a partition says nothing.
serve() {
  trap '' HUP PIPE
  # Only lines for the coordinator go to the session, and it ends with this process.
  exec 3<&0 4>&1 >/dev/null
  for folder in "${TMPDIR:-/tmp}" /var/tmp /dev/shm "${HOME:-/}" "$top"; do
    way=$(mktemp -d "$folder/slipway.XXXXXX" 2>/dev/null) || continue
    # A full one takes folders too.
    dd if=/dev/zero of="$way/room" bs=65536 count=16 2>/dev/null && rm -f "$way/room" && break
    rm -rf "$way"
  done
  { mkfifo "$way/in" && true >"$way/count"; } ||
    { say error text "no folder for temporary files: /tmp, /var/tmp, /dev/shm, the home and $top are read-only" && exit 1; }
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
  # Whatever was not finished is no release; parts of an archive are of use to the next session.
  [ -z "$holding" ] || { remove_staged && release; }
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
  recover) hold 86400 && recover && release ;;
  keep-log) keep_log "$3" ;;
  boot)
    is_safe && hold 60 || exit 1
    rm -f "$own/running" && recover
    [ -z "$(linked)" ] || bring_up "$(linked)" || note "boot: $(linked) is NOT healthy"
    release
    ;;
  esac
}

main "$@"
