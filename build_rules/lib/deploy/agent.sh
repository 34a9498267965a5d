#!/bin/sh
# The part of a deploy that runs on a host. POSIX sh; dash, busybox and bash run it.
#
# A coordinator sends this text over an ssh session and then one line for each step, and reads one
# line back; both are JSON of plain strings. What must not stop half-way runs to its end without the
# session: `switch` alone changes what is served, and whoever finds `doing` left behind, a second
# process that waits for the lock, the next boot or the next deploy, completes it or goes back.
#
#   releases/<id>/  current -> releases/<id>  shared/  .slipway/{lock,doing,config,journal,...}

# What a shell takes from its environment must not change what this script does.
unset -v CDPATH ENV BASH_ENV
export LC_ALL=C PATH="$PATH:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
umask 022 && set -u

BY_HAND=00000000T000000Z-by-hand
SILENT=8 # seconds without a line after which the session is taken for lost

# say KIND [KEY TEXT]...: one line for the coordinator, which may be gone; control characters become
# blanks.
say() {
  said="{\"say\":\"$1\""
  shift
  while [ $# -ge 2 ]; do
    said="$said,\"$1\":\"$(printf '%s' "$2" | tr '\001-\037\177' ' ' | sed 's/[\\"]/\\&/g')\""
    shift 2
  done
  printf '%s}\n' "$said" >&4 2>/dev/null || :
}

# The text of a key in the line that came; lines hold neither backslashes nor quotes in texts.
field() {
  rest=${line#*"\"$1\":\""}
  [ "$rest" = "$line" ] || printf '%s' "${rest%%\"*}"
}

note() {
  printf '%s %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$*" >>"$own/journal"
}

# The release that is linked, or nothing.
linked() {
  [ ! -L "$top/current" ] || basename "$(readlink "$top/current")"
}

# A setting of the deployment, kept for whoever completes a switch without the coordinator.
setting() {
  sed -n "s/^$1=//p" "$own/config" 2>/dev/null
}

# The folder of a release; "." is that of a deploy by hand, which lies where the releases should.
place() {
  if [ "$1" = . ]; then echo "$top"; else echo "$top/releases/$1"; fi
}

# Process ids of all that runs from a release: by its own Node, or where it has none, in its folder.
processes_of() {
  found="exe $(place "$1")/node_runtime/"
  [ -x "${found#* }bin/node" ] || found="cwd $(place "$1")\$"
  # shellcheck disable=SC2012  # the names in /proc are numbers
  ls -l /proc/[0-9]*/"${found%% *}" 2>/dev/null |
    sed -n "s|.* /proc/\([0-9]*\)/[a-z]* -> ${found#* }.*|\1|p"
}

# apart SECONDS COMMAND...: a command without the lock and the session, which may outlive this one.
apart() {
  exec 3<&- 4>&- 9>&- </dev/null >>"$own/service.log" 2>&1
  # shellcheck disable=SC2016  # for the inner shell
  timeout -k 5 "$1" sh -c 'echo $$ >"$0"; shift; exec "$@"' "$own/running" "$@"
}

# script ID NAME: runs a script of the release's package.json.
script() (
  cd "$(place "$1")" || exit 1
  SERVER_ENV=$(setting server_env)
  export SERVER_ENV
  if [ -x bin/app ]; then set -- "$2" bin/app; else set -- "$2" npm run --silent; fi
  seconds=$(setting "$1"_timeout) name=$1
  shift
  apart "$seconds" "$@" "$name"
)

# Its own script first, then signals to what is left of it.
# shellcheck disable=SC2086  # process ids
stop() {
  script "$1" stop || note "stop $1: its script failed"
  for signal in TERM KILL; do
    left=$(processes_of "$1")
    [ -n "$left" ] || return 0
    note "stop $1: $signal to" $left
    kill -s "$signal" $left 2>/dev/null
    for _ in 1 2 3 4 5; do [ -z "$(processes_of "$1")" ] || sleep 1; done
  done
  [ -z "$(processes_of "$1")" ]
}

# One look at its health, by address or by script.
looks_healthy() {
  url=$(setting health_url)
  [ -n "$url" ] || { script "$1" health; return; }
  get='require("http").get(process.argv[1],r=>process.exit(r.statusCode<400?0:1)).on("error",()=>process.exit(1))'
  node=$(place "$1")/node_runtime/bin/node
  [ -x "$node" ] || node=node
  (apart "$(setting health_timeout)" "$node" -e "$get" "$url")
}

# Healthy within the tries, and still so after it was left alone for a while.
is_healthy() {
  tries=$(setting health_retries)
  until looks_healthy "$1"; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] && sleep "$(setting health_interval)" || return 1
  done
  sleep "$(setting health_hold)"
  looks_healthy "$1"
}

link() {
  rm -f "$top/current.new"
  ln -s "releases/$1" "$top/current.new" || return 1
  # -T: never into the folder that the old link leads to.
  mv -T "$top/current.new" "$top/current" 2>/dev/null ||
    { rm -f "$top/current.new" && ln -sfn "releases/$1" "$top/current"; }
}

# Starts a release unless it is healthy already.
bring_up() {
  looks_healthy "$1" && [ -n "$(processes_of "$1")" ] && return 0
  script "$1" start && is_healthy "$1"
}

# Puts the lines of its input into a file at once, or not at all.
write() {
  cat >"$1.new" && mv "$1.new" "$1" && sync
}

hook() {
  command=$(setting "$1")
  [ -n "$command" ] || return 0
  note "$1: begin"
  (cd "$(place "$2")" && apart "$(setting hook_timeout)" sh -c "$command") || return 1
  note "$1: end"
}

go_back() {
  note "back from $2 to ${1:-nothing}: begin"
  [ "$(linked)" != "$2" ] || stop "$2" || note "stop $2: something of it is left"
  : >"$own/failed/$2"
  rm -f "$own/healthy/$2"
  # Half of what was deployed by hand may be moved yet.
  [ "$1" != "$BY_HAND" ] || adopt "$1" || return 1
  ended="NOT healthy"
  if [ -z "$1" ]; then
    rm -f "$top/current"
  elif link "$1" && bring_up "$1"; then
    ended=healthy
  fi
  rm -f "$own/doing"
  note "back to ${1:-nothing}: end, $ended"
}

settle() {
  date -u +%Y-%m-%dT%H:%M:%SZ | write "$own/healthy/$1"
  rm -f "$own/failed/$1" "$own/doing"
  note "switch to $1: end, healthy"
}

# The plain folder of a deploy by hand becomes a release of its own.
adopt() {
  mkdir -p "$top/releases/$1" || return 1
  for entry in "$top"/* "$top"/.[!.]*; do
    case ${entry##*/} in
    releases | current | shared | .slipway | '*' | '.[!.]*') ;;
    *) mv "$entry" "$top/releases/$1/" || return 1 ;;
    esac
  done
}

# switch NEW: 0 if it is served and healthy; otherwise `failure` says why, and what was before is
# served again where there was something.
switch() {
  old=$(linked) by_hand=''
  [ -n "$old" ] || [ ! -f "$top/package.json" ] || old=$BY_HAND by_hand=yes
  { echo "old=$old" && echo "new=$1"; } | write "$own/doing" || return 1
  guard
  note "switch from ${old:-nothing} to $1: begin, $(setting by)"
  failure=
  if ! hook before_switch "$1"; then
    failure="the hook before_switch failed"
  elif [ -n "$by_hand" ] && ! { stop . && adopt "$old"; }; then
    failure="what was deployed by hand does not stop"
  elif [ -z "$by_hand" ] && [ -n "$old" ] && ! stop "$old"; then
    failure="the old release does not stop"
  elif note "stopped ${old:-nothing}" && ! link "$1"; then
    failure="the link cannot be renamed"
  elif note "linked $1" && ! script "$1" start; then
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
  go_back "$old" "$1"
  return 1
}

# Completes what a switch left half-way; the lock is held.
recover() {
  [ -f "$own/doing" ] || return 0
  # What the other one had started ends by its own time limit.
  while kill -0 "$(cat "$own/running" 2>/dev/null)" 2>/dev/null; do sleep 1; done
  old=$(sed -n 's/^old=//p' "$own/doing")
  new=$(sed -n 's/^new=//p' "$own/doing")
  note "recover: a switch from ${old:-nothing} to $new was left"
  if [ "$(linked)" = "$new" ] && bring_up "$new"; then settle "$new"; else go_back "$old" "$new"; fi
}

# A process that completes the switch when this one is killed: the lock is free then.
guard() {
  command -v flock >/dev/null 2>&1 || return 0
  (trap '' HUP INT TERM && exec sh "$own/agent" "$top" recover) \
    </dev/null >/dev/null 2>&1 3<&- 4>&- 9>&- &
}

# hold SECONDS: waits that long for the lock; 1 if another one has it.
hold() {
  mkdir -p "$own/healthy" "$own/failed" "$own/facts" "$own/incoming" "$top/releases" || return 1
  left=$1
  until locked; do
    [ "$left" -gt 0 ] || return 1
    left=$((left - 1)) && sleep 1
  done
  holding=yes
  printf '%s, since %s\n' "$by" "$(date -u +%Y-%m-%dT%H:%M:%SZ)" >"$own/holder"
}

locked() {
  if command -v flock >/dev/null 2>&1; then
    exec 9>>"$own/lock" && flock -n 9
  elif ! ln -s "$$" "$own/lock.pid" 2>/dev/null; then
    # Whoever made it may be gone.
    kill -0 "$(readlink "$own/lock.pid")" 2>/dev/null && return 1
    rm -f "$own/lock.pid"
    ln -s "$$" "$own/lock.pid" 2>/dev/null
  fi
}

release() {
  rm -f "$own/holder" "$own/lock.pid"
  exec 9>&-
}

# What the host has: for the plan, and for `releases`.
do_look() {
  say host user "$(id -un)" machine "$(uname -m)" linked "$(linked)" \
    libc "$(getconf GNU_LIBC_VERSION 2>/dev/null || ldd --version 2>&1 | head -n 1)" \
    free_kb "$(room -Pk)" free_inodes "$(room -Pi)" \
    writable "$([ -w "$(nearest)" ] && echo yes)"
  for folder in "$top"/releases/*/; do
    [ -d "$folder" ] || continue
    id=$(basename "$folder")
    say release id "$id" healthy "$(cat "$own/healthy/$id" 2>/dev/null)" \
      failed "$([ -e "$own/failed/$id" ] && echo yes)" facts "$(cat "$own/facts/$id" 2>/dev/null)" \
      running "$(processes_of "$id" | tr '\n' ' ')" \
      lists "$(cd "$folder/.release" 2>/dev/null && sha256sum -- *.sha256 | tr '\n' ' ')"
  done
  say ok
}

# The folder itself, or the nearest one above that is there.
nearest() {
  folder=$top
  while [ ! -d "$folder" ]; do folder=$(dirname "$folder"); done
  printf '%s' "$folder"
}

room() {
  df "$1" "$(nearest)" 2>/dev/null | awk 'NR == 2 { print $4 }'
}

# Takes the lock; who has it is told.
do_begin() {
  by=$(field by)
  hold 2 || { say locked holder "$(cat "$own/holder" 2>/dev/null)" && return; }
  recover
  say ok
}

# The settings of the deployment and this text: for whoever completes a switch.
do_configure() {
  take "$own/incoming/config" || return
  head -n "$(field lines)" "$own/incoming/config" | write "$own/config"
  tail -n "+$(($(field lines) + 1))" "$own/incoming/config" | write "$own/agent"
  say ok
}

# arrive N FILE: adds the next bytes of the session to a file; that they stop coming is noticed.
arrive() {
  rm -f "$way/busy"
  head -c "$1" >>"$2" || :
  : >"$way/busy"
}

# take FILE: as many bytes of the session as the line says, with their hash.
take() {
  rm -f "$1"
  arrive "$(field size)" "$1"
  is_whole "$1" || { say error text "other bytes came than were sent" && return 1; }
}

is_whole() {
  [ "$(sha256sum <"$1" | cut -d ' ' -f 1)" = "$(field sha256)" ]
}

# The lists of a release that are asked for, and its executable files, as one compressed text.
do_lists() {
  (cd "$top/releases/$(field base)" && {
    for name in $(field lists | tr ',' ' '); do cat ".release/$name.sha256"; done
    find . -type f -perm -100 -print | sed 's|^\./|x |'
  }) | gzip -c >"$way/lists"
  say bytes size "$(wc -c <"$way/lists" | tr -d ' ')"
  cat "$way/lists" >&4
}

# The copy of a release, less the files that are named and all links; or an empty folder.
do_stage() {
  staged=$own/staged base=$(field base)
  take "$own/incoming/removed" || return
  rm -rf "$staged"
  if [ -z "$base" ]; then mkdir "$staged"; else
    # Files that nobody can write are shared with that release; root can write all.
    { [ "$(id -u)" != 0 ] && cp -al "$top/releases/$base" "$staged" 2>/dev/null; } ||
      { rm -rf "$staged" && cp -a "$top/releases/$base" "$staged"; } && rm -rf "$staged/.release" &&
      find "$staged" -type l -exec rm -f {} + &&
      gzip -dc "$own/incoming/removed" | (cd "$staged" && tr '\n' '\0' | xargs -0 rm -f --)
  fi || { say error text "the release $base cannot be copied" && return; }
  say ok
}

# How much of an archive is here already, from a session that was lost.
do_offer() {
  part=$own/incoming/$(field sha256)
  find "$own/incoming" -type f ! -name "$(field sha256)" -exec rm -f {} +
  say ok offset "$(wc -c <"$part" 2>/dev/null | tr -d ' ')"
}

# The rest of the archive, unpacked into the staged release, which is then held against its lists.
do_receive() {
  part=$own/incoming/$(field sha256)
  arrive "$(field rest)" "$part"
  is_whole "$part" || {
    [ "$(wc -c <"$part")" -lt "$(field size)" ] || rm -f "$part"
    say error text "the archive that came is another than the one that was sent" && return
  }
  gzip -dc "$part" | tar -xf - -C "$own/staged" || { say error text "tar failed" && return; }
  rm -f "$part"
  find "$own/staged" -type f -exec chmod a-w {} +
  # What the lists name, whole, and nothing else.
  (cd "$own/staged" && cat .release/*.sha256 | sed 's/^[0-9a-f]*  //' | sort >"$way/names")
  damaged=$(changed "$own/staged" && cd "$own/staged" &&
    find . -type f ! -path './.release/*' ! -path ./release.json -print | sed 's|^\./||' | sort |
    comm -3 - "$way/names" | tr -d '\t' | head -n 3)
  [ -z "$damaged" ] || { say damaged files "$damaged" && return; }
  share "$(setting shared)"
  printf '%s' "$(field facts)" >"$own/facts/$(field id)"
  rm -rf "$top/releases/$(field id)"
  mv "$own/staged" "$top/releases/$(field id)" || { say error text "mv failed" && return; }
  sync
  note "staged $(field id)"
  say ok
}

# Files of a release that are not as its lists say, the first of them.
changed() (
  cd "$1" && cat .release/*.sha256 2>/dev/null | sha256sum -c 2>/dev/null |
    sed -n 's/: FAILED.*//p' | head -n 3
)

# Whether a release that is kept is still what it was.
do_verify() {
  damaged=$(changed "$top/releases/$(field id)")
  if [ -n "$damaged" ]; then say damaged files "$damaged"; else say ok; fi
}

# Paths that outlive releases, as links from the staged one.
share() {
  for path in $1; do
    mkdir -p "$top/shared/$path" "$(dirname "$own/staged/$path")"
    up=$(printf '%s' "$path" | sed 's|[^/][^/]*|..|g')
    rm -rf "$own/staged/$path"
    ln -s "../$up/shared/$path" "$own/staged/$path"
  done
}

do_switch() {
  new=$(field id)
  [ -d "$top/releases/$new" ] || { say error text "the release $new is not there" && return; }
  if { [ "$(linked)" = "$new" ] && bring_up "$new" && settle "$new"; } || switch "$new"; then
    say ok
  else
    say failed text "$failure" linked "$(linked)" log "$(tail -n 5 "$own/service.log")" \
      healthy "$([ -n "$(linked)" ] && looks_healthy "$(linked)" && echo yes)"
  fi
}

# Keeps the newest, what is served, and what something still runs from; failed ones go first.
do_prune() {
  kept=0
  for folder in $(cd "$top/releases" && printf '%s\n' * | sort -r); do
    if [ "$folder" = "$(linked)" ] || [ -n "$(processes_of "$folder")" ]; then continue; fi
    if [ -e "$own/healthy/$folder" ] || [ "$folder" = "$BY_HAND" ]; then
      kept=$((kept + 1))
      [ "$kept" -lt "$(field keep)" ] && continue
    fi
    rm -rf "$top/releases/$folder"
    rm -f "$own/healthy/$folder" "$own/failed/$folder" "$own/facts/$folder"
  done
  say ok
}

# What brings the release up after a reboot.
do_boot() {
  entry="@reboot sh $own/agent $top boot"
  if [ "$(field boot)" != off ] && command -v crontab >/dev/null 2>&1; then
    crontab -l 2>/dev/null | grep -Fqx "$entry" || { crontab -l 2>/dev/null; echo "$entry"; } | crontab -
  fi
  say ok
}

# Reads through a process that can be ended when nothing comes any more: a partition says nothing.
serve() {
  trap '' HUP PIPE
  # Only lines for the coordinator go to the session, and it ends with this process.
  exec 3<&0 4>&1 >/dev/null
  way=$(mktemp -d) || exit 1
  mkfifo "$way/in" && : >"$way/count"
  cat <&3 >"$way/in" 4>&- &
  relay=$!
  exec 0<"$way/in" 3<&-
  watch &
  watcher=$!
  while IFS= read -r line; do
    echo . >>"$way/count"
    step=$(field "do")
    case $step in
    beat) ;;
    look | begin | configure | lists | stage | offer | receive | verify | switch | prune | boot)
      : >"$way/busy"
      "do_$step"
      rm -f "$way/busy"
      ;;
    end) break ;;
    *) say error text "unknown: $line" ;;
    esac
  done
  # Whatever was not finished is no release; parts of an archive are of use to the next session.
  [ -z "$holding" ] || { rm -rf "$own/staged" && release; }
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
    silent=$((silent + 1))
    if [ "$now" != "$last" ] || [ -e "$way/busy" ]; then silent=0; fi
    last=$now
    [ "$silent" -lt "$SILENT" ] || kill "$relay"
  done
  rm -rf "$way"
}

# agent TOP serve|recover|boot
main() {
  top=$1
  if [ -d "$top" ]; then top=$(cd -- "$top" && pwd -P); fi
  own=$top/.slipway
  by=recovery failure='' holding=''
  case $2 in
  serve) serve ;;
  recover) hold 86400 && recover && release ;;
  boot)
    rm -f "$own/running"
    hold 60 && recover
    [ -z "$(linked)" ] || bring_up "$(linked)" || note "boot: $(linked) is NOT healthy"
    release
    ;;
  esac
}

main "$@"
